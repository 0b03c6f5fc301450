/**
 * A NetworkDb. The input is a series of operations: a kind octet, a length in two octets, and as many bytes.
 *
 *     0, 1     a user message             2   another node's push/pull state
 *     3, 4     a node joins, leaves       5   this node writes or deletes an entry, joins or leaves a network
 *     6        time passes                7   a table event built from the bytes: node, type, key, time
 *     8        a bulk sync from a known node, with the bytes as its payload
 *
 * The machine also receives its own packets. It may not throw, exceed its bounds, or lose an entry of its own.
 */
import * as db from '../src/gossip/networkdb/index.js';
import { ensure } from '../test/support/contract.js';

const NETWORK = 'net1';
const NODES = ['b', 'c', 'd'];
const LIMITS = { entries: 40, bytes: 20_000, held: 8 };
const ATTACHMENTS = 30;
const TABLE = 'table';

export function fuzz(data: Uint8Array): void {
  let now = 1000;
  let state = 1;
  let echo: Uint8Array[] = [];
  const shown = new Map<string, string>();
  const own = new Map<string, string>();
  const machine = new db.NetworkDb(
    {
      name: 'a',
      random: () => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647,
      limits: LIMITS,
      maxAttachments: ATTACHMENTS,
      bootstrap: [{ address: '192.0.2.2', port: 7946 }],
    },
    {
      sendPacket: (_, message) => {
        ensure(message.length <= 1400, `a packet of ${message.length} bytes`);
        if (echo.length < 20) echo.push(message);
      },
      sendReliable: (_, message) => {
        if (echo.length < 20) echo.push(message);
      },
      contact() {},
    },
  );
  machine.watch({}, ({ kind, network, table, key, value }) => {
    const path = JSON.stringify([network, table, key]);
    ensure(shown.has(path) === (kind !== 'create'), `${kind} of ${path}`);
    if (kind === 'delete') shown.delete(path);
    else shown.set(path, Buffer.from(value).toString('hex'));
  });
  for (const [i, name] of NODES.entries()) machine.nodeJoined({ name, address: `192.0.2.${i + 2}`, port: 7946 }, now);
  machine.start(now);
  machine.joinNetwork(NETWORK, now);
  machine.joinNetwork('net2', now);
  let joined = 2;

  for (let at = 0, turn = 0; at + 3 <= data.length && turn < 200; turn++) {
    const kind = data[at]! % 9;
    const input = data.slice(at + 3, at + 3 + ((data[at + 1]! << 8) | data[at + 2]!));
    at += 3 + input.length;
    const [first = 0, second = 0, third = 0] = input;
    const node = NODES[first % NODES.length]!;
    const key = `k${third % 8}`;
    if (kind < 2) machine.receive(input, now);
    else if (kind === 2) machine.mergeState(input, now);
    else if (kind === 3) machine.nodeJoined({ name: node, address: `192.0.2.${(second % 4) + 2}`, port: 7946 }, now);
    else if (kind === 4) machine.nodeLeft(node, now);
    else if (kind === 5) {
      const network = first % 2 === 0 ? NETWORK : 'net2';
      const attached = machine.networks().some((one) => one.network === network);
      if (second % 8 === 7) {
        if (attached) machine.leaveNetwork(network, now);
        else machine.joinNetwork(network, now);
        for (const path of own.keys()) if (path.includes(`"${network}"`)) own.delete(path);
      } else if (attached) {
        const path = JSON.stringify([network, TABLE, key]);
        const entry = machine.entry(network, TABLE, key);
        const value = input.slice(3);
        if (second % 8 < 5) {
          if (entry === undefined) machine.createEntry(network, TABLE, key, value, now);
          else machine.updateEntry(network, TABLE, key, value, now);
          own.set(path, Buffer.from(value).toString('hex'));
        } else if (entry !== undefined) {
          machine.deleteEntry(network, TABLE, key, now);
          own.delete(path);
        }
      }
    } else if (kind === 6) {
      for (const end = now + (first * 256 + second) * 100; machine.next <= end && turn < 200; turn++) {
        now = Math.max(now, machine.next);
        machine.tick(now);
        machine.broadcasts(3, 1300);
      }
    } else if (kind === 7) {
      // The owners include an unknown node and this node itself.
      const owner = ['a', 'b', 'c', 'd', 'stranger'][first % 5]!;
      const type = (first >> 3) % 5;
      const value = input.subarray(4);
      const time = (input[3] ?? 0) ** 2;
      const event = {
        type,
        time,
        node: owner,
        network: NETWORK,
        table: TABLE,
        key: `k${second}`,
        value,
        residual: third,
      };
      machine.receive(db.wrap(db.TABLE_EVENT, db.tableEvent, event), now);
    } else {
      const sync = {
        time: third,
        unsolicited: second % 2 === 0,
        node,
        networks: [NETWORK],
        payload: input.subarray(3),
      };
      machine.receive(db.wrap(db.BULK_SYNC, db.bulkSyncMessage, sync), now);
    }
    const looped = echo;
    echo = [];
    for (const message of looped) machine.receive(message, now);
    joined = machine.networks().length;
  }

  const { entries, attachments, counts } = machine.counters();
  const listed = machine.networks().flatMap(({ network }) => machine.entries(network));
  for (const { network, table, key, value } of listed)
    ensure(
      shown.get(JSON.stringify([network, table, key])) === Buffer.from(value).toString('hex'),
      `${key} is listed with a value that watchers did not get`,
    );
  ensure(listed.length === shown.size, `${listed.length} entries are listed, watchers know ${shown.size}`);
  // This node's 16 keys, refuted ones, and what others may write.
  ensure(entries <= LIMITS.entries + 16 + LIMITS.held + counts.refuted, `${entries} entries`);
  ensure(attachments <= ATTACHMENTS + joined + 2, `${attachments} attachments`);
  // Other nodes may overwrite an entry under their own names, but not under this node's.
  for (const entry of listed)
    if (entry.owner === 'a') {
      const path = JSON.stringify([entry.network, entry.table, entry.key]);
      ensure(
        own.get(path) === Buffer.from(entry.value).toString('hex'),
        `${path} does not have the value that this node wrote`,
      );
    }
}
