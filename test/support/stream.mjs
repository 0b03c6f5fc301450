// One TCP connection that carries bytes until it ends, and reports how many have arrived.
//
//     node stream.mjs serve                     prints "ready"; answers with the count of what it has received, every 100 ms
//     node stream.mjs send HOST                 prints what the server has received
import { connect, createServer } from 'node:net';

const PORT = 5202;
/** Bytes at a time, and milliseconds between: 8 MB/s, so that several streams leave time for others. */
const [SIZE, PAUSE] = [80_000, 10];
const [what, host] = process.argv.slice(2);
if (what === 'serve')
  createServer((socket) => {
    let count = 0;
    const timer = setInterval(() => socket.write(`${count}\n`), 100);
    socket.on('data', (data) => (count += data.length));
    socket.on('close', () => clearInterval(timer));
    socket.on('error', () => undefined);
  }).listen(PORT, '::', () => console.log('ready'));
else {
  const socket = connect(PORT, host);
  const data = Buffer.alloc(SIZE, 'x');
  let full = false;
  socket.on('connect', () => {
    setInterval(() => {
      if (!full) full = !socket.write(data);
    }, PAUSE);
  });
  socket.on('drain', () => (full = false));
  socket.on('data', (text) => process.stdout.write(text));
  socket.on('error', (error) => {
    console.log(error.code);
    process.exit(1);
  });
}
