/** What a sink contains of one network, against a list of the records. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SinkEndpoints, type EndpointChange, type OverlayEndpoint } from '../src/gossip/networkdb/overlay-sink.js';

const nameOf = ({ ip, mac, vtep }: OverlayEndpoint): string => `${ip} ${mac} ${vtep}`;

test('a sink contains an endpoint while a record describes it, and a peer while it has one, and hears of each once', () => {
  const endpoint = fc.record({
    ip: fc.constantFrom('10.0.0.1', '10.0.0.2'),
    mac: fc.constantFrom('02:00:00:00:00:01', '02:00:00:00:00:02'),
    vtep: fc.constantFrom('192.0.2.1', '192.0.2.2', '192.0.2.3'),
    since: fc.nat(3),
  });
  const change = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd', 'e'), after: fc.option(endpoint, { freq: 2 }) });
  const changes = fc.uniqueArray(change, { selector: ({ key }) => key, maxLength: 5 });
  fc.assert(
    fc.property(
      fc.array(fc.oneof({ weight: 9, arbitrary: changes }, fc.constant(null)), { maxLength: 30 }),
      (updates) => {
        const records = new Map<string, OverlayEndpoint>();
        const [endpoints, peers] = [new Set<string>(), new Set<string>()];
        const heard: string[] = [];
        const add = (to: Set<string>, what: string): void => {
          assert.not(to.has(what), `${what} was there`);
          to.add(what);
          heard.push(`+${what}`);
        };
        const remove = (from: Set<string>, what: string): void => {
          assert.ok(from.delete(what), `${what} was not there`);
          heard.push(`-${what}`);
        };
        const sink = new SinkEndpoints(
          7,
          {
            addEndpoint: (vni, one) => {
              assert.equal([vni, Object.keys(one)], [7, ['ip', 'mac', 'vtep']]);
              add(endpoints, nameOf(one));
            },
            removeEndpoint: (_, one) => remove(endpoints, nameOf(one)),
            addPeer: (_, address) => add(peers, address),
            removePeer: (_, address) => remove(peers, address),
          },
          (ip) => [...records].flatMap(([key, one]) => (one.ip === ip ? [key] : [])),
        );
        for (const update of updates) {
          heard.length = 0;
          if (update === null) {
            records.clear();
            sink.clear();
          } else {
            for (const { key, after } of update)
              if (after === null) records.delete(key);
              else records.set(key, after);
            sink.update(update as EndpointChange[]);
          }
          const all = [...records.values()];
          assert.equal([...endpoints].sort(), [...new Set(all.map(nameOf))].sort());
          assert.equal([...peers].sort(), [...new Set(all.map(({ vtep }) => vtep))].sort());
          assert.equal(sink.peers().sort(), [...peers].sort());
          assert.is(sink.size, records.size);
          // What remains is not removed for a moment, and endpoints are added before others are removed.
          assert.is(new Set(heard.map((one) => one.slice(1))).size, heard.length, heard.join(', '));
          const isEndpoint = (one: string): boolean => one.includes(' ');
          const first = heard.findIndex((one) => one.startsWith('-'));
          assert.ok(first < 0 || !heard.slice(first).some((one) => one.startsWith('+') && isEndpoint(one)));
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test.run();
