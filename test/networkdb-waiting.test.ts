/** What refuses a waiting endpoint, against a naive search through all records. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { contradict, Placements, type Placement } from '../src/gossip/networkdb/placements.js';
import { goesFirst, WaitingList } from '../src/gossip/networkdb/waiting.js';
import { naiveHolder } from './support/naive-rule.js';

const few = (...texts: string[]): fc.Arbitrary<string> => fc.constantFrom(...texts);

const placement = (parameters: fc.Arbitrary<string>): fc.Arbitrary<Placement> =>
  fc
    .record({
      key: few('k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'k7', 'k8'),
      owner: few('a', 'b', 'c'),
      ip: few('10.0.0.1', '10.0.0.2', '10.0.0.3'),
      mac: few('m1', 'm2', 'm3'),
      vtep: few('v1', 'v2', 'v3'),
      parameters,
      since: fc.integer({ min: 1, max: 6 }),
    })
    .map((fields) => ({ ...fields, attached: fields.since }));

/** Whether the ruling, or the holder of an address, refuses a placement: searches all records. */
function isRefused(wanted: Placement, placements: Placements, records: Map<string, Placement>): boolean {
  const { ruling } = placements;
  if (wanted.parameters !== '' && ruling !== null && ruling.parameters !== wanted.parameters) return true;
  const all = [...records.values()].filter(
    ({ parameters }) => parameters === '' || ruling === null || parameters === ruling.parameters,
  );
  const { ip, mac, vtep, since } = wanted;
  const byIp = naiveHolder(all.filter((one) => one.ip === ip));
  const byMac = naiveHolder(all.filter((one) => one.mac === mac));
  if (byIp !== undefined && byIp.mac !== mac) return true;
  if (byIp !== undefined && byIp.vtep !== vtep)
    if (byIp.since > since || (byIp.since === since && byIp.vtep < vtep)) return true;
  return byMac !== undefined && byMac.vtep !== vtep && byMac.ip !== ip;
}

function rivalOf(
  wanted: Placement,
  waiting: Map<string, Placement>,
  placements: Placements,
  records: Map<string, Placement>,
): Placement | null {
  for (const other of waiting.values()) {
    if (other.owner === wanted.owner || !goesFirst(other, wanted)) continue;
    const isOther = other.parameters !== wanted.parameters && other.parameters !== '' && wanted.parameters !== '';
    if (!contradict(other, wanted) && !(isOther && placements.ruling === null)) continue;
    if (!isRefused(other, placements, records)) return other;
  }
  return null;
}

for (const [what, announcedWith] of [
  ['with a ruling', few('', 'p1', 'p2')],
  ['without a ruling', few('')],
] as const)
  test(`a waiting endpoint is refused as by a search through all records, ${what}`, () => {
    const change = fc.tuple(fc.boolean(), fc.boolean(), placement(announcedWith), placement(few('', 'p1', 'p2')));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const placements = new Placements();
        const list = new WaitingList();
        const records = new Map<string, Placement>();
        const waiting = new Map<string, Placement>();
        for (const [isWaiting, removes, announced, waits] of changes) {
          if (isWaiting) {
            list.set(waits.key, removes ? null : waits);
            if (removes) waiting.delete(waits.key);
            else waiting.set(waits.key, waits);
          } else if (removes) {
            placements.remove(announced.key);
            records.delete(announced.key);
          } else {
            placements.put(announced);
            records.set(announced.key, announced);
          }
          placements.settle();
          assert.equal([...list.all()], [...waiting.values()]);
          for (const one of [...waiting.values(), waits]) {
            const rival = list.rivalOf(one, placements);
            if (isRefused(one, placements, records)) assert.ok(rival !== null);
            else assert.is(rival, rivalOf(one, waiting, placements, records));
          }
        }
      }),
      { numRuns: 400 },
    );
  });

test.run();
