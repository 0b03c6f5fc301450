/** `vtep network keygen`: makes the key files of encrypted networks of `vtep up`, and adds keys to them. */
import { newGroupKeyText, rotateGroupKeyFile, writeGroupKeyFile } from '../host/index.js';
import { noRest, refuseBeside, UsageError, type Flag, type Parsed } from './flags.js';
import { withFlags } from './flag-names.js';
import { printKey } from './print-key.js';
import { print, printError } from './streams.js';

/** Also of `create`. */
export const BITS: Flag = {
  name: 'bits',
  value: '128|256',
  text: 'length of the keys, for AES-128-GCM or AES-256-GCM (default 256)',
};

/** The flags of `keygen`. */
export const KEYGEN: readonly Flag[] = [
  {
    name: 'output',
    letter: 'o',
    value: 'FILE',
    text: 'key file to write, with mode 600 ("-": standard output, the default)',
  },
  BITS,
  { name: 'rotate', text: 'put a new key in front into FILE, and keep its three newest keys' },
  { name: 'force', text: 'overwrite FILE' },
];

/** Makes a key file with the key 1, or with --rotate adds the next key to one. */
export async function keygen(flags: Parsed): Promise<number> {
  noRest(flags);
  refuseBeside(flags, 'rotate', ['bits', 'force'], ', which keeps the length of the keys that are there');
  const path = flags.value('output') ?? '-';
  const lonely = ['rotate', 'force'].find((name) => path === '-' && flags.on(name) === true);
  if (lonely !== undefined)
    throw new UsageError(`--${lonely} goes with -o FILE, which it ${lonely === 'rotate' ? 'changes' : 'overwrites'}`);
  const bits = bitsOf(flags);
  if (flags.on('rotate') === true) print(`the newest key of ${path} is number ${rotateGroupKeyFile(path, warn)}`);
  else if (path === '-') printKey(newGroupKeyText(bits).trimEnd().split('\n'), warn);
  else writeGroupKeyFile(path, bits, flags.on('force') === true);
  return 0;
}

/** The length of the keys. @throws UsageError */
export function bitsOf(flags: Parsed): 128 | 256 {
  const bits = flags.value('bits') ?? '256';
  if (bits !== '128' && bits !== '256') throw new UsageError(`--bits: expected 128 or 256, got "${bits}"`);
  return bits === '128' ? 128 : 256;
}

function warn(message: string): void {
  printError(`vtep network: warning: ${withFlags(message)}`);
}
