/** The program of a thread that moves frames: it runs a loop until the control thread stops it. */
import { workerData, type MessagePort } from 'node:worker_threads';
import { type FromLoop, type Setup } from './protocol.js';
import { aeads } from '../esp/load.js';
import { loadLibc } from './libc.js';
import { Loop } from './loop.js';
import { SocketError } from './udp.js';

const { setup, port } = workerData as { setup: Setup; port: MessagePort };
const post = (message: FromLoop): void => port.postMessage(message);

let loop: Loop | undefined;
try {
  const libc = await loadLibc();
  loop = new Loop(libc, setup, port, await aeads());
  loop.start();
} catch (error) {
  loop?.closeSockets();
  const { message } = error as Error;
  post({ type: 'failed', message, ...(error instanceof SocketError ? { code: error.code } : {}) });
  loop = undefined;
}
try {
  loop?.run();
} finally {
  loop?.stop();
  port.close(); // nothing else keeps this thread alive
}
