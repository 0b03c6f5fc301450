/** HTTP over a Unix socket for tests of the control socket: as a client sends it, and octet by octet. */
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';

export interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
  /** Whether the response came to its end. */
  complete: boolean;
}

/** Sends a request, and collects the response. A `body` that is no string is sent as JSON. */
export function call(
  path: string,
  method: string,
  target: string,
  { body, headers = {} }: { body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const json = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const type = body === undefined || typeof body === 'string' ? {} : { 'Content-Type': 'application/json' };
    const length = json === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(json)) };
    const sent = request({
      socketPath: path,
      method,
      path: target,
      agent: false,
      headers: { ...type, ...length, ...headers },
    });
    sent.on('error', reject);
    sent.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('error', () => undefined);
      response.on('close', () =>
        resolve({ status: response.statusCode!, headers: response.headers, text, complete: response.complete }),
      );
    });
    sent.end(json);
  });
}

/** The bytes of a GET without a body. */
export const get = (target: string): string => `GET ${target} HTTP/1.1\r\n\r\n`;

/** Sends text, and returns what is received until the VTEP closes the connection. */
export function talk(path: string, text: string, end = true): Promise<string> {
  return new Promise((resolve) => {
    let got = '';
    const socket = connect({ path, allowHalfOpen: true });
    socket.on('data', (data) => (got += data.toString()));
    socket.on('error', () => undefined); // what has arrived counts
    socket.on('close', () => resolve(got));
    socket.on('end', () => socket.destroy());
    socket.write(text);
    if (end) socket.end();
  });
}

/** The status of each response in a text, in order. */
export const statuses = (text: string): number[] =>
  [...text.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map(([, status]) => Number(status));

/** A client that sends text and does not read. */
export async function mute(path: string, text: string): Promise<Socket> {
  const socket = connect(path);
  socket.pause();
  socket.on('error', () => undefined);
  socket.write(text);
  await new Promise((resolve) => socket.once('connect', resolve));
  return socket;
}
