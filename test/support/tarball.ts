/** The package as users get it: packed, and installed in an empty project. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import * as assert from 'uvu/assert';

/** Runs a program and returns its standard output; fails if the program fails. */
export function must(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, npm_config_offline: 'true', NODE_V8_COVERAGE: '' },
  });
  assert.is(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** Names in a folder of the package: the copy of the repository that was packed. */
export const COPY = 'repository';
const isTarball = (name: string): boolean => name.endsWith('.tgz');
let packed = process.env['WEFT_PACKED'];

/**
 * The folder with the tarball and the copy of the repository: that which WEFT_PACKED names, which `npm test` fills once for
 * all files that need it, or one of this process.
 */
export function packedFolder(): string {
  if (packed === undefined) {
    const folder = mkdtempSync(join(tmpdir(), 'weftnet-packed-'));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
    packed = folder;
  }
  if (readdirSync(packed).some(isTarball)) return packed;
  // In a copy: packing rebuilds dist and temporarily changes package.json, while other tests use both.
  const copy = join(packed, COPY);
  const left = new Set(['.git', 'node_modules', 'coverage', 'dist', 'test']);
  for (const name of readdirSync('.').filter((one) => !left.has(one)))
    cpSync(name, join(copy, name), { recursive: true });
  symlinkSync(resolve('node_modules'), join(copy, 'node_modules'));
  must('npm', ['pack', '--silent', '--pack-destination', packed], copy);
  return packed;
}

/** Installs the package in a new project. @returns its folder, which the caller removes. */
export function installedProject(): string {
  const folder = packedFolder();
  const tarball = readdirSync(folder).find(isTarball)!;
  const project = mkdtempSync(join(tmpdir(), 'weftnet-user-'));
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }));
  must('npm', ['install', '--no-audit', '--no-fund', join(folder, tarball)], project);
  return project;
}
