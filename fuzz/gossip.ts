/**
 * NetworkDB on memberlist, connected as a host connects them. The input is a series of operations: a kind octet, a
 * length in two octets, and as many bytes.
 *
 *     0 to 2   a datagram: the bytes; a user message of the bytes; a user message built from the bytes
 *     3 to 5   a stream opens; the last stream receives the bytes; it closes
 *     6        a stream with a push/pull state: members and attachments built from the bytes
 *     7        a stream with a user message built from the bytes
 *     8        time passes: milliseconds from the bytes, up to a minute
 *     9        this node writes or deletes an entry, joins or leaves a network
 *
 * Neither machine may throw, exceed its bounds, or lose an entry of its own.
 */
import {
  encodeCompound,
  encodeMessage,
  encodePushPull,
  encodeUser,
  Memberlist,
  type MemberlistSink,
} from '../src/gossip/memberlist/index.js';
import * as db from '../src/gossip/networkdb/index.js';
import { Random } from '../src/sim/index.js';
import { ensure } from '../test/support/contract.js';
import { acksFor } from '../test/support/hostile-gossip.js';

const MAX = { members: 8, kept: 8192, streams: 256, entries: 40, bytes: 20_000, held: 8, attachments: 30 };
const NAMES = ['me', 'a', 'b', 'c'];
const NETWORK = 'net1';
const TABLE = 'table';
const NOTHING = new Uint8Array(0);
const VSN = Uint8Array.of(1, 5, 2, 0, 0, 0);

/** A NetworkDB message with fields from the octets. */
function message([kind = 0, who = 0, what = 0, time = 0, ...rest]: Uint8Array): Uint8Array {
  const node = NAMES[who & 3]!;
  const type = (who >> 2) % 4;
  const network = (who & 64) === 0 ? NETWORK : 'net2';
  const value = Uint8Array.from(rest);
  const event = { type, time: time ** 2, node, network, table: TABLE, key: `k${what % 16}`, value, residual: what };
  const tableEvent = db.wrap(db.TABLE_EVENT, db.tableEvent, event);
  switch (kind % 6) {
    case 0:
      return tableEvent;
    case 1:
      return db.compound([tableEvent, tableEvent.subarray(0, what)]);
    case 2:
      return db.wrap(db.NETWORK_EVENT, db.networkEvent, { type, time, node, network });
    case 3:
      return db.wrap(db.NODE_EVENT, db.nodeEvent, { type, time, node });
    case 4: {
      const sync = {
        time,
        unsolicited: (what & 1) === 0,
        node,
        networks: [network],
        payload: db.compound([tableEvent]),
      };
      return db.wrap(db.BULK_SYNC, db.bulkSyncMessage, sync);
    }
    default:
      return db.wrap(db.BULK_SYNC, db.bulkSyncMessage, { time, node, networks: [network, network], payload: value });
  }
}

/** A push/pull stream with members and attachments from the octets. */
function state([join = 0, time = 0, ...rest]: Uint8Array): Uint8Array {
  const nodes = rest.slice(0, 12).map((octet, i) => ({
    name: NAMES[octet & 3]!,
    addr: `10.0.0.${1 + (octet & 3)}`,
    port: 7946,
    meta: NOTHING,
    incarnation: rest[i + 1] === 0xff ? 0xffff_ffff : (rest[i + 1] ?? 0),
    state: (octet >> 2) & 3,
    vsn: VSN,
  }));
  const networks = rest.slice(0, 12).map((octet) => ({
    network: `net${octet >> 4}`,
    time: octet,
    node: NAMES[octet & 3]!,
    leaving: (octet & 8) !== 0,
  }));
  const userState = db.wrap(db.PUSH_PULL, db.networkPushPull, { time, networks, node: NAMES[time & 3]! });
  return encodePushPull({ type: 'pushPull', join: (join & 1) === 1, nodes, userState });
}

export function fuzz(data: Uint8Array): void {
  let now = 1000;
  const random = new Random(1);
  const acks: (() => void)[] = [];
  /** At first the members answer, so that they are verified; later they are silent. */
  let isSettling = true;
  const open = new Set<number>();
  const shown = new Map<string, string>();
  const own = new Map<string, string>();
  const sink: MemberlistSink = {
    sendPacket(address, port, bytes) {
      ensure(port > 0 && bytes.length <= 1416, `a packet of ${bytes.length} octets`);
      const name = NAMES[Number(address.slice(7)) - 1];
      if (name !== undefined && isSettling)
        acks.push(...acksFor(bytes, name).map((ack) => () => members.receivePacket(address, port, ack, now)));
    },
    openStream(id, _, __, ___, answered) {
      if (answered) open.add(id);
    },
    writeStream: (id) => ensure(open.has(id), `writes to stream ${id}, which is not open`),
    closeStream: (id) => ensure(open.delete(id), `closes stream ${id}, which is not open`),
  };
  const tables: db.NetworkDb = new db.NetworkDb(
    {
      name: 'me',
      random: () => random.float(),
      limits: { entries: MAX.entries, bytes: MAX.bytes, held: MAX.held },
      maxAttachments: MAX.attachments,
      bootstrap: [{ address: '10.0.0.2', port: 7946 }],
    },
    {
      sendPacket: (node, bytes) => members.sendPacket(node, bytes),
      sendReliable: (node, bytes) => members.sendReliable(node, bytes),
      contact: (address, port) => members.contact(address, port),
    },
  );
  const members = new Memberlist(
    {
      name: 'me',
      address: '10.0.0.1',
      random: () => random.float(),
      compressed: false,
      maxMembers: MAX.members,
      maxKept: MAX.kept,
    },
    sink,
    tables,
    now,
  );
  tables.watch({}, ({ kind, network, table, key, value }) => {
    const path = JSON.stringify([network, table, key]);
    ensure(shown.has(path) === (kind !== 'create'), `${kind} of ${path}`);
    if (kind === 'delete') shown.delete(path);
    else shown.set(path, Buffer.from(value).toString('hex'));
  });
  tables.start(now);
  tables.joinNetwork(NETWORK, now);
  const advance = (end: number): void => {
    for (let turns = 0; ; turns++) {
      const next = Math.min(members.due, tables.next);
      if (next > end) break;
      ensure(turns < 5000, 'its timers never stop firing');
      now = Math.max(now, next);
      members.wake(now);
      tables.tick(now);
    }
    now = Math.max(now, end);
  };
  const wholeStream = (bytes: Uint8Array): void => {
    const id = members.acceptStream(now, '10.0.0.2');
    if (id === 0) return;
    open.add(id);
    members.streamData(id, bytes, now);
  };
  const packet = (bytes: Uint8Array): void => members.receivePacket('10.0.0.2', 7946, bytes, now);
  for (const [i, node] of NAMES.slice(1).entries())
    packet(
      encodeMessage({
        type: 'alive',
        node,
        incarnation: 1,
        addr: `10.0.0.${i + 2}`,
        port: 7946,
        meta: NOTHING,
        vsn: VSN,
      }),
    );

  for (let next = acks.shift(); next !== undefined; next = acks.shift()) next();
  isSettling = false;

  let stream = 0;
  for (let at = 0, turn = 0; at + 3 <= data.length && turn < 200; turn++) {
    const kind = data[at]! % 10;
    const input = data.slice(at + 3, at + 3 + ((data[at + 1]! << 8) | data[at + 2]!));
    at += 3 + input.length;
    const [first = 0, second = 0] = input;
    if (kind === 0) packet(input);
    else if (kind === 1) packet(Uint8Array.of(8, ...input));
    else if (kind === 2) packet(encodeCompound([Uint8Array.of(8, ...message(input)), Uint8Array.of(8)]));
    else if (kind === 3) {
      stream = members.acceptStream(now, `10.0.0.${first}`);
      if (stream !== 0) open.add(stream);
    } else if (kind === 4) members.streamData(stream, input, now);
    else if (kind === 5) members.streamClosed(stream, now);
    else if (kind === 6) wholeStream(state(input));
    else if (kind === 7) wholeStream(encodeUser(message(input)));
    else if (kind === 8) advance(now + ((first * 256 + second) % 60_000));
    else {
      const attached = tables.networks().length > 0;
      const key = `k${second % 16}`;
      const there = tables.entry(NETWORK, TABLE, key);
      if (first % 8 === 7) {
        if (attached) tables.leaveNetwork(NETWORK, now);
        else tables.joinNetwork(NETWORK, now);
        own.clear();
      } else if (attached && first % 8 < 5) {
        const value = input.slice(2);
        if (there === undefined) tables.createEntry(NETWORK, TABLE, key, value, now);
        else tables.updateEntry(NETWORK, TABLE, key, value, now);
        own.set(key, Buffer.from(value).toString('hex'));
      } else if (attached && there !== undefined) {
        tables.deleteEntry(NETWORK, TABLE, key, now);
        own.delete(key);
      }
    }
    const { members: known, broadcasts, streams, streamOctets, relays } = members.sizes();
    ensure(known <= MAX.members && broadcasts <= MAX.members * 2, `${known} members, ${broadcasts} broadcasts`);
    ensure(streams <= MAX.streams && streams === open.size, `${streams} streams, and ${open.size} are open`);
    ensure(streamOctets >= 0 && streamOctets <= MAX.kept, `${streamOctets} octets of streams`);
    ensure(relays <= 1024, `${relays} relays`);
    ensure(members.self.state === 'alive', 'a message from another node made it leave');
  }

  const { entries, attachments, counts } = tables.counters();
  const listed = tables.networks().flatMap(({ network }) => tables.entries(network));
  ensure(listed.length === shown.size, `${listed.length} entries are listed, watchers know ${shown.size}`);
  ensure(entries <= MAX.entries + 16 + MAX.held + counts.refuted, `${entries} entries`);
  ensure(attachments <= MAX.attachments + 4, `${attachments} attachments`);
  for (const { owner, key, value } of listed)
    if (owner === 'me')
      ensure(
        own.get(key) === Buffer.from(value).toString('hex'),
        `${key} does not have the value that this node wrote`,
      );
  members.stop();
  ensure(open.size === 0, 'streams are still open after stop()');
}
