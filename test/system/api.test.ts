/**
 * The control socket of a live VTEP and a live agent: the commands of docs/api.md with curl, and every result against
 * the description that the VTEP itself serves.
 */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { COMMANDS, httpRequestOf, type ControlRequest } from '../../src/schema/index.js';
import { Lab, must, run, VTEP, waitFor, type Outcome, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { shellBlocks } from '../support/readme.js';
import { call } from '../support/unix-http.js';

const test = suiteWith('the API of a live VTEP', ['root', 'tun', 'ip', 'ping', 'curl']);
const directory = mkdtempSync(join(tmpdir(), 'weft-api-'));
const path = join(directory, 'vtep.sock');
let lab: Lab;
let ns: string;

test.before(async () => {
  lab = new Lab('wap');
  ns = await lab.namespace('host');
});
test.after.each(() => lab.killAll());
test.after(async () => {
  await lab.teardown();
  rmSync(directory, { recursive: true });
});

interface Operation {
  operationId: string;
  responses: { 200: { content: Record<string, { schema: object }> } };
}

/** Checks results by the description that the VTEP serves. */
class Described {
  readonly #checks = new Map<string, ValidateFunction>();
  readonly #checkError: ValidateFunction;

  constructor(text: string) {
    const { paths, components } = JSON.parse(text) as {
      paths: Record<string, Record<string, Operation>>;
      components: object;
    };
    const ajv = new Ajv2020({ strict: true, strictRequired: false });
    ajv.addVocabulary(['components']);
    const compiled = (schema: object): ValidateFunction => ajv.compile({ ...schema, components });
    for (const methods of Object.values(paths))
      for (const { operationId, responses } of Object.values(methods)) {
        const [{ schema }] = Object.values(responses[200].content) as [{ schema: object }];
        this.#checks.set(operationId, compiled(schema));
      }
    this.#checkError = compiled({ $ref: '#/components/schemas/Error' });
  }

  /** Fails if the text is not a result of the command. @returns its values: one, or the lines of a stream. */
  result(command: ControlRequest['command'], text: string): unknown[] {
    const isStream = COMMANDS[command].kind === 'events';
    const values = (isStream ? text.trimEnd().split('\n') : [text]).map((one) => JSON.parse(one) as unknown);
    const check = this.#checks.get(command)!;
    for (const value of values) assert.ok(check(value), `${command}: ${text} ${JSON.stringify(check.errors)}`);
    return values;
  }

  error(text: string): { code: string; message: string; fields?: { path: string }[] } {
    assert.ok(this.#checkError(JSON.parse(text)), text);
    return (JSON.parse(text) as { error: { code: string; message: string } }).error;
  }
}

async function described(): Promise<Described> {
  return new Described((await call(path, 'GET', '/v1/openapi.json')).text);
}

/** Sends a request, and checks the result. */
async function ask(by: Described, request: ControlRequest): Promise<unknown[]> {
  const { method, target, body } = httpRequestOf(request);
  const answer = await call(path, method, target, body === undefined ? {} : { body });
  assert.is(answer.status, 200, `${request.command}: ${answer.text}`);
  assert.ok(answer.complete);
  return by.result(request.command, answer.text);
}

async function refused(by: Described, status: number, request: ControlRequest): Promise<string> {
  const { method, target, body } = httpRequestOf(request);
  const answer = await call(path, method, target, body === undefined ? {} : { body });
  assert.is(answer.status, status, answer.text);
  return by.error(answer.text).code;
}

const start = (...args: string[]): Promise<Running> => lab.startVtep({ ns, args });
/** Runs a line of a shell in the folder of the socket. */
const shell = (line: string): Promise<Outcome> =>
  run(['sh', '-c', `cd ${directory} && ${line.replace('curl ', 'curl --silent --show-error --max-time 20 ')}`]);

test('the commands of docs/api.md answer as it says', async () => {
  const [up, curls] = shellBlocks('docs/api.md', 'Requests');
  const args = up!
    .replace(/^vtep /, '')
    .replace('vtep.sock', path)
    .split(' ');
  const running = await start(...args);
  const by = await described();
  const lines = curls!.split('\n');
  assert.ok(lines.length >= 10);
  const answers = new Map<string, unknown[]>();
  for (const line of lines) {
    const target = new URL(/http:\/\/vtep\/[^' ]*/.exec(line)![0]);
    const method = /-X (\w+)/.exec(line)?.[1] ?? (line.includes('--json') ? 'POST' : 'GET');
    const [command] = Object.entries(COMMANDS).find(
      ([, entry]) => entry.path === target.pathname && entry.method === method,
    )!;
    const { code, stdout, stderr } = await shell(line);
    assert.equal([code, stderr], [0, ''], line);
    answers.set(line, by.result(command as ControlRequest['command'], stdout));
    if (command === 'peers')
      assert.equal(answers.get(line), [
        [
          { vni: 4097, address: '127.0.0.2', port: 4789, sources: ['configuration'] },
          { vni: 4097, address: '127.0.0.3', port: 4789, sources: ['api'] },
        ],
      ]);
    if (command === 'remove-peer') assert.equal(answers.get(line), [{ removed: true }]);
    if (command === 'capture') assert.is((answers.get(line)!.at(-1) as { event: string }).event, 'end');
  }
  assert.is((await running.ended).code, 0); // the last one stops it
});

for (const engine of ['linux', 'dgram'])
  test(`every result of a VTEP with engine ${engine} fits the description`, async () => {
    const flags = ['--vni', '7', '--local', '127.0.0.1', '--peer', '127.0.0.2', '--tap', 'tap0'];
    const endpoints = ['--endpoint', '10.0.0.9,02:00:00:00:00:09,127.0.0.2', '--address', '10.0.0.1/24'];
    const running = await start('up', ...flags, ...endpoints, '--engine', engine, '--control', path);
    const by = await described();
    const capture = ask(by, { command: 'capture', count: 4, seconds: 60 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    // As long as it takes: nobody says when the capture has begun.
    const pings = lab.spawn(['ping', '-i', '0.2', '10.0.0.9'], { ns });
    const events = (await capture) as { event: string }[];
    await pings.stop();
    assert.is(events[0]!.event, 'status');
    assert.is(events.filter(({ event }) => event === 'packet').length, 4);
    assert.is(events.at(-1)!.event, 'end');
    for (const command of ['fdb', 'neighbors', 'peers'] as const) {
      const [list] = (await ask(by, { command })) as [object[]];
      assert.ok(list.length > 0, command);
      assert.is(((await ask(by, { command, vni: 7 })) as [object[]])[0].length, list.length);
      assert.is(await refused(by, 400, { command, vni: 8 }), 'invalid-request');
    }
    for (const command of ['remotes', 'counters', 'version'] as const) await ask(by, { command });
    const frame = '02000000000902000000000108004500';
    for (const request of [
      { command: 'explain', port: 'tap0', frame },
      { command: 'explain', from: '127.0.0.2', datagram: `0800000000000700${frame}` },
    ] as const)
      assert.ok(((await ask(by, request))[0] as { steps: object[] }).steps.length > 0);
    assert.is(await refused(by, 400, { command: 'explain', port: 'eth9', frame }), 'invalid-request');
    const own = { vni: 7, ip: '10.0.0.8', mac: '02:00:00:00:00:08' };
    assert.equal(await ask(by, { command: 'add-endpoint', ...own }), [{}]);
    assert.equal(await ask(by, { command: 'remove-endpoint', ...own }), [{ removed: true }]);
    assert.equal(await ask(by, { command: 'remove-peer', vni: 7, address: '127.0.0.5' }), [{ removed: false }]);
    assert.equal(await ask(by, { command: 'networks' }), [[]]);
    for (const command of ['members', 'keys'] as const) assert.is(await refused(by, 409, { command }), 'no-gossip');
    for (const command of ['node', 'endpoints'] as const) assert.is(await refused(by, 409, { command }), 'no-node');
    assert.equal(await ask(by, { command: 'stop' }), [{}]);
    assert.is((await running.ended).code, 0);
  });

test('every result of an agent fits the description, and refusals have their codes', async () => {
  const [one, other] = ['/one.key', '/other.key'].map((name) => directory + name);
  for (const file of [one!, other!]) await must([...VTEP, 'gossip', 'keygen', '-o', file]);
  const keys = await Promise.all([one!, other!].map(async (file) => (await must(['cat', file])).trim()));
  const network = ['--network', 'net1:4097:10.0.0.0/24', '--address', '10.0.0.1/24', '--tap', 'tap0'];
  await start('agent', '--local', '127.0.0.1', '--key', one!, ...network, '--control', path);
  const by = await described();
  const [members] = (await ask(by, { command: 'members' })) as [object[]];
  assert.is(members.length, 1);
  await waitFor('the network', async () => {
    const [networks] = (await ask(by, { command: 'networks' })) as [{ local: number }[]];
    return networks[0]!.local === 1;
  });
  await ask(by, { command: 'counters' });
  const [before] = (await ask(by, { command: 'keys' })) as [{ fingerprint: string }[]];
  assert.is(before.length, 1);
  assert.is(await refused(by, 409, { command: 'remove-key', key: keys[0]! }), 'key-in-use');
  assert.is(await refused(by, 404, { command: 'use-key', key: keys[1]! }), 'not-found');
  assert.is(await refused(by, 400, { command: 'install-key', key: 'none' }), 'invalid-request');
  for (const command of ['install-key', 'use-key'] as const) await ask(by, { command, key: keys[1]! });
  const [after] = (await ask(by, { command: 'remove-key', key: before[0]!.fingerprint })) as [object[]];
  assert.is(after.length, 1);
  const outside = { vni: 4097, ip: '10.9.0.1', mac: '02:00:00:00:00:08' };
  assert.is(await refused(by, 400, { command: 'add-endpoint', ...outside }), 'invalid-request');
});

test.run();
