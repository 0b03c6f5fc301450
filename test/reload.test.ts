/** A configuration that is read again, against what a running VTEP has: what changes, and what needs a restart. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lineOf } from '../src/cli/events.js';
import { compare, merge, reload, type Comparison, type Reloadable } from '../src/host/reload.js';
import { planSegment, planTap, SchemaError, type Plan, type Segment, type Tap, plan } from '../src/schema/index.js';

const test = suite('reload');

const segment = { vni: 1, peers: ['192.0.2.2', '192.0.2.3'] };
const near = { ip: '10.0.0.4', mac: '02:00:00:00:00:04', vtep: '192.0.2.2' };
const tap0: Tap = { name: 'tap0', vni: 1, address: '10.0.0.1/24' };
const tap1: Tap = { name: 'tap1', vni: 1, netns: 'c1', address: '10.0.0.2/24' };
const config = (segments: Segment[], taps: Tap[] = [tap0], more: object = {}): Plan =>
  plan({ local: '192.0.2.1', segments, taps, ...more });

/** What a VTEP has that was started with a configuration, and then got more. */
function running(configured: Plan, segments: Segment[] = [], taps: Tap[] = []): Plan {
  const now = structuredClone(configured);
  for (const one of segments) now.segments.push(planSegment(one, now));
  for (const one of now.segments) one.mtu ??= 1450;
  for (const one of taps) now.taps.push(planTap(one, now));
  return now;
}

/** A comparison with names only. */
function brief(all: Comparison): object {
  return {
    add: all.newSegments.map((one) => one.segment.vni),
    remove: all.oldSegments,
    attach: all.newTaps.map(({ tap, path }) => `${tap.name} ${path}`),
    replace: all.changedTaps.map(({ before, after }) => `${before.name} ${after.path}`),
    detach: all.oldTaps.map(({ name }) => name),
    restart: all.restart,
  };
}
const NOTHING = { add: [], remove: [], attach: [], replace: [], detach: [], restart: [] };

test('the same configuration changes nothing, whatever the API has added', () => {
  const one = config([{ ...segment, endpoints: [near] }]);
  assert.equal(brief(compare(one, running(one), structuredClone(one))), NOTHING);
  const now = running(one, [{ vni: 2 }], [{ ...tap1, vni: 2 }]);
  assert.equal(brief(compare(one, now, structuredClone(one))), NOTHING);
});

test('segments and TAPs come and go; a TAP with other settings is replaced', () => {
  const before = config([segment, { vni: 2 }], [tap0, tap1, { name: 'tap2', vni: 2 }]);
  const after = config([segment, { vni: 3 }], [{ ...tap0, address: '10.0.0.9/24' }, { name: 'tap3', vni: 3 }, tap1]);
  assert.equal(brief(compare(before, running(before), after)), {
    ...{ add: [3], remove: [2], attach: ['tap3 taps[1]'], replace: ['tap0 taps[0]'], detach: ['tap2'], restart: [] },
  });
  // What was lost or removed over the API comes back.
  const bare = { ...running(before), taps: [], segments: [] };
  const { add, attach } = brief(compare(before, bare, before)) as { add: number[]; attach: string[] };
  assert.equal(
    [add, attach],
    [
      [1, 2],
      ['tap0 taps[0]', 'tap1 taps[1]', 'tap2 taps[2]'],
    ],
  );
});

test('what needs a restart is named, not applied, and named again the next time', () => {
  const before = config([segment, { vni: 2, mtu: 1300 }]);
  const more = { sourcePorts: 4, keepTaps: true };
  const after = config([{ ...segment, learn: false, mtu: 1400 }, { vni: 2 }], [tap0], more);
  const restart = ['sourcePorts', 'keepTaps', 'segments[1].mtu', 'segments[1].learn', 'segments[2].mtu'];
  assert.equal(brief(compare(before, running(before), after)), { ...NOTHING, restart });
  assert.equal(brief(compare(merge(before, running(before), after), running(before), after)), { ...NOTHING, restart });
  const passed = { fd: 5, vni: 1 };
  assert.equal(brief(compare(before, running(before), config([segment, { vni: 2, mtu: 1300 }], [tap0, passed]))), {
    ...NOTHING,
    restart: ['taps[1]'],
  });
});

test('an MTU that the underlay gave is no difference, and one that was configured equal is none either', () => {
  const before = config([segment]);
  assert.equal(compare(before, running(before), config([{ ...segment, mtu: 1450 }])).restart, []);
  assert.equal(compare(before, running(before), config([{ ...segment, mtu: 1449 }])).restart, ['segments[1].mtu']);
});

/** The problems of a configuration beside what the API has added. */
function problems(segments: Segment[], taps: Tap[], api: { segments?: Segment[]; taps?: Tap[] }): string {
  const before = config([segment]);
  try {
    compare(before, running(before, api.segments, api.taps), config(segments, taps));
    return '';
  } catch (error) {
    assert.instance(error, SchemaError);
    return (error as SchemaError).message;
  }
}

test('what the API has attached stays; a configuration that contradicts it is refused', () => {
  const taps = [tap1];
  assert.is(problems([segment], [tap0, tap1], { taps }), '', 'the same TAP');
  assert.is(
    problems([segment], [tap0, { ...tap1, address: '10.0.0.8/24' }], { taps }),
    'taps[1].name: is attached with other settings; detach it first',
  );
  assert.is(
    problems([segment], [tap0, { name: 'other', vni: 1, address: '10.0.0.2/24' }], { taps }),
    'taps[1].mac: does not go with mac of TAP tap1 in namespace c1\n' +
      'taps[1].address: does not go with address of TAP tap1 in namespace c1',
  );
  assert.is(problems([segment, { vni: 2 }], [tap0], { segments: [{ vni: 2 }] }), '', 'the same segment');
});

test('a list of one address is no difference; a further address replaces the TAP', () => {
  const before = config([segment], [tap1]);
  assert.equal(
    brief(compare(before, running(before), config([segment], [{ ...tap1, address: ['10.0.0.2/24'] }]))),
    NOTHING,
  );
  const more = { ...tap1, address: ['10.0.0.2/24', 'fd00::2/64'] };
  const { changedTaps } = compare(before, running(before), config([segment], [more]));
  assert.equal(
    changedTaps.map(({ after }) => after.tap.address),
    [more.address],
  );
});

/** A VTEP that notes what a reload does, and that fails at a step. */
function noting(now: Plan, fails = '', ofApi: readonly number[] = []): { vtep: Reloadable; notes: string[] } {
  const notes: string[] = [];
  const note = (what: string): void => {
    if (what === fails) throw new Error(what);
    notes.push(what);
  };
  const vtep: Reloadable = {
    plan: now,
    addSegment: async (one) => {
      note(`add ${one.vni}`);
      now.segments.push({ ...one, mtu: 1450 });
    },
    removeSegment: async (vni) => note(`remove ${vni}`),
    addNetwork: async ({ id }) => note(`add network ${id}`),
    removeNetwork: async (id) => note(`remove network ${id}`),
    leaveNetwork: (id) => note(`leave network ${id}`),
    isOfApi: (vni) => ofApi.includes(vni),
    leaveSegment: (vni) => note(`leave ${vni}`),
    attach: async (taps) => {
      if (taps.length > 0) note(`attach ${taps.map(({ tap, own }) => `${tap.name} ${own[0]?.ip}`).join()}`);
      now.taps = [...now.taps, ...taps.map(({ tap }) => tap)];
    },
    detach: async (tap) => {
      note(`detach ${tap.name}`);
      now.taps = now.taps.filter((one) => one !== tap);
    },
    configure: async (entries) => {
      note(`configure ${entries.map((one) => (one.kind === 'peer' ? one.address : one.endpoint.ip)).join()}`);
      return { peers: { added: 1, removed: 2 }, endpoints: { added: 3, removed: 4 }, refused: [] };
    },
  };
  return { vtep, notes };
}

const first = config([segment, { vni: 2 }], [tap0, tap1, { name: 'tap2', vni: 2 }]);
const second = config(
  [{ ...segment, endpoints: [near] }, { vni: 3 }],
  [
    { ...tap0, mtu: 1300 },
    { name: 'tap3', vni: 3 },
  ],
);

test('additions come before removals, and a TAP is in nobody’s way', async () => {
  const { vtep, notes } = noting(running(first));
  const done = await reload(first, second, vtep);
  assert.equal(notes, [
    ...[
      'add 3',
      'detach tap0',
      'attach tap3 undefined,tap0 10.0.0.1',
      'configure 192.0.2.2,192.0.2.3,10.0.0.4,10.0.0.1',
    ],
    ...['detach tap1', 'detach tap2', 'remove 2'],
  ]);
  const [c1, here] = ['c1', null];
  assert.equal(done, {
    segments: { added: [3], removed: [2], kept: [] },
    networks: { added: [], removed: [], kept: [] },
    taps: {
      attached: [{ name: 'tap3', netns: here }],
      detached: [
        { name: 'tap1', netns: c1 },
        { name: 'tap2', netns: here },
      ],
      replaced: [{ name: 'tap0', netns: here }],
    },
    ...{ peers: { added: 1, removed: 2 }, endpoints: { added: 3, removed: 4 }, refused: [], restart: [] },
  });
  // A TAP that takes over an address is attached after the other one is detached.
  const renamed = config([segment, { vni: 2 }], [tap0, { ...tap1, name: 'eth0' }, { name: 'tap2', vni: 2 }]);
  const other = noting(running(first));
  await reload(first, renamed, other.vtep);
  assert.equal(other.notes.slice(0, 2), ['detach tap1', 'attach eth0 10.0.0.2']);
});

test('a segment stays while the API wants something in it, or has a TAP there', async () => {
  const next = config([segment], [tap0, tap1]);
  for (const ofApi of [[], [2]]) {
    const { vtep, notes } = noting(running(first, [], ofApi.length > 0 ? [] : [{ name: 'more', vni: 2 }]), '', ofApi);
    const { segments } = await reload(first, next, vtep);
    assert.equal(segments, { added: [], removed: [], kept: [2] });
    assert.equal(notes.slice(-2), ['detach tap2', 'leave 2']);
  }
});

const prod = {
  name: 'prod',
  subnets: [
    { prefix: '10.5.0.0/16', vni: 5 },
    { prefix: '10.6.0.0/16', vni: 6 },
  ],
};
const withNetworks = (networks: object[], taps: Tap[] = [tap0]): Plan => config([segment], taps, { networks });

test('a network comes after its segments and before its TAPs, and goes after these', async () => {
  const tap5: Tap = { name: 'tap5', vni: 5, address: '10.5.0.2/16' };
  const [before, after] = [withNetworks([]), withNetworks([prod], [tap0, tap5])];
  const { vtep, notes } = noting(running(before));
  assert.equal((await reload(before, after, vtep)).networks, { added: ['prod'], removed: [], kept: [] });
  assert.equal(notes.slice(0, 4), ['add 5', 'add 6', 'add network prod', 'attach tap5 10.5.0.2']);
  const back = noting(running(after));
  assert.equal((await reload(after, before, back.vtep)).networks, { added: [], removed: ['prod'], kept: [] });
  assert.equal(back.notes.slice(1), ['detach tap5', 'remove network prod', 'remove 5', 'remove 6']);
});

test('a network stays while the API wants something in one of its segments, or has a TAP there', async () => {
  const [before, after] = [withNetworks([prod]), withNetworks([])];
  for (const ofApi of [[], [6]]) {
    const taps: Tap[] = ofApi.length > 0 ? [] : [{ name: 'more', vni: 6 }];
    const { vtep, notes } = noting(running(before, [], taps), '', ofApi);
    const { networks, segments } = await reload(before, after, vtep);
    assert.equal([networks.kept, segments.kept], [['prod'], [5, 6]]);
    assert.equal(notes.slice(1), ['leave network prod', 'leave 5', 'leave 6']);
  }
});

test('a network waits for a restart while a TAP is where it will be, and one of the API is shared', async () => {
  const before = config([segment, { vni: 5 }, { vni: 6 }], [tap0, { name: 'tap5', vni: 5 }]);
  const after = config([segment], [tap0, { name: 'tap5', vni: 5 }], { networks: [prod] });
  const { newNetworks, restart, oldSegments } = compare(before, running(before), after);
  assert.equal([newNetworks, restart, oldSegments], [[], ['networks[prod]'], []]);
  assert.equal(merge(before, running(before), after).networks, []);
  const bare = withNetworks([]);
  const now = { ...running(bare), networks: withNetworks([prod]).networks };
  assert.equal(
    compare(bare, now, withNetworks([prod])).newNetworks.map(({ id }) => id),
    ['prod'],
  );
  assert.equal(merge(bare, now, withNetworks([prod])).networks, now.networks);
  assert.equal(compare(bare, now, bare).oldNetworks, [], 'what only the API wants is not gone');
});

test('the gossip itself comes and goes with a restart, and its networks with it', () => {
  const gossip = { networks: [{ id: 'net1', vni: 1, subnet: '10.0.0.0/24' }] };
  const [agent, none] = [config([segment], [tap0], { gossip }), config([segment])];
  const of = (before: Plan, after: Plan): unknown[] => {
    const { newNetworks, oldNetworks, restart } = compare(before, running(before), after);
    return [newNetworks, oldNetworks, restart.filter((path) => path !== 'keepTaps')];
  };
  assert.equal(of(agent, none), [[], [], ['gossip']]);
  assert.equal(merge(agent, running(agent), none).gossip, agent.gossip);
  assert.equal(of(none, agent), [[], [], ['gossip']]);
  assert.equal(merge(none, running(none), agent).gossip, undefined);
  const renamed = config([segment], [tap0], { gossip: { ...gossip, name: 'other' } });
  assert.equal(of(agent, renamed), [[], [], ['gossip']]);
  const more = { networks: [...gossip.networks, { id: 'net2', vni: 2, subnet: '10.2.0.0/24' }] };
  const { newNetworks, newSegments } = compare(agent, running(agent), config([segment], [tap0], { gossip: more }));
  assert.equal([newNetworks.map(({ id }) => id), newSegments.map((one) => one.segment.vni)], [['net2'], [2]]);
});

test('what the configuration has must go with the networks of the API', () => {
  const bare = withNetworks([]);
  const now = running(bare, [{ vni: 5 }]);
  now.networks = withNetworks([{ ...prod, subnets: [prod.subnets[0]!] }]).networks;
  const of = (address: string): string => {
    try {
      compare(bare, now, config([segment, { vni: 5 }], [tap0, { name: 'tap5', vni: 5, address }]));
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.is(of('10.5.0.2/16'), '');
  assert.is(
    of('10.9.0.2/16'),
    'taps[1].address: expected an address of 10.5.0.0/16, the subnet of network prod, got "10.9.0.2"',
  );
  assert.match(of('10.5.0.1/16'), /^taps\[1\]\.address: 10\.5\.0\.1 is the gateway of .*\(network prod\)$/);
});

test('what fails is taken back', async () => {
  for (const [fails, expected] of [
    ['add 3', []],
    ['attach tap3 undefined,tap0 10.0.0.1', ['add 3', 'detach tap0', 'attach tap0 10.0.0.1', 'remove 3']],
    ['add network prod', ['add 5', 'add 6', 'remove 5', 'remove 6']],
    ['attach tap5 undefined', ['add 5', 'add 6', 'add network prod', 'remove network prod', 'remove 5', 'remove 6']],
  ] as const) {
    const isNetwork = !expected.includes('add 3' as never) && fails !== 'add 3';
    const before = isNetwork ? withNetworks([]) : first;
    const after = isNetwork ? withNetworks([prod], [tap0, { name: 'tap5', vni: 5 }]) : second;
    const { vtep, notes } = noting(running(before), fails);
    const error = await reload(before, after, vtep).then(
      () => undefined,
      ({ message }: Error) => message,
    );
    assert.is(error, fails);
    assert.equal(notes, expected);
  }
});

test('an event says what a reload has done in words', () => {
  const line = lineOf({
    ...{ type: 'reloaded', time: '2026-11-27T14:12:05.123Z' },
    ...{ segments: { added: [5, 6], removed: [], kept: [] }, networks: { added: ['prod'], removed: [], kept: [] } },
    ...{ taps: { attached: [], detached: [], replaced: [] }, peers: { added: 0, removed: 1 } },
    ...{ endpoints: { added: 0, removed: 0 }, refused: [], restart: ['networks[dev]', 'local'] },
  });
  assert.is(
    line,
    '2026-11-27T14:12:05.123Z reloaded 2 segments added, 1 network added, 1 peer removed; ' +
      'only after a restart: networks[dev], local',
  );
});

test.run();
