/**
 * A client of a service at a gateway, in plain JavaScript so that it starts quickly.
 *
 *     node gateway-client.mjs ask IP PORT TEXT…         sends each text and prints the answers, or error codes, as JSON
 *     node gateway-client.mjs flood IP PORT COUNT       sends COUNT datagrams, and prints how many answers came
 */
import { createSocket } from 'node:dgram';

const [mode, address, port, ...args] = process.argv.slice(2);
/** Milliseconds to wait for an answer. */
const PATIENCE = Number(process.env.PATIENCE ?? 5000);
/** Datagrams sent in a turn of the event loop. */
const BURST = 200;

const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
await new Promise((resolve) => socket.connect(Number(port), address, resolve));

async function ask(texts) {
  const answers = [];
  for (const text of texts) {
    socket.send(text);
    answers.push(
      await new Promise((resolve) => {
        const done = (value) => {
          clearTimeout(timer);
          socket.removeAllListeners();
          resolve(value);
        };
        const timer = setTimeout(() => done(null), PATIENCE);
        socket.once('message', (data) => done(data.length > 500 ? data.length : data.toString()));
        socket.once('error', ({ code }) => done(code));
      }),
    );
  }
  return answers;
}

async function flood(count) {
  let received = 0;
  socket.on('message', () => received++);
  socket.on('error', () => undefined);
  for (let sent = 0; sent < count;) {
    const burst = [];
    for (let i = 0; i < BURST && sent < count; i++, sent++)
      burst.push(new Promise((resolve) => socket.send(`flood ${sent}`, resolve)));
    await Promise.all(burst);
  }
  return received;
}

process.stdout.write(JSON.stringify(mode === 'ask' ? await ask(args) : await flood(Number(args[0]))));
socket.close();
