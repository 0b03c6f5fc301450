/** A plan in the form of a configuration, for people and files. */
import { vniGroup } from './key-files.js';
import { type Plan } from './plan.js';

/** A plan as a configuration, which has the same plan if there is no gossip. */
export function configOf({ keyFiles, networks, gossip, segments, ...plan }: Plan): object {
  const paths = new Map(keyFiles.map(({ group, path }) => [group, path]));
  const keyFile = (group: string): { keyFile?: string } => {
    const path = paths.get(group);
    return path === undefined ? {} : { keyFile: path };
  };
  return {
    ...plan,
    ...(gossip === undefined
      ? {}
      : { gossip: { ...gossip, networks: gossip.networks.map((one) => ({ ...one, ...keyFile(one.id) })) } }),
    networks: networks.map((one) => ({ ...one, ...keyFile(one.name) })),
    segments: segments.map(({ group, ...segment }) => ({
      ...segment,
      ...(group === vniGroup(segment.vni) ? keyFile(group) : {}),
    })),
  };
}
