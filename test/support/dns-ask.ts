/** Asks a DNS server, and prints its answer in JSON: `dns-ask.ts SERVER NAME TYPE`. */
import { createSocket } from 'node:dgram';
import { question, readMessage, TYPES } from './dns.js';

const [, , server, name, type] = process.argv;
const socket = createSocket(server!.includes(':') ? 'udp6' : 'udp4');
socket.on('message', (bytes) => {
  process.stdout.write(JSON.stringify(readMessage(bytes)));
  socket.close();
  clearInterval(timer);
});
const send = (): void => socket.send(question(name!, TYPES[type as keyof typeof TYPES], { edns: 1232 }), 53, server);
const timer = setInterval(send, 1000);
send();
setTimeout(() => process.exit(1), 20_000).unref();
