import { HEADER_LENGTH } from '../ethernet/index.js';
import { Alarm, type Clock } from './clock.js';
import { Link, type LinkOptions } from './link.js';
import type { Random } from './random.js';
import type { Station } from './station.js';

/** Both directions of a cable. */
export interface Cable {
  there: Link;
  back: Link;
}

/** Connects two stations by a cable; the clock wakes them. */
export function connect(clock: Clock, random: Random, a: Station, b: Station, options: LinkOptions = {}): Cable {
  const there = new Link(clock, random, options);
  const back = new Link(clock, random, options);
  plug(clock, a, b, there);
  plug(clock, b, a, back);
  return { there, back };
}

function plug(clock: Clock, from: Station, to: Station, link: Link): void {
  const alarm = new Alarm(clock, () => from.wake(clock.now));
  const port = {
    transmit: (bytes: Uint8Array, offset: number, end: number): void =>
      void link.send(end - offset - HEADER_LENGTH, () => to.receive(bytes, offset, end, clock.now)),
    wake: (at: number): void => alarm.set(at),
  };
  from.plug(port, clock.now);
}
