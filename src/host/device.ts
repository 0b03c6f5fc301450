/** Network devices as `ip` lists them, and the alias that marks a TAP of weft. */
import { prefixAddress } from '../schema/index.js';
import { ipJson } from './ip.js';

/** The fields of a device that this program uses. */
export interface Device {
  name: string;
  /** `tun` for TUNs and TAPs; `undefined` for hardware and the loopback. */
  kind: string | undefined;
  up: boolean;
  mtu: number;
  mac: string;
  /** Its alias, a free text that `ip link` shows. */
  alias: string;
  /** With prefix lengths, in the kernel's notation: `10.0.0.3/24`. */
  addresses: string[];
  /** Most segments in a super-frame; `undefined` if iproute2 does not report it. */
  maxSegments: number | undefined;
  /** Packets that the kernel dropped instead of sending them; for a TAP, frames that were not read in time. */
  dropped: number;
  /** For a TUN or TAP. */
  tun: { tap: boolean; persistent: boolean; multiQueue: boolean; files: number } | undefined;
}

interface Listed {
  ifname?: string;
  flags?: string[];
  mtu: number;
  address: string;
  ifalias?: string;
  gso_max_segs?: number;
  addr_info?: { local?: string; prefixlen?: number }[];
  stats64?: { tx?: { dropped?: number } };
  linkinfo?: {
    info_kind?: string;
    info_data?: { type?: string; persist?: boolean; multi_queue?: boolean; numqueues?: number; numdisabled?: number };
  };
}

/** Lists the devices of a namespace. */
export async function listDevices(netns?: string): Promise<Device[]> {
  const listed = await ipJson<Listed>(['-d', '-s', 'addr', 'show'], netns);
  return listed.flatMap((one) => (one.ifname === undefined ? [] : [deviceOf(one.ifname, one)]));
}

function deviceOf(
  name: string,
  { flags = [], mtu, address, ifalias, gso_max_segs, addr_info, stats64, linkinfo }: Listed,
): Device {
  const data = linkinfo?.info_data;
  return {
    name,
    kind: linkinfo?.info_kind,
    up: flags.includes('UP'),
    mtu,
    mac: address,
    alias: ifalias ?? '',
    addresses: (addr_info ?? []).flatMap(({ local, prefixlen }) =>
      local === undefined ? [] : [`${local}/${prefixlen}`],
    ),
    maxSegments: gso_max_segs,
    dropped: stats64?.tx?.dropped ?? 0,
    tun:
      linkinfo?.info_kind !== 'tun'
        ? undefined
        : {
            tap: data?.type === 'tap',
            persistent: data?.persist === true,
            multiQueue: data?.multi_queue === true,
            files: (data?.numqueues ?? 0) + (data?.numdisabled ?? 0),
          },
  };
}

/** Converts the address of `10.0.0.3/24` to the kernel's notation. */
export function canonicalPrefix(text: string): string {
  return prefixAddress(text) + text.slice(text.indexOf('/'));
}

const MARK = 'weft vtep';

/** The alias of a weft TAP: it records that weft created the device, and which of its addresses weft configured. */
export function markOf(addresses: readonly string[]): string {
  return addresses.length === 0 ? MARK : `${MARK}, address ${addresses.map(canonicalPrefix).join(' ')}`;
}

/** Parses the alias of a weft TAP; `undefined` for any other alias. */
export function readMark(alias: string): { addresses: string[] } | undefined {
  const match = /^weft vtep(?:, address (\S+(?: \S+)*))?$/.exec(alias);
  return match === null ? undefined : { addresses: match[1]?.split(' ') ?? [] };
}

/** Names a device for messages: `TAP "eth0" in namespace c1`. */
export function inPlace(name: string, netns: string | undefined): string {
  return netns === undefined ? `"${name}"` : `"${name}" in namespace ${netns}`;
}
