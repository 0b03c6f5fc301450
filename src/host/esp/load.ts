/** Finds the fastest AES-GCM of this machine for the data path. */
import type { Aead } from '../../esp/index.js';
import { codeOf, HostError } from '../error.js';
import { loadGnutls } from './gnutls.js';
import { addressOf, exact, type Bind, type Koffi } from './native.js';
import { nodeAead } from './node.js';
import { loadOpenssl } from './openssl.js';
import { passesSelfTest, SELF_TEST_ROOM } from './self-test.js';

/** The implementations, the fastest first. */
export const AEADS = ['gnutls', 'openssl', 'node'] as const;
export type AeadName = (typeof AEADS)[number];

/** Those that need koffi. */
type NativeName = Exclude<AeadName, 'node'>;
type Loaders = Readonly<Record<NativeName, (koffi: Koffi) => Bind>>;
const LOADERS: Loaders = { gnutls: loadGnutls, openssl: loadOpenssl };
const NATIVE = ['gnutls', 'openssl'] as const satisfies readonly NativeName[];

/** Binds an implementation to a buffer, for one thread: see `aeads`. @param address Of the first byte, if it is known. */
export type BindAead = (packets: Uint8Array, address?: bigint) => Aead;

/**
 * Loads what binding an implementation to a buffer needs, so that a thread can do that without waiting. The memory of the buffer
 * must neither move nor be detached.
 * @param prefer The name of the only implementation to take; the environment variable WEFT_AEAD has it for a whole process.
 * @param loaders Those of this file, except in tests.
 * @throws HostError if there is none of that name. Binding throws it if that one does not work here.
 */
export async function aeads(
  prefer: string | undefined = process.env['WEFT_AEAD'],
  loaders: Loaders = LOADERS,
): Promise<BindAead> {
  if (prefer !== undefined && !isName(prefer))
    throw new HostError(`WEFT_AEAD is one of ${AEADS.join(', ')}, and not "${prefer}"`);
  if (prefer === 'node') return nodeAead;
  const koffi = await findKoffi();
  return (packets, address) => {
    for (const name of prefer === undefined ? NATIVE : [prefer]) {
      try {
        return bind(loaders[name], koffi, packets, address);
      } catch (error) {
        if (prefer === undefined) continue;
        throw new HostError(
          `AES-GCM of ${name} does not work on this machine: ${(error as Error).message}; unset WEFT_AEAD`,
          { cause: error },
        );
      }
    }
    return nodeAead(packets);
  };
}

/** Binds the fastest implementation that this machine has, and that gives the right bytes in a test: see `aeads`. */
export async function loadAead(
  packets: Uint8Array,
  address?: bigint,
  prefer?: string,
  loaders?: Loaders,
): Promise<Aead> {
  return (await aeads(prefer, loaders))(packets, address);
}

const isName = (text: string): text is AeadName => (AEADS as readonly string[]).includes(text);

/** @throws Error with the reason why it cannot be used. */
function bind(
  load: (koffi: Koffi) => Bind,
  koffi: Koffi | Error,
  packets: Uint8Array,
  address: bigint | undefined,
): Aead {
  if (koffi instanceof Error) throw koffi;
  const bound = load(koffi);
  const trial = new Uint8Array(SELF_TEST_ROOM);
  if (!passesSelfTest(bound(trial, addressOf(koffi, trial)), trial))
    throw new Error('it gives wrong bytes in the test cases of draft-mcgrew-gcm-test-01');
  return bound(packets, address === undefined ? addressOf(koffi, packets) : exact(address));
}

/** Returns koffi, or why it does not load. */
async function findKoffi(): Promise<Koffi | Error> {
  try {
    return (await import('koffi')).default as unknown as Koffi;
  } catch (error) {
    const missing = ['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'].includes(codeOf(error));
    return missing ? new Error('koffi is not installed; add it with "npm install koffi"') : (error as Error);
  }
}
