/** The key files of a configuration: which segments are encrypted, and the key group of each. */
import { PORT } from '../vxlan/index.js';
import { type Findings } from './findings.js';
import { networksOf, vnisOfNetwork } from './networks.js';
import { type Config } from './types.js';

/** The default port of encrypted segments, that of ESP in UDP (RFC 3948). */
export const ESP_PORT = 4500;

/** The file with the keys of a group. */
export interface KeyFilePlan {
  /** The network, or `vni-42` for a segment without one. */
  group: string;
  path: string;
}

/** The key group of a segment with a key file of its own. */
export function vniGroup(vni: number): string {
  return `vni-${vni}`;
}

/** A key file of a configuration. */
interface ConfiguredKeyFile extends KeyFilePlan {
  /** Its path in the configuration. */
  at: string;
  /** The VNIs of its group. */
  vnis: number[];
}

type WithKeyFiles = Pick<Config, 'networks' | 'gossip'> & Partial<Pick<Config, 'segments'>>;

/** The key files of a configuration: first those of networks. */
export function keyFilesOf(config: WithKeyFiles): ConfiguredKeyFile[] {
  const { networks = [], gossip, segments = [] } = config;
  const paths = [...networks, ...(gossip?.networks ?? [])].map(({ keyFile }) => keyFile);
  const ofNetworks = paths.every((path) => path === undefined)
    ? []
    : networksOf(config).flatMap((network, i): ConfiguredKeyFile[] => {
        const path = paths[i];
        if (path === undefined) return [];
        return [{ group: network.id, path, at: `${network.path}.keyFile`, vnis: vnisOfNetwork(network) }];
      });
  const ofSegments = segments.flatMap(({ vni, keyFile }, i): ConfiguredKeyFile[] =>
    keyFile === undefined ? [] : [{ group: vniGroup(vni), path: keyFile, at: `segments[${i}].keyFile`, vnis: [vni] }],
  );
  return [...ofNetworks, ...ofSegments];
}

/** The key group of each encrypted segment, by VNI. */
export function groupsOf(config: WithKeyFiles): Map<number, string> {
  return new Map(keyFilesOf(config).flatMap(({ group, vnis }) => vnis.map((vni) => [vni, group] as const)));
}

/** The ports of a plan, as fields of a configuration: the default port of ESP may be the other one while nothing needs it. */
export function portsOf({ port, espPort }: { port: number; espPort: number }): Pick<Config, 'port' | 'espPort'> {
  return { port, ...(espPort === port ? {} : { espPort }) };
}

/** Checks the key files, and the port that their segments need. */
export function checkKeyFiles(config: Config, { reportReason }: Findings): void {
  const { port = PORT, espPort } = config;
  const files = keyFilesOf(config);
  if (espPort === port) reportReason('espPort', 'is {0}, too; choose another port', espPort, 'port');
  else if (port === ESP_PORT && espPort === undefined)
    for (const { at } of files)
      reportReason(
        at,
        `needs a port for encrypted segments, whose default, ${ESP_PORT}, is {0}; choose another ({1})`,
        undefined,
        ...['port', 'espPort'],
      );
  const owners = new Map<number, ConfiguredKeyFile>();
  const groups = new Map<string, string>();
  for (const file of files) {
    const before = groups.get(file.group);
    const owner = file.vnis.map((vni) => owners.get(vni)).find((one) => one !== undefined);
    const isOwn = file.at.startsWith('segments');
    if (owner !== undefined && owner.group !== file.group)
      reportReason(
        file.at,
        `does not go with {0}: the segments of network ${owner.group} share its keys; leave one of the two out`,
        undefined,
        owner.at,
      );
    // The name of a network that is given twice, or the VNI of a segment, is reported by itself.
    else if (before !== undefined && isOwn && owner === undefined)
      reportReason(file.at, `has the key group of {0}, ${file.group}; rename that network`, undefined, before);
    groups.set(file.group, file.at);
    for (const vni of file.vnis) owners.set(vni, file);
  }
}
