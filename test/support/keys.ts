/** Encryption in simulations: a fake AEAD, and the rotation of a running cluster's keys. */
import { Keyring, type Aead, type Security } from '../../src/gossip/memberlist/index.js';
import type { Random } from '../../src/sim/index.js';
import type { SimCluster, SimMember } from './gossip.js';

const TAG = 16;

/** A fake AEAD, for simulations only: a checksum over the key and the data detects other keys and changes. */
export const cheapAead: Aead = {
  seal(key, nonce, plaintext, aad) {
    const out = new Uint8Array(plaintext.length + TAG);
    out.set(plaintext);
    new DataView(out.buffer).setInt32(plaintext.length, digest(key, nonce, plaintext, aad));
    return out;
  },
  open(key, nonce, sealed, aad) {
    const plain = sealed.subarray(0, sealed.length - TAG);
    const tag = new DataView(sealed.buffer, sealed.byteOffset + plain.length).getInt32(0);
    return tag === digest(key, nonce, plain, aad) ? plain.slice() : null;
  },
};

/** FNV-1a over all inputs and their lengths. */
function digest(...inputs: readonly Uint8Array[]): number {
  let sum = 0x811c_9dc5 | 0;
  for (const input of inputs) {
    for (let i = 0; i < input.length; i++) sum = Math.imul(sum ^ input[i]!, 0x0100_0193);
    sum = Math.imul(sum ^ input.length, 0x0100_0193);
  }
  return sum;
}

/** A source of unique nonces of 12 octets. */
export function nonces(): () => Uint8Array {
  let count = 0;
  return () => {
    const nonce = new Uint8Array(12);
    new DataView(nonce.buffer).setUint32(8, count++);
    return nonce;
  };
}

/** Milliseconds after which a message has arrived or is lost. */
const UNDER_WAY = 30_000;

/**
 * The keys of a cluster and their rotation: every process installs the new key, then every process uses it, then every
 * process removes the old one. Each takes a step at a random time, and none before all have taken the last one and
 * their earlier messages have arrived. A process that starts reads the keys of the current step.
 */
export class Keys {
  readonly #random: Random;
  readonly #aead: Aead;
  readonly #nonce = nonces();
  readonly #rings = new Map<SimMember, { ring: Keyring; done: boolean }>();
  #keys: Uint8Array[];
  #step: ((ring: Keyring) => void) | null = null;
  #left: (() => void)[] = [];
  #doneAt = Infinity;
  #number = 0;
  readonly #removing: () => void;
  /** Completed rotations. */
  rotations = 0;

  /** @param removing Called before an old key is removed, after which old messages are unreadable. */
  constructor(cluster: SimCluster, random: Random, aead: Aead, removing: () => void) {
    this.#random = random;
    this.#aead = aead;
    this.#removing = removing;
    this.#keys = [this.#newKey()];
    cluster.clock.every(1000, () => this.#tick(cluster));
  }

  /** The keys that a process starts with. */
  security(member: SimMember): Security {
    const ring = new Keyring(this.#keys);
    this.#rings.set(member, { ring, done: true });
    return { keyring: ring, aead: this.#aead, nonce: this.#nonce };
  }

  /** Starts a rotation unless one is in progress. */
  rotate(): void {
    if (this.#step !== null) return;
    const [old, next] = [this.#keys[0]!, this.#newKey()];
    this.#left = [
      () => this.#begin([next, old], (ring) => ring.use(next)),
      () => {
        this.#removing();
        this.#begin([next], (ring) => ring.remove(old));
      },
    ];
    this.#begin([old, next], (ring) => ring.add(next));
  }

  #begin(keys: Uint8Array[], step: (ring: Keyring) => void): void {
    this.#keys = keys;
    this.#step = step;
    this.#doneAt = Infinity;
    for (const one of this.#rings.values()) one.done = false;
  }

  #tick({ clock }: SimCluster): void {
    if (this.#step === null) return;
    let done = true;
    for (const [member, one] of this.#rings) {
      if (one.done || !member.running) continue;
      if (!member.paused && this.#random.chance(0.5)) {
        this.#step(one.ring);
        one.done = true;
      } else done = false;
    }
    if (!done) return;
    if (this.#doneAt === Infinity) this.#doneAt = clock.now;
    if (clock.now - this.#doneAt < UNDER_WAY) return;
    const next = this.#left.shift();
    if (next !== undefined) return next();
    this.#step = null;
    this.rotations++;
  }

  #newKey(): Uint8Array {
    return new Uint8Array(this.#random.pick([16, 24, 32])).fill(++this.#number);
  }
}
