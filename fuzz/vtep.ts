/**
 * A VTEP. The input is a series of operations: a kind octet, a length in two octets, and as many bytes.
 *
 *     0 to 3   a frame from that port; 2 is a trunk, 3 is in a segment that carries tags and does not flood
 *     4 to 6   a datagram from a peer, from another peer, from an unknown host
 *     7        a datagram from a peer, marked CE
 *     8        time passes: seconds from the bytes
 */
import { HEADROOM, Vtep, type VtepSink } from '../src/vtep/index.js';
import { ensure, equal } from '../test/support/contract.js';

const PORTS = ['a', 'b', 'trunk', 'tagged'];
const REMOTES = ['198.51.100.2', '198.51.100.3', '203.0.113.9'];
const CANARY = 32;

function machine(): Vtep {
  const vtep = new Vtep({ local: '192.0.2.1', learnedRemotes: 4 });
  vtep.addSegment({ vni: 4097, capacity: 64 });
  vtep.addSegment({ vni: 8, proxy: 'vtep', tagged: true, flood: false, mtu: 600, capacity: 64 });
  vtep.addPort({ name: 'a', vni: 4097 });
  vtep.addPort({ name: 'b', vni: 4097 });
  vtep.addPort({ name: 'trunk', vlans: { 10: 4097, 20: 8 } });
  vtep.addPort({ name: 'tagged', vni: 8 });
  for (const peer of REMOTES.slice(0, 2)) vtep.addPeer(4097, peer);
  vtep.addEndpoint(4097, { ip: '10.0.0.3', mac: '02:42:0a:00:00:03' });
  vtep.addEndpoint(4097, { ip: '10.0.0.4', mac: '02:42:0a:00:00:04', vtep: REMOTES[0]! });
  vtep.addEndpoint(8, { ip: '10.0.1.4', mac: '02:42:0a:00:01:04', vtep: REMOTES[1]! });
  return vtep;
}

const sum = (of: Record<string, number>): number => Object.values(of).reduce((total, one) => total + one, 0);

export function fuzz(data: Uint8Array): void {
  const vtep = machine();
  let now = 1000;
  for (let at = 0; at + 3 <= data.length;) {
    const kind = data[at]! % 9;
    const input = data.subarray(at + 3, at + 3 + ((data[at + 1]! << 8) | data[at + 2]!));
    at += 3 + input.length;
    if (kind === 8) {
      now += input.reduce((seconds, octet) => seconds * 256 + octet, 0) % 1_000_000_000;
      vtep.tick(now, { deliver: () => undefined, transmit: () => undefined });
    } else step(vtep, kind, input, now);
  }
  const { counts, drops } = vtep.counters();
  for (const [name, count] of Object.entries({ ...counts, ...drops })) ensure(count >= 0, `${name} is ${count}`);
}

/** Handles one frame or datagram: checks it against `explain`, the bounds of the buffer, and the drop counters. */
function step(vtep: Vtep, kind: number, input: Uint8Array, now: number): void {
  const framed = new Uint8Array(CANARY + HEADROOM + input.length + CANARY).fill(0xa5);
  const start = CANARY + HEADROOM;
  const end = start + input.length;
  framed.set(input, start);
  const local = kind < 4;
  const from = REMOTES[kind === 7 ? 0 : kind - 4] ?? '';
  const ecn = kind === 7 ? 3 : 0;

  const before = JSON.stringify(vtep.counters());
  const { delivered, transmitted } = vtep.explain(
    local ? { port: kind, frame: input } : { from, datagram: input, ecn },
    now,
  );
  equal(JSON.stringify(vtep.counters()), before, 'the counters after explain');

  const deliveredTo: string[] = [];
  const transmittedTo: string[] = [];
  const inside = (bytes: Uint8Array, offset: number, stop: number): void => {
    ensure(offset >= 0 && offset < stop && stop <= bytes.length, `hands out ${offset} to ${stop} of ${bytes.length}`);
    if (bytes === framed)
      ensure(offset >= CANARY && stop <= end, `hands out ${offset} to ${stop}, beyond the frame's end at ${end}`);
  };
  const sink: VtepSink = {
    deliver(port, bytes, offset, stop) {
      inside(bytes, offset, stop);
      ensure(!local || port !== kind || bytes !== framed, 'a frame goes back to its port');
      deliveredTo.push(PORTS[port]!);
    },
    transmit(remote, bytes, offset, stop) {
      inside(bytes, offset, stop);
      ensure(local, 'a datagram from a tunnel goes into a tunnel');
      transmittedTo.push(remote.address);
    },
  };
  const dropped = sum(vtep.counters().drops);
  if (local) vtep.receiveFrame(kind, framed, start, end, now, sink);
  else vtep.receiveDatagram(from, framed, start, end, now, ecn, sink);

  equal(deliveredTo, delivered, 'the ports that frames went to, compared with explain');
  equal(transmittedTo, transmitted, 'the remotes that datagrams went to, compared with explain');
  ensure(
    deliveredTo.length + transmittedTo.length > 0 || sum(vtep.counters().drops) > dropped,
    'neither output nor a counted drop',
  );
  for (let i = 0; i < CANARY; i++)
    ensure(framed[i] === 0xa5 && framed[end + i] === 0xa5, 'it wrote outside the frame and its headroom');
}
