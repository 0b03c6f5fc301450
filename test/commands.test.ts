/** The table of commands against what is made from it: routes, the client's calls, and the OpenAPI description. */
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { ask, serveControl, type Results } from '../src/host/index.js';
import {
  COMMANDS,
  ERRORS,
  httpRequestOf,
  NOTICE_TYPES,
  noticeSchema,
  openApi,
  parseRequest,
  requestOf,
  routeOf,
  type CommandEntry,
  type ControlRequest,
} from '../src/schema/index.js';
import { pathsOf } from '../src/schema/routes.js';
import * as nodeResults from '../src/schema/node-results.js';
import * as results from '../src/schema/results.js';
import { call } from './support/unix-http.js';

type Command = ControlRequest['command'];
const NAMES = Object.keys(COMMANDS) as Command[];

/** Makes the compiler check that the schemas of the results and their hand-written types agree. */
type Agrees<S extends TSchema, T> = Writable<T> extends Static<S> ? true : false;
/** A type whose lists are those of a schema, which are not read-only. */
type Writable<T> = T extends object ? { -readonly [K in keyof T]: Writable<T[K]> } : T;
const agree: [
  Agrees<typeof results.FdbEntry, Results['fdb'][number]>,
  Agrees<typeof results.Neighbor, Results['neighbors'][number]>,
  Agrees<typeof results.Peer, Results['peers'][number]>,
  Agrees<typeof results.Remote, Results['remotes'][number]>,
  Agrees<typeof results.AssociationKey, Results['association-keys'][number]>,
  Agrees<typeof results.Member, Results['members'][number]>,
  Agrees<typeof results.Network, Results['networks'][number]>,
  Agrees<typeof results.Key, Results['keys'][number]>,
  Agrees<typeof results.Packet, Results['capture'][number]>,
  Agrees<typeof results.TapEntry, Results['taps'][number]>,
  Agrees<typeof results.DetachedTap, Results['detach']>,
  Agrees<typeof results.SegmentEntry, Results['segments'][number]>,
  Agrees<typeof results.AddedNetwork, Results['add-network']>,
  Agrees<typeof results.RemovedNetwork, Results['remove-network']>,
  Agrees<typeof results.Reloaded, Results['reload']>,
] = [true, true, true, true, true, true, true, true, true, true, true, true, true, true, true];
const nodeAgree: [
  Agrees<typeof nodeResults.NodeStatus, Results['node']>,
  Agrees<typeof nodeResults.InitResult, Results['init']>,
  Agrees<typeof nodeResults.JoinToken, Results['token']>,
  Agrees<typeof nodeResults.NodeEntry, Results['nodes'][number]>,
  Agrees<typeof nodeResults.NetworkRecord, Results['create-network']>,
  Agrees<typeof nodeResults.ClusterNetworkEntry, Results['cluster-networks'][number]>,
  Agrees<typeof nodeResults.NetworkDetails, Results['cluster-network']>,
  Agrees<typeof nodeResults.EndpointEntry, Results['endpoints'][number]>,
  Agrees<typeof nodeResults.RemovedEndpoint, Results['detach-endpoint']>,
  Agrees<typeof nodeResults.ServiceEntry, Results['services'][number]>,
  Agrees<typeof nodeResults.ServiceDetails, Results['service']>,
  Agrees<typeof nodeResults.OutputEvent, Results['logs'][number]>,
] = [true, true, true, true, true, true, true, true, true, true, true, true];

interface Operation {
  operationId: string;
  parameters?: { name: string; in: string; required: boolean; schema: object }[];
  requestBody?: { required: boolean; content: Record<string, { schema: object }> };
  responses: Record<string, { content?: Record<string, { schema: object }> }>;
}
const description = openApi('1.2.3') as unknown as { paths: Record<string, Record<string, Operation>> };
const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })),
);

/** A request for each command that fits, with every field. */
const endpoint = { vni: 7, ip: '10.0.0.1', mac: '02:00:00:00:00:01', vtep: '192.0.2.1' };
const REQUESTS: { [C in Command]: Extract<ControlRequest, { command: C }> } = {
  fdb: { command: 'fdb', vni: 7 },
  neighbors: { command: 'neighbors', vni: 7 },
  peers: { command: 'peers', vni: 7 },
  remotes: { command: 'remotes' },
  'association-keys': { command: 'association-keys' },
  counters: { command: 'counters' },
  explain: { command: 'explain', port: 'a b&c=d?e#f/é', frame: 'ff' },
  capture: { command: 'capture', count: 5, seconds: 1.5, snap: 60, decrypt: true },
  events: { command: 'events', type: 'peer-added', vni: 7 },
  'add-peer': { command: 'add-peer', vni: 7, address: 'fd00::1' },
  'remove-peer': { command: 'remove-peer', vni: 7, address: 'fd00::1' },
  'add-endpoint': { command: 'add-endpoint', ...endpoint },
  'remove-endpoint': { command: 'remove-endpoint', ...endpoint },
  attach: {
    ...{ command: 'attach', name: 'eth0', netns: 'c1', address: '10.0.0.3/24', mac: '02:00:00:00:00:03', mtu: 1400 },
    ...{ vni: 7, vlans: { 10: 8 }, native: 9 },
  },
  detach: { command: 'detach', name: 'eth0', netns: '/proc/1/ns/net' },
  taps: { command: 'taps' },
  'add-segment': {
    ...{ command: 'add-segment', vni: 7, mtu: 1400, proxy: 'vtep', learn: false, flood: false, tagged: true },
    ...{ ageing: 1.5, capacity: 9, mac: '02:00:00:00:00:07', keyFile: '/a.keys', peers: ['192.0.2.1'] },
    endpoints: [{ ip: '10.0.0.1', mac: '02:00:00:00:00:01', vtep: '192.0.2.1' }],
  },
  'remove-segment': { command: 'remove-segment', vni: 7 },
  segments: { command: 'segments' },
  'add-network': {
    ...{ command: 'add-network', name: 'prod-net', mac: '02:00:00:00:00:fe', gossip: true, mtu: 1400, proxy: 'vtep' },
    ...{ learn: false, flood: false, tagged: true, ageing: 1.5, capacity: 9, keyFile: '/a.keys', peers: ['192.0.2.1'] },
    subnets: [{ prefix: '10.1.1.0/24', gateway: '10.1.1.254', vni: 7 }],
  },
  'remove-network': { command: 'remove-network', name: 'a&=?#é' },
  reload: { command: 'reload' },
  members: { command: 'members' },
  networks: { command: 'networks' },
  keys: { command: 'keys' },
  'install-key': { command: 'install-key', key: 'a+b/c=' },
  'use-key': { command: 'use-key', key: 'a+b/c=' },
  'remove-key': { command: 'remove-key', key: 'a+b/c=' },
  node: { command: 'node' },
  init: {
    ...{ command: 'init', address: '172.31.1.5', dataPath: '172.31.1.6', dataPathPort: 4790, name: 'host1' },
    ...{ espPort: 5000, pools: ['10.0.0.0/8', 'fd00::/48'], maskLength: 26 },
  },
  join: {
    ...{ command: 'join', token: 'WEFT-1-a-b', managers: ['172.31.1.5', '[fd00::5]:2377'], address: '192.168.1.25' },
    ...{ dataPath: '192.168.1.26', name: 'host2' },
  },
  leave: { command: 'leave', force: true },
  token: { command: 'token', role: 'worker' },
  'rotate-token': { command: 'rotate-token', role: 'manager' },
  'rotate-gossip-keys': { command: 'rotate-gossip-keys', force: true },
  nodes: { command: 'nodes' },
  'remove-node': { command: 'remove-node', node: 'host2.example', force: true },
  'cluster-networks': { command: 'cluster-networks' },
  'cluster-network': { command: 'cluster-network', network: 'uber-net' },
  'create-network': {
    ...{ command: 'create-network', name: 'prod-net', ipv6: true, internal: true, mtu: 1400, overlapping: false },
    encrypted: 256,
    labels: { 'com.example/a': 'b c' },
    subnets: [
      {
        ...{ subnet: '10.1.1.0/24', gateway: '10.1.1.254', range: '10.1.1.128/25', vni: 4097 },
        auxiliary: { printer: '10.1.1.9' },
      },
    ],
  },
  'rotate-network-key': { command: 'rotate-network-key', network: 'uber-net' },
  'delete-network': { command: 'delete-network', network: 'uber-net' },
  endpoints: { command: 'endpoints', network: 'uber-net' },
  'attach-endpoint': {
    ...{ command: 'attach-endpoint', network: 'uber-net', netns: '/proc/1/ns/net', device: 'eth1', name: 'box' },
    ...{ addresses: ['10.0.0.20', 'fd00::20'], mac: '02:00:00:00:00:20', aliases: ['db', 'Store_1'] },
  },
  'detach-endpoint': { command: 'detach-endpoint', endpoint: 'p1', network: 'uber-net' },
  run: {
    ...{ command: 'run', network: 'uber-net', name: 'p1', run: ['sh', '-c', 'echo é\n'], cwd: '/tmp' },
    ...{ environment: { A: 'b=c', __proto: '' }, owner: { pid: 1, start: 0 }, addresses: ['10.0.0.10'] },
    ...{ mac: '02:00:00:00:00:10', aliases: ['one'] },
  },
  sandbox: { command: 'sandbox', name: 'test.1' },
  services: { command: 'services' },
  service: { command: 'service', service: 'test' },
  'create-service': {
    ...{ command: 'create-service', name: 'test', run: ['sleep', 'infinity'], networks: ['uber-net'], replicas: 2 },
    ...{ environment: { A: '1' }, labels: { a: '' } },
  },
  'scale-service': { command: 'scale-service', service: 'test', replicas: 0 },
  'remove-service': { command: 'remove-service', service: 'test' },
  logs: { command: 'logs', name: 'test.1', tail: 10, follow: true },
  stop: { command: 'stop' },
  version: { command: 'version' },
  openapi: { command: 'openapi' },
};

test('the description is valid OpenAPI 3.1', async () => {
  assert.ok([...agree, ...nodeAgree].every(Boolean));
  const validator = new Validator();
  const { valid, errors } = await validator.validate(description as never);
  assert.ok(valid, JSON.stringify(errors));
  assert.is(validator.version, '3.1');
});

test('every command is an operation of the description, and every operation a command', () => {
  assert.equal(
    operations.map(({ operationId, method, path }) => `${operationId} ${method} ${path}`).sort(),
    NAMES.map((name) => `${name} ${COMMANDS[name].method} ${COMMANDS[name].path}`).sort(),
  );
  const routes = NAMES.map((name) => `${COMMANDS[name].method} ${COMMANDS[name].path}`);
  assert.is(new Set(routes).size, NAMES.length, 'two commands have one route');
});

test('parameters and bodies of the description accept the requests of the client, and no others', () => {
  const ajv = new Ajv2020({ strict: true, strictRequired: false });
  for (const { operationId, parameters = [], requestBody } of operations) {
    const { target, body } = httpRequestOf(REQUESTS[operationId as Command]);
    const { pathname, searchParams: query } = new URL(target, 'http://vtep');
    const { fields: inPath } = routeOf(pathname)!;
    assert.equal(
      [...Object.keys(inPath), ...query.keys()].sort(),
      parameters.map(({ name }) => name).sort(),
      operationId,
    );
    for (const { name, schema } of parameters) {
      const text = query.get(name) ?? inPath[name]!;
      const { type } = schema as { type: string };
      const check = ajv.compile(schema);
      const value = type === 'string' ? text : (JSON.parse(text) as unknown);
      assert.ok(check(value), `${operationId} ${name}: ${ajv.errorsText(check.errors)}`);
      if (type !== 'string') assert.not(check(-1), `${operationId} ${name}`);
    }
    const schema = requestBody?.content['application/json']?.schema as { required?: string[] } | undefined;
    if (schema === undefined) continue;
    const check = ajv.compile(schema);
    assert.ok(check(JSON.parse(body!)), `${operationId}: ${ajv.errorsText(check.errors)}`);
    assert.not(check({ ...(JSON.parse(body!) as object), further: 1 }), operationId);
    // A request of `explain` has one of two pairs, and so no field that every one has.
    const mayBeEmpty = (schema.required ?? []).length === 0 && operationId !== 'explain';
    assert.is(check({}), mayBeEmpty, operationId);
    assert.is(requestBody!.required, (schema.required ?? []).length > 0, operationId);
  }
});

test('each request arrives as it was made, and every route of the table answers', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-commands-'));
  const path = join(directory, 'control');
  const arrived: ControlRequest[] = [];
  const server = await serveControl(path, async (request) => {
    arrived.push(request);
    return COMMANDS[request.command].kind === 'value' ? { asked: request.command } : [];
  });
  try {
    for (const name of NAMES) {
      const request = REQUESTS[name];
      const answer = await ask(path, request);
      if (name === 'version') {
        const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
        assert.equal(answer, { version });
      } else if (name === 'openapi') assert.equal((answer as typeof description).paths, description.paths);
      else {
        assert.equal(arrived.pop(), request);
        assert.equal(answer, COMMANDS[name].kind === 'value' ? { asked: name } : []);
      }
      assert.equal(parseRequest(request), request);
    }
    assert.equal(arrived, []);
  } finally {
    await server.close();
    rmSync(directory, { recursive: true });
  }
});

test('a field in the path: routes, requests and the description', async () => {
  const fields = (properties: Record<string, TSchema>): CommandEntry['request'] =>
    Type.Object(properties, { additionalProperties: false });
  const entry = { path: '/v1/taps/{name}', summary: 'x', kind: 'value', result: Type.Object({}) } as const;
  const name = Type.String();
  const table = {
    'get-tap': { ...entry, method: 'GET', request: fields({ name, full: Type.Optional(Type.Boolean()) }) },
    'set-tap': { ...entry, method: 'PUT', request: fields({ name, mtu: Type.Integer() }) },
    all: { ...entry, method: 'GET', path: '/v1/taps/all', request: fields({}) },
  } satisfies Record<string, CommandEntry>;
  const paths = pathsOf(table);
  for (const text of ['eth0', 'a b', 'a/b', '{name}', 'été', '..', '%41', '?x=1', 'all#']) {
    const get = { command: 'get-tap', name: text, full: true } as unknown as ControlRequest;
    const { target } = httpRequestOf(get, table);
    const [path, query] = target.split('?') as [string, string];
    const route = routeOf(path, paths)!;
    assert.equal(route, { methods: { GET: 'get-tap', PUT: 'set-tap' }, fields: { name: text } });
    const command = 'get-tap' as Command;
    assert.equal(requestOf(command, route.fields, new URLSearchParams(query), undefined, table), get);
    const set = { command: 'set-tap', name: text, mtu: 1400 } as unknown as ControlRequest;
    const { target: place, body } = httpRequestOf(set, table);
    assert.is(place, path);
    assert.equal(JSON.parse(body!), { mtu: 1400 });
    const none = new URLSearchParams();
    assert.equal(requestOf('set-tap' as Command, route.fields, none, JSON.parse(body!), table), set);
    const twice = (): unknown => requestOf('set-tap' as Command, route.fields, none, { mtu: 1, name: 'x' }, table);
    assert.throws(twice, /^name: is given twice, in the path and in the body$/m);
    const also = (): unknown => requestOf(command, route.fields, new URLSearchParams('name=x'), undefined, table);
    assert.throws(also, /name: is given twice/);
  }
  assert.equal(routeOf('/v1/taps/all', paths), { methods: { GET: 'all' }, fields: {} });
  for (const path of ['/v1/taps/', '/v1/taps', '/v1/taps/a/b', '/v1/taps/%', '/v1/taps/%ff'])
    assert.is(routeOf(path, paths), undefined, path);
  const made = openApi('1', table) as unknown as typeof description;
  const { valid, errors } = await new Validator().validate(made as never);
  assert.ok(valid, JSON.stringify(errors));
  const { get, put } = made.paths['/v1/taps/{name}']! as { get: Operation; put: Operation };
  assert.equal(
    get.parameters!.map((one) => [one.name, one.in, one.required]),
    [
      ['name', 'path', true],
      ['full', 'query', false],
    ],
  );
  assert.equal(
    put.parameters!.map((one) => one.name),
    ['name'],
  );
  const schema = put.requestBody!.content['application/json']!.schema as { properties: object; required: string[] };
  assert.equal([Object.keys(schema.properties), schema.required], [['mtu'], ['mtu']]);
});

test('docs/api.md has every type of event', () => {
  const [, section] = /^## Events\n(.*?)^## /ms.exec(readFileSync('docs/api.md', 'utf8'))!;
  const rows = [...section!.matchAll(/^\| (`[^|]*`) +\| /gm)].flatMap(([, types]) => types!.match(/[a-z-]+/g)!);
  assert.equal(rows.sort(), [...NOTICE_TYPES].sort());
  const [, shown] = /```json\n(.*?)```/s.exec(section!)!;
  assert.ok(Value.Check(noticeSchema('peer-added') as unknown as TSchema, JSON.parse(shown!)));
});

test('docs/api.md has every code with its status, and the errors that are shown', async () => {
  const text = readFileSync('docs/api.md', 'utf8');
  const rows = [...text.matchAll(/^\| `([a-z-]+)` +\| (\d{3}) +\| (.*?) +\|$/gm)];
  assert.equal(
    rows.map(([, code, status, meaning]) => [code, Number(status), meaning]),
    Object.entries(ERRORS).map(([code, [status, meaning]]) => [code, status, meaning]),
  );
  const [, shown] = /^## Errors\n.*?```json\n(.*?)```/ms.exec(text)!;
  const directory = mkdtempSync(join(tmpdir(), 'weft-commands-'));
  const server = await serveControl(join(directory, 'control'), async () => []);
  const answer = await call(join(directory, 'control'), 'GET', '/v1/fdb?vni=x');
  await server.close();
  rmSync(directory, { recursive: true });
  assert.equal(JSON.parse(answer.text), JSON.parse(shown!));
});

test.run();
