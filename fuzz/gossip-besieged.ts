/**
 * A member of a cluster under attack: memberlist and NetworkDB, with two honest members that answer, and limits of its
 * resources as promises. The first octet chooses: 1 a gossip key, 2 no honest members. Then a series of operations: a
 * kind octet, with a source in its high bits, a length in two octets, and as many bytes.
 *
 *     0, 1   a datagram: the bytes; messages built from the bytes, repeated, compressed, in compounds, with a checksum
 *     2      the datagram number `bytes[0]` of those so far, in either direction, again
 *     3 to 5 a stream opens; one of the open streams receives the bytes; one closes
 *     6      a stream with a push/pull state built from the bytes
 *     7      a NetworkDB message built from the bytes, in a datagram or over a stream
 *     8      time passes: milliseconds from the bytes, up to a minute
 *
 * Sources: two strangers of which one answers pings, and both honest members. Without the key, a stranger's datagram is
 * not encrypted; that of a member is.
 */
import {
  addCrc,
  encodeMessage,
  encodePacket,
  encodeStream,
  encodeUser,
  Keyring,
  STATE,
  STREAM_LIMITS,
  type Message,
  type Security,
} from '../src/gossip/memberlist/index.js';
import * as db from '../src/gossip/networkdb/index.js';
import { ensure } from '../test/support/contract.js';
import {
  acksFor,
  alive,
  ask,
  Besieged,
  HONEST,
  node,
  NOTHING,
  packed,
  ping,
  PORT,
  state,
} from '../test/support/hostile-gossip.js';
import { cheapAead, nonces } from '../test/support/keys.js';

/** Octets out for each octet in a stranger's datagrams. */
const FACTOR = 3;
/** Octets of the pings to a member that a state names: two to verify it, and those of a few probes. */
const PER_MEMBER = 1200;
/** Octets of one probe, and of the stream after it, in a second. */
const PER_SECOND = 600;
const MAX = { members: 64, kept: 65_536, milliseconds: 400, tape: 64 };
const NAMES = ['me', 'a', 'b', 'x', 'ghost 1', 'ghost 2', 'y'.repeat(300)];
const SOURCES: readonly (readonly [string, number])[] = [
  ['203.0.113.9', 4444],
  ['198.51.100.7', PORT],
  ...HONEST.map(([, address]) => [address, PORT] as const),
];
const ADDRESSES = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '198.51.100.7', '192.0.2.66', '192.0.2.67', ''];

/** A message with fields from the octets. */
function message([kind = 0, who = 0, what = 0, incarnation = 0]: Uint8Array): Message {
  const name = NAMES[who % NAMES.length]!;
  const address = ADDRESSES[(who >> 4) % ADDRESSES.length]!;
  const top = incarnation === 0xff ? 0xffff_ffff : incarnation;
  switch (kind % 7) {
    case 0:
      return ping({ node: name, seqNo: what, sourceAddr: address, sourcePort: (what & 1) * PORT, sourceNode: 'x' });
    case 1:
      return ask(address, PORT, { node: name, seqNo: what, nack: (what & 1) === 1, sourceNode: 'x' });
    case 2:
      return alive(name, address, {
        incarnation: top,
        meta: new Uint8Array(what * 3),
        vsn: (what & 3) === 3 ? Uint8Array.of(what, 255, what, 0, what, what) : Uint8Array.of(1, 5, 2, 0, 0, 0),
      });
    case 3:
      return { type: 'suspect', node: name, from: NAMES[what % NAMES.length]!, incarnation: top };
    case 4:
      return { type: 'dead', node: name, from: NAMES[what % NAMES.length]!, incarnation: top };
    case 5:
      return { type: 'nack', seqNo: what };
    default:
      return { type: 'ack', seqNo: what, payload: NOTHING };
  }
}

/** A NetworkDB message with fields from the octets. */
function table([kind = 0, who = 0, what = 0, time = 0, ...rest]: Uint8Array): Uint8Array {
  const owner = NAMES[who % NAMES.length]!;
  const network = (who & 64) === 0 ? 'net1' : `net${what}`;
  const type = what % 4;
  const event = { type, time, node: owner, network, table: 't', key: `k${what}`, residual: time };
  const entry = db.wrap(db.TABLE_EVENT, db.tableEvent, { ...event, value: Uint8Array.from(rest) });
  switch (kind % 5) {
    case 0:
      return entry;
    case 1:
      return db.compound(Array.from({ length: 1 + what * 2 }, () => entry));
    case 2:
      return db.wrap(db.NETWORK_EVENT, db.networkEvent, { type, time, node: owner, network });
    case 3:
      return db.wrap(db.NODE_EVENT, db.nodeEvent, { type, time, node: owner });
    default:
      return db.wrap(db.BULK_SYNC, db.bulkSyncMessage, {
        ...{ time, unsolicited: (what & 1) === 1, node: owner, networks: [network], payload: db.compound([entry]) },
      });
  }
}

export function fuzz(data: Uint8Array): void {
  const isKeyed = (data[0]! & 1) === 1;
  const alone = (data[0]! & 2) === 2;
  const security: Security = isKeyed
    ? { keyring: new Keyring([new Uint8Array(16)]), aead: cheapAead, nonce: nonces() }
    : {};
  const member = new Besieged(
    { security, maxMembers: MAX.members, maxKept: MAX.kept, limits: { ...STREAM_LIMITS, inflated: 1 << 20 } },
    alone,
  );
  const { machine } = member;
  const tape: { bytes: Uint8Array; from: readonly [string, number] }[] = [];
  const keep = (bytes: Uint8Array, from: readonly [string, number]): void => {
    if (tape.length < MAX.tape) tape.push({ bytes: bytes.slice(), from });
  };
  const acks: Uint8Array[] = [];
  member.watch = (address, port, bytes) => {
    ensure(port > 0 && bytes.length <= 1500, `a datagram of ${bytes.length} octets to port ${port}`);
    keep(bytes, [address, port]);
    // The stranger that answers has no key.
    if (address === SOURCES[1]![0] && port === PORT && !isKeyed) acks.push(...acksFor(bytes, 'x'));
  };
  let announced = 0;
  const began = member.now;
  const packet = (bytes: Uint8Array, [from, port]: readonly [string, number]): void => {
    keep(bytes, [from, port]);
    member.attack(bytes, from, port);
    for (const answer of acks.splice(0)) member.attack(answer, SOURCES[1]![0], PORT);
  };
  const open: number[] = [];

  for (let at = 1, turn = 0; at + 3 <= data.length && turn < 100; turn++) {
    const kind = (data[at]! & 15) % 9;
    const which = data[at]! >> 6;
    const input = data.slice(at + 3, at + 3 + ((data[at + 1]! << 8) | data[at + 2]!));
    at += 3 + input.length;
    const source = SOURCES[which]!;
    const hasKey = isKeyed && which >= 2;
    const sealed = (bytes: Uint8Array): Uint8Array => (hasKey ? encodePacket(bytes, security) : bytes);
    const streamed = (bytes: Uint8Array): Uint8Array => (hasKey ? encodeStream(bytes, security) : bytes);
    const [first = 0, second = 0] = input;
    const start = performance.now();
    if (kind === 0) packet(sealed(input), source);
    else if (kind === 1) {
      const one = message(input.subarray(1));
      const copies = Array.from({ length: 1 + (first & 63) * 4 }, (_, i) =>
        'seqNo' in one ? { ...one, seqNo: i } : one,
      );
      const bytes = first < 64 ? encodeMessage(one) : packed(copies);
      packet(sealed(first > 192 ? addCrc(bytes) : bytes), source);
    } else if (kind === 2 && tape.length > 0) packet(tape[first % tape.length]!.bytes.slice(), source);
    else if (kind === 3) {
      const id = machine.acceptStream(member.now, source[0]);
      if (id !== 0) open.push(id);
    } else if (kind === 4) {
      announced += input.length >> 3; // it may be a state
      machine.streamData(open[first % (open.length || 1)] ?? 0, input.subarray(1), member.now);
    } else if (kind === 5) machine.streamClosed(open[first % (open.length || 1)] ?? 0, member.now);
    else if (kind === 6) {
      const nodes = Array.from({ length: (first & 31) + 1 }, (_, i) => {
        const octet = input[1 + (i % 8)] ?? i;
        const address = ADDRESSES[(octet >> 3) % ADDRESSES.length]!;
        const incarnation = octet === 0xff ? 0xffff_ffff : octet;
        const name = (octet & 7) === 7 ? `ghost ${i}` : NAMES[octet % NAMES.length]!;
        return node(name, address, {
          state: first >> 6 === 3 ? octet & 3 : STATE.alive,
          incarnation,
          port: PORT + (octet & 1),
        });
      });
      announced += nodes.length;
      member.stream(
        streamed(state(nodes, db.wrap(db.PUSH_PULL, db.networkPushPull, { time: first, node: 'x' }))),
        source[0],
      );
    } else if (kind === 7) {
      if (first < 128) packet(sealed(Uint8Array.of(8, ...table(input.subarray(1)))), source);
      else member.stream(streamed(encodeUser(table(input.subarray(1)))), source[0]);
    } else if (kind === 8) member.pass(1 + ((first * 256 + second) % 60_000));
    const spent = performance.now() - start;
    // A pass of time is many turns.
    if (kind !== 8) ensure(spent < MAX.milliseconds, `a turn of ${spent} ms`);

    // A stream to an address that has answered a ping is no reflection.
    const answered = `${SOURCES[1]![0]}:${SOURCES[1]![1]}`;
    const dialled = member.streams.reduce((sum, { to, octets }) => sum + (to === answered ? octets : 0), 0);
    const isVictim = (to: string): boolean => !member.isHonest(to) && !isMember(to);
    const victims = member.out(isVictim) - (isVictim(answered) ? dialled : 0);
    const background = announced * PER_MEMBER + (announced > 0 ? ((member.now - began) / 1000) * PER_SECOND : 0);
    ensure(
      victims <= FACTOR * member.received + background,
      `${victims} octets to others for ${member.received} received, and ${announced} members in states`,
    );
    const { members, broadcasts, streams, streamOctets, relays } = machine.sizes();
    const { members: unverified, checks } = machine.unproven();
    ensure(members <= MAX.members && broadcasts <= MAX.members * 2, `${members} members, ${broadcasts} broadcasts`);
    ensure(unverified <= members && checks <= 2048, `${unverified} unverified members, ${checks} checks`);
    ensure(streams <= 256 && streamOctets <= MAX.kept, `${streams} streams with ${streamOctets} octets`);
    ensure(relays <= 1024, `${relays} relays`);
    const { entries, attachments, queued } = member.db.counters();
    ensure(entries <= 8192 && attachments <= 65_600, `${entries} entries, ${attachments} attachments`);
    ensure(queued <= 4096 * 4, `${queued} queued events`);
    ensure(machine.self.state === 'alive', 'a message from another node made it leave');
  }
  machine.stop();

  /** Whether the stranger that answers has joined: then it gets what members get. */
  function isMember(to: string): boolean {
    return machine.members().some(({ address, port, verified }) => verified && to === `${address}:${port}`);
  }
}
