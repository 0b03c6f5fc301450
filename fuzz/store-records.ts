/**
 * What a store tells a manager: the input is text, each line of which is a change: `KEY VALUE`, or `-KEY` for one that was deleted. An
 * empty line ends a revision. A revision is applied as a whole, or refused with the key and the field at fault, and then nothing of it is
 * applied. A mirror that has followed all revisions equals one that is filled with what the store has. Whatever the records say
 * of each other, nodes get what they have to do, and no decision is a record that a manager could not read.
 */
import {
  assignmentsOf,
  outputCalled,
  readRecord,
  reconcile,
  RecordError,
  State,
  viewFor,
  type Item,
  type StoreChange,
} from '../src/cluster/index.js';
import { Random } from '../src/sim/index.js';
import { attempt, ensure, equal } from '../test/support/contract.js';

/** Most revisions, and changes of one. */
const REVISIONS = 16;
const CHANGES = 64;
const NOW = 1_800_000_000_000;

export function fuzz(data: Uint8Array): void {
  const items = new Map<string, Item>();
  const state = new State();
  let revision = 0;
  for (const group of Buffer.from(data).toString('utf8').split('\n\n').slice(0, REVISIONS)) {
    const changes = changesOf(group, revision + 1);
    const before = dump(state);
    const [, error] = attempt(() => state.apply(revision + 1, changes));
    if (error === undefined) {
      revision++;
      for (const { key, item } of changes) {
        if (item === null) items.delete(key);
        else items.set(key, item);
      }
    } else {
      ensure(error instanceof RecordError, `${String(error)} is not about a record`);
      ensure(
        changes.some(({ key }) => key === error.key),
        `${error.key} is no key of the revision`,
      );
      ensure(error.message.includes(error.field), `"${error.message}" does not have the field ${error.field}`);
      equal(dump(state), before, 'the state after a revision that was refused');
    }
  }
  equal(
    dump(state),
    dump(State.of({ revision, items: [...items.values()] })),
    'a mirror that followed, and one filled',
  );
  use(state);
}

function changesOf(group: string, modified: number): StoreChange[] {
  const changes = new Map<string, StoreChange>();
  for (const line of group.split('\n').slice(0, CHANGES)) {
    if (line === '') continue;
    const blank = line.indexOf(' ');
    if (line.startsWith('-')) changes.set(line.slice(1), { key: line.slice(1), item: null });
    else {
      const [key, value] = blank < 0 ? [line, ''] : [line.slice(0, blank), line.slice(blank + 1)];
      changes.set(key, { key, item: { key, value, created: modified, modified } });
    }
  }
  return [...changes.values()];
}

/** What a state says, with what follows from it. */
function dump(state: State): unknown {
  const sorted = (map: ReadonlyMap<unknown, unknown>): unknown[] =>
    [...map].map((entry) => JSON.stringify(entry)).sort();
  const { cluster, ca, gossipKeys, tokens, nodes, networks, networkKeys, services, endpoints, vniMarks, addressMarks } =
    state;
  return {
    cluster,
    ca,
    gossipKeys,
    maps: [tokens, nodes, networks, networkKeys, services, endpoints, vniMarks, addressMarks].map(sorted),
    revoked: [...state.revoked].sort(),
    prefixes: [...networks.values()].map(({ subnets }) =>
      subnets.map(({ prefix }) =>
        state.prefixes
          .overlaps(prefix, 1000)
          .map((used) => JSON.stringify(used))
          .sort(),
      ),
    ),
    owners: [...networks.values()].flatMap(({ id, subnets }) => [
      ...subnets.map(({ vni }) => state.vnis.ownerOf(vni)),
      ...state.domains(id).map(({ addresses }) => addresses.size),
    ]),
    named: [...networks.values()].map(({ name }) => state.networkNamed(name)?.id),
    tasks: [...services.keys()].map((id) => sorted(state.tasksOf(id))),
  };
}

/** What a manager does with a state. */
function use(state: State): void {
  const nodes = [...state.nodes.keys()];
  for (const node of nodes) {
    assignmentsOf(state, node);
    viewFor(state, node);
    for (const name of ['test', 'test.1', ...state.services.keys()]) outputCalled(state, node, 'worker', name);
  }
  const random = new Random(1);
  const { transactions } = reconcile(state, { now: NOW, random: () => random.float() });
  for (const { writes } of transactions)
    for (const write of writes)
      readRecord('put' in write ? write.put : write.delete, 'put' in write ? write.value : null);
}
