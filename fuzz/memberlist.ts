/**
 * A memberlist member. The input is a series of operations: a kind octet, a length in two octets, and as many bytes.
 *
 *     0 to 2   a packet: the bytes; the bytes as part of a compound; a message with fields from the bytes. Its source is
 *              a member, or a stranger if the last byte is above 0xf0
 *     3 to 5   a stream opens; the last stream receives the bytes; it closes
 *     6        time passes: milliseconds from the bytes, up to a minute
 *     7        the member joins another, changes its metadata, or leaves
 */
import {
  encodeMessage,
  Memberlist,
  STREAM_LIMITS,
  walk,
  type Message,
  type MemberlistSink,
} from '../src/gossip/memberlist/index.js';
import { Random } from '../src/sim/index.js';
import { ensure } from '../test/support/contract.js';

const MAX = { members: 8, kept: 4096, streams: 256, packet: 1400 };
const NAMES = ['me', 'a', 'b', 'c'];
const KINDS = ['alive', 'suspect', 'dead', 'ping', 'ack', 'indirectPing', 'nack'] as const;

/** A message with fields from the octets. */
function message([kind = 0, who = 0, by = 0, incarnation = 0]: Uint8Array): Message {
  const node = NAMES[who & 3]!;
  const from = NAMES[by & 3]!;
  const addr = `10.0.0.${1 + (who & 3) + (by >= 0xf0 ? 100 : 0)}`;
  const nothing = new Uint8Array(0);
  const source = { sourceAddr: '', sourcePort: 0, sourceNode: '' };
  switch (KINDS[kind % KINDS.length]!) {
    case 'alive':
      return {
        type: 'alive',
        node,
        incarnation,
        addr,
        port: 7946,
        meta: Uint8Array.of(by),
        vsn: Uint8Array.of(1, 5, 2, 0, 0, 0),
      };
    case 'suspect':
      return { type: 'suspect', node, from, incarnation };
    case 'dead':
      return { type: 'dead', node, from, incarnation };
    case 'ping':
      return { type: 'ping', node, seqNo: by, ...source };
    case 'ack':
      return { type: 'ack', seqNo: by, payload: nothing };
    case 'nack':
      return { type: 'nack', seqNo: by };
    default:
      return { type: 'indirectPing', node, target: addr, port: 7946, nack: (by & 1) === 1, seqNo: by, ...source };
  }
}

export function fuzz(data: Uint8Array): void {
  let now = 1000;
  let sent = 0;
  /** Answers of the members that are verified. */
  const acks: (() => void)[] = [];
  const open = new Set<number>();
  const random = new Random(1);
  const sink: MemberlistSink = {
    sendPacket(address, port, bytes) {
      sent++;
      const found: Message[] = [];
      ensure(port > 0 && bytes.length <= MAX.packet + 16, `a packet of ${bytes.length} octets to port ${port}`);
      walk(bytes[0] === 12 ? bytes.subarray(5) : bytes, {
        message: (one) => found.push(one),
        user: () => undefined,
        refused(error) {
          throw new Error('it sends a packet that it could not read', { cause: error });
        },
      });
      const [asked, self] = found;
      if (asked?.type !== 'ping' || self?.type !== 'alive' || !NAMES.includes(asked.node)) return;
      const ack = encodeMessage({ type: 'ack', seqNo: asked.seqNo, payload: new Uint8Array(0) });
      acks.push(() => machine.receivePacket(address, port, ack, now));
    },
    openStream(id, _, __, ___, answered) {
      ensure(!open.has(id), `stream ${id} is open`);
      if (answered) open.add(id);
    },
    writeStream: (id) => ensure(open.has(id), `writes to stream ${id}, which is not open`),
    closeStream: (id) => ensure(open.delete(id), `closes stream ${id}, which is not open`),
  };
  const here = new Map<string, boolean>();
  const machine = new Memberlist(
    {
      name: 'me',
      address: '10.0.0.1',
      random: () => random.float(),
      reconnectInterval: 1000,
      deadNodeReclaimTime: 5000,
      maxMembers: MAX.members,
      maxKept: MAX.kept,
      compressed: false,
      limits: { ...STREAM_LIMITS, inflated: 65_536, nodes: 32 },
    },
    sink,
    {
      nodeJoined(member) {
        ensure(here.get(member.name) !== true, `${member.name} joins twice`);
        here.set(member.name, true);
      },
      nodeLeft(name) {
        ensure(here.get(name) === true, `${name} leaves without having joined`);
        here.set(name, false);
      },
    },
    now,
  );
  let left = false;
  let stream = 0;
  for (let at = 0; at + 3 <= data.length;) {
    const kind = data[at]! % 8;
    const input = data.subarray(at + 3, at + 3 + ((data[at + 1]! << 8) | data[at + 2]!));
    at += 3 + input.length;
    const before = sent;
    const source = (input.at(-1) ?? 0) > 0xf0 ? '10.0.0.9' : '10.0.0.2';
    if (kind === 0) machine.receivePacket(source, 7946, input, now);
    else if (kind === 1)
      machine.receivePacket(source, 7946, Uint8Array.of(7, 1, input.length >> 8, input.length & 255, ...input), now);
    else if (kind === 2) machine.receivePacket(source, 7946, encodeMessage(message(input)), now);
    else if (kind === 3) {
      stream = machine.acceptStream(now);
      if (stream !== 0) open.add(stream);
    } else if (kind === 4) machine.streamData(stream, input, now);
    else if (kind === 5) machine.streamClosed(stream, now);
    else if (kind === 6) {
      const end = now + (input.reduce((time, octet) => time * 256 + octet, 0) % 60_000);
      for (let turns = 0; machine.due <= end; turns++) {
        ensure(turns < 5000, 'its timers never stop firing');
        now = Math.max(now, machine.due);
        machine.wake(now);
      }
      now = end;
    } else if ((input[0] ?? 0) < 100) machine.join([{ address: '10.0.0.2', port: 7946 }], now);
    else if (input[0]! < 200) machine.updateMeta(input.subarray(0, 512), now);
    else {
      left = true;
      machine.leave(now);
    }
    for (let next = acks.shift(); next !== undefined; next = acks.shift()) next();
    // A packet causes at most one packet per message in it.
    if (kind < 3) ensure(sent - before <= 1024, `${sent - before} packets for one`);
    const { members, broadcasts, streams, streamOctets, relays } = machine.sizes();
    ensure(members <= MAX.members && broadcasts <= MAX.members * 2, `${members} members, ${broadcasts} broadcasts`);
    ensure(streams <= MAX.streams && streams === open.size, `${streams} streams, and ${open.size} are open`);
    ensure(streamOctets >= 0 && streamOctets <= MAX.kept, `${streamOctets} octets of streams`);
    ensure(relays <= 1024, `${relays} relays`);
    for (const member of machine.members())
      if (member.name !== 'me')
        ensure(
          (here.get(member.name) === true) === (member.state === 'alive' || member.state === 'suspect'),
          `${member.name} is ${member.state}, which was not reported`,
        );
    ensure(machine.self.state === (left ? 'left' : 'alive'), `this member is ${machine.self.state}`);
  }
  machine.stop();
  ensure(open.size === 0, 'streams are still open after stop()');
}
