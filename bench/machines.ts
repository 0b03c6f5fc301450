/** Set-ups for the benchmarks of the machines. */
import { ipv4ToText, macToText, setMac } from '../src/address/index.js';
import { Fdb } from '../src/fdb/index.js';
import { Frame, HEADROOM, Vtep, type VtepSink } from '../src/vtep/index.js';
import { INNER, PING } from './packet.js';

const ENDPOINTS = 4096;

/**
 * A `Vtep` with 4096 endpoints behind 64 remotes. `forward` sends one frame, each time to another endpoint, in an order
 * that defeats processor caches.
 */
export function forwarding(): { forward(): void; sent(): number } {
  const vtep = new Vtep({ seed: 12_345 });
  vtep.addSegment({ vni: 4097 });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  const macs = new Uint8Array(ENDPOINTS * 6);
  for (let i = 0; i < ENDPOINTS; i++) {
    const mac = 0x0242_0a00_0000 + ((i * 2_654_435_761) % 0x100_0000);
    setMac(macs, i * 6, mac);
    vtep.addEndpoint(4097, {
      ip: ipv4ToText(0x0a00_0000 + i),
      mac: macToText(mac),
      vtep: `192.168.1.${1 + (i % 64)}`,
    });
  }
  const inner = PING.subarray(INNER);
  const bytes = new Uint8Array(HEADROOM + inner.length);
  bytes.set(inner, HEADROOM);
  const sent = new Float64Array(1); // a variable would allocate a heap number at each addition
  const sink: VtepSink = {
    deliver: () => undefined,
    transmit: (remote, { start, end }, sourcePort) => {
      sent[0]! += remote.id + end - start + sourcePort;
    },
  };
  const frame = new Frame();
  let next = 0;
  return {
    forward() {
      next = (next + 1597) & (ENDPOINTS - 1);
      for (let i = 0; i < 6; i++) bytes[HEADROOM + i] = macs[next * 6 + i]!;
      vtep.receiveFrame(port, frame.set(bytes, HEADROOM, bytes.length), 1000, sink);
    },
    sent: () => sent[0]!,
  };
}

const MILLION = 1_000_000;

/** A table of a million learned addresses. `lookup` looks one up, each time far away from the last. */
export function lookups(): { lookup(): number } {
  const fdb = new Fdb({ capacity: MILLION, perDestination: MILLION, seed: 12_345 });
  const addresses = new Uint8Array(MILLION * 6);
  for (let i = 0; i < MILLION; i++) {
    setMac(addresses, i * 6, 0x0200_0000_0000 + ((i * 2_654_435_761) % 0x1_0000_0000));
    fdb.learn(addresses, i * 6, i & 1023, 0);
  }
  let next = 0;
  return {
    lookup() {
      next += 618_033;
      if (next >= MILLION) next -= MILLION;
      return fdb.lookup(addresses, next * 6, 0);
    },
  };
}
