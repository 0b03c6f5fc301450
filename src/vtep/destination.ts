/**
 * Destinations of a segment's FDB, and locations of its endpoints: even numbers for local ports, odd ones for remotes.
 */

export function portDestination(port: number): number {
  return port << 1;
}

export function remoteDestination(id: number): number {
  return (id << 1) | 1;
}

export function isRemote(destination: number): boolean {
  return (destination & 1) === 1;
}

/** The port of a local destination. */
export function portOf(destination: number): number {
  return destination >> 1;
}

/** The id of a remote destination's remote. */
export function remoteIdOf(destination: number): number {
  return destination >> 1;
}

/** The place of a frame of the machine's own: no port and no remote. */
export const NO_PLACE = portDestination(-1);
/** The remote of frames behind which nothing is learned. Odd, like all remotes. */
export const UNLEARNED_REMOTE = 0x3fff_ffff;
/** In an explanation, the remote of a sender that would be learned. */
export const NEW_REMOTE = 0x3fff_fffd;
