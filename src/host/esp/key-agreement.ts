/** Agrees on keys for a running VTEP: connects the machine with the data plane, the keys that the VTEP has, and the log. */
import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { Keying, type AssociationChange, type KeyingCrypto, type KeyingReport } from '../../keying/index.js';
import { type GroupKey } from '../../model/index.js';
import { type DataPlane, type KeyingMessage } from '../data-plane.js';
import { type Logger } from '../log.js';
import { Throttle } from '../throttle.js';
import { type KeyingEvent } from './keying-events.js';

/** Milliseconds between two looks at what is due. */
const TICK = 100;
/** Milliseconds between two lines of the log about one host. */
const QUIET = 60_000;
/** Most such lines in that time. */
const MOST = 32;
const MOST_ESTABLISHED = 1024;

/** The keys that a VTEP has. */
export interface KeySource {
  /** Those of a group; none if it is not known. */
  get(group: string): readonly GroupKey[];
  /** Calls a function after each change with the group. @returns a function that ends that. */
  onChange(listener: (group: string) => void): () => void;
}

/** The key of one direction: its number, and since when it is in use (RFC 3339). */
export interface KeyInUse {
  key: number;
  since: string;
}

/** How frames of a key group to and from a host are encrypted. */
export interface EncryptionListing {
  /** The network, or `vni-42` for a segment of none. */
  group: string;
  /** The key that encrypts frames to the host; `null` if none is agreed on yet. */
  out: KeyInUse | null;
  /** The key of the packets from it; `null` if none has arrived. */
  in: KeyInUse | null;
  /** Since when the host has not answered a request for a key; `null` if nothing is asked. */
  unanswered: string | null;
}

/** The key and the salt of an association in hexadecimal. With them, its packets can be read and forged. */
export interface SecretListing {
  source: string;
  destination: string;
  spi: number;
  key: string;
  salt: string;
}

const crypto: KeyingCrypto = {
  hkdf: (key, salt, info, length) => new Uint8Array(hkdfSync('sha256', key, salt, info, length)),
  hmac: (key, text) => new Uint8Array(createHmac('sha256', key).update(text).digest()),
  random: (length) => new Uint8Array(randomBytes(length)),
};

export class KeyAgreement {
  readonly #engine: DataPlane;
  readonly #keys: KeySource;
  readonly #log: Logger;
  readonly #keying: Keying;
  readonly #quiet = new Throttle(QUIET, MOST);
  readonly #established = new Throttle(QUIET, MOST_ESTABLISHED);
  /** What the machine wants done, in order. */
  #steps: (AssociationChange | KeyingMessage)[] = [];
  #working = false;
  #timer: NodeJS.Timeout | undefined;
  readonly #end: () => void;

  /** @param senders The workers of the engine that send. */
  constructor(local: string, senders: number, engine: DataPlane, keys: KeySource, log: Logger) {
    this.#engine = engine;
    this.#keys = keys;
    this.#log = log;
    const decodeKey = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
    this.#keying = new Keying(
      { local, senders, crypto, decodeKey },
      {
        send: (address, bytes) => this.#add({ address, bytes }),
        change: (change) => this.#add(change),
        report: (report) => this.#report(report),
      },
    );
    this.#end = keys.onChange((group) => this.#update(group));
  }

  /** Takes the keys of a group, which has segments from now on. */
  add(group: string): void {
    this.#update(group);
    this.#timer ??= setInterval(() => this.#keying.tick(performance.now()), TICK).unref();
  }

  #update(group: string): void {
    this.#keying.setKeys(group, this.#keys.get(group), performance.now());
  }

  /** Events of the data plane. */
  take(events: readonly KeyingEvent[]): void {
    const now = performance.now();
    for (const event of events)
      switch (event.type) {
        case 'wanted':
          this.#keying.want(event.group, event.address, now);
          break;
        case 'message':
          this.#keying.receive(event.address, event.bytes, now);
          break;
        case 'unknown-spi':
          this.#keying.unknownSpi(event.address, event.spi);
          break;
        case 'used':
          this.#keying.used(event.spi, now);
      }
  }

  /** By the addresses of the hosts. */
  listing(): Map<string, EncryptionListing[]> {
    const at = (time: number): string => new Date(Math.round(performance.timeOrigin + time)).toISOString();
    const dated = (one: { key: number; since: number } | null): KeyInUse | null =>
      one === null ? null : { key: one.key, since: at(one.since) };
    const byAddress = new Map<string, EncryptionListing[]>();
    for (const { group, address, out, in: into, asking } of this.#keying.listing()) {
      const entry = { group, out: dated(out), in: dated(into), unanswered: asking === null ? null : at(asking) };
      const known = byAddress.get(address);
      if (known === undefined) byAddress.set(address, [entry]);
      else known.push(entry);
    }
    return byAddress;
  }

  /** The keys of all associations: see `SecretListing`. */
  *secrets(): Generator<SecretListing, undefined> {
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    for (const { key, salt, ...rest } of this.#keying.secrets()) yield { ...rest, key: hex(key), salt: hex(salt) };
    return undefined;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#end();
  }

  #add(step: AssociationChange | KeyingMessage): void {
    this.#steps.push(step);
    if (this.#working) return;
    this.#working = true;
    void this.#work();
  }

  /** Does what the machine wants, in order: an association takes effect before its grant is sent. */
  async #work(): Promise<void> {
    await Promise.resolve(); // more steps of the same event
    try {
      while (this.#steps.length > 0) {
        const steps = this.#steps;
        this.#steps = [];
        for (let at = 0; at < steps.length;) {
          let end = at;
          while (end < steps.length && 'do' in steps[end]! === 'do' in steps[at]!) end++;
          const part = steps.slice(at, end);
          if ('do' in part[0]!) await this.#engine.associate(part as AssociationChange[]);
          else this.#engine.sendKeying(part as KeyingMessage[]);
          at = end;
        }
      }
    } catch {
      this.#steps = []; // the engine has ended, and says so itself
    } finally {
      this.#working = false;
    }
  }

  #report(report: KeyingReport): void {
    const { address } = report;
    if (report.type === 'established') {
      const { group, key } = report;
      // A stranger may cause associations to be replaced once a second.
      if (!this.#established.allow(`${group} ${address} ${key}`, performance.now())) return;
      this.#log.info('encryption', `frames of ${group} to ${address} are encrypted, with key ${key}`, {
        ...{ group, vtep: address, key },
      });
      return;
    }
    if (!this.#quiet.allow(`${report.type} ${address}`, performance.now())) return;
    this.#log.warning('encryption', TROUBLES[report.type](report), { vtep: address });
  }
}

const TROUBLES: { [T in Exclude<KeyingReport['type'], 'established'>]: (report: KeyingReport) => string } = {
  'unknown-key': ({ address }) =>
    `${address} asks with a key that this host does not have for any network: compare the key files and the names of the networks; while keys are rotated by hand, this host gets the new one later`,
  forged: ({ address }) =>
    `a message about keys from ${address} is not authentic: an address was changed on the way, as by NAT, or it is an attack`,
  unanswered: (report) =>
    `${report.address} does not answer about keys${'group' in report ? ` of ${report.group}` : ''}: frames to it wait or are dropped; check that UDP to the port of ESP passes, and that it has the same key`,
};
