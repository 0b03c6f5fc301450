/** Rules between fields of a configuration: references, contradictions, addresses that cannot work together. */
import { type Location } from '../model/index.js';
import { findings, unique, type Findings, type Report, type ReportReason } from './findings.js';
import { checkKeyFiles } from './key-files.js';
import { checkGatewayMac, checkNetworks, checkStation, strayAddress, subnetOfStation } from './network-rules.js';
import { familyOf, networksOf, networkVnis, type AnyNetwork, type WithNetworks } from './networks.js';
import { knownVni, type Problem } from './problem.js';
import { isLinkLocal, isLoopback, shareAddresses, subnetText, unusableHost } from './ranges.js';
import { canonicalIp, family, prefixAddress } from './addresses.js';
import { canonicalMac } from './mac.js';
import { addressesOf, placedAddresses, type PlacedAddress } from './tap-addresses.js';
import { type Config, type Segment, type Tap } from './types.js';

/** The fields that a configuration and a plan have in common. */
type Described = Pick<Config, 'local' | 'segments' | 'taps'> & WithNetworks;

/** Returns the contradictions that make a configuration with well-formed fields unusable. */
export function contradictions(config: Config): Problem[] {
  const found = findings();
  const { problems, report, reportReason } = found;
  const once = unique(reportReason);
  const networks = networksOf(config);
  // Over the control socket, both may come later.
  if (config.gossip === undefined && config.control === undefined) {
    const later = ', or a control socket ({0}) over which they are added later';
    if (config.segments.length === 0 && networks.length === 0)
      report('segments', `a list of one segment or more${later}`, config.segments, 'control');
    if (config.taps.length === 0) report('taps', `a list of one TAP or more${later}`, config.taps, 'control');
  }
  if (problems.length > 0) return problems; // the other checks would only report consequences of these
  checkNetworks(config, found);
  checkKeyFiles(config, found);
  if (config.gossip?.tunnel !== undefined && family(config.gossip.tunnel) !== family(config.local))
    report('gossip.tunnel', `an IPv${family(config.local)} address, like {0}`, config.gossip.tunnel, 'local');
  const vnis = new Set([...config.segments.map(({ vni }) => vni), ...networkVnis(config)]);
  config.segments.forEach((segment, i) => {
    const path = `segments[${i}]`;
    once(`${path}.vni`, `segment`, segment.vni, segment.vni);
    checkSegment(config, networks, segment, path, found);
  });
  if (config.engine === 'dgram')
    for (const { path, expected, given } of linuxOnly(config))
      report(path, `${expected} with engine dgram, or engine linux`, given);
  if (config.keepTaps === true && config.taps.length > 0 && config.taps.every(({ fd }) => fd !== undefined))
    report('keepTaps', 'false, because the process that opened the TAPs controls their lifetime', true);
  const known = knownVni([...vnis]);
  config.taps.forEach((tap, i) => {
    const path = `taps[${i}]`;
    checkTap(tap, path, found);
    checkIpv6Mtu(config, tap, path, report);
    if (tap.fd !== undefined && (config.workers ?? 1) > 1)
      reportReason(
        `${path}.fd`,
        'does not go with {0} above 1: each worker takes a queue of the TAP',
        tap.fd,
        'workers',
      );
    if (tap.fd !== undefined) once(`${path}.fd`, 'fd', tap.fd, tap.fd);
    if (tap.name !== undefined)
      once(`${path}.name`, 'name', `${tap.fd === undefined ? (tap.netns ?? '') : 'fd'}/${tap.name}`, tap.name);
    for (const [field, vni] of segmentsOf(tap)) if (!vnis.has(vni)) report(path + field, known, vni);
    if (tap.mac !== undefined)
      for (const [, vni] of segmentsOf(tap)) once(`${path}.mac`, `mac${vni}`, canonicalMac(tap.mac), tap.mac);
    const addresses = placedAddresses(tap, path);
    const onceHere = unique(reportReason);
    for (const one of addresses) {
      onceHere(one.path, 'address', one.ip, one.address);
      checkUnderlay(config, tap, one, path, reportReason);
    }
    const untagged = tap.vni ?? tap.native;
    if (untagged === undefined) {
      for (const { address, path: at } of tap.vlans === undefined ? [] : addresses)
        reportReason(
          at,
          `${address} is the address of untagged frames, which are in no segment; name it ({0}), or leave out the address`,
          address,
          `${path}.native`,
        );
      return;
    }
    for (const { address, ip, path: at } of addresses) {
      once(at, `address${untagged}`, ip, address);
      const { mac } = tap;
      checkStation(networks, untagged, { ip, path: at, mac, macPath: `${path}.mac`, here: true }, found);
    }
    const segment = config.segments.findIndex((candidate) => candidate.vni === untagged);
    config.segments[segment]?.endpoints?.forEach((endpoint, k) =>
      checkEndpointOfTap(config, endpoint, `segments[${segment}].endpoints[${k}]`, tap, path, reportReason),
    );
  });
  return problems;
}

/** Returns problems that do not prevent operation, but are probably mistakes. */
export function findWarnings(config: Described): Problem[] {
  const { problems, reportReason } = findings();
  const networks = networksOf(config);
  const remotes = remotesOf(config);
  if (family(config.local) === 4 && isLinkLocal(config.local))
    reportReason('local', `${config.local} is a link-local address: routers do not forward its packets`, config.local);
  if (!isLoopback(config.local))
    for (const [address, path] of remotes)
      if (isLoopback(address))
        reportReason(path, `${address} is a loopback address: it is a VTEP of this host`, address);
  const placed = config.taps.map((tap, i) => placedAddresses(tap, `taps[${i}]`));
  config.taps.forEach((tap, i) => {
    const untagged = tap.vni ?? tap.native;
    for (const { address, ip, path } of placed[i]!) {
      const shares = (one: PlacedAddress): boolean => shareAddresses(one.address, address);
      const k = config.taps.findIndex(
        (one, k) =>
          k < i && one.fd === undefined && tap.fd === undefined && one.netns === tap.netns && placed[k]!.some(shares),
      );
      const other = placed[k]?.find(shares);
      if (other !== undefined)
        reportReason(
          path,
          `${address} shares addresses with the subnet of {0} (${other.address}) in the same namespace, which routes them to one of the two`,
          address,
          other.path,
        );
      const stray = untagged === undefined ? undefined : strayAddress(networks, untagged, address);
      if (stray !== undefined) reportReason(`taps[${i}].${tap.vni === undefined ? 'native' : 'vni'}`, stray, untagged);
      const subnet = untagged === undefined ? undefined : subnetOfStation(networks, untagged, ip);
      const length = address.slice(address.indexOf('/'));
      if (subnet !== undefined && !subnet.endsWith(length) && length !== '/32' && length !== '/128')
        reportReason(path, `${address} has another prefix length than its network, ${subnet}`, address);
    }
  });
  config.segments.forEach((segment, i) => {
    const subnets = config.taps.flatMap((tap) => ((tap.vni ?? tap.native) === segment.vni ? addressesOf(tap) : []));
    segment.endpoints?.forEach(({ ip }, k) => {
      if (isLinkLocal(ip)) return; // no route is needed
      const same = subnets.filter((subnet) => family(prefixAddress(subnet)) === family(ip));
      if (same.length > 0 && !same.some((subnet) => shareAddresses(ip, subnet)))
        reportReason(
          `segments[${i}].endpoints[${k}].ip`,
          `${ip} is outside ${same.map(subnetText).join(', ')}, the subnet of the TAP: the container needs a route to it`,
          ip,
        );
    });
  });
  return problems;
}

/** Returns the options that the portable engine does not support, because Node's sockets do not have them. */
export function linuxOnly({ workers = 1, busyPoll = 0, udpChecksum, zeroChecksum }: Config): Problem[] {
  const problems: Problem[] = [];
  if (workers > 1) problems.push({ path: 'workers', expected: '1', given: workers });
  if (busyPoll > 0) problems.push({ path: 'busyPoll', expected: '0', given: busyPoll });
  if (udpChecksum === false) problems.push({ path: 'udpChecksum', expected: 'true', given: udpChecksum });
  if (zeroChecksum === true) problems.push({ path: 'zeroChecksum', expected: 'false', given: zeroChecksum });
  return problems;
}

function checkSegment(
  { local }: Config,
  networks: readonly AnyNetwork[],
  segment: Segment,
  path: string,
  found: Findings,
): void {
  const { report, reportReason } = found;
  const kind = family(local);
  const once = unique(reportReason);
  const remote = (address: string, at: string): void => {
    if (family(address) !== kind) report(at, `an IPv${kind} address, like {0}`, address, 'local');
    else if (isLoopback(local) && !isLoopback(address))
      reportReason(at, `${address} cannot be reached from {0}, the loopback address ${local}`, address, 'local');
  };
  checkGatewayMac(networks, segment, path, found);
  segment.peers?.forEach((peer, k) => {
    const at = `${path}.peers[${k}]`;
    remote(peer, at);
    if (sameIp(peer, local)) report(at, 'the address of another VTEP, not {0} itself', peer, 'local');
    once(at, 'peer', canonicalIp(peer), peer);
  });
  // The FDB has one VTEP per MAC address.
  const places = new Map<string, { vtep: string; at: string }>();
  segment.endpoints?.forEach((endpoint, k) => {
    const at = `${path}.endpoints[${k}]`;
    const vtep = canonicalIp(endpoint.vtep ?? local);
    if (endpoint.vtep !== undefined) remote(endpoint.vtep, `${at}.vtep`);
    once(`${at}.ip`, 'ip', canonicalIp(endpoint.ip), endpoint.ip);
    const mac = canonicalMac(endpoint.mac);
    const before = places.get(mac);
    if (before === undefined) places.set(mac, { vtep, at });
    else if (before.vtep !== vtep)
      reportReason(
        `${at}.mac`,
        `${endpoint.mac} is behind ${vtep} here and behind ${before.vtep} before ({0}); a MAC address can be behind only one VTEP`,
        endpoint.mac,
        `${before.at}.mac`,
      );
    // An endpoint of this host is announced with the prefix length of its network.
    const here = vtep === canonicalIp(local);
    const station = { ip: canonicalIp(endpoint.ip), path: `${at}.ip`, mac, macPath: `${at}.mac`, here };
    checkStation(networks, segment.vni, station, found);
  });
}

function checkTap(tap: Tap, path: string, { report, reportReason }: Findings): void {
  if (tap.name === undefined && tap.fd === undefined) report(`${path}.name`, 'a device name, or fd', undefined);
  if (tap.fd !== undefined && tap.netns !== undefined)
    reportReason(
      `${path}.netns`,
      'does not go with {0}: the process that opened the TAP has placed it',
      tap.netns,
      `${path}.fd`,
    );
  if ((tap.vni === undefined) === (tap.vlans === undefined))
    report(path, 'either vni (an access port) or vlans (a trunk)', { vni: tap.vni, vlans: tap.vlans });
  if (tap.native !== undefined && tap.vlans === undefined)
    report(`${path}.native`, 'no native VNI without vlans', tap.native);
  if (tap.vlans !== undefined && Object.keys(tap.vlans).length === 0)
    report(`${path}.vlans`, 'at least one VLAN id', tap.vlans);
  if (tap.vlans !== undefined) {
    const once = unique(reportReason);
    for (const [field, vni] of segmentsOf(tap)) once(path + field, 'vni', vni, vni);
  }
}

/** Lowest MTU for IPv6 (RFC 8200, section 5); below it the kernel disables IPv6 on the device. */
const IPV6_MIN_MTU = 1280;

function checkIpv6Mtu({ segments }: Config, tap: Tap, path: string, report: Report): void {
  const six = addressesOf(tap).find((address) => familyOf(address) === 6);
  if (six === undefined) return;
  const i = segments.findIndex(({ vni }) => vni === (tap.vni ?? tap.native));
  const [at, mtu] = tap.mtu !== undefined ? [`${path}.mtu`, tap.mtu] : [`segments[${i}].mtu`, segments[i]?.mtu];
  if (mtu !== undefined && mtu < IPV6_MIN_MTU)
    report(at, `${IPV6_MIN_MTU} bytes or more, which the IPv6 address ${six} needs`, mtu);
}

/** A TAP in this process's namespace must not receive the underlay's packets: they would enter the overlay again. */
function checkUnderlay(
  config: Config,
  tap: Tap,
  { address, path: at }: PlacedAddress,
  path: string,
  reportReason: ReportReason,
): void {
  if (tap.netns !== undefined || tap.fd !== undefined) return;
  const subnet = subnetText(address);
  const remedy = `move the TAP into a namespace with {1}, or choose another subnet`;
  const to = (what: string, place: string): void =>
    reportReason(
      at,
      `${address} routes ${subnet} to the TAP, and ${what} ({0}) is in it: the underlay would run through the overlay; ${remedy}`,
      address,
      place,
      `${path}.netns`,
    );
  if (shareAddresses(config.local, address)) return to(`this VTEP's own address ${config.local}`, 'local');
  for (const [remote, place] of remotesOf(config))
    if (shareAddresses(remote, address)) return to(`the VTEP ${remote}`, place);
}

/** Checks a configured endpoint against a TAP of its segment. */
function checkEndpointOfTap(
  config: Config,
  endpoint: Location,
  at: string,
  tap: Tap,
  path: string,
  reportReason: ReportReason,
): void {
  const elsewhere = endpoint.vtep !== undefined && !sameIp(endpoint.vtep, config.local);
  const addresses = placedAddresses(tap, path);
  const ip = canonicalIp(endpoint.ip);
  const own = addresses.find((one) => one.ip === ip);
  const sameMac = tap.mac !== undefined && canonicalMac(endpoint.mac) === canonicalMac(tap.mac);
  if (own !== undefined && elsewhere)
    reportReason(`${at}.ip`, `${endpoint.ip} is the address of a TAP of this host ({0})`, endpoint.ip, own.path);
  else if (sameMac && elsewhere)
    reportReason(
      `${at}.mac`,
      `${endpoint.mac} is the MAC address of a TAP of this host ({0})`,
      endpoint.mac,
      `${path}.mac`,
    );
  else if (own !== undefined && tap.mac !== undefined && !sameMac)
    reportReason(
      `${at}.mac`,
      `${endpoint.ip} has ${endpoint.mac} here and ${tap.mac} at the TAP ({0}); leave the endpoint out`,
      endpoint.mac,
      `${path}.mac`,
    );
  const near = addresses.find(({ address }) => shareAddresses(ip, address))?.address;
  const useless = near === undefined ? undefined : unusableHost(`${ip}${near.slice(near.indexOf('/'))}`);
  if (useless !== undefined)
    reportReason(`${at}.ip`, `${endpoint.ip} is ${useless}, which no host can have`, endpoint.ip);
}

/** Addresses of other VTEPs, each with its path. */
function remotesOf(config: Described): [address: string, path: string][] {
  return config.segments.flatMap((segment, i) => [
    ...(segment.peers ?? []).map((peer, k): [string, string] => [peer, `segments[${i}].peers[${k}]`]),
    ...(segment.endpoints ?? []).flatMap(({ vtep }, k): [string, string][] =>
      vtep === undefined || sameIp(vtep, config.local) ? [] : [[vtep, `segments[${i}].endpoints[${k}].vtep`]],
    ),
  ]);
}

/** The VNIs in a TAP's configuration, each with the path of its field relative to the TAP. */
function segmentsOf(tap: Tap): [field: string, vni: number][] {
  const named: [string, number][] = Object.entries(tap.vlans ?? {}).map(([vid, vni]) => [`.vlans["${vid}"]`, vni]);
  if (tap.vni !== undefined) named.push(['.vni', tap.vni]);
  if (tap.native !== undefined) named.push(['.native', tap.native]);
  return named;
}

function sameIp(a: string, b: string): boolean {
  return canonicalIp(a) === canonicalIp(b);
}
