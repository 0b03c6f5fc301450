import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostState, type Entry, type Wanted } from '../src/state/index.js';
import { MAX_PEERS, Vtep } from '../src/vtep/index.js';
import {
  A,
  B,
  C,
  IP,
  MAC,
  VNI,
  Plane,
  Run,
  applyTo,
  drain,
  endpoint,
  peer,
  router,
  segment,
  segmentOf,
  textOf,
  want,
} from './support/state.js';

const OTHER_IP = '10.0.0.5';
const OTHER_MAC = '02:42:0a:00:00:05';

// ---- The rule, one sentence at a time ----

/** A state with a segment, and what its data plane has. */
function started(): { state: HostState; plane: Plane; inEffect: () => string[] } {
  const [state, plane] = [new HostState(), new Plane()];
  state.want('configuration', segment(VNI));
  const inEffect = (): string[] => {
    drain(state, plane);
    assert.equal(plane.mistakes, []);
    return plane.segments.get(VNI)!.locations.map(textOf);
  };
  return { state, plane, inEffect };
}

test('an endpoint is at the place of its newest want, and returns when that is withdrawn', () => {
  const { state, inEffect } = started();
  state.want('gossip', endpoint(IP, MAC, B), 20);
  state.want('configuration', endpoint(IP, MAC, A), 10);
  assert.equal(inEffect(), [`${IP} ${MAC} ${B}`]);
  state.want('api', endpoint(IP, MAC), 30);
  assert.equal(inEffect(), [`${IP} ${MAC} here`]);
  assert.equal(state.wanted(endpoint(IP, MAC, B)), {
    entry: endpoint(IP, MAC, B),
    sources: ['gossip'],
    since: 20,
    outcome: 'held',
    by: { kind: 'place', holder: { ip: IP, mac: MAC } },
  });
  assert.ok(state.withdraw('api', endpoint(IP, MAC)));
  assert.not(state.withdraw('api', endpoint(IP, MAC)), 'only once');
  assert.equal(inEffect(), [`${IP} ${MAC} ${B}`]);
  // A want repeated later is a newer want.
  state.want('configuration', endpoint(IP, MAC, A), 40);
  assert.equal(inEffect(), [`${IP} ${MAC} ${A}`]);
  state.withdraw('configuration', endpoint(IP, MAC, A));
  state.withdraw('gossip', endpoint(IP, MAC, B));
  assert.equal(inEffect(), []);
});

test('an IP address belongs to the older of two endpoints, until that one is withdrawn', () => {
  const { state, inEffect } = started();
  state.want('gossip', endpoint(IP, OTHER_MAC, B), 20);
  state.want('api', endpoint(IP, MAC, A), 10);
  assert.equal(inEffect(), [`${IP} ${MAC} ${A}`]);
  const { outcome, ...rest } = state.wanted(endpoint(IP, OTHER_MAC, B))!;
  assert.is(outcome, 'held');
  assert.equal((rest as { by?: unknown }).by, { kind: 'ip', holder: { ip: IP, mac: MAC, vtep: A } });
  // It moved, but it is the same endpoint, and as old as before.
  state.want('gossip', endpoint(IP, MAC, C), 30);
  assert.equal(inEffect(), [`${IP} ${MAC} ${C}`]);
  state.withdrawAll('api');
  assert.equal(inEffect(), [`${IP} ${OTHER_MAC} ${B}`], 'what is left of the first is younger');
  state.withdrawAll('gossip');
  assert.equal(inEffect(), []);
});

test('a MAC address belongs to all endpoints at the place of the oldest', () => {
  const { state, inEffect } = started();
  state.want('gossip', endpoint(IP, MAC, A), 20);
  state.want('gossip', endpoint('10.0.0.6', MAC, A), 25);
  state.want('gossip', endpoint(OTHER_IP, MAC, B), 10);
  assert.equal(inEffect(), [`${OTHER_IP} ${MAC} ${B}`]);
  const held = state.wanted(endpoint(IP, MAC, A))!;
  assert.equal('by' in held && held.by, { kind: 'mac', holder: { ip: OTHER_IP, mac: MAC, vtep: B } });
  state.withdraw('gossip', endpoint(OTHER_IP, MAC, B));
  assert.equal(inEffect().sort(), [`${IP} ${MAC} ${A}`, `10.0.0.6 ${MAC} ${A}`]);
});

test('a station with several IP addresses is never without its MAC address while it moves', () => {
  const { state, plane } = started();
  const ips = ['10.0.0.6', '10.0.0.7', '10.0.0.8', '10.0.0.9'];
  for (const ip of ips) state.want('gossip', endpoint(ip, MAC, A), 10);
  drain(state, plane);
  for (const ip of ips) state.want('gossip', endpoint(ip, MAC, B), 20);
  for (const ip of ips) state.withdraw('gossip', endpoint(ip, MAC, A));
  const seen: (string | undefined)[] = [];
  while (state.isDue) {
    const batch = state.take(3);
    if (batch.length > 0) state.applied(plane.apply(batch, () => seen.push(plane.byMac(VNI).get(MAC))));
  }
  assert.equal([...new Set(seen)], [B], 'from the first change on');
  assert.is(seen.length, 8);
});

test('a MAC address that another endpoint takes over is always somewhere, and so is one that returns halfway', () => {
  const { state, plane } = started();
  state.want('gossip', endpoint(IP, MAC, A), 20);
  drain(state, plane);
  state.want('api', endpoint(OTHER_IP, MAC, B), 10);
  const added = state.take(2);
  assert.equal(added, [{ do: 'add-endpoint', vni: VNI, endpoint: { ip: OTHER_IP, mac: MAC, vtep: B } }]);
  state.applied(plane.apply(added));
  // The removal of the first is due. It holds again, so it is added again: the data plane has B for the MAC address.
  state.withdrawAll('api');
  assert.equal(drain(state, plane), [
    { do: 'add-endpoint', vni: VNI, endpoint: { ip: IP, mac: MAC, vtep: A } },
    { do: 'remove-endpoint', vni: VNI, endpoint: { ip: OTHER_IP, mac: MAC, vtep: B } },
  ]);
  assert.equal([...plane.byMac(VNI)], [[MAC, A]]);
});

test('of many endpoints with one MAC address, those that get it are added before the others are removed', () => {
  const { state, plane } = started();
  const number = (from: number): string[] => Array.from({ length: 60 }, (_, i) => `10.0.1.${from + i}`);
  state.want('api', endpoint(IP, MAC, B), 1);
  for (const ip of number(0)) state.want('gossip', endpoint(ip, MAC, A), 5);
  for (const ip of number(100)) state.want('gossip', endpoint(ip, MAC, B), 10);
  drain(state, plane);
  assert.is(plane.segments.get(VNI)!.locations.length, 61);
  state.withdrawAll('api');
  const done: string[] = [];
  while (state.isDue) {
    const batch = state.take(2);
    done.push(...batch.map((change) => change.do));
    if (batch.length > 0) state.applied(plane.apply(batch, () => assert.ok(plane.byMac(VNI).has(MAC))));
  }
  assert.equal(done, [...Array(60).fill('add-endpoint'), ...Array(61).fill('remove-endpoint')]);
});

/** What is in effect for MAC addresses, if the data plane has one location for each address. */
function placesIn(run: Run): string[] {
  return run.replacing
    .list()
    .map((line) => line.replace(`endpoint ${VNI} `, ''))
    .sort();
}

const THIRD = `10.0.0.6 02:42:0a:00:00:06 ${C}`;

/** An older endpoint gets the MAC address of another one, of which the removal is due when the batch is full. */
function takeOver(run: Run, from: Entry, to: Entry): void {
  run.do(want('api', to, 10));
  run.do(want('gossip', from, 20));
  run.do(want('gossip', endpoint('10.0.0.6', '02:42:0a:00:00:06', C), 20));
  run.do({ do: 'take', limit: 3 });
  run.apply();
  assert.is(run.plane.segments.get(VNI)!.locations.length, 3);
}

test('a MAC address returns when the IP address of the endpoint that took it goes to a third one', () => {
  const run = new Run();
  run.do(want('configuration', segment(VNI), 0));
  run.do(want('gossip', endpoint(IP, MAC, A), 20));
  run.drain();
  takeOver(run, endpoint(IP, MAC, A), endpoint(OTHER_IP, MAC, B));
  run.do({ do: 'withdraw', source: 'api', entry: endpoint(OTHER_IP, MAC, B) });
  run.do(want('gossip', endpoint(OTHER_IP, OTHER_MAC, C), 30));
  run.drain();
  assert.equal(placesIn(run), [`${IP} ${MAC} ${A}`, `${OTHER_IP} ${OTHER_MAC} ${C}`, THIRD]);
});

for (const limit of [2, 4])
  test(`a MAC address returns if the endpoint that takes it is refused, in batches of ${limit}`, () => {
    const run = new Run((change) => ('endpoint' in change && change.endpoint.ip === '10.0.0.9' ? 'no' : null));
    run.do(want('configuration', segment(VNI), 0));
    run.do(want('gossip', endpoint(IP, MAC, B), 20));
    run.drain();
    takeOver(run, endpoint(IP, MAC, B), endpoint(OTHER_IP, MAC, A));
    run.do(want('configuration', endpoint('10.0.0.9', MAC, B), 5));
    run.do({ do: 'take', limit });
    run.drain();
    assert.equal(placesIn(run), [`${IP} ${MAC} ${B}`, THIRD]);
  });

test('the state offers a refused entry again after its segment is redefined, and when a source wants it again', () => {
  const state = new HostState();
  const plane = new Plane((change, { segments }) =>
    change.do !== 'add-segment' && 'vni' in change && segments.get(change.vni)!.mtu > 1400 ? 'too large' : null,
  );
  state.want('configuration', segment(VNI, 1450), 1);
  state.want('api', segment(VNI, 1400), 2);
  for (const address of [A, B]) state.want('gossip', peer(address));
  for (const ip of [IP, OTHER_IP]) state.want('gossip', endpoint(ip, MAC, A), 1);
  assert.is(drain(state, plane).length, 5);
  assert.is(state.wanted(endpoint(IP, MAC, A))!.outcome, 'refused');
  state.want('api', endpoint(IP, MAC, A), 5);
  state.want('api', peer(A));
  assert.is(drain(state, plane).length, 2, 'asked again');
  assert.equal(plane.list(), [`segment ${VNI} 1450`]);
  state.withdraw('configuration', segment(VNI));
  drain(state, plane);
  assert.is(plane.list().length, 5);
});

test('an entry stays until its last source withdraws it, and the state names them', () => {
  const { state, plane } = started();
  for (const source of ['gossip', 'api']) {
    state.want(source, peer(A));
    state.want(source, { kind: 'member', address: A });
  }
  assert.equal(state.sourcesOf(peer(A)), ['api', 'gossip']);
  assert.equal(state.sourcesOf(segment(VNI, 9000)), ['configuration'], 'only the VNI counts');
  assert.is(drain(state, plane).length, 3);
  assert.ok(state.withdraw('api', peer(A)));
  assert.ok(state.isWanted(peer(A)));
  assert.equal(drain(state, plane), []);
  state.withdrawAll('gossip');
  assert.not(state.isWanted(peer(A)));
  assert.equal(drain(state, plane), [{ do: 'remove-peer', vni: VNI, address: A }]);
  assert.equal(state.sourcesOf(peer(A)), []);
  state.withdrawAll('api');
  state.withdrawAll('configuration');
  state.withdrawAll('nobody');
  drain(state, plane);
  assert.equal([plane.list(), [...state.list('segment')], [...state.list('member')]], [[], [], []]);
});

test('entries wait for their segment, and go with it', () => {
  const [state, plane] = [new HostState(), new Plane()];
  state.want('gossip', peer(A));
  state.want('gossip', endpoint(IP, MAC, A), 10);
  assert.equal(drain(state, plane), []);
  assert.equal(
    [state.wanted(peer(A))!.outcome, state.wanted(endpoint(IP, MAC, A))!.outcome],
    ['no-segment', 'no-segment'],
  );
  state.want('configuration', segment(VNI));
  assert.equal([state.wanted(peer(A))!.outcome, state.wanted(segment(VNI))!.outcome], ['due', 'due']);
  assert.equal(
    drain(state, plane).map((change) => change.do),
    ['add-segment', 'add-peer', 'add-endpoint'],
  );
  state.want('api', segment(VNI, 1400), 50);
  assert.equal(drain(state, plane), [], 'a younger definition');
  state.withdraw('configuration', segment(VNI));
  assert.equal(drain(state, plane), [
    { do: 'remove-segment', vni: VNI },
    { do: 'add-segment', segment: segmentOf(VNI, 1400) },
    { do: 'add-peer', vni: VNI, address: A },
    { do: 'add-endpoint', vni: VNI, endpoint: { ip: IP, mac: MAC, vtep: A } },
  ]);
  state.withdrawAll('api');
  assert.equal(drain(state, plane), [{ do: 'remove-segment', vni: VNI }]);
});

test('a mistake of the caller throws', () => {
  const { state } = started();
  const wrong: [run: () => unknown, message: RegExp][] = [
    [() => state.want('api', endpoint(IP, MAC), NaN), /NaN/],
    [() => state.take(1), /room for at least 2/],
    [() => state.applied([{ index: 0, reason: 'no' }]), /has 0 changes/],
    [() => (state.take(), state.take()), /call applied\(\) first/],
    [() => state.applied([{ index: 1, reason: 'no' }]), /has 1 changes, and none at 1/],
  ];
  for (const [run, message] of wrong)
    assert.throws(run, (error: Error) => error instanceof RangeError && message.test(error.message));
});

test('the peers that do not fit into the flood list of a Vtep take the first free places, in their order', () => {
  const [state, vtep] = [new HostState(), new Vtep({ local: '192.168.1.9' })];
  const address = (i: number): string => `10.1.${i >> 8}.${i & 255}`;
  const settle = (): Wanted[] => {
    const refused: Wanted[] = [];
    while (state.isDue) {
      const batch = state.take();
      if (batch.length > 0) refused.push(...state.applied(applyTo(vtep, batch)));
    }
    return refused;
  };
  state.want('configuration', segment(VNI));
  for (let i = 0; i < MAX_PEERS + 3; i++) state.want('gossip', peer(address(i)));
  const refused = settle();
  assert.equal(
    refused.map(({ entry }) => entry),
    [0, 1, 2].map((i) => peer(address(MAX_PEERS + i))),
  );
  for (const one of refused) assert.match('reason' in one ? one.reason : '', /already has 4096 peers/);
  assert.is(state.wanted(peer(address(MAX_PEERS)))!.outcome, 'refused');
  state.withdraw('gossip', peer(address(7)));
  state.withdraw('gossip', peer(address(MAX_PEERS + 1))); // it waits no more
  assert.equal(settle(), []);
  const peers = (): string[] => vtep.peers(VNI).map((one) => one.address);
  assert.is(peers().at(-1), address(MAX_PEERS));
  state.withdraw('gossip', peer(address(8)));
  assert.equal(settle(), []);
  assert.is(peers().at(-1), address(MAX_PEERS + 2));
  assert.is(peers().length, MAX_PEERS);
  // A source that wants a refused entry again learns that the data plane refuses it.
  state.want('api', peer(address(8)));
  assert.is(settle().length, 1);
});

// ---- Routers ----

test('a router is in the batch of its segments, behind them, and leaves before the first one', () => {
  const [state, plane] = [new HostState(), new Plane()];
  state.want('configuration', router('net', [7, 8]));
  assert.equal(drain(state, plane), []);
  assert.is(state.wanted(router('net', []))!.outcome, 'no-segment');
  state.want('configuration', segment(7));
  assert.equal(
    drain(state, plane).map((change) => change.do),
    ['add-segment'],
  );
  state.want('configuration', segment(8));
  state.want('configuration', endpoint(IP, MAC, A, 7));
  const batch = state.take();
  assert.equal(
    batch.map((change) => change.do),
    ['add-segment', 'add-router', 'add-endpoint'],
  );
  state.applied(plane.apply(batch));
  assert.is(state.wanted(router('net', []))!.outcome, 'in-effect');
  state.withdraw('configuration', segment(7));
  assert.equal(
    drain(state, plane).map((change) => change.do),
    ['remove-router', 'remove-segment'],
  );
  assert.is(state.wanted(router('net', []))!.outcome, 'no-segment');
  assert.equal(plane.mistakes, []);
});

test('a router outlives the new definition of a segment, also in batches of two changes', () => {
  const [state, plane] = [new HostState(), new Plane()];
  for (const vni of [7, 8]) state.want('api', segment(vni), 2);
  state.want('api', router('net', [7, 8]));
  drain(state, plane);
  for (const vni of [7, 8]) state.want('configuration', segment(vni, 1400), 1);
  const changes = drain(state, plane, 2);
  assert.equal(plane.mistakes, []);
  assert.is(changes[0]!.do, 'remove-router');
  assert.is(changes.at(-1)!.do, 'add-router');
  assert.is(changes.length, 6, 'each of the three is removed and added once');
});

test('of two routers with a gateway in one segment, the second one waits for the end of the first', () => {
  const [state, vtep] = [new HostState(), new Vtep()];
  const settle = (): Wanted[] => {
    const refused: Wanted[] = [];
    while (state.isDue) {
      const batch = state.take();
      if (batch.length > 0) refused.push(...state.applied(applyTo(vtep, batch)));
    }
    return refused;
  };
  for (const vni of [7, 8]) state.want('configuration', segment(vni));
  state.want('configuration', router('one', [7]));
  state.want('configuration', router('two', [7, 8]));
  const [refused] = settle();
  assert.equal(refused!.entry, router('two', [7, 8]));
  assert.match('reason' in refused! ? refused.reason : '', 'vni 7 already has a gateway of network one');
  state.withdraw('configuration', router('one', []));
  assert.equal(settle(), []);
  assert.is(state.wanted(router('one', [])), undefined);
  assert.is(state.wanted(router('two', []))!.outcome, 'in-effect');
});

test('the older definition of a router holds', () => {
  const { state, plane, inEffect } = started();
  state.want('gossip', router('net', [VNI], '02:00:00:00:00:0a'), 5);
  inEffect();
  state.want('configuration', router('net', [VNI], '02:00:00:00:00:0b'), 3);
  inEffect();
  assert.is(plane.routers.get('net')!.mac, '02:00:00:00:00:0b');
  state.withdraw('configuration', router('net', []));
  inEffect();
  assert.is(plane.routers.get('net')!.mac, '02:00:00:00:00:0a');
  assert.equal(
    [...state.list('router')].map(({ sources }) => sources),
    [['gossip']],
  );
});

test.run();
