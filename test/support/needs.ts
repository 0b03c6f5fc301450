import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { suite, type Test } from 'uvu';

/** A requirement of a test beyond Node: `root`, `tun` (the device), `scapy` (for Debian's Python) or a program's name. */
export type Need = 'root' | 'tun' | 'scapy' | (string & {});

/** Ends with 0 if the modules are there, without loading them. */
const SCAPY = 'from importlib.util import find_spec as f; exit(f("scapy") is None or f("cryptography") is None)';

/** The missing ones of `needs`. */
export function missing(needs: readonly Need[]): string[] {
  return needs.filter((need) => {
    if (need === 'root') return process.getuid?.() !== 0;
    if (need === 'tun') return !existsSync('/dev/net/tun');
    if (need === 'scapy') return spawnSync('/usr/bin/python3', ['-c', SCAPY]).status !== 0;
    return spawnSync('sh', ['-c', `command -v ${need}`]).status !== 0;
  });
}

/**
 * A suite whose tests have requirements. If one is missing, they are skipped with a line that names it; with CI=true
 * they fail.
 */
export function suiteWith(name: string, needs: readonly Need[]): Test<Record<string, never>> {
  const unmet = missing(needs);
  const tests = suite<Record<string, never>>(name);
  if (unmet.length === 0) return tests;
  const reason = `needs ${unmet.join(', ')}`;
  if (process.env['CI'] === 'true') {
    tests(reason, () => {
      throw new Error(`${name} cannot run: ${reason}`);
    });
  } else {
    console.log(`skipped ${name}: ${reason}`);
  }
  const inert = (() => undefined) as unknown as Test<Record<string, never>>;
  return Object.assign(inert, {
    only: inert,
    skip: inert,
    before: Object.assign(() => undefined, { each: () => undefined }),
    after: Object.assign(() => undefined, { each: () => undefined }),
    run: () => tests.run(),
  });
}
