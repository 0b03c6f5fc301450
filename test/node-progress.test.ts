/** What waits for a node that makes and removes many things, waits as long as it goes on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ask } from '../src/host/ask.js';
import { type ClusterNode } from '../src/host/cluster/cluster-node.js';
import { Patience } from '../src/host/cluster/local-endpoints.js';
import { NodeApi } from '../src/host/cluster/node-api.js';
import { type Handler } from '../src/host/control-client.js';
import { serveControl, type Control } from '../src/host/control.js';
import { Logger } from '../src/host/log.js';
import { get, statuses, talk } from './support/unix-http.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-progress-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const path = join(directory, 'control');
let server: Control | undefined;

async function serve(handle: Handler): Promise<void> {
  server = await serveControl(path, handle);
}

test.after.each(async () => {
  await server?.close();
  server = undefined;
});

const message = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => '',
    (error: Error) => error.message,
  );

test('a command to leave waits for a node that removes one thing after the other, and not for one that does nothing', async () => {
  let [took, works] = [0, true];
  const node = {
    identity: { node: 'a', cluster: 'b' },
    done: 0,
    async leave(): Promise<void> {
      for (const end = performance.now() + took; performance.now() < end; await sleep(100)) if (works) node.done++;
    },
  };
  const log = new Logger(() => undefined);
  const api = new NodeApi({ node: node as unknown as ClusterNode, directory, log, stop: () => undefined });
  await serve((request, gone, goesOn) => api.answer(request as never, gone, goesOn));
  try {
    // The node is looked at once per second.
    took = 3500;
    assert.equal(await ask(path, { command: 'leave' }, { timeout: 2000 }), {});
    works = false;
    const late = await ask(path, { command: 'leave' }, { timeout: 1500 }).catch((error: Error) => error.message);
    assert.match(String(late), /did not answer within 1.5 s/);
  } finally {
    await api.close();
  }
});

test('the time for an endpoint begins again whenever the node has made something', async () => {
  const node = { done: 0 };
  const patience = new Patience(node, 300);
  for (let i = 0; i < 5; i++) {
    await sleep(150);
    node.done++;
    assert.not(patience.isOver, `after ${i}`);
  }
  await sleep(310);
  assert.ok(patience.isOver);
});

test('a client waits longer than its time while the work for a value goes on, and not without an end', async () => {
  // The VTEP takes `all` milliseconds, and says during the first `says` of them that it works.
  let [all, says] = [0, 0];
  await serve(async (_, _gone, goesOn) => {
    const timer = setInterval(() => goesOn(), 50);
    setTimeout(() => clearInterval(timer), says);
    await sleep(all);
    clearInterval(timer);
    return { done: true };
  });
  const asks = (timeout: number): Promise<unknown> => ask(path, { command: 'counters' }, { timeout });
  [all, says] = [1500, 1500];
  assert.equal(await asks(600), { done: true });
  [all, says] = [1500, 200];
  assert.match(await message(asks(300)), /did not answer within 0.3 s/);
  // Something that says so forever: 60 times the client's own limit.
  const endless = createServer((socket) => {
    socket.unref();
    const timer = setInterval(() => socket.write('HTTP/1.1 102 Processing\r\n\r\n'), 5);
    socket.on('error', () => undefined).on('close', () => clearInterval(timer));
    socket.resume();
  });
  const other = join(directory, 'other');
  await new Promise<void>((resolve) => endless.listen(other, resolve));
  const began = performance.now();
  const answer = await message(ask(other, { command: 'counters' }, { timeout: 50 }));
  const took = performance.now() - began;
  await new Promise((resolve) => endless.close(resolve));
  assert.match(answer, /did not answer within/);
  assert.ok(took >= 200, `it has waited for ${took} ms`);
});

test('interim responses go before the response to their own request, and never to HTTP/1.0', async () => {
  await serve(async (_, _gone, goesOn) => {
    goesOn();
    return { done: true };
  });
  assert.equal(
    statuses(await talk(path, get('/v1/counters') + get('/v1/fly') + get('/v1/counters'))),
    [102, 200, 404, 102, 200],
  );
  assert.equal(statuses(await talk(path, 'GET /v1/counters HTTP/1.0\r\n\r\n')), [200]);
  // Lists and streams come in parts, and need none.
  assert.equal(statuses(await talk(path, get('/v1/fdb'))), [500]);
});

test.run();
