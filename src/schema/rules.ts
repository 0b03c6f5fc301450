/** What a configuration has to fulfil beyond the form of its fields: names that refer to each other, no contradictions. */
import { type Problem } from './problem.js';
import { canonicalIp, canonicalMac, family, prefixAddress } from './text.js';
import { type Config, type Segment, type Tap } from './types.js';

/** The problems of a configuration whose form is right. */
export function contradictions(config: Config): Problem[] {
  const problems: Problem[] = [];
  const report = (path: string, expected: string, given: unknown): void =>
    void problems.push({ path, expected, given });
  const once = unique(report);
  const vnis = new Set(config.segments.map((segment) => segment.vni));
  config.segments.forEach((segment, i) => {
    const path = `segments[${i}]`;
    once(`${path}.vni`, `segment`, segment.vni, segment.vni);
    checkSegment(config, segment, path, report);
  });
  const known = `the VNI of a segment (${[...vnis].join(', ')})`;
  config.taps.forEach((tap, i) => {
    const path = `taps[${i}]`;
    checkTap(tap, path, report);
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
    const segment = config.segments.findIndex((candidate) => candidate.vni === untagged);
    config.segments[segment]?.endpoints?.forEach((endpoint, k) => {
      if (canonicalIp(endpoint.ip) === ip && endpoint.vtep !== undefined && !sameIp(endpoint.vtep, config.local))
        report(`segments[${segment}].endpoints[${k}].ip`, `an address other than that of ${path}`, endpoint.ip);
    });
  });
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
  });
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
