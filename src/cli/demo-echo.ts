/**
 * An echo between two containers, for a system without `ping`: UDP to the echo port (RFC 862), from one container's
 * kernel to the other's, over the same devices, ARP and tunnel that ICMP would use.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { HostError } from '../host/index.js';

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

/** Returns a command line that runs a Node program in a namespace. */
function inside(netns: string, program: string, args: readonly string[]): string[] {
  return ['netns', 'exec', netns, process.execPath, '-e', program, ...args];
}

/**
 * Starts the server in a container and waits until it listens.
 * @throws HostError if it does not start.
 */
export function serveEcho(netns: string, address: string): Promise<ChildProcess> {
  const child = spawn('ip', inside(netns, SERVER, [address]), { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  return new Promise((resolve, reject) => {
    let output = '';
    const listen = (data: Buffer): void => {
      output += data.toString();
      if (/^ready$/m.test(output)) resolve(child);
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.on('error', (error) => reject(new HostError(`the echo server cannot be started: ${error.message}`)));
    child.on('exit', () => reject(new HostError(['the echo server ended:', ...output.trim().split('\n')])));
  });
}

/** The `ip` arguments that send `count` requests from a container; the output looks like that of ping. */
export function echoCommand(netns: string, address: string, count: number): string[] {
  return inside(netns, CLIENT, [address, String(count)]);
}
