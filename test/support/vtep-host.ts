/** A `Vtep` for tests that records the frames delivered and the datagrams sent. */
import type { NewSegment } from '../../src/model/index.js';
import { Frame, HEADROOM, Vtep, type GatewayDatagram, type VtepOptions } from '../../src/vtep/index.js';
import { C1 } from './frames.js';
import { fromHex, hex } from './hex.js';

export interface Sent {
  address: string;
  port: number;
  datagram: Uint8Array;
  sourcePort: number;
  tos: number;
}

/** A VTEP on C1's host, with the frames delivered and the datagrams sent. */
export function host(segment: Partial<NewSegment> = {}, options: VtepOptions = {}) {
  const vtep = new Vtep({ local: C1.host, ...options });
  vtep.addSegment({ vni: 4097, ...segment });
  const delivered: { port: number; frame: Uint8Array }[] = [];
  const sent: Sent[] = [];
  const requests: GatewayDatagram[] = [];
  const sink = {
    deliver: (port: number, { bytes, start, end }: Frame) =>
      void delivered.push({ port, frame: bytes.slice(start, end) }),
    transmit: (
      remote: { address: string; port: number },
      { bytes, start, end }: Frame,
      sourcePort: number,
      tos: number,
    ) =>
      void sent.push({
        address: remote.address,
        port: remote.port,
        datagram: bytes.slice(start, end),
        sourcePort,
        tos,
      }),
    request: (what: GatewayDatagram) => void requests.push(what),
  };
  let now = 0;
  const clear = (): void => {
    delivered.length = 0;
    sent.length = 0;
  };
  return {
    vtep,
    delivered,
    sent,
    /** Datagrams to services at gateways, which stay until they are answered. */
    requests,
    clear,
    /** Answers a request in ASCII. */
    answer(id: number, text: string | null) {
      clear();
      return vtep.services.answer(id, text === null ? null : Buffer.from(text), now, sink);
    },
    tick(): void {
      clear();
      vtep.tick(now, sink);
    },
    wait: (ms: number) => (now += ms),
    now: () => now,
    /** Receives a frame, in a buffer that holds other bytes around it. */
    frame(port: number, frame: Uint8Array): void {
      clear();
      const bytes = new Uint8Array(HEADROOM + frame.length + 7).fill(0xa5);
      bytes.set(frame, HEADROOM);
      vtep.receiveFrame(port, new Frame(bytes, HEADROOM, HEADROOM + frame.length), now, sink);
    },
    datagram(from: string, datagram: Uint8Array, ecn = 0): void {
      clear();
      const bytes = new Uint8Array(3 + datagram.length + 7).fill(0xa5);
      bytes.set(datagram, 3);
      vtep.receiveDatagram(vtep.remote(from) ?? from, new Frame(bytes, 3, 3 + datagram.length), now, ecn, sink);
    },
    count: (name: keyof ReturnType<Vtep['counters']>['counts']) => vtep.counters().counts[name],
    /** The drop counters that are not 0. */
    drops: () => Object.fromEntries(Object.entries(vtep.counters().drops).filter(([, count]) => count !== 0)),
  };
}

export const HEADER = '0800000000100100'; // RFC 7348: flag I, VNI 4097

export function wrap(frame: Uint8Array, header = HEADER): Uint8Array {
  return fromHex(header + hex(frame));
}

export function tag(frame: Uint8Array, id: number, priority = 0): Uint8Array {
  const tci = ((priority << 13) | id).toString(16).padStart(4, '0');
  return fromHex(hex(frame.subarray(0, 12)) + '8100' + tci + hex(frame.subarray(12)));
}
