/**
 * An echo between two sandboxes, for a system without `ping`: UDP to the echo port (RFC 862), from one sandbox's
 * kernel to the other's, over the same devices, ARP and tunnel that ICMP would use.
 */

const PORT = 7;
/** Milliseconds between two requests, and the timeout of an answer. */
const INTERVAL = 200;
const PATIENCE = 2000;

const SERVER = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (bytes, { address, port }) => socket.send(bytes, port, address));
  socket.bind(${PORT}, process.argv[1], () => console.log('ready'));`;

const CLIENT = `
  const [address, count] = process.argv.slice(1);
  const socket = require('node:dgram').createSocket('udp4');
  const sent = new Map();
  let received = 0;
  const finish = () => {
    console.log(count + ' packets transmitted, ' + received + ' received');
    process.exit(0);
  };
  socket.on('message', (bytes) => {
    const sequence = bytes.readUInt32BE();
    if (!sent.has(sequence)) return;
    const time = (performance.now() - sent.get(sequence)).toFixed(3);
    sent.delete(sequence);
    console.log(bytes.length + ' bytes from ' + address + ': udp_seq=' + sequence + ' time=' + time + ' ms');
    if (++received === Number(count)) finish();
  });
  let sequence = 0;
  const next = () => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt32BE(++sequence);
    sent.set(sequence, performance.now());
    socket.send(bytes, ${PORT}, address, () => undefined);
    if (sequence < count) setTimeout(next, ${INTERVAL});
    else setTimeout(finish, ${PATIENCE});
  };
  socket.bind(0, next);`;

/** The command of a server, which prints `ready` when it listens. */
export function echoServer(address: string): string[] {
  return [process.execPath, '-e', SERVER, address];
}

/** The command that sends `count` requests; its output looks like that of ping. */
export function echoClient(address: string, count: number): string[] {
  return [process.execPath, '-e', CLIENT, address, String(count)];
}
