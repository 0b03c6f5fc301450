/**
 * The cluster’s machine on a virtual clock: several managers, whose mirrors lag behind one store, and agents. Managers and hosts crash,
 * are cut off and return; nodes join and are removed; messages are late, lost and doubled; people create and remove networks,
 * endpoints and services. At all times, each address has one owner at most, each endpoint has its addresses, each node hears of its own
 * networks only, and each gossip message can be decrypted. After a quiet time, what runs is what should run.
 * (support/seeds.ts says how to run a single seed.)
 */
import { test } from 'uvu';
import {
  assignmentsOf,
  plan,
  isRefusal,
  State,
  type Answer,
  type Command,
  type Refusal,
} from '../src/cluster/index.js';
import { type Random } from '../src/sim/index.js';
import { CA, idOf, newNode } from './support/cluster.js';
import { SimAgent, SimCluster, SimManager } from './support/cluster-sim.js';
import { settle, simulate, type Log } from './support/seeds.js';

const MINUTE = 60_000;
/** How often a node that joins repeats its request at most. */
const TRIES = 100;

/** A cluster with a few nodes, of which some are managers. */
function start(seed: number, log: Log): SimCluster {
  const cluster = new SimCluster(seed, log);
  const { random } = cluster;
  const first = new State();
  const context = { now: 0, random: () => random.float() };
  const init = plan(first, { do: 'init-cluster', node: newNode(cluster.nextNumber), ca: CA }, context);
  if (isRefusal(init)) throw new Error(init.message);
  cluster.commit(init.transaction);
  addNode(cluster, idOf(1), 'host1', true);
  return cluster;
}

function addNode(cluster: SimCluster, id: string, name: string, isManager: boolean): void {
  cluster.agents.set(id, new SimAgent(cluster, { id, name }));
  if (isManager) cluster.managers.set(id, new SimManager(cluster, id));
}

/** A new node joins with a token, as its manager asks for it. */
function join(cluster: SimCluster, role: 'manager' | 'worker'): void {
  const node = newNode(cluster.nextNumber);
  const secret = JSON.parse(cluster.store.items.get(`tokens/${role}`)!.value) as string;
  cluster.heard.set(node.id, cluster.clock.now + MINUTE);
  const joined = (answer: Answer | Refusal | undefined): void => {
    cluster.log(`${node.name} joins as ${role}: ${text(answer)}`);
    if (answer !== undefined && !('code' in answer)) addNode(cluster, node.id, node.name, role === 'manager');
  };
  cluster.command({ do: 'join', node, secret }, node.id, joined, TRIES);
}

const text = (answer: Answer | Refusal | undefined): string =>
  answer === undefined
    ? 'no answer'
    : 'code' in answer && 'message' in answer
      ? `${answer.code}: ${answer.message}`
      : 'done';

const pickName = (random: Random, kind: string): string => `${kind}${random.integer(3)}`;

/** What people do: a random command, from a random node. */
function act(cluster: SimCluster, random: Random): void {
  const agents = [...cluster.agents.values()].filter(({ up }) => up);
  const managers = agents.filter(({ id }) => cluster.managers.get(id)?.up === true);
  if (managers.length === 0) return;
  const network = pickName(random, 'net');
  const kind = random.integer(20);
  let from = random.pick(managers).id;
  let command: Command;
  if (kind < 3) {
    // Small subnets, so that addresses run out and are used again; now and then one that another network has.
    const number = random.chance(0.9) ? network.slice(-1) : random.integer(3);
    const subnets = random.chance(0.8) ? [{ subnet: `10.${number}.0.0/${random.pick([28, 29])}` }] : [];
    const encrypted = random.pick([undefined, 128, 256] as const);
    command = { do: 'create-network', name: network, subnets, ipv6: random.chance(0.2), encrypted };
  } else if (kind < 4) command = { do: 'remove-network', network };
  else if (kind < 9) {
    from = random.pick(agents).id;
    const addresses = random.chance(0.3) ? [`10.${network.slice(-1)}.0.${2 + random.integer(5)}`] : [];
    const id = idOf(1e9 + random.next());
    command = { do: 'create-endpoint', id, name: pickName(random, 'e'), network, kind: 'run', addresses };
  } else if (kind < 12) {
    from = random.chance(0.5) ? random.pick(agents).id : from;
    command = { do: 'remove-endpoint', network, endpoint: pickName(random, 'e') };
  } else if (kind < 15) {
    const networks = [...new Set([network, pickName(random, 'net')])].slice(0, 1 + random.integer(2));
    command = {
      do: 'create-service',
      name: pickName(random, 's'),
      networks,
      command: ['x'],
      replicas: random.integer(5),
    };
  } else if (kind === 17 && random.chance(0.5)) command = { do: 'rotate-network-key', network };
  else if (kind < 17) command = { do: 'scale-service', service: pickName(random, 's'), replicas: random.integer(6) };
  else if (kind < 18) command = { do: 'remove-service', service: pickName(random, 's') };
  else command = { do: 'rotate-gossip-keys' };
  cluster.command(command, from, (answer) => cluster.log(`${JSON.stringify(command)}: ${text(answer)}`));
}

/** What happens to hosts: a random one stops, is cut off, returns, is removed; a new one joins. */
function happen(cluster: SimCluster, random: Random): void {
  const agents = [...cluster.agents.values()].filter(({ isGone }) => !isGone);
  const agent = random.pick(agents);
  const manager = cluster.managers.get(agent.id);
  const what = random.integer(12);
  const say = (line: string): void => cluster.log(`${agent.name} ${line}`);
  if (!agent.isRunning || agent.isCut) {
    say('returns');
    revive(cluster, agent);
  } else if (what < 4) {
    const isReboot = random.chance(0.5);
    say(isReboot ? 'crashes' : 'loses its agent');
    agent.stop(isReboot);
    if (isReboot) manager?.stop();
    if (!isReboot) cluster.clock.after(random.integer(3000), () => !agent.isRunning && !agent.isGone && agent.start());
  } else if (what < 7) {
    say('is cut off');
    agent.cut(true);
    manager?.stop();
  } else if (what < 9 && manager !== undefined) {
    manager.lag = random.pick([50, 200, 5000]);
    say(`is behind by up to ${manager.lag} ms`);
  } else if (what < 10 && agents.length < 8) join(cluster, random.chance(0.2) ? 'manager' : 'worker');
  else if (agents.length > 3 && manager === undefined) {
    // Removed by others, whatever it runs, or by itself; then it is told, and ends what it runs.
    say('goes');
    const by = [...cluster.managers.values()].find(({ up }) => up)?.node;
    if (by === undefined) return;
    if (random.chance(0.5)) cluster.command({ do: 'remove-node', node: agent.id, force: true }, by, () => undefined);
    else cluster.command({ do: 'leave' }, agent.id, () => undefined);
  }
}

function revive(cluster: SimCluster, agent: SimAgent): void {
  const manager = cluster.managers.get(agent.id);
  agent.cut(false);
  if (!agent.isRunning) agent.start();
  if (manager?.up === false) manager.start();
}

/** Errors: everything that should run must run, once, and nothing else. */
function findings(cluster: SimCluster): string[] {
  const { store, violations } = cluster;
  const managers = [...cluster.managers.values()].filter(({ up }) => up);
  const behind = managers.filter(({ state }) => state.revision !== store.revision);
  if (violations.length > 0 || behind.length > 0)
    return [...violations, ...behind.map(({ node }) => `${node} is behind`)];
  const found: string[] = [];
  const { state } = managers[0]!;
  for (const { isGone, keys, name } of cluster.agents.values())
    if (isGone && keys.some(({ key }) => state.gossipKeys.some((one) => one.key === key)))
      found.push(`${name} is gone, and has a key of the gossip`);
  for (const { isGone, networkKeys, name } of cluster.agents.values())
    for (const [network, known] of networkKeys) {
      const keys = state.networkKeys.get(network) ?? [];
      if (isGone && known.some(({ key }) => keys.some((one) => one.key === key)))
        found.push(`${name} is gone, and has a key of ${network}`);
    }
  const agents = [...cluster.agents.values()].filter(({ isGone }) => !isGone);
  for (const { id, name, networkKeys } of agents)
    for (const { id: network } of state.networks.values()) {
      const takesPart = [...state.endpointsOn(id).values()].some((endpoint) => endpoint.network === network);
      const wanted = takesPart ? (state.networkKeys.get(network) ?? []) : [];
      const text = (keys: readonly { number: number; key: string }[]): string =>
        keys.map(({ number, key }) => `${number} ${key}`).join();
      if (text(networkKeys.get(network) ?? []) !== text(wanted))
        found.push(`${name} has other keys of ${network} than it should`);
    }
  for (const { id } of agents) if (state.nodes.get(id)?.state !== 'alive') found.push(`${id} is not alive`);
  for (const service of state.services.values()) {
    const tasks = [...state.tasksOf(service.id).values()].sort((a, b) => a.slot - b.slot);
    const slots = tasks.map(({ slot }) => slot).join();
    const wanted = Array.from({ length: service.replicas }, (_, i) => i + 1).join();
    if (slots !== wanted) found.push(`${service.name} has the slots ${slots}, not ${wanted}`);
    for (const task of tasks) {
      // More replicas than a small subnet has addresses: the task says so.
      if (task.state === 'pending' && /no address is free|is the name|has an endpoint/.test(task.reason ?? ''))
        continue;
      const agent = cluster.agents.get(task.node);
      const running = agent?.processes.get(task.id);
      if (task.state !== 'running' || running?.state !== 'running' || running.attempt !== task.attempt)
        found.push(`${service.name}.${task.slot} on ${agent?.name}: ${task.state}, ${running?.state}, ${task.reason}`);
      const networks = task.endpoints.map(({ id }) => state.endpoints.get(id)?.network).join();
      if (networks !== service.networks.join()) found.push(`${service.name}.${task.slot} is in ${networks}`);
    }
  }
  for (const service of state.servicesWithTasks())
    if (!state.services.has(service)) found.push(`tasks of a service that is gone: ${service}`);
  const count = agents.reduce((sum, { sandboxes }) => sum + sandboxes.size, 0);
  if (count !== state.endpoints.size) found.push(`${count} sandboxes, and ${state.endpoints.size} endpoints`);
  for (const endpoint of state.endpoints.values()) {
    const { id, network, addresses, node, name } = endpoint;
    const has = cluster.agents.get(node)?.sandboxes.get(id)?.join();
    const should = addresses.map((ip) => `${network}/${ip}`).join();
    if (has !== should) found.push(`${name} has ${has}, not ${should}`);
  }
  return [...found, ...loose(cluster, state)];
}

/** Errors: mirrors that followed every change must say the same as a new one. */
function differences({ store, managers, agents }: SimCluster): string[] {
  const found: string[] = [];
  const fresh = State.of({ revision: store.revision, items: [...store.items.values()] });
  for (const id of agents.keys()) {
    const should = JSON.stringify(assignmentsOf(fresh, id));
    for (const manager of managers.values())
      if (JSON.stringify(assignmentsOf(manager.state, id)) !== should)
        found.push(`manager ${manager.node} has another assignment for ${id} than a new mirror`);
  }
  return found;
}

/** Keys of the store that belong to nothing. */
function loose({ store }: SimCluster, state: State): string[] {
  const found: string[] = [];
  const read = (key: string): unknown => JSON.parse(store.items.get(key)!.value);
  for (const key of store.items.keys()) {
    const [kind, first = '', second] = key.split('/');
    const isLoose = (): boolean => {
      if (kind === 'addresses') {
        const { endpoint } = read(key) as { endpoint?: string };
        return endpoint !== undefined && state.endpoints.get(endpoint)?.addresses.includes(second!) !== true;
      }
      if (kind === 'endpoint-names' || kind === 'macs') return !state.endpoints.has(read(key) as string);
      if (kind === 'network-names' || kind === 'service-names')
        return !state.networks.has(read(key) as string) && !state.services.has(read(key) as string);
      if (kind === 'vnis') {
        const { network } = read(key) as { network?: string };
        return network !== undefined && !state.networks.has(network);
      }
      if (kind === 'network-keys') return state.networks.get(first)?.encrypted === undefined;
      return (kind === 'uses' || kind === 'endpoints') && !state.networks.has(first);
    };
    if (isLoose()) found.push(`${key} is left over`);
  }
  return found;
}

/** A cluster with two times of random events, each followed by a quiet time. */
function run(seed: number, log: Log): string[] {
  const cluster = start(seed, log);
  const { random, clock } = cluster;
  cluster.loss = random.pick([0, 0.1, 0.3]);
  join(cluster, 'manager');
  // Something to work with.
  for (const name of ['net0', 'net1'])
    cluster.command(
      { do: 'create-network', name, subnets: [{ subnet: `10.${name.slice(-1)}.0.0/29` }], encrypted: 256 },
      idOf(1),
      () => undefined,
    );
  for (let i = random.integer(4); i >= 0; i--) join(cluster, random.chance(0.2) ? 'manager' : 'worker');
  for (let round = 0; round < 2; round++) {
    cluster.calm = false;
    for (const manager of cluster.managers.values()) manager.lag = random.pick([50, 200, 2000]);
    for (let turns = 8 + random.integer(12); turns > 0; turns--) {
      // Now and then long enough for released addresses to be given again.
      clock.advance(random.chance(0.1) ? random.integer(90_000) : random.integer(2000));
      if (random.chance(0.25)) happen(cluster, random);
      else for (let commands = 1 + random.integer(3); commands > 0; commands--) act(cluster, random);
      cluster.checkKeys();
    }
    log('quiet');
    cluster.calm = true;
    for (const manager of cluster.managers.values()) manager.lag = 200;
    for (const agent of cluster.agents.values())
      if (!agent.isGone && !(agent.up && cluster.managers.get(agent.id)?.up !== false)) revive(cluster, agent);
    const found = settle(clock, () => findings(cluster), 5 * MINUTE, 5000);
    found.push(...differences(cluster));
    if (found.length > 0) return [`after round ${round}`, ...found];
  }
  return [];
}

simulate({
  file: 'test/cluster-sim.test.ts',
  holds: 'what runs is what should run, and no address is held twice',
  count: 1000,
  run,
});

test.run();
