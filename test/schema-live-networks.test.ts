/** The rules for a network that is added to a running VTEP: defaults, and what contradicts what is there. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { newNetwork, plan, planNetwork, SchemaError, type NewNetwork, type Plan } from '../src/schema/index.js';

const [HERE, THERE] = ['192.168.1.9', '192.168.1.25'];
const two = [
  { prefix: '10.1.1.0/24', vni: 5001 },
  { prefix: '11.1.1.0/24', gateway: '11.1.1.254', vni: 5002 },
];
const prod: NewNetwork = { name: 'prod', subnets: two };
const configured = (config: object): Plan => ({
  ...plan({ local: HERE, segments: [{ vni: 9 }], taps: [{ name: 'any', vni: 9 }], ...config }),
  taps: [],
});
const bare = configured({});
const agent = configured({ gossip: {} });

/** What is wrong with a network. */
function complaints(network: object, at: Plan = bare): string[] {
  try {
    planNetwork(newNetwork(network, at), {}, at);
    return [];
  } catch (error) {
    assert.instance(error, SchemaError);
    return [...(error as SchemaError).lines];
  }
}

test('a network has the defaults of a configuration, and one of the gossip with one subnet has no router', () => {
  const [same] = plan({ local: HERE, segments: [], networks: [prod], taps: [{ name: 'a', vni: 5001 }] }).networks;
  const brief = (value: object, at: Plan): unknown => {
    const { id, mac, subnets, path } = newNetwork(value, at);
    return [path.split('[')[0], id, mac, ...subnets.map(({ prefix, gateway, vni }) => ({ prefix, gateway, vni }))];
  };
  assert.equal(brief(prod, bare), ['networks', 'prod', same!.mac, ...same!.subnets]);
  assert.equal(brief(prod, agent), ['gossip.networks', 'prod', same!.mac, ...same!.subnets]);
  assert.equal(brief({ ...prod, gossip: false }, agent), ['networks', 'prod', same!.mac, ...same!.subnets]);
  const [one] = two as [(typeof two)[0]];
  const none = { ...one, gateway: undefined };
  const first = { ...one, gateway: '10.1.1.1' };
  assert.equal(brief({ name: 'n', subnets: [one] }, agent), ['gossip.networks', 'n', undefined, none]);
  const [, , derived] = brief({ name: 'n', subnets: [one] }, bare) as string[];
  assert.equal(brief({ name: 'n', subnets: [first] }, agent), ['gossip.networks', 'n', derived, first]);
  const mac = '02:00:00:00:00:fe';
  assert.equal(brief({ name: 'n', mac, subnets: [one] }, agent), ['gossip.networks', 'n', mac, first]);
});

test('the segments of a network have the settings, and those that are there already keep theirs', () => {
  const at = configured({ segments: [{ vni: 9 }, { vni: 5001, learn: false }] });
  const network = newNetwork(prod, at);
  const made = planNetwork(network, {}, at);
  assert.equal(
    made.map(({ vni, learn }) => [vni, learn]),
    [[5002, true]],
  );
  const settings = { mtu: 1400, flood: false, ageing: 9, peers: [THERE] };
  const all = planNetwork(network, settings, bare);
  assert.equal(
    all.map(({ vni, mtu, flood, ageing, peers }) => [vni, mtu, flood, ageing, peers]),
    [5001, 5002].map((vni) => [vni, 1400, false, 9, [THERE]]),
  );
  assert.throws(() => planNetwork(network, { mtu: 1400 }, at), /^mtu: is for segments that come with the network, and/);
  assert.throws(
    () => planNetwork(network, { peers: [HERE] }, bare),
    /^peers\[0\]: expected the address of another VTEP/,
  );
  const dual = [
    { prefix: '10.1.1.0/24', vni: 7 },
    { prefix: 'fd00:1::/64', vni: 7 },
  ];
  assert.equal(
    planNetwork(newNetwork({ name: 'n', subnets: dual }, bare), {}, bare).map(({ vni }) => vni),
    [7],
  );
});

test('what is wrong with a network is told by its fields', () => {
  const [one, other] = two as [(typeof two)[0], (typeof two)[1]];
  const of = (...subnets: object[]): string[] => complaints({ name: 'n', subnets });
  assert.equal(of(), ['subnets: expected a list of 1 to 64 subnets, got []']);
  const many = Array.from({ length: 65 }, (_, i) => ({ prefix: `10.${i >> 8}.${i & 255}.0/24`, vni: 10 + i }));
  assert.equal(of(...many.slice(1)), []);
  assert.match(of(...many)[0]!, /^subnets: expected a list of 1 to 64 subnets, got \[/);
  assert.equal(of(one, { ...other, vni: 5001 }), ['subnets[1].vni: 5001 is given twice (before as subnets[0].vni)']);
  assert.equal(of(one, { prefix: '10.1.0.0/16', vni: 7 }), [
    'subnets[1].prefix: 10.1.0.0/16 shares addresses with 10.1.1.0/24 (subnets[0].prefix)',
  ]);
  assert.equal(of({ ...one, gateway: '10.1.2.1' }), [
    'subnets[0].gateway: expected an address of 10.1.1.0/24, got "10.1.2.1"',
  ]);
  assert.equal(complaints({ name: 'a b', subnets: two, peer: 1 }), [
    'peer: unknown field; did you mean "peers"?',
    'name: expected an id of 1 to 255 characters without "/" and white space, got "a b"',
  ]);
  const six = { prefix: 'fd00::/64', vni: 7 };
  assert.equal(of(six), []);
  assert.equal(complaints({ name: 'n', subnets: [six] }, agent), []);
  assert.equal(complaints({ name: 'n', subnets: [one, { ...six, vni: one.vni }] }, agent), []);
  assert.equal(complaints({ name: 'n', subnets: [six], gossip: false }, agent), []);
});

test('a gateway that something of its segment contradicts', () => {
  const [one] = two as [(typeof two)[0]];
  const mac = '02:00:00:00:00:fe';
  const at = (segment: object): Plan => configured({ segments: [{ vni: 9 }, { vni: 5001, ...segment }] });
  const endpoint = { ip: '10.1.1.1', mac: '02:00:00:00:00:01', vtep: THERE };
  const network = { name: 'n', mac, subnets: [one] };
  assert.equal(complaints(network, at({ endpoints: [{ ...endpoint, ip: '10.1.1.2' }] })), []);
  assert.equal(complaints(network, at({ endpoints: [endpoint] })), [
    'subnets[0].gateway: does not go with endpoint ip of segment 5001',
  ]);
  assert.equal(complaints(network, at({ mac })), ['the network does not go with mac of segment 5001']);
});

test.run();
