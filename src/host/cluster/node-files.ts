/** Files of a node in its state directory, beside those of `StateFiles`: where it is, and what it was assigned last. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Assignment } from '../../cluster/index.js';
import { HostError } from '../error.js';
import { writePrivate } from '../private-file.js';
import { type Identity } from './certificate.js';
import { type NodePlace } from './node-plan.js';

/** Writes where the node is, before its identity: a process that finds the identity needs both. */
export function keepPlace(directory: string, { address, dataPath, name }: NodePlace): NodePlace {
  const place = { address, ...(dataPath === undefined ? {} : { dataPath }), ...(name === undefined ? {} : { name }) };
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writePrivate(join(directory, 'place.json'), JSON.stringify(place), true);
  return place;
}

/** @throws HostError if the file is missing or damaged. */
export function readPlace(directory: string): NodePlace {
  const path = join(directory, 'place.json');
  try {
    const { address, dataPath, name } = JSON.parse(readFileSync(path, 'utf8')) as NodePlace;
    if (typeof address === 'string') return { address, dataPath, name };
  } catch (error) {
    throw new HostError(
      `${path} cannot be read: ${(error as Error).message}; let the node leave by force, and join again`,
      {
        cause: error,
      },
    );
  }
  throw new HostError(`${path} has no address; let the node leave by force, and join again`);
}

/** What was assigned last; `undefined` if there is nothing that can be read: a manager says it again. */
export function readAssignment(directory: string, { node, cluster }: Identity): Assignment | undefined {
  try {
    const known = JSON.parse(readFileSync(join(directory, 'assignment.json'), 'utf8')) as Assignment;
    return known.node === node && known.cluster.id === cluster ? known : undefined;
  } catch {
    return undefined;
  }
}

/**
 * After a power failure nothing runs that an old assignment or none could end, and a manager says it again: the file need not
 * be on the disk, for which each of many changes would wait.
 * @throws HostError if the file cannot be written.
 */
export function keepAssignment(directory: string, assignment: Assignment): void {
  writePrivate(join(directory, 'assignment.json'), JSON.stringify(assignment), true, false);
}
