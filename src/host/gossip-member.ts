/** A cluster member with NetworkDB tables. */
import { type Keyring, type Member } from '../gossip/memberlist/index.js';
import { NetworkDb, type Membership } from '../gossip/networkdb/index.js';
import { type HostPort } from '../schema/index.js';
import { nameTrouble } from '../wire/index.js';
import { GossipHost, random, RECEIVE_BUFFER } from './gossip.js';
import { keyTrouble } from './joining.js';
import { Throttle } from './throttle.js';

/** Repeats a warning once a minute at most, and limits the number of different warnings in that time. */
const WARNINGS = { interval: 60_000, most: 16 };
/** Most addresses to report permanent problems for; each is reported once. */
const ADDRESSES = 16;
/** Milliseconds after which a dead member's name may be reused at another address. */
const RECLAIM = 5000;

export interface MemberOptions {
  name: string;
  /** Where to listen, and where other members reach it; port 0 for any free port. */
  bind: HostPort;
  advertise: HostPort;
  /** Absent: no encryption. */
  keyring: Keyring | undefined;
}

export interface MemberEvents {
  /** Reports a problem; the same one once a minute at most. */
  warn(message: string): void;
  joined?(member: Member): void;
  /** A member is dead or has left: see `member.state`. */
  left?(member: Member): void;
}

export interface GossipMember {
  host: GossipHost;
  db: NetworkDb;
  /** Passes a warning on, unless the same one was passed on recently. */
  warn(message: string): void;
}

/**
 * Opens the sockets. The caller starts the tables.
 * @throws HostError if the port is already in use or cannot be bound.
 */
export async function openMember(options: MemberOptions, events: MemberEvents): Promise<GossipMember> {
  const { name, bind, advertise, keyring } = options;
  const throttle = new Throttle(WARNINGS.interval, WARNINGS.most);
  const warn = (message: string): void => {
    if (throttle.allow(message, performance.now())) events.warn(message);
  };
  const once = new Throttle(Infinity, ADDRESSES);
  const warnOnce = (address: string, message: string): void => {
    if (once.allow(`${address} ${message}`, performance.now())) events.warn(`gossip from ${address}: ${message}`);
  };
  // One line a minute, whatever the names: others choose them.
  const misnamed = new Throttle(WARNINGS.interval, 1);
  const warnMisnamed = (what: string, text: string, problem = nameTrouble(text)): void => {
    if (misnamed.allow('', performance.now()))
      events.warn(
        `${what} ${JSON.stringify(text)}, which ${problem}; a name has printable characters only, no white space and no slash`,
      );
  };
  let host: GossipHost | undefined;
  const membership: Membership = {
    sendPacket: (node, message) => void host?.machine.sendPacket(node, message),
    sendReliable: (node, message) => void host?.machine.sendReliable(node, message),
    contact: (address, port) => void host?.machine.contact(address, port),
    misnamed: (text, problem, node) =>
      warnMisnamed(`an announcement of ${JSON.stringify(node)} is refused: it has the name`, text, problem),
  };
  const db = new NetworkDb({ name, random, clock: () => performance.now() }, membership);
  host = await GossipHost.open(
    {
      name,
      address: advertise.host,
      port: advertise.port,
      bind: bind.host,
      bindPort: bind.port,
      deadNodeReclaimTime: RECLAIM,
      companion: db,
      ...(keyring === undefined ? {} : { security: { keyring } }),
    },
    {
      receive: (message, now) => db.receive(message, now),
      receivePacket: (message, now) => db.receivePacket(message, now),
      broadcasts: (overhead, limit) => db.broadcasts(overhead, limit),
      pressing: () => db.pressing(),
      localState: (join, now) => db.localState(join, now),
      mergeState: (state, now, _join, address) => {
        if (!db.mergeState(state, now))
          warnOnce(
            address,
            'the member there does not use NetworkDB (it may be serf), so no endpoints are exchanged with it',
          );
      },
      nodeJoined: (member, now) => {
        db.nodeJoined(member, now);
        events.joined?.(member);
      },
      nodeLeft: (node, now, member) => {
        db.nodeLeft(node, now, member);
        events.left?.(member);
      },
      refused: ({ detail }, address, _now, kind) => {
        if (kind === 'label')
          warnOnce(
            address,
            'refused, because it begins with a label of memberlist, and agents use none: it is of another cluster, or may not be gossip at all',
          );
        else if (kind === 'version') warnOnce(address, `refused, because ${detail} (it may be serf)`);
        const trouble = keyTrouble(detail);
        if (trouble !== null) warn(`gossip from ${address} cannot be read: ${trouble}`);
      },
      misnamed: (text, address) => warnMisnamed(`a member at ${address} is refused: it has the name`, text),
      conflict: (node, address) =>
        warn(
          `two members have the name ${node}, the other one is at ${address}; give each member its own \`gossip.name\``,
        ),
    },
  );
  if (host.receiveBuffer < RECEIVE_BUFFER)
    events.warn(
      `the system grants the gossip a receive buffer of ${host.receiveBuffer >> 10} KiB, not ${RECEIVE_BUFFER >> 10} KiB: ` +
        'with many networks packets may be lost; run "sysctl -w net.core.rmem_max=' +
        `${RECEIVE_BUFFER}", or grant CAP_NET_ADMIN`,
    );
  return { host, db, warn };
}
