/** Fills bytes with octets that no outsider can guess. */
export type Random = (octets: Uint8Array) => void;

export interface VtepOptions {
  /** UDP port of remotes that are given without one. Default 4789. */
  port?: number;
  /** This VTEP's own underlay address; datagrams that claim to come from it are dropped. */
  local?: string;
  /**
   * Whether a segment drops datagrams from addresses that are neither its peers nor the VTEPs of its endpoints. Default
   * false, as in RFC 7348; the `vtep` program sets it.
   */
  peersOnly?: boolean;
  /** Maximum number of remotes learned from datagrams. Default 1024. */
  learnedRemotes?: number;
  /** An integer that outsiders cannot guess; see `FdbOptions.seed`. Default 0. */
  seed?: number;
  /** Whether this machine sends announcements. Of several machines with the same ports only one may. Default true. */
  announce?: boolean;
  /** Most requests to services at the gateways that wait for an answer. Default `MAX_REQUESTS`. */
  requests?: number;
  /** Fills bytes with octets that outsiders cannot guess. Without it, the VTEP answers probes of path MTUs, and sends none. */
  random?: Random;
  /** Most probes of path MTUs to send in a second. Default `PROBES_PER_SECOND`. */
  probes?: number;
}
