/** What AES-GCM needs of a packet beside its text, in memory that a key reuses: no packet allocates. */
import { checkKeyParameters, HEADER_LENGTH, NONCE_LENGTH, type KeyParameters } from '../../esp/index.js';

// Offsets of a packet.
const SEQUENCE = 4;
const IV = HEADER_LENGTH;
// Offsets in the memory.
export const NONCE = 0;
export const AAD = 16;
/** For the words of a library. */
export const OWN = 32;
const SIZE = 96;

export class Inputs {
  readonly memory = new ArrayBuffer(SIZE);
  readonly nonce = new Uint8Array(this.memory, NONCE, NONCE_LENGTH);
  readonly aad: Uint8Array;
  readonly view = new DataView(this.memory);
  readonly #packets: DataView;
  readonly #extended: boolean;

  /** @throws RangeError for a key or a salt of another length. */
  constructor(packets: Uint8Array, parameters: KeyParameters) {
    checkKeyParameters(parameters);
    this.#packets = new DataView(packets.buffer, packets.byteOffset, packets.length);
    this.#extended = parameters.extended;
    this.aad = new Uint8Array(this.memory, AAD, parameters.extended ? HEADER_LENGTH + 4 : HEADER_LENGTH);
    this.nonce.set(parameters.salt);
  }

  /** Takes the nonce and the additional data of the packet whose header is at `at` (RFC 4106, sections 4 and 5). */
  take(at: number, high: number): void {
    const from = this.#packets;
    const to = this.view;
    to.setInt32(NONCE + 4, from.getInt32(at + IV));
    to.setInt32(NONCE + 8, from.getInt32(at + IV + 4));
    to.setInt32(AAD, from.getInt32(at));
    if (this.#extended) {
      to.setInt32(AAD + 4, high);
      to.setInt32(AAD + 8, from.getInt32(at + SEQUENCE));
    } else {
      to.setInt32(AAD + 4, from.getInt32(at + SEQUENCE));
    }
  }
}
