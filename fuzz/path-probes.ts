/**
 * Probes of path MTUs: the codec, and what a peer or a router can do to the search. The input is a series of operations: a kind
 * octet, a length in two octets, and as many bytes.
 *
 *     0, 1     a datagram from a peer, from an unknown host
 *     2        a peer answers the last probe; the bytes, if any, are written over the answer from its start on
 *     3        a router refuses the last probe: the MTU in two octets
 *     4        time passes: seconds from the first octet, with a tick for each
 *
 * Whatever happens, an answer is not longer than its probe, no path counts as narrower than every path may be, and a second has
 * a bounded number of probes.
 */
import { Frame, UNLIMITED, Vtep, type VtepSink } from '../src/vtep/index.js';
import { probe } from '../src/vxlan/index.js';
import { TRUNCATED, WireError } from '../src/wire/index.js';
import { ensure, equal } from '../test/support/contract.js';

const PEER = '198.51.100.2';
const STRANGER = '203.0.113.9';
const MOST = 8;
/** Probes of one round. */
const ROUND = 3;

export function fuzz(data: Uint8Array): void {
  codec(data);
  const random = (octets: Uint8Array): void =>
    octets.forEach((_, i) => (octets[i] = (data.length + tokens++ + i) & 255));
  let tokens = 0;
  const vtep = new Vtep({ local: '192.0.2.1', random, probes: MOST });
  vtep.addSegment({ vni: 7 });
  vtep.addPeer(7, PEER);
  const remote = vtep.remote(PEER)!;
  let last: Uint8Array | null = null;
  let longest = Infinity;
  let sent = 0;
  const sink: VtepSink = {
    deliver: () => ensure(false, 'a probe is delivered'),
    transmit: () => ensure(false, 'a probe is forwarded'),
    probe: (_, bytes) => {
      ensure(bytes.length <= longest, `an answer of ${bytes.length} bytes to a datagram of ${longest}`);
      if (probe.getType(bytes, 0) === probe.TYPE_PROBE) {
        last = bytes;
        sent++;
      }
      return bytes.length < 1400;
    },
    largestTo: () => 1458,
  };
  let now = 1000;
  const receive = (from: string, bytes: Uint8Array): void => {
    longest = bytes.length;
    vtep.receiveDatagram(from, new Frame(bytes, 0, bytes.length), now, 0, sink);
    longest = Infinity;
  };
  for (let at = 0; at + 3 <= data.length;) {
    const kind = data[at]! % 5;
    const input = data.slice(at + 3, at + 3 + ((data[at + 1]! << 8) | data[at + 2]!));
    at += 3 + input.length;
    if (kind < 2) receive(kind === 0 ? PEER : STRANGER, input);
    else if (kind === 2 && last !== null) {
      const answer: Uint8Array = probe.encode({ ...probe.decode(last), type: probe.TYPE_ANSWER, padding: 0 });
      answer.set(input.subarray(0, answer.length));
      receive(PEER, answer);
    } else if (kind === 3 && last !== null && input.length >= 2)
      vtep.paths.refused(remote, last, 0, (last as Uint8Array).length, (input[0]! << 8) | input[1]!, now);
    else if (kind === 4)
      for (let i = (input[0] ?? 1) % 100; i > 0; i--) {
        sent = 0;
        vtep.tick((now += 1000), sink);
        ensure(sent <= MOST + ROUND, `${sent} probes in a second`);
      }
    ensure(remote.outerMtu >= 576, `an MTU of ${remote.outerMtu}`);
    ensure(remote.outerMtu <= 1500 || remote.outerMtu === UNLIMITED, `an MTU of ${remote.outerMtu}`);
  }
}

/** `check`, `diagnose` and `decode` agree, and `encode` returns what was decoded. */
function codec(data: Uint8Array): void {
  const length = probe.check(data, 0, data.length);
  const problem = probe.diagnose(data, 0, data.length);
  equal(problem === null, length > 0, 'diagnose');
  if (problem !== null) equal(problem.reason === 'truncated', length === TRUNCATED, 'the reason');
  try {
    equal([...probe.encode(probe.decode(data))], [...data], 'what was decoded');
    ensure(length > 0, 'decode accepts what check refuses');
  } catch (error) {
    ensure(error instanceof WireError, `decode throws ${String(error)}`);
    ensure(length < 0 || data.subarray(length).some((octet) => octet !== 0), 'decode refuses what check accepts');
  }
}
