/**
 * Agrees with other hosts on associations, for every group whose keys this host has. It is a machine: it receives messages and the
 * time, and sends through a sink.
 *
 * An association has one direction. Its sender asks, and the receiver grants: it chooses the SPI, as in RFC 4303. Each puts a
 * random nonce into the keys, so that no key occurs twice: not after a restart, and not if two hosts are copies of one disk. A
 * repeated old request therefore gives an attacker nothing, but an association that is never used; those are few.
 */
import { MIN_SPI } from '../esp/index.js';
import { type GroupKey } from '../model/index.js';
import { getU32 } from '../wire/index.js';
import { type AssociationChange, type AssociationKey } from './association.js';
import { DerivedKey, type KeyingCrypto } from './derive.js';
import { MAX_UNCONFIRMED, TIMES } from './limits.js';
import * as message from './message.js';
import { newWay, type Accepted, type Way } from './way.js';

/** Receives what the machine does. The order matters: an association is accepted before it is granted. */
export interface KeyingSink {
  /** Sends a message to the port of ESP of another host. */
  send(address: string, bytes: Uint8Array): void;
  /** Changes the associations of the data plane. */
  change(change: AssociationChange): void;
  report(report: KeyingReport): void;
}

/** Something that people may want to know. */
export type KeyingReport =
  /** Frames to a host are encrypted from now on, or by another key. */
  | { readonly type: 'established'; readonly group: string; readonly address: string; readonly key: number }
  /** A host uses a key that this one does not have, or it is no host of the network. */
  | { readonly type: 'unknown-key'; readonly address: string }
  /** A message is not authentic: its addresses were changed on the way, or it is an attack. */
  | { readonly type: 'forged'; readonly address: string }
  /** A host has not answered for a time. */
  | { readonly type: 'unanswered'; readonly group: string; readonly address: string };

/** The way to and from a host, for people. */
export interface WayListing {
  readonly group: string;
  readonly address: string;
  /** The number of the key under which frames leave, and since when; `null` if none is agreed on. */
  readonly out: { readonly key: number; readonly since: number } | null;
  /** The same for packets that arrive; `null` if none has arrived. */
  readonly in: { readonly key: number; readonly since: number } | null;
  /** Since when the host has not answered a request; `null` if none is open. */
  readonly asking: number | null;
}

/** The key of an association, and the underlay addresses of its hosts. */
export interface AssociationSecret extends AssociationKey {
  readonly source: string;
  readonly destination: string;
}

interface GroupState {
  readonly id: string;
  /** Random, so that other hosts notice that the associations of this one are lost. */
  readonly instance: Uint8Array;
  /** The newest first. */
  keys: readonly DerivedKey[];
  texts: readonly GroupKey[];
  readonly ways: Map<string, Way>;
}

export interface KeyingOptions {
  /** The underlay address of this host, in canonical text. */
  readonly local: string;
  /** How many workers send, each by associations of its own. */
  readonly senders: number;
  readonly crypto: KeyingCrypto;
  /** Decodes base64. */
  readonly decodeKey: (text: string) => Uint8Array;
}

const NO_NONCE = new Uint8Array(message.NONCE_LENGTH);
const MAX_SPI = 0xffff_ffff;

export class Keying {
  readonly #options: KeyingOptions;
  readonly #sink: KeyingSink;
  readonly #groups = new Map<string, GroupState>();
  /** Keys by their ids in hexadecimal. */
  readonly #byId = new Map<string, { group: GroupState; key: DerivedKey }>();
  /** By SPI: the first of each group of associations that packets are accepted by. */
  readonly #accepted = new Map<number, { way: Way; accepted: Accepted }>();
  /** Ways by the address and SPI that frames leave by. */
  readonly #sending = new Map<string, Way>();
  /** Ways with a request that is not answered. */
  readonly #asking = new Set<Way>();
  #scan = 0;

  constructor(options: KeyingOptions, sink: KeyingSink) {
    if (!(options.senders >= 1 && options.senders <= message.MAX_SENDERS))
      throw new RangeError(`senders must be from 1 to ${message.MAX_SENDERS}, not ${options.senders}`);
    this.#options = options;
    this.#sink = sink;
  }

  // ---- Keys ----

  /** The keys of a group are these, in any order. The group is removed if there are none. */
  setKeys(id: string, keys: readonly GroupKey[], now: number): void {
    if (keys.length === 0) return this.removeGroup(id);
    const { crypto, decodeKey } = this.#options;
    const group = this.#groups.get(id) ?? this.#newGroup(id);
    const texts = [...keys].sort((a, b) => b.number - a.number);
    const same = (a: GroupKey, b: GroupKey): boolean => a.number === b.number && a.key === b.key;
    const before = group.keys;
    const newest = before[0];
    group.keys = texts.map(
      (text) =>
        before.find((_, i) => same(group.texts[i]!, text)) ??
        new DerivedKey(id, text.number, decodeKey(text.key), crypto),
    );
    group.texts = texts;
    for (const key of before) if (!group.keys.includes(key)) this.#byId.delete(hex(key.id));
    for (const key of group.keys) this.#byId.set(hex(key.id), { group, key });
    for (const way of group.ways.values()) {
      for (const accepted of way.accepted)
        if (!group.keys.includes(accepted.key)) accepted.end = Math.min(accepted.end, now + TIMES.grace);
      if (way.wanted && group.keys[0] !== newest) this.#ask(way, now);
    }
  }

  /** Forgets a group and all of its associations. */
  removeGroup(id: string): void {
    const group = this.#groups.get(id);
    if (group === undefined) return;
    this.#groups.delete(id);
    for (const key of group.keys) this.#byId.delete(hex(key.id));
    for (const way of group.ways.values()) this.#forget(way);
  }

  // ---- Events ----

  /** This host is going to send frames of a group to another one. */
  want(id: string, address: string, now: number): void {
    const group = this.#groups.get(id);
    if (group === undefined) return; // its keys are not there yet: the machine asks again
    const way = this.#way(group, address);
    way.wanted = true;
    if (way.granted !== null && now - way.granted.since < TIMES.hint) return; // another thread has said so already
    // The machine has lost the association, if there was one: its remote was forgotten.
    this.#ask(way, now);
  }

  /** A message arrived: what follows the non-ESP marker. */
  receive(address: string, bytes: Uint8Array, now: number): void {
    const type = message.check(bytes);
    if (type === message.INVALID_SPI) {
      const way = this.#sending.get(sendingKey(address, message.spiOf(bytes)));
      if (way !== undefined) this.#hint(way, now);
      return;
    }
    if (type !== message.REQUEST && type !== message.GRANT) return;
    const what = message.decode(bytes);
    const known = this.#byId.get(hex(what.keyId));
    if (known === undefined) return this.#sink.report({ type: 'unknown-key', address });
    const code = known.key.code(message.protectedPart(bytes), address, this.#options.local);
    if (!areEqual(code, message.codeOf(bytes))) return this.#sink.report({ type: 'forged', address });
    const { group, key } = known;
    if (type === message.REQUEST) this.#grant(group, key, address, what, now);
    else this.#granted(group, key, address, what, now);
  }

  /** A packet arrived with an SPI that no association has. The other host may believe that it has one. */
  unknownSpi(address: string, spi: number): void {
    this.#sink.send(address, message.encodeInvalidSpi(spi));
  }

  /** The first authentic packet of an association arrived, so its request was no repetition of an old one. */
  used(spi: number, now: number): void {
    const known = this.#find(spi);
    if (known === undefined) return;
    const { way, accepted } = known;
    accepted.confirmed = true;
    for (const other of way.accepted)
      if (other !== accepted && other.since <= accepted.since) other.end = Math.min(other.end, now + TIMES.grace);
  }

  /** Repeats requests, and ends what has been replaced. Call it about ten times a second. */
  tick(now: number): void {
    for (const way of this.#asking) if (now >= way.request!.due) this.#repeat(way, now);
    if (now - this.#scan < 1000) return;
    this.#scan = now;
    for (const group of this.#groups.values()) for (const way of group.ways.values()) this.#look(group, way, now);
  }

  // ---- Questions ----

  *listing(): Generator<WayListing, undefined> {
    for (const { id, ways } of this.#groups.values())
      for (const { address, granted, accepted, request, wanted } of ways.values()) {
        const last = accepted.filter(({ confirmed, end }) => confirmed && end === Infinity).at(-1);
        if (!wanted && last === undefined) continue;
        yield {
          ...{ group: id, address },
          out: granted === null ? null : { key: granted.keyNumber, since: granted.since },
          in: last === undefined ? null : { key: last.key.number, since: last.since },
          asking: request?.since ?? null,
        };
      }
    return undefined;
  }

  /** The keys of all associations, for a person who decrypts a capture. */
  *secrets(): Generator<AssociationSecret, undefined> {
    const { local } = this.#options;
    for (const { ways } of this.#groups.values())
      for (const { address, granted, accepted } of ways.values()) {
        for (const key of granted?.keys ?? []) yield { source: local, destination: address, ...key };
        for (const { keys } of accepted) for (const key of keys) yield { source: address, destination: local, ...key };
      }
    return undefined;
  }

  // ---- As the sender of an association ----

  /** Asks for an association, unless a request is open. */
  #ask(way: Way, now: number): void {
    if (way.request !== null) return;
    way.request = { nonce: this.#options.crypto.random(message.NONCE_LENGTH), attempts: 0, due: now, since: now };
    this.#asking.add(way);
    this.#repeat(way, now);
  }

  #repeat(way: Way, now: number): void {
    const group = this.#groups.get(way.group)!;
    const request = way.request!;
    if (now - request.since >= TIMES.giveUp) {
      this.#endRequest(way);
      way.wanted = way.granted !== null;
      return;
    }
    // The other host may not have the newest key yet. As long as there is an association, the newest can wait for it.
    const { keys, instance } = group;
    const key = way.granted === null ? keys[request.attempts % keys.length]! : keys[0]!;
    const late = now - request.since >= TIMES.patience;
    const pause = late ? TIMES.rare : Math.min(TIMES.retry * 2 ** request.attempts, TIMES.slowest);
    request.attempts++;
    request.due = now + pause;
    if (request.attempts === REPORTED) this.#sink.report({ type: 'unanswered', group: group.id, address: way.address });
    const { local, senders } = this.#options;
    const what: message.KeyingMessage = {
      type: message.REQUEST,
      ...{ senders, spi: 0, keyId: key.id, instance },
      ...{ senderNonce: request.nonce, receiverNonce: NO_NONCE },
    };
    this.#sink.send(
      way.address,
      message.encode(what, (part) => key.code(part, local, way.address)),
    );
  }

  #endRequest(way: Way): void {
    way.request = null;
    this.#asking.delete(way);
  }

  /** The other host grants an association. */
  #granted(group: GroupState, key: DerivedKey, address: string, what: message.KeyingMessage, now: number): void {
    const way = group.ways.get(address);
    const { local, senders } = this.#options;
    if (way === undefined || way.request === null || !areEqual(way.request.nonce, what.senderNonce)) return;
    if (what.senders !== senders || what.spi < MIN_SPI || what.spi + senders - 1 > MAX_SPI) return;
    const keys = key.associations(local, address, what, what.spi, senders);
    this.#endRequest(way);
    this.#removeSending(way);
    const renew = now + (key === group.keys[0] ? TIMES.life : TIMES.older);
    way.granted = { keyNumber: key.number, spi: what.spi, since: now, keys, renew };
    way.instance = hex(what.instance);
    for (const { spi } of keys) this.#sending.set(sendingKey(address, spi), way);
    this.#sink.change({ do: 'send', group: group.id, address, keys });
    this.#sink.report({ type: 'established', group: group.id, address, key: key.number });
  }

  #removeSending({ address, granted }: Way): void {
    if (granted === null) return;
    for (let worker = 0; worker < this.#options.senders; worker++)
      this.#sending.delete(sendingKey(address, granted.spi + worker));
  }

  /** The other host may have lost the association. The hint is not authenticated; it costs one request a second. */
  #hint(way: Way, now: number): void {
    if (!way.wanted || now - way.hinted < TIMES.hint) return;
    way.hinted = now;
    if (way.request === null) this.#ask(way, now);
    else if (way.request.due - now > TIMES.hint) this.#repeat(way, now); // it was asked for when the other host was not there
  }

  // ---- As the receiver of an association ----

  /** The other host asks for an association. */
  #grant(group: GroupState, key: DerivedKey, address: string, what: message.KeyingMessage, now: number): void {
    const way = this.#way(group, address);
    const { crypto, local } = this.#options;
    const nonce = hex(what.senderNonce);
    const known = way.accepted.find((one) => one.nonce === nonce && one.key === key && one.senders === what.senders);
    if (known !== undefined) return this.#sink.send(address, known.grant);
    const unconfirmed = way.accepted.filter(({ confirmed }) => !confirmed);
    if (unconfirmed.length >= MAX_UNCONFIRMED) {
      // A flood of old requests must not end an association whose first packet is on its way. A sender repeats its request.
      if (now - unconfirmed[0]!.since < TIMES.confirm) return;
      this.#end(way, unconfirmed[0]!);
    }
    const spi = this.#newSpi(what.senders);
    const receiverNonce = crypto.random(message.NONCE_LENGTH);
    const keys = key.associations(address, local, { senderNonce: what.senderNonce, receiverNonce }, spi, what.senders);
    const grant = message.encode(
      {
        type: message.GRANT,
        ...{ senders: what.senders, spi, keyId: key.id, instance: group.instance },
        ...{ senderNonce: what.senderNonce, receiverNonce },
      },
      (part) => key.code(part, local, address),
    );
    const accepted = {
      key,
      spi,
      senders: what.senders,
      nonce,
      since: now,
      keys,
      grant,
      confirmed: false,
      end: Infinity,
    };
    way.accepted.push(accepted);
    this.#accepted.set(spi, { way, accepted });
    this.#sink.change({ do: 'accept', group: group.id, address, keys });
    this.#sink.send(address, grant);
    // The other host has begun anew, so what this one sends by is lost there; or it is there at last, and answers.
    const instance = hex(what.instance);
    const isOther = way.instance !== '' && way.instance !== instance;
    if ((isOther && way.granted !== null) || way.request !== null) this.#hint(way, now);
  }

  /** An SPI that, with those that follow it, is in no use. */
  #newSpi(senders: number): number {
    for (;;) {
      const spi = getU32(this.#options.crypto.random(4), 0);
      if (spi < MIN_SPI || spi + senders - 1 > MAX_SPI) continue;
      let isFree = this.#find(spi) === undefined;
      for (let next = spi + 1; isFree && next < spi + senders; next++) isFree = !this.#accepted.has(next);
      if (isFree) return spi;
    }
  }

  /** The associations that an SPI belongs to. */
  #find(spi: number): { way: Way; accepted: Accepted } | undefined {
    for (let first = spi; first > spi - message.MAX_SENDERS; first--) {
      const known = this.#accepted.get(first);
      if (known !== undefined) return first + known.accepted.senders > spi ? known : undefined;
    }
    return undefined;
  }

  #end(way: Way, accepted: Accepted): void {
    way.accepted = way.accepted.filter((one) => one !== accepted);
    this.#accepted.delete(accepted.spi);
    const spis = Array.from({ length: accepted.senders }, (_, worker) => accepted.spi + worker);
    this.#sink.change({ do: 'forget', spis });
  }

  // ---- Ways ----

  #newGroup(id: string): GroupState {
    const instance = this.#options.crypto.random(message.INSTANCE_LENGTH);
    const group: GroupState = { id, instance, keys: [], texts: [], ways: new Map() };
    this.#groups.set(id, group);
    return group;
  }

  #way(group: GroupState, address: string): Way {
    const known = group.ways.get(address);
    if (known !== undefined) return known;
    const way = newWay(group.id, address);
    group.ways.set(address, way);
    return way;
  }

  #forget(way: Way): void {
    this.#endRequest(way);
    this.#removeSending(way);
    for (const accepted of [...way.accepted]) this.#end(way, accepted);
  }

  /** Ends and renews what is due. */
  #look(group: GroupState, way: Way, now: number): void {
    for (const accepted of way.accepted) if (now >= accepted.end) this.#end(way, accepted);
    const { granted } = way;
    if (granted !== null) {
      const isRemoved = !group.keys.some(({ number }) => number === granted.keyNumber);
      if (now >= granted.renew && way.wanted) {
        granted.renew = now + TIMES.older;
        this.#ask(way, now);
      }
      if (isRemoved) this.#ask(way, now);
      if (isRemoved && way.request !== null && now - way.request.since >= TIMES.grace) {
        this.#removeSending(way);
        way.granted = null;
        this.#sink.change({ do: 'stop', group: group.id, address: way.address });
      }
    }
    if (!way.wanted && way.granted === null && way.accepted.length === 0 && way.request === null)
      group.ways.delete(way.address);
  }
}

/** The number of attempts after which a host is reported: some three seconds. */
const REPORTED = 5;

function sendingKey(address: string, spi: number): string {
  return `${address} ${spi}`;
}

function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** Compares in a time that does not depend on where they differ. */
function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length && i < b.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}
