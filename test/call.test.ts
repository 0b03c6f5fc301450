/** Errors of the control socket as the program prints them: the API names fields, the program names flags. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { call } from '../src/cli/call.js';
import { ask, HostError, RequestError, serveControl, type Control } from '../src/host/index.js';
import { SchemaError } from '../src/schema/index.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-call-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const path = join(directory, 'control');
let server: Control | undefined;

test.after.each(async () => {
  await server?.close();
  server = undefined;
});

/** The errors of a request that the VTEP answers with `error`: of the library, and of the program. */
async function errors(error?: Error, timeout = 30_000): Promise<[library: string, program: readonly string[]]> {
  if (error !== undefined) server = await serveControl(path, () => Promise.reject(error));
  const options = { timeout };
  const of = (asked: Promise<unknown>): Promise<HostError> =>
    asked.then(
      () => new HostError('answered'),
      (thrown: HostError) => thrown,
    );
  const library = await of(ask(path, { command: 'fdb', vni: 7 }, options));
  const program = await of(call(path, { command: 'fdb', vni: 7 }, options));
  await server?.close();
  server = undefined;
  return [library.message, program.lines];
}

test('the program adds the flag that helps, by the code of the error', async () => {
  for (const [error, library, program] of [
    [new RequestError('no-gossip', 'no gossip'), 'no gossip', ['no gossip; start it with "vtep agent"']],
    [new RequestError('no-keys', 'no keys'), 'no keys', ['no keys; start it with --key']],
    [new RequestError('key-in-use', 'in use'), 'in use', ['in use; "vtep gossip use" does that']],
    [new RequestError('conflict', 'held by h2'), 'held by h2', ['held by h2']],
    [new HostError('the engine has ended'), 'the engine has ended', ['the engine has ended']],
    [
      new SchemaError([
        { path: 'vni', expected: 'the VNI of a segment (8)', given: 7 },
        { path: 'mac', expected: 'a MAC address', given: 'x' },
        { path: '', reason: 'does not fit', given: undefined },
      ]),
      'vni: expected the VNI of a segment (8), got 7; mac: expected a MAC address, got "x"; does not fit',
      ['--vni: expected the VNI of a segment (8), got 7', 'mac: expected a MAC address, got "x"', 'does not fit'],
    ],
    [
      new RequestError('invalid-configuration', ['/etc/vtep.json: vni: is wrong', '/etc/vtep.json: mac: too'], {
        fields: [
          { path: 'vni', message: 'is wrong' },
          { path: 'mac', message: 'too' },
        ],
      }),
      '/etc/vtep.json: vni: is wrong; /etc/vtep.json: mac: too',
      ['/etc/vtep.json: vni: is wrong', '/etc/vtep.json: mac: too'],
    ],
  ] as const)
    assert.equal(await errors(error), [library, program]);
});

test('without a VTEP, it says how to start one', async () => {
  const there = `there is no control socket at ${path}`;
  assert.equal(await errors(), [there, [`${there}; start the VTEP with --control ${path}`]]);
});

test('if the VTEP is late, it says how to wait longer', async () => {
  server = await serveControl(path, () => new Promise(() => undefined), { grace: 10 });
  const late = `the VTEP at ${path} did not answer within 0.3 s; check whether its process is stopped or overloaded`;
  assert.equal(await errors(undefined, 300), [late, [`${late}, or wait longer with --timeout`]]);
});

test.run();
