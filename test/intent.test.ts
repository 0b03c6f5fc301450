/** A VTEP that is asked for the same things by its configuration, the control socket and the gossip. */
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostError } from '../src/host/error.js';
import { Intent, type NetworkParts, type Source } from '../src/host/intent.js';
import { type Page } from '../src/host/pages.js';
import { type TableRequest } from '../src/host/requests.js';
import { type Change } from '../src/model/index.js';
import { plan, routersOf, type Plan, SchemaError } from '../src/schema/index.js';
import { Plane, textOf } from './support/state.js';

const VNI = 4097;
const A = '192.168.1.1';
const B = '192.168.1.2';
const IP = '10.0.0.4';
const MAC = '02:42:0a:00:00:04';
const OTHER = '02:42:0a:00:00:05';

interface Started {
  intent: Intent;
  plane: Plane;
  /** The data plane's peers and endpoints in the segment. */
  has: () => string[];
  change: (command: TableRequest['command'], fields: object, source?: Exclude<Source, 'gossip'>) => Promise<object>;
}

/** An overlay whose data plane has what the configuration wants. */
async function started(
  segment: object = {},
  more: object = {},
  refuses?: (change: Change) => string | null,
): Promise<Started> {
  const config = {
    local: '192.168.1.9',
    segments: [{ vni: VNI, ...segment }],
    taps: [{ name: 'a', vni: VNI }],
    ...more,
  };
  const made: Plan = plan(config);
  for (const one of made.segments) one.mtu = 1450;
  const plane = new Plane(refuses);
  const intent = new Intent(made, (changes) => Promise.resolve(plane.apply(changes)));
  await intent.start();
  return {
    intent,
    plane,
    has: () => {
      assert.equal(plane.mistakes, []);
      const { peers, locations } = plane.segments.get(VNI)!;
      return [...peers, ...locations.map(textOf)];
    },
    change: (command, fields, source = 'api') =>
      intent.change({ command, vni: VNI, ...fields } as TableRequest, source),
  };
}

async function refusal(request: Promise<object>): Promise<Error> {
  return request.then(
    () => assert.unreachable('it was not refused') as never,
    (error: Error) => error,
  );
}

test('a data plane starts with what is in effect of the configuration', async () => {
  const endpoints = [
    { ip: IP, mac: MAC, vtep: B },
    { ip: '10.0.0.6', mac: OTHER },
  ];
  const { has } = await started({ peers: [A, B], endpoints });
  assert.equal(has(), [A, B, `${IP} ${MAC} ${B}`, `10.0.0.6 ${OTHER} here`]);
});

test('a VTEP does not start with an entry that its data plane refuses', async () => {
  const refuses = (change: Change): string | null => (change.do === 'add-peer' && change.address === B ? 'full' : null);
  const error = await refusal(started({ peers: [A, B] }, {}, refuses));
  assert.instance(error, HostError);
  assert.is(error.message, 'full');
});

test('a network starts in one batch: the segments of its subnets, its router, its endpoints', async () => {
  const subnets = [
    { prefix: '10.1.1.0/24', vni: 7 },
    { prefix: '11.1.1.0/24', gateway: '11.1.1.9', vni: 8 },
  ];
  const made = plan({
    local: '192.168.1.9',
    networks: [{ name: 'prod-net', mac: '02:42:00:00:00:fe', subnets }],
    segments: [{ vni: 8, endpoints: [{ ip: '11.1.1.4', mac: MAC, vtep: B }] }],
    taps: [{ name: 'a', vni: 7 }],
  });
  for (const one of made.segments) one.mtu = 1450;
  const batches: Change[][] = [];
  const plane = new Plane();
  await new Intent(made, (changes) => {
    batches.push([...changes]);
    return Promise.resolve(plane.apply(changes));
  }).start();
  assert.equal(plane.mistakes, []);
  assert.equal(
    batches.map((batch) => batch.map((change) => change.do)),
    [['add-segment', 'add-segment', 'add-router', 'add-endpoint']],
  );
  const [, , change] = batches[0]!;
  assert.equal(change, {
    do: 'add-router',
    router: { id: 'prod-net', mac: '02:42:00:00:00:fe', subnets: [{ ...subnets[0], gateway: '10.1.1.1' }, subnets[1]] },
  });
  const refuses = (one: Change): string | null => (one.do === 'add-router' ? 'no room' : null);
  const error = await refusal(
    new Intent(made, (changes) => Promise.resolve(new Plane(refuses).apply(changes))).start().then(() => ({})),
  );
  assert.is(error.message, 'no room');
});

test('a segment comes with its peers and endpoints or not at all, and goes with those of all sources', async () => {
  const { intent, plane, has } = await started({ peers: [A] }, {}, (change) =>
    change.do === 'add-peer' && change.address === '192.168.1.66' ? 'full' : null,
  );
  const [other] = plan({
    local: '192.168.1.9',
    segments: [{ vni: 7, peers: [B] }],
    taps: [{ name: 'b', vni: 7 }],
  }).segments;
  other!.mtu = 1450;
  await intent.addSegment(other!);
  assert.equal([...plane.segments.get(7)!.peers], [B]);
  intent.gossip(() => assert.unreachable()).addPeer(7, A);
  await intent.removeSegment(7);
  assert.not(plane.segments.has(7));
  const error = await refusal(intent.addSegment({ ...other!, peers: [B, '192.168.1.66'] }).then(() => ({})));
  assert.is(error.message, 'full');
  assert.not(plane.segments.has(7));
  assert.equal(has(), [A]);
});

test('the control socket removes what it added or the configuration has, and hears who else wants it', async () => {
  const run = await started({ peers: [A], endpoints: [{ ip: IP, mac: MAC, vtep: A }] });
  const { intent, change, has } = run;
  const gossip = intent.gossip(() => assert.unreachable());
  gossip.addPeer(VNI, A);
  gossip.addEndpoint(VNI, { ip: IP, mac: MAC, vtep: A }, 5);
  assert.equal(await change('add-peer', { address: A }), {});
  assert.equal(await change('remove-peer', { address: A }), { removed: true, wantedBy: ['gossip'] });
  const error = await refusal(change('remove-peer', { address: A }));
  assert.instance(error, HostError);
  assert.match(error.message, /^the gossip announces it; it is removed when its host withdraws it$/);
  assert.equal(await change('remove-endpoint', { ip: IP, mac: MAC, vtep: A }), { removed: true, wantedBy: ['gossip'] });
  assert.equal(has(), [A, `${IP} ${MAC} ${A}`]);
  gossip.removePeer(VNI, A);
  gossip.removeEndpoint(VNI, { ip: IP, mac: MAC, vtep: A });
  await turn();
  assert.equal(has(), []);
  assert.equal(await change('remove-peer', { address: A }), { removed: false });
});

test('a configuration that is read again withdraws only its own', async () => {
  const { change, has } = await started({ peers: [A, B] });
  await change('add-peer', { address: A });
  assert.equal(await change('remove-peer', { address: A }, 'configuration'), { removed: true, wantedBy: ['api'] });
  assert.equal(await change('remove-peer', { address: B }, 'configuration'), { removed: true });
  assert.match(
    (await refusal(change('remove-peer', { address: A }, 'configuration'))).message,
    /^it was not configured; wanted by: api$/,
  );
  assert.equal(has(), [A]);
});

test('an endpoint that an older one keeps from its address is told so, and follows it', async () => {
  const { change, has, intent } = await started({ endpoints: [{ ip: IP, mac: OTHER, vtep: A }] });
  const sink = intent.gossip(() => assert.unreachable());
  sink.addEndpoint(VNI, { ip: IP, mac: MAC, vtep: A }, 5);
  await turn();
  assert.equal(has(), [`${IP} ${OTHER} ${A}`], 'a configuration has no time');
  sink.removeEndpoint(VNI, { ip: IP, mac: MAC, vtep: A });
  assert.equal(await change('add-endpoint', { ip: IP, mac: MAC, vtep: B }), {
    held: `${IP} belongs to an older endpoint, ${IP} with ${OTHER} at VTEP ${A}, until that is removed`,
  });
  assert.equal(has(), [`${IP} ${OTHER} ${A}`]);
  assert.equal(await change('remove-endpoint', { ip: IP, mac: OTHER, vtep: A }), { removed: true });
  assert.equal(has(), [`${IP} ${MAC} ${B}`]);
  assert.equal(await change('add-endpoint', { ip: '10.0.0.7', mac: MAC }), {
    held: `${MAC} belongs to an older endpoint, ${IP} with ${MAC} at VTEP ${B}, until that is removed`,
  });
  // The same endpoint elsewhere has moved there.
  assert.equal(await change('add-endpoint', { ip: IP, mac: MAC }), {});
  assert.equal(has().sort(), [`${IP} ${MAC} here`, `10.0.0.7 ${MAC} here`]);
  const { held } = (await change('add-endpoint', { ip: IP, mac: MAC, vtep: A }, 'configuration')) as { held: string };
  assert.match(held, /is in effect at this host, which a newer request names/);
});

test('a listing names the sources of each entry, and contains the endpoints that another one hides', async () => {
  const run = await started({ peers: [A], endpoints: [{ ip: IP, mac: MAC, vtep: A }] });
  const { intent, change, plane } = run;
  intent.gossip(() => assert.unreachable()).addPeer(VNI, A);
  await change('add-peer', { address: B });
  await change('add-endpoint', { ip: IP, mac: OTHER, vtep: A });
  await change('add-endpoint', { ip: IP, mac: OTHER });
  /** What the data plane would list, in pages of one entry. */
  async function* pages(entries: object[]): AsyncGenerator<Page> {
    for (const entry of entries) yield { result: [{ vni: VNI, ...entry }], last: entry === entries.at(-1) };
  }
  const list = async (command: 'neighbors' | 'peers', vni: number, entries: object[]): Promise<unknown[]> => {
    const [all, lasts]: [unknown[], unknown[]] = [[], []];
    for await (const { result, last } of intent.list({ command, vni }, pages(entries))) {
      all.push(...result);
      lasts.push(last ?? false);
    }
    assert.equal(lasts, [...Array(lasts.length - 1).fill(false), true], 'only the last page says so');
    return all;
  };
  const peers = [...plane.segments.get(VNI)!.peers].map((address) => ({ address, port: 4789 }));
  assert.equal(await list('peers', VNI, peers), [
    { vni: VNI, address: A, port: 4789, sources: ['configuration', 'gossip'] },
    { vni: VNI, address: B, port: 4789, sources: ['api'] },
  ]);
  const shown = { ip: IP, mac: MAC, vtep: A };
  const by = { kind: 'ip', ...shown };
  const other = { vni: VNI, ip: IP, mac: OTHER, hidden: true, sources: ['api'] };
  assert.equal(await list('neighbors', VNI, [shown]), [
    { vni: VNI, ...shown, hidden: false, sources: ['configuration'] },
    { ...other, vtep: A, by: { ...by, kind: 'place', mac: OTHER, vtep: null } },
    { ...other, vtep: null, by },
  ]);
  assert.equal(await list('neighbors', 5, []), []);
});

test('what the data plane refuses is refused to the control socket, and reported for the gossip', async () => {
  const refuses = (change: Change): string | null => (change.do === 'add-peer' && change.address !== A ? 'full' : null);
  const run = await started({}, {}, refuses);
  const reported: string[] = [];
  const gossip = run.intent.gossip((reason) => void reported.push(reason));
  gossip.addPeer(VNI, A);
  const error = await refusal(run.change('add-peer', { address: B }));
  assert.instance(error, HostError);
  assert.is(error.message, 'full');
  assert.equal(await run.change('remove-peer', { address: B }), { removed: false }, 'it is not wanted any more');
  assert.equal(reported, []);
  gossip.addPeer(VNI, B);
  await refusal(run.change('add-peer', { address: '192.168.1.3' }));
  assert.equal([reported, run.has()], [['full'], [A]]);
  run.intent.member(B, true);
  gossip.removePeer(VNI, A);
  await refusal(run.change('add-peer', { address: '192.168.1.3' }));
  assert.equal([[...run.plane.members], run.has()], [[B], []]);
  run.intent.member(B, false);
  await refusal(run.change('add-peer', { address: '192.168.1.3' }));
  assert.equal([...run.plane.members], []);
});

test('an endpoint of this host gives way to those of the gossip until it is announced', async () => {
  const gossip = { networks: [{ id: 'net1', vni: VNI, subnet: '10.0.0.0/24' }] };
  const run = await started({ endpoints: [{ ip: IP, mac: MAC }] }, { gossip });
  const { intent, has } = run;
  const sink = intent.gossip(() => assert.unreachable());
  sink.addEndpoint(VNI, { ip: IP, mac: OTHER, vtep: A }, Date.now());
  await turn();
  assert.equal(has(), [`${IP} ${OTHER} ${A}`]);
  intent.announced(VNI, { ip: IP, mac: MAC }, 1000);
  await turn();
  assert.equal(has(), [`${IP} ${MAC} here`]);
  // Adding it once more does not make it younger.
  const own = { ip: IP, mac: MAC };
  assert.equal(await run.change('add-endpoint', own), {});
  assert.equal(await run.change('remove-endpoint', own, 'configuration'), { removed: true, wantedBy: ['api'] });
  await turn();
  assert.equal(has(), [`${IP} ${MAC} here`]);
  intent.announced(VNI, { ip: IP, mac: MAC }, null);
  await turn();
  assert.equal(has(), [`${IP} ${OTHER} ${A}`]);
  sink.removeEndpoint(VNI, { ip: IP, mac: OTHER, vtep: A });
  await turn();
  assert.equal(has(), [`${IP} ${MAC} here`]);
});

/** Segments with a gateway each, and the router between them. */
function routed(id: string, ...vnis: number[]): NetworkParts {
  const subnets = vnis.map((vni) => ({ prefix: `10.${vni}.0.0/16`, vni }));
  const made = plan({
    local: '192.168.1.9',
    networks: [{ name: id, subnets }],
    segments: vnis.map((vni) => ({ vni, peers: [B] })),
    taps: [{ name: 'b', vni: vnis[0] }],
  });
  const segments = made.segments.map((segment) => ({ ...segment, mtu: 1450 }));
  return { segments, taken: [], router: routersOf(made)[0], gossip: false };
}
/** The same network for another source: its segments are there. */
const again = (parts: NetworkParts): NetworkParts => ({ ...parts, segments: [], taken: parts.segments });

test('a network comes whole, and goes when its last source has gone', async () => {
  const { intent, plane, has } = await started({ peers: [A] });
  const parts = routed('n', 7, 8);
  await intent.addNetwork(parts, 'api');
  assert.equal([[...plane.segments.keys()], [...plane.routers.keys()]], [[VNI, 7, 8], ['n']]);
  assert.equal([...plane.segments.get(7)!.peers], [B]);
  await intent.addNetwork(again(parts), 'configuration');
  assert.equal([intent.isOfApi(7), intent.isOfApi(VNI)], [true, false]);
  // Neither the segment of the network nor its router is left behind.
  await intent.removeNetwork('n', [7, 8]);
  assert.equal([[...plane.segments.keys()], [...plane.routers.keys()]], [[VNI], []]);
  // Its segments may stay.
  await intent.addNetwork(parts, 'configuration');
  assert.is(intent.isOfApi(7), false);
  await intent.removeNetwork('n', [7, 8], [8]);
  assert.equal([[...plane.segments.keys()], [...plane.routers.keys()]], [[VNI, 7], []]);
  assert.equal(has(), [A]);
});

test('a network that the data plane refuses leaves nothing, and one that is wanted by others stays', async () => {
  let fails = '';
  const refuses = (change: Change): string | null => {
    if (change.do === 'add-router') return change.router.id === fails ? 'no room' : null;
    return change.do === 'add-segment' && String(change.segment.vni) === fails ? 'no room' : null;
  };
  const { intent, plane } = await started({ peers: [A] }, {}, refuses);
  for (const what of ['n', '8']) {
    fails = what;
    const error = await refusal(intent.addNetwork(routed('n', 7, 8), 'api').then(() => ({})));
    assert.is(error.message, 'no room');
    assert.equal([[...plane.segments.keys()], [...plane.routers.keys()]], [[VNI], []]);
  }
  // What the source wanted before stays.
  const [near, far] = routed('n', 7, 8).segments;
  await intent.addSegment(near!, 'api');
  await refusal(intent.addNetwork({ ...routed('n', 7, 8), segments: [far!], taken: [near!] }, 'api').then(() => ({})));
  assert.equal([...plane.segments.keys()], [VNI, 7]);
  await intent.removeSegment(7);
  fails = '';
  const parts = routed('n', 7, 8);
  await intent.addNetwork(parts, 'configuration');
  intent.leaveNetwork('n');
  for (const vni of [7, 8]) intent.leaveSegment(vni);
  await intent.addNetwork(again(parts), 'api');
  assert.equal([intent.isOfApi(7), [...plane.routers.keys()]], [true, ['n']]);
});

test('an endpoint of this host counts from its announcement only while its network is one of the gossip', async () => {
  const { intent, plane, change } = await started({}, { gossip: { networks: [] } });
  const sink = intent.gossip(() => assert.unreachable());
  const parts = { ...routed('n', 7), gossip: true };
  const shown = (): string[] => plane.segments.get(7)!.locations.map(textOf);
  await intent.addNetwork(parts, 'api');
  assert.equal(await change('add-endpoint', { vni: 7, ip: '10.7.0.4', mac: MAC }), {});
  sink.addEndpoint(7, { ip: '10.7.0.4', mac: OTHER, vtep: A }, Date.now() + 1e6);
  await turn();
  assert.equal(shown(), [`10.7.0.4 ${OTHER} ${A}`]);
  assert.equal(intent.ownEndpoints(7), [{ ip: '10.7.0.4', mac: MAC }]);
  assert.equal(await intent.countEndpoints(7, () => true), { here: 1, elsewhere: 1 });
  assert.equal(await intent.countEndpoints(7, (ip) => ip.includes(':')), { here: 0, elsewhere: 0 });
  // The gossip is left, and the segment stays: nobody announces the endpoint any more.
  await intent.removeNetwork('n', [7], []);
  assert.equal(shown(), [`10.7.0.4 ${MAC} here`]);
  await intent.removeNetwork('n', [7]);
  await intent.addNetwork({ ...parts, gossip: false }, 'api');
  assert.equal(shown(), []);
  assert.equal(await change('add-endpoint', { vni: 7, ip: '10.7.0.4', mac: MAC }), {});
  sink.addEndpoint(7, { ip: '10.7.0.4', mac: OTHER, vtep: A }, Date.now() + 1e6);
  await turn();
  assert.equal(shown(), [`10.7.0.4 ${MAC} here`]);
});

test('what is added to a segment that is being removed is refused, and does not come with the next one', async () => {
  const { intent, plane, change } = await started({ peers: [A] });
  const removed = intent.removeSegment(VNI);
  for (const [command, fields] of [
    ['add-peer', { address: B }],
    ['add-endpoint', { ip: IP, mac: MAC, vtep: B }],
    ['add-endpoint', { ip: IP, mac: MAC }],
  ] as const)
    assert.match((await refusal(change(command, fields))).message, /^vni: expected the VNI of a segment/);
  await removed;
  const [again] = plan({ local: '192.168.1.9', segments: [{ vni: VNI }], taps: [{ name: 'a', vni: VNI }] }).segments;
  await intent.addSegment({ ...again!, mtu: 1450 });
  const { peers, locations } = plane.segments.get(VNI)!;
  assert.equal([[...peers], [...locations]], [[], []]);
  assert.equal(await change('add-peer', { address: B }), {});
  assert.equal([...peers], [B]);
});

test('a request that is wrong changes nothing', async () => {
  const { change, has } = await started();
  for (const [command, fields, message] of [
    ['add-peer', { address: A, vni: 5 }, /^vni: expected the VNI of a segment \(4097\)/],
    ['add-peer', { address: '192.168.1.9' }, /^address: expected the address of another VTEP/],
    ['remove-peer', { address: 'fd00::1' }, /^address: expected an IPv4 address/],
    ['add-endpoint', { ip: IP, mac: MAC, vtep: 'fd00::1' }, /^vtep: expected an IPv4 address/],
  ] as const) {
    const error = await refusal(change(command, fields));
    assert.instance(error, SchemaError);
    assert.match(error.message, message);
  }
  assert.equal(has(), []);
});

test.run();
