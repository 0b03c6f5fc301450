import { IpamError, type IpamField } from './error.js';
import { bitsOf, parsePrefix, prefixToText, type Family, type Prefix } from './prefix.js';

/** A prefix in use, and by what, in words: `network uber-net`, `a route of host2`. */
export interface UsedPrefix {
  readonly prefix: string;
  readonly owner: string;
}

/** The prefixes that begin with the same bits. The path from the root has these bits. */
interface Node {
  /** Of prefixes that end here. */
  owners: string[];
  /** By the next bit. */
  children: [Node | undefined, Node | undefined];
  /** The length of the largest free network below; `Infinity` if there is none. */
  largest: number;
}

/**
 * Prefixes in use: the subnets of all networks and the routes of hosts, in one set. A tree over the bits of the prefixes:
 * every operation takes as many steps as a prefix has bits, however many prefixes there are.
 */
export class PrefixSet {
  readonly #roots: Record<Family, Node> = { 4: emptyNode(0), 6: emptyNode(0) };

  /**
   * A default route is no use of all addresses: a prefix of length 0 is ignored.
   * @param owner The same prefix may have several.
   */
  add(prefix: string | Prefix, owner: string): void {
    this.#change(prefix, (node) => void node.owners.push(owner));
  }

  /** Withdraws what was added with the same arguments; ignores what was not. */
  remove(prefix: string | Prefix, owner: string): void {
    this.#change(prefix, (node) => {
      const at = node.owners.indexOf(owner);
      if (at >= 0) node.owners.splice(at, 1);
    });
  }

  /** Prefixes in use that have addresses in common with a prefix, those that include it first: at most `most`. */
  overlaps(prefix: string | Prefix, most = 8): UsedPrefix[] {
    const wanted = parsed(prefix);
    const found: UsedPrefix[] = [];
    const add = (node: Node, first: bigint, length: number): void => {
      for (const owner of node.owners)
        if (found.length < most) found.push({ prefix: prefixToText({ family: wanted.family, first, length }), owner });
    };
    const bits = bitsOf(wanted.family);
    let node: Node | undefined = this.#roots[wanted.family];
    for (let length = 0; length < wanted.length && node !== undefined; length++) {
      const host = BigInt(bits - length);
      add(node, (wanted.first >> host) << host, length);
      node = node.children[bitAt(wanted, length)];
    }
    let level = node === undefined ? [] : [{ node, first: wanted.first }];
    for (let length = wanted.length; level.length > 0 && found.length < most; length++) {
      const next: typeof level = [];
      for (const { node, first } of level) {
        add(node, first, length);
        const [zero, one] = node.children;
        if (zero !== undefined) next.push({ node: zero, first });
        if (one !== undefined) next.push({ node: one, first: first + (1n << BigInt(bits - length - 1)) });
      }
      // Each node leads to a prefix, so no more than `most` of them are needed.
      level = next.slice(0, most);
    }
    return found;
  }

  /**
   * @param what The new prefix in words that precede it: `subnet`.
   * @throws IpamError `conflict` that names both sides.
   */
  requireFree(prefix: string | Prefix, field: IpamField, what = 'subnet'): void {
    const [first, ...others] = this.overlaps(prefix);
    if (first === undefined) return;
    const more = others.length === 0 ? '' : `, and with ${others.length > 6 ? 'more than 6' : others.length} others`;
    const text = prefixToText(parsed(prefix));
    throw new IpamError(
      'conflict',
      field,
      `${what} ${text} overlaps with ${first.prefix} of ${first.owner}${more}; choose another, or give none and get a free one`,
    );
  }

  /** The lowest free network of `length` bits in a prefix; `undefined` if there is none. */
  lowestFree(within: Prefix, length: number): Prefix | undefined {
    const { family } = within;
    const bits = bitsOf(family);
    let node: Node | undefined = this.#roots[family];
    let { first } = within;
    let depth = 0;
    for (; depth < within.length && node !== undefined; depth++) {
      if (node.owners.length > 0) return undefined;
      node = node.children[bitAt(within, depth)];
    }
    if (node !== undefined && node.largest > length) return undefined;
    for (; node !== undefined && !isFree(node); depth++) {
      const bit = largestBelow(node, 0, depth) <= length ? 0 : 1;
      if (bit === 1) first += 1n << BigInt(bits - depth - 1);
      node = node.children[bit];
    }
    return { family, first, length };
  }

  /** Changes the node of a prefix, and all above it accordingly. */
  #change(prefix: string | Prefix, change: (node: Node) => void): void {
    const changed = parsed(prefix);
    if (changed.length === 0) return;
    const path: Node[] = [this.#roots[changed.family]];
    for (let depth = 0; depth < changed.length; depth++)
      path.push((path[depth]!.children[bitAt(changed, depth)] ??= emptyNode(depth + 1)));
    change(path[changed.length]!);
    for (let depth = changed.length; depth >= 0; depth--) {
      const node = path[depth]!;
      if (depth > 0 && isFree(node)) path[depth - 1]!.children[bitAt(changed, depth - 1)] = undefined;
      else node.largest = largestIn(node, depth);
    }
  }
}

function emptyNode(depth: number): Node {
  return { owners: [], children: [undefined, undefined], largest: depth };
}

function isFree({ owners, children }: Node): boolean {
  return owners.length === 0 && children[0] === undefined && children[1] === undefined;
}

function largestIn(node: Node, depth: number): number {
  if (node.owners.length > 0) return Infinity;
  if (isFree(node)) return depth;
  return Math.min(largestBelow(node, 0, depth), largestBelow(node, 1, depth));
}

function largestBelow(node: Node, bit: 0 | 1, depth: number): number {
  return node.children[bit]?.largest ?? depth + 1;
}

function bitAt({ family, first }: Prefix, depth: number): 0 | 1 {
  return ((first >> BigInt(bitsOf(family) - depth - 1)) & 1n) === 1n ? 1 : 0;
}

function parsed(prefix: string | Prefix): Prefix {
  return typeof prefix === 'string' ? parsePrefix(prefix, 'subnet') : prefix;
}
