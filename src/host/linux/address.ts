/** Underlay addresses as the kernel stores them: four 32-bit words, of which IPv4 uses the last. */
import { formatIpv6, ipv4ToText, parseIpv4, parseIpv6 } from '../../address/index.js';
import { type Remote, type Vtep } from '../../vtep/index.js';
import { type Arena } from './arena.js';
import { SOCKADDR } from './abi.js';

/** Reads an address in text into `words`. */
export function addressWords(text: string, words: Int32Array): void {
  words.fill(0);
  if (!text.includes(':')) {
    words[3] = parseIpv4(text);
    return;
  }
  const bytes = parseIpv6(text);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  for (let i = 0; i < 4; i++) words[i] = view.getInt32(i * 4);
}

/** Returns the address of the socket address at `at`, in canonical text. */
export function addressText(arena: Arena, at: number, v6: boolean): string {
  return v6 ? formatIpv6(arena.bytes, at + SOCKADDR.ipv6) : ipv4ToText(arena.view.getUint32(at + SOCKADDR.ipv4));
}

const PLACES = 1024;
const WORDS = 4;

/**
 * Finds the `Remote` that sent a datagram by its socket address, without making text of it. `clear` forgets the remotes,
 * which the machine allows to be kept until its next tick.
 */
export class Senders {
  readonly #arena: Arena;
  readonly #vtep: Vtep;
  readonly #v6: boolean;
  readonly #words = new Int32Array(PLACES * WORDS);
  readonly #remotes: (Remote | null)[] = new Array<Remote | null>(PLACES).fill(null);
  #used = false;

  constructor(arena: Arena, vtep: Vtep, v6: boolean) {
    this.#arena = arena;
    this.#vtep = vtep;
    this.#v6 = v6;
  }

  /** Returns the remote, or its address in text if the machine does not know it. */
  find(at: number): Remote | string {
    const { view } = this.#arena;
    let a = 0;
    let b = 0;
    let c = 0;
    let d: number;
    if (this.#v6) {
      a = view.getInt32(at + SOCKADDR.ipv6);
      b = view.getInt32(at + SOCKADDR.ipv6 + 4);
      c = view.getInt32(at + SOCKADDR.ipv6 + 8);
      d = view.getInt32(at + SOCKADDR.ipv6 + 12);
    } else d = view.getInt32(at + SOCKADDR.ipv4);
    const hash = Math.imul(a ^ (b << 1) ^ (c << 2) ^ d, 0x9e37_79b1) >>> 22;
    const words = this.#words;
    const place = hash * WORDS;
    const known = this.#remotes[hash]!;
    if (
      known !== null &&
      words[place + 3] === d &&
      words[place] === a &&
      words[place + 1] === b &&
      words[place + 2] === c
    )
      return known;
    const text = addressText(this.#arena, at, this.#v6);
    const remote = this.#vtep.remote(text);
    if (remote === undefined) return text;
    words[place] = a;
    words[place + 1] = b;
    words[place + 2] = c;
    words[place + 3] = d;
    this.#remotes[hash] = remote;
    this.#used = true;
    return remote;
  }

  /** Forgets all. Call it after a tick of the machine and after a change by the control plane. */
  clear(): void {
    if (!this.#used) return;
    this.#remotes.fill(null);
    this.#used = false;
  }
}
