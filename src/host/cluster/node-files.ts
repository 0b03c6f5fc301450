/** Files of a node in its state directory, beside those of `StateFiles`: where it is, and what it was assigned last. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Assignment } from '../../cluster/index.js';
import { findProblems, PLACE_FILE, problemText } from '../../schema/index.js';
import { codeOf, HostError } from '../error.js';
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

/**
 * Without its address, a node must not run: it would tell the others a wrong one.
 * @throws HostError if the file is missing or damaged.
 */
export function readPlace(directory: string): NodePlace {
  const path = join(directory, 'place.json');
  let place: unknown;
  try {
    place = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw noPlace(path, codeOf(error) === 'ENOENT' ? 'it is missing' : (error as Error).message, error);
  }
  const [problem] = findProblems(PLACE_FILE, place);
  if (problem !== undefined) throw noPlace(path, problemText(problem));
  const { address, dataPath, name } = place as NodePlace;
  return { address, dataPath, name };
}

/** The advice can be followed without the daemon, which does not start. */
function noPlace(path: string, why: string, cause?: unknown): HostError {
  const example = `echo '{"address":"192.0.2.5"}' >${path}`;
  return new HostError(
    `${path} is damaged: ${why}; write the address of this node into it, which "vtep node ls" shows on a manager, ` +
      `and start the agent again: ${example}`,
    { cause },
  );
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
