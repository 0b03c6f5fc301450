/** Rules about the networks of a configuration, and about the addresses in their subnets. */
import { canonicalIp, family, prefixAddress } from './addresses.js';
import { givenTwice, type Findings } from './findings.js';
import { canonicalMac } from './mac.js';
import {
  familyOf,
  isOfGossip,
  networksOf,
  subnetIn,
  type AnyNetwork,
  type AnySubnet,
  type WithNetworks,
} from './networks.js';
import { firstShared, shareAddresses, unusableHost } from './ranges.js';
import { type Segment } from './types.js';

/** Checks the networks by themselves. */
export function checkNetworks(config: WithNetworks, findings: Findings): void {
  config.gossip?.networks?.forEach((network, i) => {
    const path = `gossip.networks[${i}]`;
    const { vni, subnet, mac, subnets } = network;
    if (subnets !== undefined) {
      if (vni !== undefined) findings.reportReason(`${path}.vni`, 'does not go with {0}', vni, `${path}.subnets`);
      if (subnet !== undefined)
        findings.reportReason(`${path}.subnet`, 'does not go with {0}', subnet, `${path}.subnets`);
      return;
    }
    if (vni === undefined) findings.report(`${path}.vni`, 'a VNI, or a list of subnets', undefined);
    if (subnet === undefined)
      findings.report(`${path}.subnet`, 'a subnet such as 10.0.0.0/24 or fd00::/64, or a list of subnets', undefined);
    if (mac !== undefined)
      findings.reportReason(`${path}.mac`, 'is the address of gateways, which networks with subnets have', mac);
  });
  const names = new Map<string, string>();
  const vnis = new Map<number, { network: AnyNetwork; subnets: AnySubnet[] }>();
  for (const network of networksOf(config)) {
    const { id, path } = network;
    const at = `${path}.${path.startsWith('gossip') ? 'id' : 'name'}`;
    const before = names.get(id);
    if (before === undefined) names.set(id, at);
    else findings.reportReason(at, givenTwice(id), id, before);
    if (network.mac !== undefined && network.subnets.length === 0)
      findings.report(`${path}.subnets`, 'a list of one subnet or more', []);
    const shared = firstShared(network.subnets.map(({ prefix }) => prefix));
    network.subnets.forEach((subnet, k) => {
      checkVni(network, subnet, vnis, findings);
      checkSubnet(subnet, network.subnets[shared[k]!], findings);
    });
  }
}

/** A VNI belongs to one network, and there to one subnet of each address family. */
function checkVni(
  network: AnyNetwork,
  subnet: AnySubnet,
  vnis: Map<number, { network: AnyNetwork; subnets: AnySubnet[] }>,
  { reportReason }: Findings,
): void {
  const { vni, paths } = subnet;
  const known = vnis.get(vni);
  if (known === undefined) {
    vnis.set(vni, { network, subnets: [subnet] });
    return;
  }
  const same = known.subnets.find((other) => familyOf(other.prefix) === familyOf(subnet.prefix));
  if (known.network !== network || same !== undefined)
    reportReason(paths.vni, givenTwice(vni), vni, (same ?? known.subnets[0]!).paths.vni);
  else known.subnets.push(subnet);
}

/** @param other The first subnet before it that shares addresses with it. */
function checkSubnet(
  { prefix, gateway, paths }: AnySubnet,
  other: AnySubnet | undefined,
  { report, reportReason }: Findings,
): void {
  if (other !== undefined)
    reportReason(paths.prefix, `${prefix} shares addresses with ${other.prefix} ({0})`, prefix, other.paths.prefix);
  if (gateway === undefined) return;
  if (/\/(32|128)$/.test(prefix) && (familyOf(prefix) === 6) === prefix.endsWith('/128'))
    return reportReason(paths.prefix, `${prefix} has no room for a gateway and a host`, prefix);
  if (!shareAddresses(gateway, prefix)) return report(paths.gateway, `an address of ${prefix}`, gateway);
  const useless = unusableHost(gateway + lengthOf(prefix));
  if (useless !== undefined) report(paths.gateway, `the address of a host in ${prefix}, not ${useless}`, gateway);
}

function lengthOf(prefix: string): string {
  return prefix.slice(prefix.indexOf('/'));
}

/** A station of a segment: an endpoint, or a TAP. */
interface Station {
  /** Its IP address, and the path of that. */
  ip: string;
  path: string;
  /** Its MAC address and the path of that, if it is given. */
  mac?: string | undefined;
  macPath?: string;
  /** Whether it is on this host. */
  here: boolean;
}

/** Checks a station against the subnet of its segment. */
export function checkStation(
  networks: readonly AnyNetwork[],
  vni: number,
  { ip, path, mac, macPath, here }: Station,
  { report, reportReason }: Findings,
): void {
  const found = subnetIn(networks, vni, ip);
  if (found === undefined) {
    const network = networks.find(({ subnets }) => subnets.some((one) => one.vni === vni));
    const other = network?.subnets.find(({ prefix }) => shareAddresses(ip, prefix));
    if (here && other !== undefined)
      reportReason(
        path,
        `${ip} is in ${other.prefix}, a subnet of network ${network!.id} with another VNI, ${other.vni} ({0})`,
        ip,
        other.paths.vni,
      );
    else if (here && network !== undefined && isOfGossip(network) && family(ip) === 4)
      report(
        path,
        `an IPv6 address, because network ${network.id} of the gossip announces IPv4 addresses with the length of their subnet, and has no IPv4 subnet with VNI ${vni}`,
        ip,
      );
    return;
  }
  const { network, subnet } = found;
  const { prefix, gateway, paths } = subnet;
  const within = shareAddresses(ip, prefix);
  const useless = within ? unusableHost(ip + lengthOf(prefix)) : undefined;
  const owner = `the subnet of network ${network.id}`;
  if (here && !within) report(path, `an address of ${prefix}, ${owner}`, ip);
  else if (useless !== undefined) report(path, `the address of a host in ${prefix}, ${owner}, not ${useless}`, ip);
  if (gateway !== undefined && canonicalIp(ip) === gateway)
    reportReason(
      path,
      `${gateway} is the gateway of ${prefix}, ${owner}; choose another address, or another gateway ({0})`,
      ip,
      paths.gateway,
    );
  if (mac !== undefined && macPath !== undefined && canonicalMac(mac) === network.mac)
    reportReason(
      macPath,
      `${mac} is the MAC address of the gateways of network ${network.id}; choose another address, or set theirs ({0})`,
      mac,
      `${network.path}.mac`,
    );
}

/** The prefix length of the subnet of a network that has an address of a segment; `undefined` if none has it. */
export function subnetOfStation(networks: readonly AnyNetwork[], vni: number, ip: string): string | undefined {
  return family(ip) === 0 ? undefined : subnetIn(networks, vni, ip)?.subnet.prefix;
}

/**
 * Says that the TAP of a segment without a network has an address of a network: its VNI is probably another one;
 * `undefined` if that is not so. Two tenants may have the same addresses.
 * @param address With prefix length.
 */
export function strayAddress(networks: readonly AnyNetwork[], vni: number, address: string): string | undefined {
  if (networks.some(({ subnets }) => subnets.some((subnet) => subnet.vni === vni))) return undefined;
  const ip = prefixAddress(address);
  for (const { id, subnets } of networks)
    for (const subnet of subnets)
      if (shareAddresses(ip, subnet.prefix))
        return `segment ${vni} is in no network, and ${address} is in the subnet ${subnet.prefix} of network ${id}, which has VNI ${subnet.vni}`;
  return undefined;
}

/** Checks the MAC address of a segment's proxy: a frame to it must not be for the gateway. */
export function checkGatewayMac(
  networks: readonly AnyNetwork[],
  { vni, mac }: Segment,
  path: string,
  { reportReason }: Findings,
): void {
  if (mac === undefined) return;
  const network = networks.find((one) => one.mac === canonicalMac(mac) && one.subnets.some((own) => own.vni === vni));
  if (network !== undefined)
    reportReason(`${path}.mac`, `${mac} is the MAC address of the gateways of network ${network.id}`, mac);
}
