/** A router for tests that records what it sends, and the frames that scapy wrote for it. */
import { readFileSync } from 'node:fs';
import * as ipv4 from '../../src/ipv4/index.js';
import * as ipv6 from '../../src/ipv6/index.js';
import type { NetworkRouter } from '../../src/model/index.js';
import { NOT_OURS, Router, type RouterOptions } from '../../src/router/index.js';
import { build, type LayerToBuild } from '../../src/packet/index.js';
import { fromHex, hex } from './hex.js';

/** The frames of router-frames.py in hexadecimal, by name. */
export const FRAMES = JSON.parse(readFileSync(new URL('router-frames.json', import.meta.url), 'utf8')) as Readonly<
  Record<string, readonly [string, string, ...string[]]>
>;

export const GATEWAY_MAC = '02:42:0a:00:00:01';
/** The segment of 10.0.0.0/24 and fd00::/64, and that of 10.0.1.0/24 and fd00:1::/64. */
export const NEAR = 4097;
export const FAR = 4098;
/** The station that sends, and the one that it sends to. */
export const C1 = { mac: '02:42:0a:00:00:03', ip: '10.0.0.3', ip6: 'fd00::3' };
export const C2 = { mac: '02:42:0a:00:01:04', ip: '10.0.1.4', ip6: 'fd00:1::4' };
/** The network of these segments. */
export const NETWORK: NetworkRouter = {
  id: 'prod-net',
  mac: GATEWAY_MAC,
  subnets: [
    { vni: NEAR, prefix: '10.0.0.0/24', gateway: '10.0.0.1' },
    { vni: FAR, prefix: '10.0.1.0/24', gateway: '10.0.1.1' },
    { vni: NEAR, prefix: 'fd00::/64', gateway: 'fd00::1' },
    { vni: FAR, prefix: 'fd00:1::/64', gateway: 'fd00:1::1' },
  ],
};
/** The port of {@link C1}. */
export const PORT = 5;
const HEADROOM = 8;

const C2_MAC = 0x0242_0a00_0104;

/** A lookup that knows {@link C2}. */
export function knowsC2(vni: number, bytes: Uint8Array, offset: number, length: number): number {
  const address = hex(bytes.subarray(offset, offset + length));
  return vni === FAR && ['0a000104', 'fd000001000000000000000000000004'].includes(address) ? C2_MAC : 0;
}

/** A router between two segments, of which {@link FAR} has an MTU of 1400 bytes. */
export function routerHost(options: Partial<RouterOptions> = {}) {
  const router = new Router({ mac: GATEWAY_MAC, headroom: HEADROOM, lookup: knowsC2, ...options });
  router.addInterface({ vni: NEAR, gateway: '10.0.0.1/24' });
  router.addInterface({ vni: FAR, gateway: '10.0.1.1/24', mtu: 1400 });
  router.addInterface({ vni: NEAR, gateway: 'fd00::1/64' });
  router.addInterface({ vni: FAR, gateway: 'fd00:1::1/64', mtu: 1400 });
  const answers: { vni: number; from: number; frame: string }[] = [];
  const sent: { vni: number; frame: string }[] = [];
  const take = (bytes: Uint8Array, offset: number, end: number): string => {
    if (offset < (options.headroom ?? HEADROOM)) throw new Error(`the headroom is ${offset}`);
    const frame = hex(bytes.subarray(offset, end));
    bytes.fill(0xa5); // the sink may overwrite it
    return frame;
  };
  const sink = {
    answer: (vni: number, from: number, bytes: Uint8Array, offset: number, end: number) =>
      void answers.push({ vni, from, frame: take(bytes, offset, end) }),
    send: (vni: number, bytes: Uint8Array, offset: number, end: number) =>
      void sent.push({ vni, frame: take(bytes, offset, end) }),
  };
  let now = 0;
  return {
    router,
    answers,
    sent,
    clear(): void {
      answers.length = 0;
      sent.length = 0;
    },
    wait: (milliseconds: number) => (now += milliseconds),
    /** Lets a second pass. */
    second(): void {
      now += 1000;
      router.tick(now, sink);
    },
    tick: () => router.tick(now, sink),
    /**
     * Receives a frame in hexadecimal, between other bytes.
     * @returns what the router returned, and the frame if it was rewritten.
     */
    receive(
      frame: string,
      {
        vni = NEAR,
        from = PORT,
        packets = 1,
        largest,
      }: Partial<Record<'vni' | 'from' | 'packets' | 'largest', number>> = {},
    ): { result: number; frame: string } {
      const input = fromHex(frame);
      const bytes = new Uint8Array(input.length + 20).fill(0xa5);
      bytes.set(input, 9);
      const end = 9 + input.length;
      const result = router.receive(vni, from, bytes, 9, end, now, sink, packets, largest);
      const after = hex(bytes.subarray(9, end));
      if (result === NOT_OURS && after !== hex(input)) throw new Error('the router changed a frame of others');
      if (bytes.subarray(0, 9).some((octet) => octet !== 0xa5) || bytes.subarray(end).some((octet) => octet !== 0xa5))
        throw new Error('the router wrote outside the frame');
      return { result, frame: after };
    },
    /** The counters that are not 0. */
    counts: () => Object.fromEntries(Object.entries(router.counters().counts).filter(([, count]) => count !== 0)),
    drops: () => Object.fromEntries(Object.entries(router.counters().drops).filter(([, count]) => count !== 0)),
  };
}

export type Ipv4Fields = Partial<ipv4.Ipv4>;
/** The frame with these layers in hexadecimal. */
export const frameOf = (layers: LayerToBuild[]): string => hex(build(layers));

/** A frame of {@link C1} to the gateway with an IPv4 packet, in hexadecimal. */
export function packetTo(destination: string, fields: Ipv4Fields = {}): string {
  const payload = hex(
    ipv4.encode({ protocol: 17, source: C1.ip, destination, payload: new Uint8Array(24), ...fields }),
  );
  return `02420a00000102420a0000030800${payload}`;
}
/** The same with an IPv6 packet. */
export function packetTo6(destination: string, fields: Partial<ipv6.Ipv6> = {}): string {
  const payload = hex(
    ipv6.encode({ nextHeader: 17, source: C1.ip6, destination, payload: new Uint8Array(24), ...fields }),
  );
  return `02420a00000102420a00000386dd${payload}`;
}
