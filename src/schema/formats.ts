/** String formats of the configuration: addresses, names and paths. */
import { Type, FormatRegistry, type TString } from '@sinclair/typebox';
import { isGroupMac, parseMac } from '../address/index.js';
import { unprintable } from '../wire/index.js';
import { family, isUnspecified, parseHostPort } from './addresses.js';
import { isDeviceName } from './device-name.js';
import { isLinkLocal, unusable, unusableHost, unusableSubnet, unusableVtep } from './ranges.js';

function isPrefix(text: string): boolean {
  const [address, length, more] = text.split('/');
  if (length === undefined || more !== undefined || !/^\d{1,3}$/.test(length)) return false;
  const kind = family(address!);
  return kind !== 0 && Number(length) <= (kind === 4 ? 32 : 128);
}

function macOf(text: string): number | undefined {
  try {
    return parseMac(text);
  } catch {
    return undefined;
  }
}

/** Names in /proc/sys/net/ipv4/conf that are not devices. The kernel refuses "all" and "default" as device names. */
const RESERVED_DEVICES = ['all', 'default'];

function isAddressAndPort(text: string): boolean {
  const place = parseHostPort(text);
  return place !== null && family(place.host) !== 0;
}

/** Most bytes of a path, without its NUL, and of the name of a file (linux/limits.h). */
const MAX_PATH = 4095;
const MAX_FILE_NAME = 255;

/** Names reach the terminals and logs of every member, so they have no characters that these obey or hide. */
function whyUnprintable(text: string): string | undefined {
  const why = unprintable(text);
  return why === undefined ? undefined : `which ${why}; a name has printable characters only`;
}

/** Says why a format rejects a text, in words that follow the text; `undefined` if `expected` says enough. */
type Why = (value: string) => string | undefined;

const WHYS = new Map<string, Why>();

/**
 * Why a format rejects a text.
 * @internal
 */
export function whyNot(format: unknown, value: string): string | undefined {
  return WHYS.get(String(format))?.(value);
}

/**
 * A string schema for values that `accepts` accepts and `why` does not reject.
 * @param more What JSON Schema itself can say about these values.
 */
function text(
  name: string,
  accepts: (value: string) => boolean,
  expected: string,
  why?: Why,
  more: { minLength?: number; maxLength?: number; pattern?: string } = {},
): TString {
  const format = `weft-${name}`;
  FormatRegistry.Set(format, (value) => accepts(value) && why?.(value) === undefined);
  if (why !== undefined) WHYS.set(format, (value) => (accepts(value) ? why(value) : undefined));
  return Type.String({ ...more, format, expected });
}

/** As `text`, for names: those with an unprintable character are rejected for that reason. */
function nameText(
  name: string,
  accepts: (value: string) => boolean,
  expected: string,
  why?: Why,
  more: { minLength?: number; maxLength?: number; pattern?: string } = {},
): TString {
  const isKnown = (value: string): boolean => accepts(value) || whyUnprintable(value) !== undefined;
  return text(name, isKnown, expected, (value) => whyUnprintable(value) ?? why?.(value), more);
}

/**
 * IPv4 or IPv6 address of one VTEP.
 * @internal
 */
export const Ip = text('ip', (value) => family(value) !== 0, 'a unicast IP address such as 192.168.1.25', unusableVtep);
/**
 * IPv4 or IPv6 address of one container.
 * @internal
 */
export const HostIp = text(
  'host-ip',
  (value) => family(value) !== 0,
  'the IP address of one host, such as 10.0.0.4 or fd00::4',
  unusable,
);
/**
 * Address and prefix length of an interface.
 * @internal
 */
export const Prefix = text(
  'prefix',
  isPrefix,
  'the address of a host with its prefix length, such as 10.0.0.3/24',
  unusableHost,
);
/**
 * MAC address of one station.
 * @internal
 */
export const Mac = text(
  'mac',
  (value) => macOf(value) !== undefined,
  'the MAC address of one station, such as 02:42:0a:00:00:04',
  (value) => {
    const mac = macOf(value)!;
    if (mac === 0) return 'the zero address';
    return isGroupMac(mac) ? 'a group address: the lowest bit of its first octet is set' : undefined;
  },
);
/**
 * An address to listen on, possibly all of a family, and possibly with a port.
 * @internal
 */
export const Bind = text(
  'bind',
  isAddressAndPort,
  'an address, with or without a port, such as 172.31.1.5, 0.0.0.0:7946 or [fd00::5]:7946',
  (value) => {
    const { host } = parseHostPort(value)!;
    return isUnspecified(host) ? undefined : unusableVtep(host);
  },
);
/**
 * An address that others reach, possibly with a port.
 * @internal
 */
export const Advertise = text(
  'advertise',
  isAddressAndPort,
  'a unicast address, with or without a port, such as 172.31.1.5 or [fd00::5]:7946',
  (value) => unusableVtep(parseHostPort(value)!.host),
);
function isHostPort(value: string): boolean {
  return parseHostPort(value) !== null;
}

/** Why a host cannot be reached by its address; a name is not looked up here. */
function unusableHostPort(value: string): string | undefined {
  const { host } = parseHostPort(value)!;
  return family(host) === 0 ? undefined : unusableVtep(host);
}

/**
 * A host to join, by name or address, possibly with a port.
 * @internal
 */
export const Host = text(
  'host',
  isHostPort,
  'a host, by name or address, with or without a port, such as 192.168.1.25 or vtep1.example:7946',
  unusableHostPort,
);
/**
 * A manager of a cluster, by address or name, possibly with a port.
 * @internal
 */
export const ManagerPlace = text(
  'manager',
  isHostPort,
  'the address of a manager, with or without a port, such as 172.31.1.5 or 172.31.1.5:2377',
  unusableHostPort,
);
/**
 * A subnet of a network.
 * @internal
 */
export const Subnet = text(
  'subnet',
  isPrefix,
  'a subnet such as 10.0.0.0/24 or fd00::/64',
  (value) =>
    unusableSubnet(value) ??
    (family(value.slice(0, value.indexOf('/'))) === 6 && isLinkLocal(value.slice(0, value.indexOf('/')))
      ? 'which holds link-local addresses, which routers do not forward'
      : undefined),
);
/**
 * The address of a gateway.
 * @internal
 */
export const Gateway = text(
  'gateway',
  (value) => family(value) !== 0,
  'the IP address of a gateway such as 10.0.0.1 or fd00::1',
  unusable,
);
/**
 * Name of a network device.
 * @internal
 */
export const DeviceName = nameText(
  'device',
  isDeviceName,
  'a device name: 1 to 15 bytes without "/", ":", "%" and white space',
  (value) => {
    if (RESERVED_DEVICES.includes(value)) return 'which the kernel reserves';
    return value.startsWith('-') ? 'which "ip" would read as an option' : undefined;
  },
);
/**
 * A namespace: a name under /var/run/netns, or a path such as /proc/PID/ns/net.
 * @internal
 */
export const Netns = nameText(
  'netns',
  (value) =>
    value.startsWith('/')
      ? !value.includes('\0')
      : /^[^/\s-][^/\s]*$/.test(value) && value !== '.' && value !== '..' && !value.includes('\0'),
  'the name of a network namespace, or a path such as /proc/PID/ns/net',
  (value) => {
    const most = value.startsWith('/') ? MAX_PATH : MAX_FILE_NAME;
    return new TextEncoder().encode(value).length > most
      ? `which is longer than the ${most} bytes that the system allows`
      : undefined;
  },
);
/**
 * Path of a Unix socket. The kernel's `sun_path` has 108 bytes with the final zero.
 * @internal
 */
export const SocketPath = text(
  'socket-path',
  (value) => value !== '' && !value.includes('\0') && new TextEncoder().encode(value).length <= 107,
  'the path of a Unix socket, of 1 to 107 bytes',
);

/** What JSON Schema can say about the name of a member or a network. */
const NAME = { minLength: 1, maxLength: 255, pattern: '^[^/\\s]+$' };

/**
 * Name of a member of the gossip.
 * @internal
 */
export const MemberName = nameText(
  'member',
  isName,
  'a name of 1 to 255 characters without "/" and white space',
  undefined,
  NAME,
);
/**
 * Id of a network of the gossip, or name of a network of the configuration.
 * @internal
 */
export const NetworkId = nameText(
  'network',
  isName,
  'an id of 1 to 255 characters without "/" and white space',
  undefined,
  NAME,
);

function isName(text: string): boolean {
  return text.length >= NAME.minLength && text.length <= NAME.maxLength && /^[^/\s]+$/.test(text);
}
