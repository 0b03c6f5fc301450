/**
 * Gets a Docker swarm's gossip keys from a manager as any worker does: a join token gives the node a certificate, and
 * the certificate a session, whose first message has the keys. Implements gRPC over HTTP/2 as far as these three calls
 * need it.
 *
 *     node --import tsx test/support/swarm.ts FILE     prints the keys in base64; FILE is a `Swarm` in JSON
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type ClientHttp2Session } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { message } from '../../src/gossip/networkdb/protobuf.js';

/** Names in a manager's certificate, whatever its address. */
const MANAGER = 'swarm-manager';
/** Subsystem of NetworkDB's keys; encrypted networks have other keys. */
const GOSSIP = 'networking:gossip';
const ISSUED = 3;

const issueRequest = message<{ csr: Uint8Array; token: string }>('issueRequest', [
  { number: 2, name: 'csr', kind: 'bytes' },
  { number: 3, name: 'token', kind: 'text' },
]);
const nodeId = message<{ id: string }>('nodeId', [{ number: 1, name: 'id', kind: 'text' }]);
const issuance = message<{ state: number }>('issuance', [{ number: 1, name: 'state', kind: 'int32' }]);
const certificate = message<{ pem: Uint8Array }>('certificate', [{ number: 4, name: 'pem', kind: 'bytes' }]);
const statusAnswer = message<{ status: { state: number }[]; certificate: { pem: Uint8Array }[] }>('statusAnswer', [
  { number: 1, name: 'status', kind: issuance, list: 1 },
  { number: 2, name: 'certificate', kind: certificate, list: 1 },
]);
const description = message<{ hostname: string }>('description', [{ number: 1, name: 'hostname', kind: 'text' }]);
const sessionRequest = message<{ description: { hostname: string }[] }>('sessionRequest', [
  { number: 1, name: 'description', kind: description, list: 1 },
]);
const encryptionKey = message<{ subsystem: string; key: Uint8Array; time: number }>('encryptionKey', [
  { number: 1, name: 'subsystem', kind: 'text' },
  { number: 3, name: 'key', kind: 'bytes' },
  { number: 4, name: 'time', kind: 'uint64' },
]);
const sessionMessage = message<{ keys: { subsystem: string; key: Uint8Array; time: number }[] }>('sessionMessage', [
  { number: 4, name: 'keys', kind: encryptionKey, list: 16 },
]);

/** Address of a manager, and the secrets to join its swarm as a worker. */
export interface Swarm {
  address: string;
  /** Default 2377. */
  port?: number;
  /** Output of `docker swarm join-token -q worker`. */
  token: string;
  /** Output of `docker swarm ca`: PEM. */
  ca: string;
}

/** The gossip keys, the encrypting one first. Side effect: the swarm has one more node, which is down. */
export async function gossipKeys({ address, port = 2377, token, ca }: Swarm): Promise<Uint8Array[]> {
  const url = `https://${address}:${port}`;
  const { csr, key } = request();
  const stranger = connect(url, { ca, servername: MANAGER });
  let cert: string;
  try {
    const { id } = nodeId.decode(
      await call(stranger, 'NodeCA/IssueNodeCertificate', issueRequest.encode({ csr, token })),
    );
    cert = await issued(stranger, id);
  } finally {
    stranger.close();
  }
  const worker = connect(url, { ca, servername: MANAGER, cert, key });
  try {
    const hello = sessionRequest.encode({ description: [{ hostname: 'weft' }] });
    const { keys } = sessionMessage.decode(await call(worker, 'Dispatcher/Session', hello));
    const [oldest, second, ...newer] = keys
      .filter(({ subsystem }) => subsystem === GOSSIP)
      .sort((a, b) => a.time - b.time)
      .map((one) => one.key.slice());
    // Docker encrypts with the second oldest: the newest may not have reached all nodes.
    return [second, oldest, ...newer].filter((one) => one !== undefined);
  } finally {
    worker.destroy();
  }
}

async function issued(session: ClientHttp2Session, id: string): Promise<string> {
  for (let tries = 0; tries < 20; tries++) {
    const answer = statusAnswer.decode(await call(session, 'NodeCA/NodeCertificateStatus', nodeId.encode({ id })));
    const pem = answer.certificate[0]?.pem;
    if (answer.status[0]?.state === ISSUED && pem !== undefined) return Buffer.from(pem).toString();
    await sleep(200);
  }
  throw new Error(`the swarm issued no certificate for ${id} within 4 s`);
}

/** A key and a certificate signing request; the swarm fills in the subject. */
function request(): { csr: Uint8Array; key: string } {
  const folder = mkdtempSync(join(tmpdir(), 'weft-swarm-'));
  try {
    const [key, csr] = [join(folder, 'key'), join(folder, 'csr')];
    const how = ['-new', '-nodes', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-subj', '/CN=weft'];
    const { status, stderr } = spawnSync('openssl', ['req', ...how, '-keyout', key, '-out', csr]);
    if (status !== 0) throw new Error(`openssl req: ${String(stderr)}`);
    return { csr: readFileSync(csr), key: readFileSync(key, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Calls a gRPC method and returns the first message of the response: `flag octet | length | message`. */
function call(session: ClientHttp2Session, method: string, body: Uint8Array): Promise<Uint8Array> {
  return new Promise((done, failed) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': `/docker.swarmkit.v1.${method}`,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let answer = Buffer.alloc(0);
    stream.on('data', (bytes: Buffer) => {
      answer = Buffer.concat([answer, bytes]);
      if (answer.length >= 5 && answer.length >= 5 + answer.readUInt32BE(1))
        done(answer.subarray(5, 5 + answer.readUInt32BE(1)));
    });
    const refused = (headers: Record<string, unknown>): void => {
      const { 'grpc-status': status, 'grpc-message': text } = headers;
      if (status !== undefined && status !== '0') failed(new Error(`${method}: ${decodeURIComponent(String(text))}`));
    };
    stream.on('response', refused);
    stream.on('trailers', refused);
    stream.on('error', failed);
    session.on('error', failed);
    stream.on('close', () => failed(new Error(`${method}: no answer`)));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(body.length, 1);
    stream.end(Buffer.concat([head, body]));
  });
}

const [, program, file] = process.argv;
if (program === fileURLToPath(import.meta.url) && file !== undefined)
  gossipKeys(JSON.parse(readFileSync(file, 'utf8')) as Swarm).then(
    (keys) => keys.forEach((key) => console.log(Buffer.from(key).toString('base64'))),
    (error: unknown) => {
      console.error(error);
      process.exitCode = 1;
    },
  );
