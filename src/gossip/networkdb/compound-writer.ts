import { encodeText } from '../../wire/index.js';
import { COMPOUND, CREATE, TABLE_EVENT, type TableEvent } from './messages.js';
import type { Packed } from './packed.js';
import { varintLength, writeVarint } from './protobuf.js';
import type { Entry } from './store.js';

/** Tags of a number, and of octets, by the number of the field. */
const number = (field: number): number => field << 3;
const octets = (field: number): number => (field << 3) | 2;

/** A table event whose value is packed. */
export type PackedEvent = Omit<TableEvent, 'value' | 'unknown'> & { value: Packed };

/**
 * Writes a compound, as `compound` of messages.ts does, without an object for each field and message: a bulk sync has tens
 * of thousands of them, and the garbage took more memory than the tables.
 */
export class CompoundWriter {
  #bytes = new Uint8Array(4096);
  /** Octets of the messages so far, with their headers. */
  length = 0;

  /** Adds a message that is wrapped already. */
  add(message: Packed): void {
    const end = this.#begin(message.length);
    this.length = this.#latin(message, end - message.length);
  }

  /** Adds the event that creates an entry. */
  addCreation({ time, owner: node, network, table, key, value }: Entry): void {
    this.addEvent({ type: CREATE, time, node, network, table, key, value, residual: 0 });
  }

  addEvent({ type, time, node, network, table, key, value, residual }: PackedEvent): void {
    const texts = [node, network, table, key].map(textOf);
    let length = lengthOfOthers(type, time, value, residual);
    for (const text of texts) length += octetsLength(text.length);
    this.#begin(numberLength(TABLE_EVENT) + octetsLength(length));
    this.#number(1, TABLE_EVENT);
    this.#header(2, length);
    this.#number(1, type);
    this.#number(2, time);
    for (let i = 0; i < texts.length; i++) this.#text(3 + i, texts[i]!);
    this.#text(7, value);
    this.#number(8, residual);
  }

  /** Returns the compound, and begins another one. */
  take(): Uint8Array {
    const { length } = this;
    this.length = 0;
    const own = new Uint8Array(numberLength(COMPOUND) + octetsLength(length));
    own[0] = number(1);
    let at = writeVarint(COMPOUND, own, 1);
    if (length === 0) return own;
    own[at++] = octets(2);
    at = writeVarint(length, own, at);
    own.set(this.#bytes.subarray(0, length), at);
    return own;
  }

  /** Writes the headers of a message, and makes room for it. @returns where it will end. */
  #begin(length: number): number {
    const inner = octetsLength(length);
    const end = this.length + 1 + varintLength(inner) + inner;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, this.length));
      this.#bytes = grown;
    }
    this.#bytes[this.length++] = octets(1); // of the compound, even if the message is empty
    this.length = writeVarint(inner, this.#bytes, this.length);
    if (length > 0) this.#header(1, length);
    return end;
  }

  /** Writes the header of octets. */
  #header(field: number, length: number): void {
    this.#bytes[this.length++] = octets(field);
    this.length = writeVarint(length, this.#bytes, this.length);
  }

  #number(field: number, value: number): void {
    if (value === 0) return;
    this.#bytes[this.length++] = number(field);
    this.length = writeVarint(value, this.#bytes, this.length);
  }

  #text(field: number, text: string | Uint8Array): void {
    if (text.length === 0) return;
    this.#header(field, text.length);
    if (typeof text === 'string') this.length = this.#latin(text, this.length);
    else {
      this.#bytes.set(text, this.length);
      this.length += text.length;
    }
  }

  /** Writes characters that are octets. @returns where they end. */
  #latin(text: string, at: number): number {
    const bytes = this.#bytes;
    for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
    return at + text.length;
  }
}

/** Octets of the wrapped event that creates an entry, if all characters of its names are of ASCII. */
export function asciiCreationLength({ time, owner, network, table, key, value }: Entry): number {
  const length =
    lengthOfOthers(CREATE, time, value, 0) +
    octetsLength(owner.length) +
    octetsLength(network.length) +
    octetsLength(table.length) +
    octetsLength(key.length);
  return numberLength(TABLE_EVENT) + octetsLength(length);
}

/** Octets of the fields of a table event that are no names. */
function lengthOfOthers(type: number, time: number, value: Packed, residual: number): number {
  return numberLength(type) + numberLength(time) + octetsLength(value.length) + numberLength(residual);
}

function numberLength(value: number): number {
  return value === 0 ? 0 : 1 + varintLength(value);
}

function octetsLength(length: number): number {
  return length === 0 ? 0 : 1 + varintLength(length) + length;
}

/** A text itself if all its characters are octets in UTF-8, or its octets. */
function textOf(text: string): string | Uint8Array {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x80) return encodeText(text, true);
  return text;
}
