import * as arp from '../../src/arp/index.js';
import * as ethernet from '../../src/ethernet/index.js';
import * as ipv4 from '../../src/ipv4/index.js';
import * as udp from '../../src/udp/index.js';

/** Two containers, and the addresses of their hosts. */
export const C1 = { ip: '10.0.0.3', mac: '02:42:0a:00:00:03', host: '172.31.1.5' };
export const C2 = { ip: '10.0.0.4', mac: '02:42:0a:00:00:04', host: '192.168.1.25' };
export const BROADCAST = 'ff:ff:ff:ff:ff:ff';

export interface Station {
  ip: string;
  mac: string;
}

/** A UDP packet in an Ethernet frame. */
export function udpFrame(
  from: Station,
  to: Station,
  options: { size?: number; data?: Uint8Array; ports?: [number, number]; ip?: Partial<ipv4.Ipv4> } = {},
): Uint8Array {
  const [sourcePort, destinationPort] = options.ports ?? [5000, 5001];
  const payload = options.data ?? new Uint8Array(options.size ?? 20).fill(0x77);
  return ethernet.encode({
    destination: to.mac,
    source: from.mac,
    etherType: ethernet.TYPE_IPV4,
    payload: ipv4.encode({
      protocol: ipv4.PROTOCOL_UDP,
      source: from.ip,
      destination: to.ip,
      payload: udp.encode({ sourcePort, destinationPort, payload }, { source: from.ip, destination: to.ip }),
      ...options.ip,
    }),
  });
}

/** An ARP request in an Ethernet frame. */
export function arpRequest(from: Station, targetIp: string, to = BROADCAST): Uint8Array {
  return ethernet.encode({
    destination: to,
    source: from.mac,
    etherType: ethernet.TYPE_ARP,
    payload: arp.encode({
      operation: arp.REQUEST,
      senderMac: from.mac,
      senderIp: from.ip,
      targetMac: '00:00:00:00:00:00',
      targetIp,
    }),
  });
}
