/** `npm run bench -- seal`: what sealing and opening a packet costs, for each implementation of AES-GCM of this machine. */
import { PacketList } from '../src/esp/index.js';
import { AEADS, loadAead } from '../src/host/esp/load.js';
import { median } from './library.js';

export interface SealFigure {
  name: string;
  /** Octets that are encrypted. */
  length: number;
  /** Nanoseconds of a packet. */
  seal: number;
  open: number;
}

/** Octets: a small packet, and one that fills an MTU of 1500. */
const LENGTHS = [64, 1408];
/** Packets of a list, which lie like those of a super-frame. */
const COUNT = 64;
const STRIDE = 2048;
const ROUNDS = 9;
/** Milliseconds of a round. */
const ROUND = 60;

export async function seal(quick: boolean): Promise<SealFigure[]> {
  const figures: SealFigure[] = [];
  for (const name of AEADS) {
    const packets = new Uint8Array(COUNT * STRIDE);
    const aead = await loadAead(packets, undefined, name).catch(() => null);
    if (aead === null) continue; // this machine does not have it
    const key = aead.key({ key: new Uint8Array(16), salt: new Uint8Array(4), icv: 16, extended: true });
    for (const length of LENGTHS) {
      const list = new PacketList(COUNT);
      list.count = COUNT;
      for (let i = 0; i < COUNT; i++) list.offset[i] = i * STRIDE;
      list.length.fill(length);
      const both = { seal: [] as number[], open: [] as number[] };
      for (let round = 0; round < (quick ? 3 : ROUNDS); round++) {
        both.seal.push(perPacket(() => key.seal(list)));
        // Every packet must be authentic: what is opened once is sealed again, outside of the time.
        both.open.push(
          perPacket(
            () => key.open(list),
            () => key.seal(list),
          ),
        );
        if (!list.authentic.every((one) => one === 1)) throw new Error(`${name} refuses what it sealed`);
      }
      figures.push({ name, length, seal: median(both.seal), open: median(both.open) });
    }
    key.free();
  }
  return figures;
}

/** Nanoseconds per packet of a list. */
function perPacket(run: () => void, before?: () => void): number {
  let total = 0;
  let lists = 0;
  for (const end = performance.now() + ROUND; performance.now() < end; lists++) {
    before?.();
    const start = performance.now();
    run();
    total += performance.now() - start;
  }
  return (total * 1e6) / (lists * COUNT);
}

export function printSeal(figures: readonly SealFigure[]): void {
  console.log(`AES-128-GCM, extended sequence numbers, ICV of 16 octets, lists of ${COUNT} packets\n`);
  console.log('            octets   seal, ns   open, ns   seal, Gbit/s');
  for (const { name, length, seal: sealed, open } of figures)
    console.log(
      [
        name.padEnd(8),
        String(length).padStart(10),
        sealed.toFixed(0).padStart(11),
        open.toFixed(0).padStart(11),
        ((length * 8) / sealed).toFixed(1).padStart(15),
      ].join(''),
    );
}
