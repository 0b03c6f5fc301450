/** What a data plane needs of associations, ready-made. */

/** One association of one direction: its SPI and its key. */
export interface AssociationKey {
  readonly spi: number;
  /** The AES key: 16 or 32 octets. */
  readonly key: Uint8Array;
  /** 4 octets. */
  readonly salt: Uint8Array;
}

/** A change of the associations of a data plane. */
export type AssociationChange =
  /** Frames of a group to an address leave by these: each worker has its own, of which the first is that of worker 0. */
  | {
      readonly do: 'send';
      readonly group: string;
      readonly address: string;
      readonly keys: readonly AssociationKey[];
    }
  /** Packets of an address for a group are accepted by any of these. */
  | {
      readonly do: 'accept';
      readonly group: string;
      readonly address: string;
      readonly keys: readonly AssociationKey[];
    }
  /** Frames of a group to an address leave by none any more. */
  | { readonly do: 'stop'; readonly group: string; readonly address: string }
  /** Packets of these SPIs are accepted no more. */
  | { readonly do: 'forget'; readonly spis: readonly number[] };
