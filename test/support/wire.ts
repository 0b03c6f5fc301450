/**
 * An attacker on the path: a wire between two hosts, of a TAP in each one's namespace and this process. It records what passes, may
 * hold or change it, and sends what it likes to either host.
 */
import { openTap, TapChannel } from '../../src/host/index.js';
import * as ipv4 from '../../src/ipv4/index.js';
import { must, type End } from './lab.js';

const ETHERNET = 14;
const UDP = 17;
/** Length of a TAP's queue in frames. */
const QUEUE = 10_000;

/** A frame on the wire, and the end that it is going to: 0 or 1. */
export interface Passing {
  readonly to: 0 | 1;
  readonly frame: Buffer;
}

/** A UDP datagram over IPv4 in a frame. */
export interface WireDatagram {
  source: string;
  destination: string;
  sourcePort: number;
  destinationPort: number;
  payload: Buffer;
}

export class Wire {
  /** Everything since `record`, or nothing. */
  tape: Passing[] | null = null;
  /** Decides on each frame: how often it is passed on, and when it returns frames, these instead. Absent: once. */
  filter: ((passing: Passing) => readonly Buffer[]) | null = null;
  readonly #ends: TapChannel[] = [];

  /** Creates the device of each end, up and with its addresses. */
  static async create(ends: readonly [End, End], mtu = 1500): Promise<Wire> {
    const wire = new Wire();
    for (const [i, { ns, device, addresses }] of ends.entries()) {
      const { fd, name } = await openTap('weft%d');
      const to = i === 0 ? 1 : 0;
      wire.#ends.push(
        new TapChannel(fd, 0, {
          frame: (bytes, offset, end) => wire.#pass({ to, frame: Buffer.from(bytes.slice(offset, end)) }),
          lost: () => undefined,
        }),
      );
      await must(['ip', 'link', 'set', 'dev', name, 'netns', ns, 'name', device]);
      for (const address of addresses) await must(['ip', '-n', ns, 'addr', 'add', address, 'dev', device]);
      const size = ['mtu', String(mtu), 'txqueuelen', String(QUEUE)];
      await must(['ip', '-n', ns, 'link', 'set', 'dev', device, ...size, 'up']);
    }
    return wire;
  }

  /** Sends a frame to an end. */
  inject({ to, frame }: Passing): void {
    this.#ends[to]?.write(frame, 0, frame.length);
  }

  #pass(passing: Passing): void {
    this.tape?.push(passing);
    for (const frame of this.filter?.(passing) ?? [passing.frame]) this.inject({ to: passing.to, frame });
  }

  async close(): Promise<void> {
    for (const end of this.#ends) await end.close();
  }
}

/** The UDP datagram in a frame; `null` for anything else, and for a fragment. */
export function datagramIn(frame: Buffer): WireDatagram | null {
  if (frame.length < ETHERNET + 28 || frame.readUInt16BE(12) !== 0x0800 || frame[ETHERNET + 9] !== UDP) return null;
  if ((frame.readUInt16BE(ETHERNET + 6) & 0x3fff) !== 0) return null;
  const udp = ETHERNET + (frame[ETHERNET]! & 15) * 4;
  return {
    source: [...frame.subarray(ETHERNET + 12, ETHERNET + 16)].join('.'),
    destination: [...frame.subarray(ETHERNET + 16, ETHERNET + 20)].join('.'),
    sourcePort: frame.readUInt16BE(udp),
    destinationPort: frame.readUInt16BE(udp + 2),
    payload: frame.subarray(udp + 8, udp + frame.readUInt16BE(udp + 4)),
  };
}

/** A copy of a frame with another datagram in it. The UDP checksum is 0: none. */
export function withDatagram(frame: Buffer, change: Partial<WireDatagram>): Buffer {
  const datagram = { ...datagramIn(frame)!, ...change };
  const { source, destination, sourcePort, destinationPort, payload } = datagram;
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(sourcePort, 0);
  udp.writeUInt16BE(destinationPort, 2);
  udp.writeUInt16BE(8 + payload.length, 4);
  const packet = ipv4.encode({
    ...{ source, destination, protocol: UDP, ttl: 64 },
    payload: Buffer.concat([udp, payload]),
  });
  return Buffer.concat([frame.subarray(0, ETHERNET), packet]);
}
