import { placeOf } from './member.js';

/** How long a message waits, in milliseconds. */
const LIFE = 3000;
/** Maximum number of messages of one place, and of octets of all. */
const MAX_OF_PLACE = 16;
const MAX_OCTETS = 256 * 1024;
/** Approximate memory of a place and of a message, besides the octets. */
const PLACE_MEMORY = 256;
const MESSAGE_MEMORY = 128;

interface Waiting {
  readonly until: number;
  octets: number;
  readonly messages: Uint8Array[];
}

/**
 * Messages of the application from places where no verified member is known yet. Members that join at the same time
 * send each other such messages, and verify each other a moment later. Without a key only.
 */
export class Held {
  /** By place, oldest first. */
  readonly #byPlace = new Map<string, Waiting>();
  #octets = 0;

  /** Octets of memory for all messages. */
  get octets(): number {
    return this.#octets;
  }

  /** Keeps a copy of a message. */
  add(address: string, port: number, message: Uint8Array, now: number): void {
    const octets = MESSAGE_MEMORY + message.length;
    if (message.length === 0 || PLACE_MEMORY + octets > MAX_OCTETS) return;
    for (const [place, { until }] of this.#byPlace) {
      if (until > now && this.#octets + PLACE_MEMORY + octets <= MAX_OCTETS) break;
      this.#remove(place);
    }
    const place = placeOf(address, port);
    let waiting = this.#byPlace.get(place);
    if (waiting === undefined) {
      waiting = { until: now + LIFE, octets: PLACE_MEMORY, messages: [] };
      this.#byPlace.set(place, waiting);
      this.#octets += PLACE_MEMORY;
    }
    if (waiting.messages.length >= MAX_OF_PLACE) return;
    waiting.messages.push(message.slice());
    waiting.octets += octets;
    this.#octets += octets;
  }

  /** Takes the messages of a place, where a member is now. */
  take(address: string, port: number, now: number): Uint8Array[] {
    const place = placeOf(address, port);
    const waiting = this.#byPlace.get(place);
    if (waiting === undefined) return [];
    this.#remove(place);
    return waiting.until > now ? waiting.messages : [];
  }

  clear(): void {
    this.#byPlace.clear();
    this.#octets = 0;
  }

  #remove(place: string): void {
    this.#octets -= this.#byPlace.get(place)!.octets;
    this.#byPlace.delete(place);
  }
}
