// A heartbeat over one TCP connection: the client sends a line every 10 ms, the server echoes it, and the client
// reports the longest silence.
//
//     node pulse.mjs serve                     prints "ready"
//     node pulse.mjs beat HOST                 prints {"beats":N,"silence":MS} every 100 ms
//
// "silence" is the longest time without a line since the last report.
import { connect, createServer } from 'node:net';
import { performance } from 'node:perf_hooks';

const PORT = 5201;
const [what, host] = process.argv.slice(2);
if (what === 'serve') {
  // A client that is killed before it has read everything resets the connection.
  const echo = (socket) => socket.on('error', () => undefined).pipe(socket);
  createServer(echo).listen(PORT, () => console.log('ready'));
} else {
  const socket = connect(PORT, host);
  socket.setNoDelay(true);
  let beats = 0;
  let last = performance.now();
  let silence = 0;
  socket.on('connect', () => {
    last = performance.now();
    setInterval(() => socket.write('beat\n'), 10);
    setInterval(() => {
      silence = Math.max(silence, performance.now() - last);
      console.log(JSON.stringify({ beats, silence: Math.round(silence) }));
      silence = 0;
    }, 100);
  });
  socket.on('data', (data) => {
    beats += data.length / 5;
    const now = performance.now();
    silence = Math.max(silence, now - last);
    last = now;
  });
  socket.on('error', (error) => {
    console.log(JSON.stringify({ error: error.code }));
    process.exit(1);
  });
  socket.on('close', () => process.exit(1));
}
