/** A UDP datagram in the underlay. All receivers share its bytes, which are read-only. */
export interface Datagram {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  /** TOS or traffic class. */
  readonly tos: number;
  readonly payload: Uint8Array;
}
