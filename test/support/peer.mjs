/**
 * A program in a container, in plain JavaScript so that it starts quickly. It exits on its own, a client within a minute.
 *
 *     node peer.mjs serve NAME BYTES             listens on TCP and UDP port 40001 and TCP port 40002
 *     node peer.mjs exchange IP BYTES COUNT      TCP transfers in both directions, and COUNT datagrams with echo
 *     node peer.mjs talk IP                      sends a line ten times per second, and prints each line received
 *     node peer.mjs stream IP                    sends 16 KiB fifty times per second over TCP, until SIGTERM, and gets them back
 *     node peer.mjs listen PORT                  prints the text of each datagram
 *     node peer.mjs send IP PORT HEX…            sends datagrams one by one
 */
import { createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const BULK = 40_001;
const LINES = 40_002;
const [mode, ...args] = process.argv.slice(2);
// Servers serve a whole test file, a client one transfer.
setTimeout(() => fail('timed out'), mode === 'serve' || mode === 'listen' ? 600_000 : 60_000).unref();

function fail(reason) {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}

const print = (value) => void process.stdout.write(`${typeof value === 'string' ? value : JSON.stringify(value)}\n`);
/** Base64 digits: tshark recognizes no protocol in them. */
const text = (length) => randomBytes(length).toString('base64').slice(0, length);
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Receives until the other side closes. @returns the hash of the bytes. */
function received(socket) {
  return new Promise((resolve, reject) => {
    const sum = createHash('sha256');
    socket.on('data', (data) => sum.update(data));
    socket.on('end', () => resolve(sum.digest('hex')));
    socket.on('error', reject);
  });
}

/** A transfer is client first, then server. */
function serve(name, bytes) {
  const bulk = createServer({ allowHalfOpen: true }, (socket) => {
    received(socket).then(
      (sum) => {
        const data = text(bytes);
        print({ from: socket.remoteAddress, received: sum, sent: hash(data) });
        socket.end(data);
      },
      (error) => print({ error: error.message }),
    );
  });
  const lines = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
  const datagrams = createSocket('udp4');
  datagrams.on('message', (data, { address, port }) =>
    datagrams.send(data.length === 0 ? Buffer.from(name) : data, port, address),
  );
  bulk.listen(BULK, '0.0.0.0', () =>
    lines.listen(LINES, '0.0.0.0', () => datagrams.bind(BULK, () => setTimeout(() => print('ready')))),
  );
}

async function exchange(address, bytes, count) {
  const udp = await datagrams(address, count);
  const socket = connect({ host: address, port: BULK, allowHalfOpen: true });
  const data = text(bytes);
  const sum = received(socket);
  socket.end(data);
  print({ ...udp, received: await sum, sent: hash(data) });
}

/**
 * Sends datagrams of many sizes, up to four at a time, some in several fragments. Those beyond the path MTU are dropped
 * until the sender's kernel has learned it, and are sent again.
 */
function datagrams(address, count) {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    const sent = new Set();
    const waiting = new Map();
    let name;
    let progress = Date.now();
    const send = () => {
      while (waiting.size < 4 && sent.size < count) {
        const data = text(16 + ((sent.size * 97) % 2900));
        sent.add(hash(data));
        waiting.set(hash(data), data);
        socket.send(data);
      }
    };
    const again = () => {
      progress = Date.now();
      if (name === undefined) socket.send('');
      for (const data of waiting.values()) socket.send(data);
    };
    const timer = setInterval(() => {
      if (Date.now() - progress > 500) again();
    }, 100);
    socket.on('error', (error) => (error.code === 'EMSGSIZE' ? again() : reject(error)));
    socket.on('message', (data) => {
      progress = Date.now();
      if (data.length < 16) name = data.toString();
      else if (!sent.has(hash(data))) return reject(new Error('received a datagram that was never sent'));
      waiting.delete(hash(data));
      send();
      if (sent.size < count || waiting.size > 0) return;
      clearInterval(timer);
      socket.close();
      resolve({ name, datagrams: sent.size });
    });
    socket.connect(BULK, address, again);
  });
}

function talk(address) {
  const socket = connect({ host: address, port: LINES });
  socket.setEncoding('utf8');
  socket.on('error', (error) => fail(error.message));
  socket.on('data', (data) => process.stdout.write(data));
  let count = 0;
  setInterval(() => socket.write(`line ${count++}\n`), 100);
}

/** Prints the hashes of what it sent and got back, and the longest time in milliseconds in which it got nothing. */
function stream(address) {
  const socket = connect({ host: address, port: LINES, allowHalfOpen: true });
  const sum = createHash('sha256');
  let bytes = 0;
  let stall = 0;
  let last;
  socket.on('data', () => {
    const now = performance.now();
    if (last !== undefined) stall = Math.max(stall, now - last);
    else print('streaming');
    last = now;
  });
  socket.on('error', (error) => fail(error.message));
  const got = received(socket);
  const timer = setInterval(() => {
    if (socket.writableLength > 1 << 20) return; // the network is slower
    const data = text(16_384);
    sum.update(data);
    bytes += data.length;
    socket.write(data);
  }, 20);
  process.on('SIGTERM', () => {
    clearInterval(timer);
    socket.end();
    got.then((hashed) => print({ sent: sum.digest('hex'), received: hashed, bytes, stall: Math.round(stall) }));
  });
}

function listen(port) {
  const socket = createSocket('udp4', (data) => print(data.toString()));
  socket.bind(port, () => print('ready'));
}

function send(address, port, ...datagrams) {
  const socket = createSocket('udp4');
  const next = () => {
    const data = datagrams.shift();
    if (data === undefined) socket.close();
    else
      socket.send(Buffer.from(data, 'hex'), Number(port), address, (error) => (error ? fail(error.message) : next()));
  };
  next();
}

if (mode === 'serve') serve(args[0], Number(args[1]));
else if (mode === 'exchange') exchange(args[0], Number(args[1]), Number(args[2])).catch((error) => fail(error.message));
else if (mode === 'talk') talk(args[0]);
else if (mode === 'stream') stream(args[0]);
else if (mode === 'listen') listen(Number(args[0]));
else if (mode === 'send') send(...args);
else fail(`unknown mode: ${mode}`);
