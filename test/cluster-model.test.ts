/** The cluster’s machine against a naive model: lists that are searched, numbers for addresses, and the rules as sentences. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assignmentsOf, reconcile, State, TIMES, viewFor, type Refusal } from '../src/cluster/index.js';
import { idOf, TestCluster } from './support/cluster.js';

const NODES = 3;

interface ModelNetwork {
  name: string;
  /** First address and number of addresses. */
  first: number;
  size: number;
  vni: number;
  endpoints: { name: string; ip: number; node: number }[];
  /** When an address was released, and by which node. */
  released: Map<number, { at: number; node: number }>;
}

interface Model {
  networks: ModelNetwork[];
  vnis: Map<number, number>;
  now: number;
}

type Step =
  | { do: 'network'; name: string; third: number; length: number; hasSubnet: boolean }
  | { do: 'remove-network'; name: string }
  | { do: 'endpoint'; name: string; network: string; node: number; host: number | undefined }
  | { do: 'remove-endpoint'; name: string; network: string; by: number }
  | { do: 'wait'; seconds: number };

const networkName = fc.constantFrom('a', 'b', 'B');
const endpointName = fc.constantFrom('x', 'y', 'Y', 'z', 'w');
const node = fc.integer({ min: 1, max: NODES });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('network' as const),
      name: networkName,
      third: fc.integer({ min: 0, max: 3 }),
      length: fc.constantFrom(22, 24, 29, 30),
      hasSubnet: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove-network' as const), name: networkName }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('endpoint' as const),
      name: endpointName,
      network: networkName,
      node,
      host: fc.option(fc.integer({ min: 0, max: 8 }), { nil: undefined }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('remove-endpoint' as const),
      name: endpointName,
      network: networkName,
      by: node,
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 0, max: 90 }) }) },
);

const toNumber = (ip: string): number => ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
const toText = (ip: number): string => [24, 16, 8, 0].map((bits) => Math.floor(ip / 2 ** bits) % 256).join('.');
const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

/** Whether a node may be given an address now that it asks for. */
function mayHave(network: ModelNetwork, ip: number, who: number, now: number): boolean {
  const before = network.released.get(ip);
  return (
    ip > network.first + 1 && // the network and its gateway
    ip < network.first + network.size - 1 && // the broadcast address
    !network.endpoints.some((one) => one.ip === ip) &&
    (before === undefined || before.node === who || now >= before.at + TIMES.hold)
  );
}

/** Carries a step out on both. */
function take(model: Model, cluster: TestCluster, step: Step): void {
  const { networks } = model;
  const network = 'network' in step ? networks.find(({ name }) => same(name, step.network)) : undefined;
  const ran = (command: Parameters<TestCluster['run']>[0], by = 1): [code: string, answer: unknown] => {
    const answer = cluster.run(command, by);
    return 'code' in answer && 'fields' in answer ? [(answer as Refusal).code, answer] : ['done', answer];
  };
  if (step.do === 'wait') {
    model.now += step.seconds * 1000;
    cluster.now = model.now;
    reconcile(cluster.state, cluster.context(cluster.actor(1))).transactions.forEach((one) => cluster.commit(one));
  } else if (step.do === 'network') {
    const first = toNumber(`10.0.${step.third}.0`);
    const size = 2 ** (32 - step.length);
    const start = Math.floor(first / size) * size;
    const subnets = step.hasSubnet ? [{ subnet: `${toText(start)}/${step.length}` }] : [];
    const isNameFree = !networks.some(({ name }) => same(name, step.name));
    const isFree = networks.every((one) => one.first + one.size <= start || start + size <= one.first);
    const [code, answer] = ran({ do: 'create-network', name: step.name, subnets });
    assert.is(code, isNameFree && (!step.hasSubnet || isFree) ? 'done' : 'conflict');
    if (code !== 'done') return;
    const { subnets: made } = answer as { subnets: { prefix: string; vni: number; gateway: string }[] };
    const [prefix, length] = made[0]!.prefix.split('/') as [string, string];
    const { vni, gateway } = made[0]!;
    const given = { first: toNumber(prefix), size: 2 ** (32 - Number(length)) };
    assert.ok(networks.every((one) => one.first + one.size <= given.first || given.first + given.size <= one.first));
    if (step.hasSubnet) assert.is(made[0]!.prefix, subnets[0]!.subnet);
    else assert.is(given.size, 256);
    assert.is(toNumber(gateway), given.first + 1);
    assert.ok(!networks.some((one) => one.vni === vni) && vni >= 4096);
    assert.ok(model.now >= (model.vnis.get(vni) ?? -Infinity) + TIMES.hold, 'a VNI that was just released');
    networks.push({ name: step.name, ...given, vni, endpoints: [], released: new Map() });
  } else if (step.do === 'remove-network') {
    const at = networks.findIndex(({ name }) => same(name, step.name));
    const [code] = ran({ do: 'remove-network', network: step.name });
    assert.is(code, at < 0 ? 'not-found' : networks[at]!.endpoints.length > 0 ? 'in-use' : 'done');
    if (code !== 'done') return;
    model.vnis.set(networks[at]!.vni, model.now);
    networks.splice(at, 1);
  } else if (step.do === 'endpoint') {
    const asked = step.host === undefined || network === undefined ? undefined : network.first + step.host;
    const addresses = asked === undefined ? [] : [toText(asked)];
    const [code, answer] = ran(
      { do: 'create-endpoint', name: step.name, network: step.network, kind: 'run', addresses },
      step.node,
    );
    let wanted = 'done';
    if (network === undefined) wanted = 'not-found';
    else if (network.endpoints.some(({ name }) => same(name, step.name))) wanted = 'conflict';
    else if (asked !== undefined) {
      const isHost = asked > network.first + 1 && asked < network.first + network.size - 1;
      wanted = !isHost ? 'invalid' : mayHave(network, asked, step.node, model.now) ? 'done' : 'conflict';
    } else {
      let some = false; // nobody is given an address that was just released, not even by the node itself
      for (let ip = network.first; ip < network.first + network.size; ip++) some ||= mayHave(network, ip, 0, model.now);
      wanted = some ? 'done' : 'exhausted';
    }
    assert.is(code, wanted);
    if (code !== 'done') return;
    const ip = toNumber((answer as { addresses: string[] }).addresses[0]!);
    if (asked === undefined) assert.ok(mayHave(network!, ip, 0, model.now), toText(ip));
    else assert.is(ip, asked);
    network!.released.delete(ip);
    network!.endpoints.push({ name: step.name, ip, node: step.node });
  } else {
    const endpoint = network?.endpoints.find(({ name }) => same(name, step.name));
    const [code] = ran({ do: 'remove-endpoint', network: step.network, endpoint: step.name }, step.by);
    assert.is(
      code,
      endpoint === undefined ? 'not-found' : step.by !== 1 && endpoint.node !== step.by ? 'forbidden' : 'done',
    );
    if (code !== 'done') return;
    network!.endpoints.splice(network!.endpoints.indexOf(endpoint!), 1);
    network!.released.set(endpoint!.ip, { at: model.now, node: endpoint!.node });
  }
}

/** What the machine says of the whole must be what the model says. */
function compare({ networks }: Model, state: State): void {
  const lines = (list: string[]): string => list.sort().join('\n');
  for (let number = 1; number <= NODES; number++) {
    const assignment = assignmentsOf(state, idOf(number))!;
    const names = new Map(assignment.networks.map(({ id, name }) => [id, name]));
    const own = networks.filter(({ endpoints }) => endpoints.some((one) => one.node === number));
    assert.is(lines([...names.values()]), lines(own.map(({ name }) => name)));
    assert.is(
      lines(
        assignment.endpoints.map(({ name, network, addresses }) => `${names.get(network)} ${name} ${addresses.join()}`),
      ),
      lines(
        own.flatMap(({ name, endpoints }) =>
          endpoints.filter((one) => one.node === number).map((one) => `${name} ${one.name} ${toText(one.ip)}`),
        ),
      ),
    );
    const seen = number === 1 ? networks : own;
    const view = viewFor(state, idOf(number))!;
    assert.is(lines(view.networks.map(({ name }) => name)), lines(seen.map(({ name }) => name)));
    assert.is(view.endpoints.length, seen.flatMap(({ endpoints }) => endpoints).length);
  }
}

test('random commands have the outcome of the naive model', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 80 }), (steps) => {
      const cluster = TestCluster.with(NODES);
      const model: Model = { networks: [], vnis: new Map(), now: cluster.now };
      // Small networks, of which the first has one address for endpoints.
      for (const [name, length, third] of [
        ['a', 30, 0],
        ['b', 29, 1],
      ] as const)
        take(model, cluster, { do: 'network', name, third, length, hasSubnet: true });
      for (const one of steps) take(model, cluster, one);
      compare(model, cluster.state);
      // A mirror that has followed every change says the same as a new one.
      const { store } = cluster;
      const fresh = State.of({ revision: store.revision, items: [...store.items.values()].reverse() });
      compare(model, fresh);
    }),
    { numRuns: 150 },
  );
});

test('no command whatever its fields throws, or writes if it is refused', () => {
  const cluster = TestCluster.with(2);
  cluster.must({ do: 'create-network', name: 'net' });
  cluster.must({ do: 'create-service', name: 's', networks: ['net'], command: ['x'] });
  const kinds = [
    'create-network',
    'create-endpoint',
    'create-service',
    'report-task',
    'join',
    'leave',
    'set-node-role',
  ];
  const value = fc.oneof(
    fc.constantFrom('net', 's', 'host1', '10.0.0.5', 'run', idOf(1), 'worker', '__proto__', 'constructor', ''),
    fc.anything({ maxDepth: 2 }),
  );
  const fields = ['name', 'network', 'networks', 'subnets', 'kind', 'labels', 'node', 'role', 'addresses', 'command'];
  const command = fc
    .tuple(fc.constantFrom(...kinds), fc.dictionary(fc.constantFrom(...fields), value, { maxKeys: 5 }))
    .map(([kind, rest]) => ({ ...rest, do: kind }));
  fc.assert(
    fc.property(fc.oneof(command, fc.anything()), (any) => {
      const before = cluster.store.revision;
      const answer = cluster.run(any as never, 1);
      if ('code' in answer && 'fields' in answer) {
        assert.is(cluster.store.revision, before);
        assert.ok((answer as Refusal).message.length < 1000);
      }
    }),
    { numRuns: 2000 },
  );
});

test.run();
