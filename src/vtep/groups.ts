/** The segments that share associations, and the ways to remotes that they have in common. */
import type { Outbound } from '../esp/index.js';
import type { Remote } from './remote.js';

interface HeldFrame {
  readonly vni: number;
  /** With `HEADROOM` in front. */
  readonly bytes: Uint8Array;
  readonly time: number;
}

/** The way to one remote. */
export interface Way {
  readonly remote: Remote;
  outbound: Outbound | null;
  held: HeldFrame[];
  /** When it was reported as missing. */
  asked: number;
}

/** The segments that share associations. */
export class Group {
  readonly id: string;
  segments = 0;
  /** By the remote's id. */
  readonly ways: (Way | undefined)[] = [];

  constructor(id: string) {
    this.id = id;
  }

  /** The association to a remote, or `null`. */
  to(remote: Remote): Outbound | null {
    const way = this.ways[remote.id];
    return way !== undefined && way.remote === remote ? way.outbound : null;
  }

  wayTo(remote: Remote): Way {
    const known = this.ways[remote.id];
    if (known !== undefined && known.remote === remote) return known;
    known?.outbound?.free();
    const way: Way = { remote, outbound: null, held: [], asked: -Infinity };
    this.ways[remote.id] = way;
    return way;
  }
}

/** Where segments find their groups. */
export interface Groups {
  /** The group of a new segment. */
  join(id: string): Group;
  /** A segment of the group was removed. */
  leave(group: Group): void;
}
