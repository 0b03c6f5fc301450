/** The thread that the loop runs on. */
import { workerData, type MessagePort } from 'node:worker_threads';
import { type ToLoop, type FromLoop, type Setup } from './protocol.js';
import { loadLibc } from './libc.js';
import { Loop } from './loop.js';
import { SocketError } from './udp.js';

const { setup, port } = workerData as { setup: Setup; port: MessagePort };
const say = (message: FromLoop): void => port.postMessage(message);

let loop: Loop | undefined;
try {
  const libc = await loadLibc();
  loop = new Loop(libc, setup, port);
  loop.start();
} catch (error) {
  loop?.closeSockets();
  const { message } = error as Error;
  say({ type: 'failed', message, ...(error instanceof SocketError ? { code: error.code } : {}) });
  loop = undefined;
  port.close();
}
if (loop !== undefined) {
  const running = loop;
  running.run();
  running.stop();
  say({ type: 'stopped' });
  // What was counted and learned can be asked for still.
  port.on('message', (message: ToLoop) => running.handle(message));
}
