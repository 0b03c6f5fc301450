/** Chooses the data plane: the fast engine for Linux, or the portable one. */
import { type EngineName, type Plan } from '../schema/index.js';
import { type DataPlane } from './data-plane.js';
import { DgramEngine } from './dgram.js';
import { HostError } from './error.js';
import { LinuxEngine, requireLinux } from './linux/engine.js';
import { requireAddressSpace } from './linux/limits.js';

/** Creates the engine of that name; `chooseEngine` resolves `auto`. */
export function createEngine(name: Exclude<EngineName, 'auto'>): DataPlane {
  return name === 'linux' ? new LinuxEngine() : new DgramEngine();
}

/**
 * Creates the engine that a plan names. `auto` selects the fast engine if it runs here, otherwise the portable one.
 * @returns a `note` with the reason and the remedy if `auto` does not select the fast engine.
 * @throws HostError if the plan names an engine that does not run here.
 */
export async function chooseEngine({ engine, taps, workers }: Plan): Promise<{ engine: DataPlane; note?: string }> {
  if (engine === 'dgram') return { engine: createEngine('dgram') };
  try {
    await requireLinux(taps.length === 0 || taps.some(({ fd }) => fd === undefined));
    requireAddressSpace(workers);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    const { message } = error;
    if (engine === 'linux') throw new HostError(`${message}, or use \`engine: dgram\``, { cause: error });
    const note = `engine "dgram" moves the frames, many times slower than "linux" would: ${message}`;
    return { engine: createEngine('dgram'), note };
  }
  return { engine: createEngine('linux') };
}
