/** What a configuration has to fulfil beyond the form of its fields: names that refer to each other, no contradictions. */
import { type Problem } from './problem.js';
import { canonicalIp, canonicalMac, family, isWithin, prefixAddress } from './text.js';
import { type Config, type Segment, type Tap } from './types.js';

/** The problems of a configuration whose form is right. */
export function contradictions(config: Config): Problem[] {
  const problems: Problem[] = [];
  const report = (path: string, expected: string, given: unknown): void =>
    void problems.push({ path, expected, given });
  const once = unique(report);
  const networks = config.gossip?.networks ?? [];
  if (config.segments.length === 0 && networks.length === 0 && config.gossip === undefined)
    report('segments', 'a list of one segment or more', config.segments);
  if (config.taps.length === 0 && config.gossip === undefined) report('taps', 'a list of one TAP or more', config.taps);
  if (problems.length > 0) return problems; // whatever else there is follows from these
  networks.forEach(({ id, vni }, i) => {
    once(`gossip.networks[${i}].id`, 'network', id, id);
    once(`gossip.networks[${i}].vni`, 'network vni', vni, vni);
  });
  if (config.gossip?.tunnel !== undefined && family(config.gossip.tunnel) !== family(config.local))
    report('gossip.tunnel', `an IPv${family(config.local)} address, as local is`, config.gossip.tunnel);
  const vnis = new Set([...config.segments, ...networks].map(({ vni }) => vni));
  config.segments.forEach((segment, i) => {
    const path = `segments[${i}]`;
    once(`${path}.vni`, `segment`, segment.vni, segment.vni);
    checkSegment(config, segment, path, report);
  });
  if (config.engine === 'dgram')
    for (const { path, expected, given } of linuxOnly(config))
      report(path, `${expected} with engine dgram, or engine linux`, given);
  const known = `the VNI of a segment (${[...vnis].join(', ')})`;
  config.taps.forEach((tap, i) => {
    const path = `taps[${i}]`;
    checkTap(tap, path, report);
    if (tap.fd !== undefined && (config.workers ?? 1) > 1)
      report(`${path}.fd`, 'no file descriptor with several workers, which takes a queue for each', tap.fd);
    if (tap.fd !== undefined) once(`${path}.fd`, 'fd', tap.fd, tap.fd);
    if (tap.name !== undefined)
      once(`${path}.name`, 'name', `${tap.fd === undefined ? (tap.netns ?? '') : 'fd'}/${tap.name}`, tap.name);
    for (const [field, vni] of segmentsOf(tap)) if (!vnis.has(vni)) report(path + field, known, vni);
    if (tap.mac !== undefined)
      for (const [, vni] of segmentsOf(tap)) once(`${path}.mac`, `mac${vni}`, canonicalMac(tap.mac), tap.mac);
    const untagged = tap.vni ?? tap.native;
    if (tap.address === undefined || untagged === undefined) return;
    const ip = prefixAddress(tap.address);
    once(`${path}.address`, `address${untagged}`, ip, tap.address);
    checkSubnet(config, untagged, ip, `${path}.address`, report);
    const segment = config.segments.findIndex((candidate) => candidate.vni === untagged);
    config.segments[segment]?.endpoints?.forEach((endpoint, k) => {
      if (canonicalIp(endpoint.ip) === ip && endpoint.vtep !== undefined && !sameIp(endpoint.vtep, config.local))
        report(`segments[${segment}].endpoints[${k}].ip`, `an address other than that of ${path}`, endpoint.ip);
    });
  });
  return problems;
}

/** What is asked for that the portable engine cannot do: Node's sockets have no such options. */
export function linuxOnly({ workers = 1, busyPoll = 0, udpChecksum, zeroChecksum }: Config): Problem[] {
  const problems: Problem[] = [];
  if (workers > 1) problems.push({ path: 'workers', expected: '1', given: workers });
  if (busyPoll > 0) problems.push({ path: 'busyPoll', expected: '0', given: busyPoll });
  if (udpChecksum === false) problems.push({ path: 'udpChecksum', expected: 'true', given: udpChecksum });
  if (zeroChecksum === true) problems.push({ path: 'zeroChecksum', expected: 'false', given: zeroChecksum });
  return problems;
}

type Report = (path: string, expected: string, given: unknown) => void;

function checkSegment(config: Config, segment: Segment, path: string, report: Report): void {
  const kind = family(config.local);
  const once = unique(report);
  const remote = (address: string, at: string): void => {
    if (family(address) !== kind) report(at, `an IPv${kind} address, as local is`, address);
  };
  segment.peers?.forEach((peer, k) => {
    const at = `${path}.peers[${k}]`;
    remote(peer, at);
    if (sameIp(peer, config.local)) report(at, 'the address of another VTEP, not local itself', peer);
    once(at, 'peer', canonicalIp(peer), peer);
  });
  segment.endpoints?.forEach((endpoint, k) => {
    const at = `${path}.endpoints[${k}]`;
    if (endpoint.vtep !== undefined) remote(endpoint.vtep, `${at}.vtep`);
    once(`${at}.ip`, 'ip', canonicalIp(endpoint.ip), endpoint.ip);
    if (endpoint.vtep === undefined || sameIp(endpoint.vtep, config.local))
      checkSubnet(config, segment.vni, canonicalIp(endpoint.ip), `${at}.ip`, report);
  });
}

/** An endpoint of this host has to be of its network's subnet, whose prefix it is told of with. */
function checkSubnet(config: Config, vni: number, ip: string, path: string, report: Report): void {
  const network = config.gossip?.networks?.find((candidate) => candidate.vni === vni);
  if (network !== undefined && family(ip) === 4 && !isWithin(ip, network.subnet))
    report(path, `an address of ${network.subnet}, the subnet of network ${network.id}`, ip);
}

function checkTap(tap: Tap, path: string, report: Report): void {
  if (tap.name === undefined && tap.fd === undefined) report(`${path}.name`, 'a device name, or fd', undefined);
  if (tap.fd !== undefined && tap.netns !== undefined)
    report(`${path}.netns`, 'no namespace with fd: whoever opened the TAP has placed it', tap.netns);
  if ((tap.vni === undefined) === (tap.vlans === undefined))
    report(path, 'either vni (an access port) or vlans (a trunk)', { vni: tap.vni, vlans: tap.vlans });
  if (tap.native !== undefined && tap.vlans === undefined)
    report(`${path}.native`, 'no native VNI without vlans', tap.native);
  if (tap.vlans !== undefined && Object.keys(tap.vlans).length === 0)
    report(`${path}.vlans`, 'at least one VLAN id', tap.vlans);
  if (tap.vlans !== undefined) {
    const once = unique(report);
    for (const [field, vni] of segmentsOf(tap)) once(path + field, 'vni', vni, vni);
  }
}

/** The VNIs that a TAP names, each with its field's path behind the TAP's. */
function segmentsOf(tap: Tap): [field: string, vni: number][] {
  const named: [string, number][] = Object.entries(tap.vlans ?? {}).map(([vid, vni]) => [`.vlans["${vid}"]`, vni]);
  if (tap.vni !== undefined) named.push(['.vni', tap.vni]);
  if (tap.native !== undefined) named.push(['.native', tap.native]);
  return named;
}

function sameIp(a: string, b: string): boolean {
  return canonicalIp(a) === canonicalIp(b);
}

/** Reports the second and every further use of a key of one kind, naming where the first was. */
function unique(report: Report): (path: string, kind: string, key: string | number, given: unknown) => void {
  const first = new Map<string, string>();
  return (path, kind, key, given) => {
    const before = first.get(`${kind} ${key}`);
    if (before === undefined) first.set(`${kind} ${key}`, path);
    else if (before !== path) report(path, `a value of its own (${before} has it already)`, given);
  };
}
