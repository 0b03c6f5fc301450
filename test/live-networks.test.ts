/**
 * Networks that are added to a running VTEP and removed from it, over its control socket: errors, events, a configuration
 * that wants them too, and two agents. No TAPs, so that they need no privileges.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Logger, Overlay, type NetworkListing, type SegmentListing } from '../src/host/index.js';
import { plan, type NewNetwork, type Notice, type Plan } from '../src/schema/index.js';
import { waitFor } from './support/lab.js';
import { call } from './support/unix-http.js';

const test = suite('networks of a running VTEP');
const directory = mkdtempSync(join(tmpdir(), 'weft-live-networks-'));
/** Addresses of the loopback that no other process has. */
const [HERE, THERE] = [91, 92].map((octet) => `127.${octet}.${(process.pid >> 8) & 255}.${process.pid & 255}`) as [
  string,
  string,
];
const two = [
  { prefix: '10.1.1.0/24', vni: 5001 },
  { prefix: '11.1.1.0/24', gateway: '11.1.1.254', vni: 5002 },
];
const prod: NewNetwork = { name: 'prod', subnets: two };

interface Live {
  overlay: Overlay;
  notices: Notice[];
  next: Plan;
  ask(method: string, target: string, body?: object): Promise<unknown>;
  /** A request that is refused. @returns status and code, and each field with its message. */
  refused(method: string, target: string, body?: object): Promise<unknown[]>;
}

const running: Overlay[] = [];
test.after.each(async () => {
  for (const overlay of running.splice(0)) await overlay.stop();
});
test.after(() => rmSync(directory, { recursive: true }));

const configured = (config: object): Plan => ({
  ...plan({ local: HERE, engine: 'dgram', segments: [{ vni: 9 }], taps: [{ name: 'any', vni: 9 }], ...config }),
  taps: [],
});

async function start(config: object = {}): Promise<Live> {
  const made = configured(config);
  const control = join(directory, `${made.local}.sock`);
  const notices: Notice[] = [];
  const live = { next: made } as Live;
  const overlay = await Overlay.start(
    { ...made, control },
    {
      log: new Logger(() => undefined),
      end: () => undefined,
      notice: (notice) => notices.push(notice),
      reread: () => ({ ...live.next, control }),
    },
  );
  running.push(overlay);
  const send = (method: string, target: string, body?: object): ReturnType<typeof call> =>
    call(control, method, target, body === undefined ? {} : { body });
  return Object.assign(live, {
    overlay,
    notices,
    ask: async (method: string, target: string, body?: object) => {
      const { status, text } = await send(method, target, body);
      assert.is(status, 200, text);
      return JSON.parse(text) as unknown;
    },
    refused: async (method: string, target: string, body?: object) => {
      const { status, text } = await send(method, target, body);
      const { code, fields = [] } = (
        JSON.parse(text) as { error: { code: string; fields?: { path: string; message: string }[] } }
      ).error;
      return [status, code, ...fields.map(({ path, message }) => `${path}: ${message}`)];
    },
  });
}

const segments = async ({ ask }: Live): Promise<string[]> =>
  ((await ask('GET', '/v1/segments')) as SegmentListing[]).map(({ vni, network, subnets }) =>
    [vni, network, ...subnets.flatMap(({ prefix, gateway }) => [prefix, gateway])].join(' '),
  );
const ALL = ['9 ', '5001 prod 10.1.1.0/24 10.1.1.1', '5002 prod 11.1.1.0/24 11.1.1.254'];

// ---- Over the control socket ----

test('a network comes with its segments and its router, and goes with them', async () => {
  const live = await start();
  const { ask, notices, overlay } = live;
  const mtu = 1400;
  const added = (await ask('POST', '/v1/networks', { ...prod, mtu, peers: [THERE] })) as { mac: string };
  const { mac } = added;
  assert.match(mac, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
  assert.equal(added, {
    ...{ name: 'prod', gossip: false, mac },
    subnets: [
      { prefix: '10.1.1.0/24', gateway: '10.1.1.1', vni: 5001, mtu },
      { prefix: '11.1.1.0/24', gateway: '11.1.1.254', vni: 5002, mtu },
    ],
    sources: ['api'],
  });
  assert.equal(await segments(live), ALL);
  assert.equal(
    overlay.mtus.map(({ vni }) => vni),
    overlay.plan.segments.map(({ vni }) => vni),
  );
  const peers = (await ask('GET', '/v1/peers')) as { vni: number; address: string; sources: string[] }[];
  assert.equal(
    peers.map(({ vni, address, sources }) => [vni, address, sources]),
    [5001, 5002].map((vni) => [vni, THERE, ['api']]),
  );
  // A gateway leaves a question out of a tunnel to the host of its sender.
  assert.is(await dropReason(live), 'router-gateway-remote');
  assert.equal(await live.refused('DELETE', '/v1/segments?vni=5002'), [
    ...[409, 'conflict', 'vni: segment 5002 belongs to network prod; remove the network'],
  ]);
  assert.equal(await ask('DELETE', '/v1/networks?name=prod'), { name: 'prod', vnis: [5001, 5002] });
  assert.equal(await segments(live), ['9 ']);
  assert.equal([overlay.plan.networks, overlay.mtus.length], [[], 1]);
  assert.equal(await ask('GET', '/v1/peers'), []);
  const told = notices.filter(({ type }) => type.startsWith('network-'));
  const subnets = two.map(({ prefix, gateway = '10.1.1.1', vni }) => ({ prefix, gateway, vni }));
  assert.equal(
    told.map(({ time: _time, ...rest }) => rest),
    [
      { type: 'network-added', network: 'prod', vnis: [5001, 5002], gossip: false, mac, subnets, sources: ['api'] },
      { type: 'network-removed', network: 'prod', vnis: [5001, 5002] },
    ],
  );
  // It can come again, with other VNIs.
  await ask('POST', '/v1/networks', { name: 'prod', subnets: [{ ...two[0]!, vni: 5003 }] });
  assert.equal(await segments(live), ['9 ', '5003 prod 10.1.1.0/24 10.1.1.1']);
});

/** Why the VTEP drops an ARP request for 10.1.1.1 that comes from another VTEP. */
async function dropReason({ ask }: Live): Promise<string | null> {
  const sender = '0242c0a80005';
  const frame = `ffffffffffff${sender}08060001080006040001${sender}0a0101050000000000000a010101`;
  const datagram = `08000000${(5001).toString(16).padStart(6, '0')}00${frame}`;
  const { dropped } = (await ask('POST', '/v1/explain', { from: THERE, datagram })) as { dropped: string | null };
  return dropped;
}

test('what is refused has a status, a code and a field, and changes nothing', async () => {
  const config = { networks: [{ name: 'old', subnets: [{ prefix: '12.1.1.0/24', vni: 6001 }] }] };
  const live = await start({ ...config, segments: [{ vni: 9 }, { vni: 5002 }] });
  const { ask, refused, overlay } = live;
  await ask('POST', '/v1/networks', { name: 'mine', subnets: [{ prefix: '13.1.1.0/24', vni: 6002 }] });
  await ask('POST', '/v1/endpoints', { vni: 5002, ip: '11.1.1.2', mac: '02:00:00:00:00:02' });
  const before = [await segments(live), JSON.stringify(overlay.plan)];
  const post = (body: object): Promise<unknown[]> => refused('POST', '/v1/networks', body);
  const conflict = (field: string): unknown[] => [409, 'conflict', field];
  assert.equal(await post({ ...prod, subnets: [] }), [
    ...[400, 'invalid-request', 'subnets: expected a list of 1 to 64 subnets, got []'],
  ]);
  assert.equal((await post({ name: 'n' })).slice(0, 2), [400, 'invalid-request']);
  assert.equal(await post({ ...prod, gossip: true }), [
    409,
    'no-gossip',
    'gossip: this VTEP has no gossip: it is no agent',
  ]);
  assert.equal(
    await post({ name: 'old', subnets: two }),
    conflict(
      `name: network old exists already, with 12.1.1.0/24 (VNI 6001, gateway 12.1.1.1) and gateways ${overlay.plan.networks[0]!.mac} (wanted by: configuration)`,
    ),
  );
  assert.equal(
    await post({ name: 'mine', subnets: [{ prefix: '13.1.1.0/24', vni: 6002 }] }),
    conflict('name: network mine exists already (wanted by: api)'),
  );
  assert.equal(
    await post({ name: 'n', subnets: [two[0]!, { prefix: '14.1.1.0/24', vni: 6001 }] }),
    conflict('subnets[1].vni: segment 6001 belongs to network old (wanted by: configuration)'),
  );
  assert.equal(
    await post({ name: 'n', subnets: [{ prefix: '14.1.1.0/24', vni: 6002 }] }),
    conflict('subnets[0].vni: segment 6002 belongs to network mine (wanted by: api)'),
  );
  assert.equal(
    await post(prod),
    conflict(
      'subnets[1].vni: segment 5002 is in use by endpoint 11.1.1.2 of this host; remove it, and add it again after the network',
    ),
  );
  assert.equal(await post({ ...prod, subnets: [two[0]!], peers: [HERE] }), [
    ...[400, 'invalid-request', 'peers[0]: expected the address of another VTEP, not local itself, got "' + HERE + '"'],
  ]);
  assert.equal(await refused('DELETE', '/v1/networks?name=none'), [
    ...[404, 'not-found', 'name: there is no network none; there are old, mine'],
  ]);
  const own = { vni: 6002, ip: '13.1.1.2', mac: '02:00:00:00:00:03' };
  await ask('POST', '/v1/endpoints', own);
  assert.equal(
    await refused('DELETE', '/v1/networks?name=mine'),
    conflict('name: network mine is in use by endpoint 13.1.1.2 of this host; remove that endpoint first'),
  );
  await ask('DELETE', `/v1/endpoints?vni=6002&ip=${own.ip}&mac=${own.mac}`);
  assert.equal([await segments(live), JSON.stringify(overlay.plan)], before);
  // Endpoints of other hosts do not keep it.
  await ask('POST', '/v1/endpoints', { ...own, vtep: THERE });
  await ask('DELETE', '/v1/networks?name=mine');
});

test('an endpoint that is added to a network has an address of its subnet, and not that of the gateway', async () => {
  const live = await start({ networks: [prod] });
  const mac = '02:00:00:00:00:01';
  const add = (fields: object): Promise<unknown[]> =>
    live.refused('POST', '/v1/endpoints', { vni: 5002, mac, ...fields });
  const subnet = '11.1.1.0/24, the subnet of network prod';
  const invalid = (field: string): unknown[] => [400, 'invalid-request', field];
  assert.equal(await add({ ip: '10.1.1.2' }), invalid(`ip: expected an address of ${subnet}, got "10.1.1.2"`));
  for (const place of [{}, { vtep: THERE }])
    assert.equal(
      await add({ ip: '11.1.1.254', ...place }),
      invalid(`ip: 11.1.1.254 is the gateway of ${subnet}; choose another address, or another gateway (network prod)`),
    );
  const gateways = live.overlay.plan.networks[0]!.mac;
  assert.equal(
    await add({ ip: '11.1.1.2', mac: gateways }),
    invalid(
      `mac: ${gateways} is the MAC address of the gateways of network prod; choose another address, or set theirs (network prod)`,
    ),
  );
  assert.equal(await live.ask('POST', '/v1/endpoints', { vni: 5002, mac, ip: '11.1.1.2' }), {});
  assert.equal(await live.ask('POST', '/v1/endpoints', { vni: 5001, mac, ip: '10.1.1.2', vtep: THERE }), {});
  const listed = (await live.ask('GET', '/v1/networks')) as NetworkListing[];
  assert.equal(
    listed.map(({ network, vni, gossip, sources, local, remote, attached }) => [
      ...[network, vni, gossip, sources, local, remote],
      attached,
    ]),
    [
      ['prod', 5001, false, ['configuration'], 0, 1, false],
      ['prod', 5002, false, ['configuration'], 1, 0, true],
    ],
  );
});

test('the configuration and the API may want one network: it stays until neither does, and comes back', async () => {
  const networks = [prod];
  const live = await start({ networks });
  const { ask } = live;
  const reload = async (config: object): Promise<unknown> => {
    live.next = configured(config);
    const { networks: done, segments: vnis, restart } = (await ask('POST', '/v1/reload')) as Record<string, object>;
    return [done, vnis, restart];
  };
  const none = { added: [], removed: [], kept: [] };
  const { sources } = (await ask('POST', '/v1/networks', prod)) as { sources: string[] };
  assert.equal(sources, ['api', 'configuration']);
  assert.equal(await reload({ networks }), [none, none, []]);
  assert.equal(await reload({}), [{ ...none, kept: ['prod'] }, { ...none, kept: [5001, 5002] }, []]);
  assert.equal(await segments(live), ALL);
  assert.equal(await reload({}), [none, none, []], 'it is the API’s');
  assert.equal(
    await reload({ networks }),
    [{ ...none, added: ['prod'] }, none, []],
    'the configuration wants it again',
  );
  // The API removes it for both; the configuration brings it back.
  await ask('DELETE', '/v1/networks?name=prod');
  assert.equal(await segments(live), ['9 ']);
  assert.equal(((await ask('POST', '/v1/networks', prod)) as { sources: string[] }).sources, ['api']);
  assert.equal(await reload({ networks }), [{ ...none, added: ['prod'] }, none, []], 'it had been removed');
  await ask('DELETE', '/v1/networks?name=prod');
  assert.equal(await reload({ networks }), [{ ...none, added: ['prod'] }, { ...none, added: [5001, 5002] }, []]);
  assert.equal(await segments(live), ALL);
  assert.equal(await reload({}), [{ ...none, removed: ['prod'] }, { ...none, removed: [5001, 5002] }, []]);
  assert.equal(await segments(live), ['9 ']);
  // Another one of that name is refused, and so is its VNI.
  await ask('POST', '/v1/networks', prod);
  const refusal = async (other: object): Promise<unknown[]> => {
    live.next = configured({ networks: [other] });
    return live.refused('POST', '/v1/reload');
  };
  assert.equal(await refusal({ name: 'prod', subnets: [two[0]] }), [
    ...[
      409,
      'invalid-configuration',
      'networks[0].name: prod exists already with other settings (wanted by: api); remove it first',
    ],
  ]);
  assert.equal(await refusal({ name: 'n', subnets: [{ prefix: '14.0.0.0/8', vni: 5002 }] }), [
    ...[
      409,
      'invalid-configuration',
      'networks[0].subnets[0].vni: 5002 belongs to network prod (wanted by: api); remove it first',
    ],
  ]);
  assert.equal(await segments(live), ALL);
});

test('a network of a configuration that differs, or takes the VNIs of another one, waits for a restart', async () => {
  const live = await start({ networks: [prod] });
  const reload = async (...networks: object[]): Promise<unknown> => {
    live.next = configured({ networks });
    const { networks: done, restart } = (await live.ask('POST', '/v1/reload')) as Record<string, object>;
    return [done, restart];
  };
  const none = { added: [], removed: [], kept: [] };
  const more = { name: 'prod', subnets: [...two, { prefix: '12.1.1.0/24', vni: 5003 }] };
  for (let i = 0; i < 2; i++) assert.equal(await reload(more), [none, ['networks[prod]']]);
  assert.equal((await segments(live)).slice(0, 3), ALL);
  const renamed = { name: 'other', subnets: two };
  for (let i = 0; i < 2; i++) assert.equal(await reload(renamed), [none, ['networks[other]', 'networks[prod]']]);
  assert.equal((await segments(live)).slice(0, 3), ALL);
  assert.equal(await reload(prod), [none, []]);
  const added = { name: 'new', subnets: [{ prefix: '12.1.1.0/24', vni: 5004 }] };
  assert.equal(await reload(prod, added), [{ ...none, added: ['new'] }, []]);
  assert.ok((await segments(live)).includes('5004 new 12.1.1.0/24 12.1.1.1'));
});

test('a network that goes while the configuration keeps its segments waits for a restart', async () => {
  const live = await start({ networks: [prod] });
  const reload = async (config: object): Promise<unknown> => {
    live.next = configured(config);
    const { networks: done, restart } = (await live.ask('POST', '/v1/reload')) as Record<string, object>;
    return [done, restart];
  };
  const none = { added: [], removed: [], kept: [] };
  const left = { segments: [{ vni: 9 }, { vni: 5001 }] };
  for (let i = 0; i < 2; i++) assert.equal(await reload(left), [none, ['networks[prod]']]);
  assert.equal((await segments(live)).sort(), [...ALL].sort(), 'the segments that the configuration wants are there');
  const [listed] = (await live.ask('GET', '/v1/networks')) as NetworkListing[];
  assert.equal(listed!.sources, ['configuration'], 'the API did not want it');
  assert.equal(await reload({}), [{ ...none, removed: ['prod'] }, []]);
  assert.equal(await segments(live), ['9 '], 'nothing of it is left, also no segment that waited with it');
});

// ---- Agents ----

async function agents(): Promise<[Live, Live]> {
  const one = await start({ gossip: {} });
  const other = await start({ local: THERE, gossip: { join: [HERE] } });
  return [one, other];
}

const remotes = async ({ ask }: Live, vni: number): Promise<string[]> =>
  ((await ask('GET', `/v1/neighbors?vni=${vni}`)) as { ip: string; vtep: string | null; sources: string[] }[])
    .flatMap(({ ip, vtep, sources }) => (vtep === null ? [] : [`${ip} ${vtep} ${sources.join()}`]))
    .sort();

test('two agents join a network, hear each other’s endpoints, and leave it', async () => {
  const [one, other] = await agents();
  const subnets = two.map(({ prefix, gateway = '10.1.1.1', vni }) => ({ prefix, gateway, vni, mtu: 65486 }));
  const added = (await one.ask('POST', '/v1/networks', prod)) as { mac: string };
  assert.equal(added, { name: 'prod', gossip: true, mac: added.mac, subnets, sources: ['api'] });
  const near = { vni: 5001, ip: '10.1.1.2', mac: '02:42:0a:01:01:02' };
  const far = { vni: 5002, ip: '11.1.1.3', mac: '02:42:0b:01:01:03' };
  await one.ask('POST', '/v1/endpoints', near);
  assert.equal(await one.refused('POST', '/v1/endpoints', { ...near, ip: '10.9.9.9' }), [
    ...[400, 'invalid-request', 'ip: expected an address of 10.1.1.0/24, the subnet of network prod, got "10.9.9.9"'],
  ]);
  // The other one comes later, and learns what was announced before.
  await other.ask('POST', '/v1/networks', prod);
  await other.ask('POST', '/v1/endpoints', far);
  await waitFor(
    'the endpoints',
    async () => (await remotes(one, 5002)).length + (await remotes(other, 5001)).length === 2,
  );
  assert.equal(await remotes(one, 5002), [`11.1.1.3 ${THERE} gossip`]);
  assert.equal(await remotes(other, 5001), [`10.1.1.2 ${HERE} gossip`]);
  const listed = (await one.ask('GET', '/v1/networks')) as NetworkListing[];
  assert.equal(
    listed.map(({ network, vni, gateway, attached, local, remote, members }) => [
      ...[network, vni, gateway, attached, local, remote],
      members.length,
    ]),
    [
      ['prod', 5001, '10.1.1.1', true, 1, 0, 2],
      ['prod', 5002, '11.1.1.254', true, 0, 1, 2],
    ],
  );
  assert.equal(await other.refused('DELETE', '/v1/networks?name=prod'), [
    ...[409, 'conflict', 'name: network prod is in use by endpoint 11.1.1.3 of this host; remove that endpoint first'],
  ]);
  await other.ask('DELETE', `/v1/endpoints?vni=5002&ip=${far.ip}&mac=${far.mac}`);
  await waitFor('the endpoint to go', async () => (await remotes(one, 5002)).length === 0);
  await other.ask('DELETE', '/v1/networks?name=prod');
  assert.equal(await other.ask('GET', '/v1/networks'), []);
  assert.equal(await segments(other), ['9 ']);
  await waitFor('the other one to leave', async () => {
    const [{ members }] = (await one.ask('GET', '/v1/networks')) as [NetworkListing];
    return members.length === 1;
  });
  // Back again, with one of the subnets: nothing of the earlier time takes the endpoints of the other one.
  await other.ask('POST', '/v1/segments', { vni: 5002 });
  await other.ask('POST', '/v1/networks', { name: 'prod', subnets: [{ ...two[0]!, gateway: '10.1.1.1' }] });
  await one.ask('POST', '/v1/endpoints', { ...far, ip: '11.1.1.4' });
  await other.ask('POST', '/v1/endpoints', { ...near, ip: '10.1.1.4', mac: '02:42:0a:01:01:04' });
  await waitFor(
    'the endpoints',
    async () => (await remotes(one, 5001)).length + (await remotes(other, 5001)).length === 2,
  );
  assert.equal(await remotes(other, 5001), [`10.1.1.2 ${HERE} gossip`]);
  assert.equal(await remotes(other, 5002), []);
});

test('an agent takes a network of the configuration of another one, without a router', async () => {
  const one = await start({ gossip: { networks: [{ id: 'net1', vni: 5001, subnet: '10.1.1.0/24' }] } });
  const other = await start({ local: THERE, gossip: { join: [HERE] } });
  await one.ask('POST', '/v1/endpoints', { vni: 5001, ip: '10.1.1.2', mac: '02:42:0a:01:01:02' });
  const net1 = { name: 'net1', subnets: [two[0]!] };
  const added = (await other.ask('POST', '/v1/networks', net1)) as { mac: null };
  assert.is(added.mac, null);
  await other.ask('POST', '/v1/endpoints', { vni: 5001, ip: '10.1.1.3', mac: '02:42:0a:01:01:03' });
  await waitFor(
    'the endpoints',
    async () => (await remotes(one, 5001)).length + (await remotes(other, 5001)).length === 2,
  );
  assert.equal(
    (await one.refused('POST', '/v1/networks', { ...net1, subnets: [{ ...two[0]!, gateway: '10.1.1.1' }] })).slice(
      0,
      2,
    ),
    [409, 'conflict'],
  );
  const { sources } = (await one.ask('POST', '/v1/networks', net1)) as { sources: string[] };
  assert.equal(sources, ['api', 'configuration']);
  assert.equal(await other.refused('POST', '/v1/networks', { ...net1, gossip: false }), [
    ...[409, 'conflict', 'name: network net1 exists already, as one of the gossip (wanted by: api)'],
  ]);
  // Networks of the gossip come and go with a configuration that is read again, too.
  other.next = configured({
    local: THERE,
    gossip: { join: [HERE], networks: [{ id: 'new', subnets: [{ prefix: '12.1.1.0/24', vni: 5003 }] }] },
  });
  // The network of the configuration takes over a segment with an endpoint of this host.
  await other.ask('POST', '/v1/segments', { vni: 5003 });
  await other.ask('POST', '/v1/endpoints', { vni: 5003, ip: '12.1.1.2', mac: '02:42:0c:01:01:02' });
  const { networks, restart } = (await other.ask('POST', '/v1/reload')) as Record<string, object>;
  assert.equal([networks, restart], [{ added: ['new'], removed: [], kept: [] }, []]);
  assert.equal(await segments(other), ['9 ', '5001 net1 10.1.1.0/24 ', '5003 new 12.1.1.0/24 12.1.1.1']);
  await one.ask('POST', '/v1/networks', {
    name: 'new',
    subnets: [{ prefix: '12.1.1.0/24', gateway: '12.1.1.1', vni: 5003 }],
  });
  await one.ask('POST', '/v1/endpoints', { vni: 5003, ip: '12.1.1.3', mac: '02:42:0c:01:01:03' });
  await waitFor('the endpoint', async () => (await remotes(one, 5003)).length === 1);
  assert.equal(await remotes(one, 5003), [`12.1.1.2 ${THERE} gossip`]);
});

test.run();
