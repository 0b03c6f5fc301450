/** A member under attack: a memberlist machine with NetworkDB, two honest members that answer, and a count of octets. */
import {
  deflate,
  encodeCompound,
  encodeMessage,
  encodePacket,
  encodePushPull,
  encodeStream,
  Memberlist,
  openPacket,
  STATE,
  walk,
  type MemberlistOptions,
  type Message,
  type NodeState,
  type Security,
} from '../../src/gossip/memberlist/index.js';
import { NetworkDb } from '../../src/gossip/networkdb/index.js';
import { Random } from '../../src/sim/index.js';

export const PORT = 7946;
export const NOTHING = new Uint8Array(0);
export const VSN = Uint8Array.of(1, 5, 2, 0, 0, 0);
/** Names and addresses of the honest members. */
export const HONEST: readonly [name: string, address: string][] = [
  ['a', '10.0.0.2'],
  ['b', '10.0.0.3'],
];

export class Besieged {
  readonly machine: Memberlist;
  readonly db: NetworkDb;
  /** Octets received from the attacker, and octets sent, by receiver. */
  received = 0;
  sent = new Map<string, number>();
  datagrams = 0;
  streams: { id: number; to: string; octets: number }[] = [];
  readonly written: Uint8Array[] = [];
  readonly joined: string[] = [];
  now = 1000;
  readonly #answers: (() => void)[] = [];
  readonly security: Security;
  /** Called with each datagram that it sends. */
  watch: ((address: string, port: number, bytes: Uint8Array) => void) | undefined;
  readonly #hosts: readonly (readonly [name: string, address: string])[];

  /** @param alone Whether there are no honest members. */
  constructor(options: Partial<MemberlistOptions> = {}, alone = false) {
    const random = new Random(5);
    this.#hosts = alone ? [] : HONEST;
    this.security = options.security ?? {};
    this.db = new NetworkDb(
      { name: 'me', random: () => random.float() },
      {
        sendPacket: (node, message) => void this.machine.sendPacket(node, message),
        sendReliable: (node, message) => void this.machine.sendReliable(node, message),
        contact: (address, port) => void this.machine.contact(address, port),
      },
    );
    const { db } = this;
    this.machine = new Memberlist(
      { name: 'me', address: '10.0.0.1', random: () => random.float(), ...options },
      {
        sendPacket: (address, port, bytes) => this.#packet(address, port, bytes),
        openStream: (id, address, port, { length }, answered) => {
          this.#count(`${address}:${port}`, length);
          if (answered) this.streams.push({ id, to: `${address}:${port}`, octets: length });
        },
        writeStream: (_, bytes) => void this.written.push(bytes),
        closeStream: () => undefined,
      },
      {
        receive: (message, now) => db.receive(message, now),
        receivePacket: (message, now) => db.receivePacket(message, now),
        broadcasts: (overhead, limit) => db.broadcasts(overhead, limit),
        pressing: () => db.pressing(),
        localState: (join, now) => db.localState(join, now),
        mergeState: (state, now) => void db.mergeState(state, now),
        nodeJoined: (member, now) => {
          this.joined.push(member.name);
          db.nodeJoined(member, now);
        },
        nodeLeft: (node, now, member) => db.nodeLeft(node, now, member),
      },
      this.now,
    );
    db.start(this.now);
    db.joinNetwork('net1', this.now);
    if (!alone) {
      this.machine.join([{ address: HONEST[0]![1], port: PORT }], this.now);
      this.answer(this.#hosts.map(([name, address]) => node(name, address)));
    }
    this.pass(20_000);
    this.received = 0;
    this.datagrams = 0;
    this.sent.clear();
    this.streams = [];
  }

  /** Answers the last dialled stream with a state. */
  answer(nodes: readonly NodeState[]): void {
    const { id } = this.streams.pop()!;
    this.machine.streamData(id, encodeStream(state(nodes), this.security), this.now);
    this.#deliver();
  }

  /** Octets sent to all, or to those that a function accepts. */
  out(fits: (to: string) => boolean = () => true): number {
    return [...this.sent].reduce((sum, [to, octets]) => sum + (fits(to) ? octets : 0), 0);
  }

  isHonest(to: string): boolean {
    return this.#hosts.some(([, address]) => to === `${address}:${PORT}`);
  }

  /** A datagram of the attacker. */
  attack(bytes: Uint8Array, from = '203.0.113.9', port = 4444): void {
    this.received += bytes.length;
    this.machine.receivePacket(from, port, bytes, this.now);
    this.#deliver();
  }

  /** A stream of the attacker, which ends after a message. */
  stream(bytes: Uint8Array, from = '203.0.113.9'): void {
    const id = this.machine.acceptStream(this.now, from);
    if (id !== 0) this.machine.streamData(id, bytes, this.now);
    this.#deliver();
  }

  pass(milliseconds: number): void {
    const end = this.now + milliseconds;
    for (;;) {
      const next = Math.min(this.machine.due, this.db.next);
      if (next > end) break;
      this.now = Math.max(this.now, next);
      this.machine.wake(this.now);
      if (this.db.next <= this.now) this.db.tick(this.now);
      this.#deliver();
    }
    this.now = end;
  }

  #packet(address: string, port: number, bytes: Uint8Array): void {
    this.#count(`${address}:${port}`, bytes.length);
    this.datagrams++;
    this.watch?.(address, port, bytes);
    const host = this.#hosts.find(([, one]) => one === address && port === PORT);
    if (host === undefined) return;
    for (const ack of acksFor(bytes, host[0], this.security))
      this.#answers.push(() => this.machine.receivePacket(address, port, ack, this.now));
  }

  /** Delivers the answers of the honest members, after the call that caused them. */
  #deliver(): void {
    for (let next = this.#answers.shift(); next !== undefined; next = this.#answers.shift()) next();
  }

  #count(to: string, octets: number): void {
    this.sent.set(to, (this.sent.get(to) ?? 0) + octets);
  }
}

/** The answers of a member to the pings in a datagram. */
export function acksFor(bytes: Uint8Array, name: string, security: Security = {}): Uint8Array[] {
  const acks: Uint8Array[] = [];
  walk(openPacket(bytes, security), {
    message: (message) => {
      if (message.type === 'ping' && message.node === name)
        acks.push(encodePacket(encodeMessage({ type: 'ack', seqNo: message.seqNo, payload: NOTHING }), security));
    },
    user: () => undefined,
    refused: (error) => {
      throw error;
    },
  });
  return acks;
}

export function node(name: string, addr: string, more: Partial<NodeState> = {}): NodeState {
  return { name, addr, port: PORT, meta: NOTHING, incarnation: 1, state: STATE.alive, vsn: VSN, ...more };
}

export function state(nodes: readonly NodeState[], userState: Uint8Array = NOTHING, join = true): Uint8Array {
  return encodePushPull({ type: 'pushPull', join, nodes: [...nodes], userState });
}

/** As many messages as fit into a datagram of memberlist's limits, in compounds of compounds, compressed. */
export function packed(messages: readonly Message[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < messages.length; at += 255)
    parts.push(encodeCompound(messages.slice(at, at + 255).map(encodeMessage)));
  return deflate(parts.length === 1 ? parts[0]! : encodeCompound(parts));
}

export const ping = (more: object = {}): Message =>
  ({ type: 'ping', node: 'me', seqNo: 1, sourceAddr: '', sourcePort: 0, sourceNode: '', ...more }) as Message;

export const alive = (name: string, addr: string, more: object = {}): Message =>
  ({ type: 'alive', node: name, incarnation: 1, addr, port: PORT, meta: NOTHING, vsn: VSN, ...more }) as Message;

export const ask = (target: string, port: number, more: object = {}): Message =>
  ({
    type: 'indirectPing',
    ...{ target, port, node: '', nack: true, seqNo: 1, sourceAddr: '', sourcePort: 0, sourceNode: '', ...more },
  }) as Message;
