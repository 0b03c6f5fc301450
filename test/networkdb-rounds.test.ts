/** The schedule of the gossip of many networks. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Rounds } from '../src/gossip/networkdb/rounds.js';

const INTERVAL = 200;
const NETWORKS = Array.from({ length: 300 }, (_, i) => i);

/** Runs rounds until `until`, and returns the networks of each turn with its time. */
function run(rounds: Rounds<number>, until: number, advance: () => void = () => undefined): [number, number[]][] {
  const turns: [number, number[]][] = [];
  rounds.start(0);
  while (rounds.next < until) {
    const now = rounds.next;
    const turn: number[] = [];
    rounds.tick(
      now,
      () => NETWORKS,
      (network) => {
        turn.push(network);
        advance();
      },
      () => undefined,
    );
    turns.push([now, turn]);
  }
  return turns;
}

const sorted = (networks: number[]): number[] => [...networks].sort((a, b) => a - b);

test('each network has its turn once in each interval, within its first half, and another one is first', () => {
  const turns = run(new Rounds(INTERVAL), 3 * INTERVAL);
  const firsts = new Set<number>();
  for (let start = 0; start < 3 * INTERVAL; start += INTERVAL) {
    const round = turns.filter(([at]) => at >= start && at < start + INTERVAL);
    assert.equal(sorted(round.flatMap(([, networks]) => networks)), NETWORKS);
    assert.ok(round.every(([at, networks]) => at < start + INTERVAL / 2 && networks.length <= 30));
    firsts.add(round[0]![1][0]!);
  }
  assert.is(firsts.size, 3);
});

test('a turn that takes long makes a pause after 2 ms, and the round still has every network once', () => {
  let clock = 0;
  const turns = run(new Rounds(INTERVAL, () => clock), INTERVAL, () => (clock += 0.5));
  assert.ok(turns.every(([, networks]) => networks.length <= 4));
  assert.equal(sorted(turns.flatMap(([, networks]) => networks)), NETWORKS);
});

test.run();
