/** The flags of `npm run bench`, as its suites receive them. */
export interface BenchOptions {
  quick: boolean;
  /** Of the overlay suite: see `OverlayOptions`. */
  rounds: number;
  workers: number;
  busyPoll: number;
  peers: boolean;
  encrypted: boolean;
  /** `null`: the suite's default. */
  minutes: number | null;
  /** Of the gossip suite: cluster sizes; empty for the default ones. */
  nodes: readonly number[];
  /** Of the gossip suite: directory for the plots; `null` for none. */
  out: string | null;
}
