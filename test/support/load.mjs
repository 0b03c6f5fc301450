/**
 * A load generator, in plain JavaScript so that it starts quickly. Every mode but `serve` exits on its own.
 *
 *     node load.mjs serve                        listens on TCP ports 10011 and 10012 until it is stopped
 *     node load.mjs transfer IP UP DOWN          one connection that sends UP and receives DOWN bytes at the same time
 *     node load.mjs knock IP COUNT PARALLEL      COUNT connections, PARALLEL at a time, with one request each
 *     node load.mjs garbage IP PORT VNI SECONDS  invalid datagrams for a VTEP of that VNI, all kinds in turn
 *
 * Both ends of a transfer print hashes of the bytes sent and received. The data is a cipher's key stream, which never
 * repeats, so that a misplaced piece changes the hash.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const BULK = 10_011;
const SHORT = 10_012;
/** Bytes of the header of a transfer: two lengths, for each direction. */
const REQUEST = 12;
const CHUNK = Buffer.alloc(1 << 16);
/** Milliseconds after which the program ends if nothing stopped it. */
const LIMIT = 180_000;
const [mode, ...args] = process.argv.slice(2);
setTimeout(() => fail(`timed out after ${LIMIT} ms`), LIMIT).unref();

function fail(reason) {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}

const print = (value) => void process.stdout.write(`${typeof value === 'string' ? value : JSON.stringify(value)}\n`);

/** Sends `length` bytes and closes this direction. @returns their hash. */
async function send(socket, length) {
  const hash = createHash('sha256');
  const stream = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
  for (let left = length; left > 0;) {
    const data = stream.update(left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK);
    left -= data.length;
    hash.update(data);
    if (!socket.write(data)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

/** Receives until the other side closes. @returns the hash of the bytes. */
async function receive(socket) {
  const hash = createHash('sha256');
  socket.on('data', (data) => hash.update(data));
  await once(socket, 'end');
  return hash.digest('hex');
}

function serve() {
  const bulk = createServer({ allowHalfOpen: true }, (socket) => answer(socket).catch((error) => fail(error.message)));
  const short = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (data) => socket.end(createHash('sha256').update(data).digest()));
  });
  bulk.listen(BULK, '0.0.0.0', () => short.listen(SHORT, '0.0.0.0', 1024, () => print('ready')));
}

async function answer(socket) {
  const { remotePort: port } = socket;
  let head;
  while ((head = socket.read(REQUEST)) === null) await once(socket, 'readable');
  const received = receive(socket);
  socket.resume();
  const sent = await send(socket, head.readUIntBE(6, 6));
  print({ port, sent, received: await received });
}

async function transfer(address, up, down) {
  const socket = connect({ host: address, port: BULK, allowHalfOpen: true });
  await once(socket, 'connect');
  const { localPort: port } = socket;
  const head = Buffer.alloc(REQUEST);
  head.writeUIntBE(up, 0, 6);
  head.writeUIntBE(down, 6, 6);
  const received = receive(socket);
  socket.write(head);
  const sent = await send(socket, up);
  print({ port, sent, received: await received });
}

async function knock(address, count, rows) {
  let next = 0;
  const row = async () => {
    while (next < count) {
      const request = randomBytes(32);
      request.writeUInt32BE(next++);
      const socket = connect(SHORT, address);
      socket.write(request);
      const parts = [];
      socket.on('data', (data) => parts.push(data));
      await once(socket, 'close');
      const right = createHash('sha256').update(request).digest();
      if (!Buffer.concat(parts).equals(right)) throw new Error(`connection ${next} got a wrong answer`);
    }
  };
  await Promise.all(Array.from({ length: rows }, row));
  print({ answered: next });
}

/** Makers of invalid datagrams, by name. */
function kinds(vni) {
  const header = Buffer.from([8, 0, 0, 0, vni >> 16, (vni >> 8) & 255, vni & 255, 0]);
  const random = (least) => randomBytes(least + Math.floor(Math.random() * (1400 - least)));
  const frame = (mac, type, rest) =>
    Buffer.concat([header, Buffer.from(`02420a000002${mac}${type}`, 'hex'), randomBytes(rest)]);
  return {
    'no flag': () => {
      const data = random(8);
      data[0] &= ~8;
      return data;
    },
    'half a header': () => header.subarray(0, Math.floor(Math.random() * 8)),
    'another VNI': () => {
      const data = Buffer.concat([header, random(14)]);
      data[6] ^= 1 + Math.floor(Math.random() * 255);
      return data;
    },
    'half a frame': () => Buffer.concat([header, randomBytes(Math.floor(Math.random() * 14))]),
    'a group address as source': () => frame('ffffffffffff', '0800', 46),
    'a tag': () => frame('02420a000063', '8100', 46),
    'random frames': () => {
      const data = Buffer.concat([header, random(14)]);
      data[14] &= ~1; // not a group address
      data[20] &= 0x7f; // not a VLAN tag
      return data;
    },
    'random IPv4': () => frame('02420a000063', '0800', Math.floor(Math.random() * 1400)),
    'random TCP': () => {
      const data = frame('02420a000063', '0800', 20 + Math.floor(Math.random() * 1000));
      Buffer.from('4500', 'hex').copy(data, 22);
      data.writeUInt16BE(data.length - 22, 24);
      data.writeUInt16BE(0, 28);
      data[31] = 6;
      return data;
    },
    'random ARP': () => frame('02420a000063', '0806', 28),
  };
}

function garbage(address, port, vni, seconds) {
  const socket = createSocket('udp4');
  const makers = Object.entries(kinds(vni));
  const sent = Object.fromEntries(makers.map(([name]) => [name, 0]));
  const end = Date.now() + seconds * 1000;
  let under = 0;
  const timer = setInterval(() => {
    if (Date.now() > end) {
      if (under > 0) return;
      clearInterval(timer);
      socket.close();
      return print(sent);
    }
    for (let i = 0; i < 5; i++)
      for (const [name, make] of makers) {
        under++;
        socket.send(make(), port, address, () => under--);
        sent[name]++;
      }
  }, 4);
}

const numbers = args.map(Number);
const stop = (error) => fail(error.message);
if (mode === 'serve') serve();
else if (mode === 'transfer') transfer(args[0], numbers[1], numbers[2]).catch(stop);
else if (mode === 'knock') knock(args[0], numbers[1], numbers[2]).catch(stop);
else if (mode === 'garbage') garbage(args[0], numbers[1], numbers[2], numbers[3]);
else fail(`unknown mode: ${mode}`);
