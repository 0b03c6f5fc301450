/** What two hosts have agreed on for a group, as one of them knows it. */
import { type AssociationKey } from './association.js';
import { type DerivedKey } from './derive.js';

/** An association to the other host, which frames leave by. */
export interface Granted {
  readonly keyNumber: number;
  /** The SPI of the first worker's. */
  readonly spi: number;
  readonly since: number;
  readonly keys: readonly AssociationKey[];
  /** When to ask for the next one. */
  renew: number;
}

/** A request that is not answered yet. It is repeated with the same nonce, so that the other host knows it again. */
export interface Request {
  readonly nonce: Uint8Array;
  attempts: number;
  /** When to repeat it. */
  due: number;
  readonly since: number;
}

/** Associations from the other host, which packets are accepted by: one for each of its workers. */
export interface Accepted {
  readonly key: DerivedKey;
  readonly spi: number;
  readonly senders: number;
  /** The sender's nonce, in hexadecimal. */
  readonly nonce: string;
  readonly since: number;
  readonly keys: readonly AssociationKey[];
  /** The message that granted it. */
  readonly grant: Uint8Array;
  /** Whether an authentic packet has arrived: until then, the request may have been an old one that an attacker repeats. */
  confirmed: boolean;
  /** When it ends; `Infinity` while it is not replaced. */
  end: number;
}

/** The associations of a group between this host and another one. */
export interface Way {
  readonly group: string;
  readonly address: string;
  /** Whether this host sends to the other one. */
  wanted: boolean;
  granted: Granted | null;
  request: Request | null;
  accepted: Accepted[];
  /** The instance of the other host's group, in hexadecimal; empty if it is not known. */
  instance: string;
  /** When the other host last said, with or without authentication, that the association may be lost. */
  hinted: number;
}

export function newWay(group: string, address: string): Way {
  return {
    ...{ group, address, wanted: false, granted: null, request: null, accepted: [], instance: '' },
    hinted: -Infinity,
  };
}
