/** The package as users get it: packed, and installed in an empty project. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
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

/** Packs the repository and installs the tarball in a new project. @returns its folder, which the caller removes. */
export function installedProject(): string {
  const project = mkdtempSync(join(tmpdir(), 'weftnet-user-'));
  // In a copy: packing rebuilds dist and temporarily changes package.json, while other tests use both.
  const copy = join(project, 'repository');
  const left = new Set(['.git', 'node_modules', 'coverage', 'dist', 'test']);
  for (const name of readdirSync('.').filter((one) => !left.has(one)))
    cpSync(name, join(copy, name), { recursive: true });
  symlinkSync(resolve('node_modules'), join(copy, 'node_modules'));
  must('npm', ['pack', '--silent', '--pack-destination', project], copy);
  const tarball = readdirSync(project).find((name) => name.endsWith('.tgz'))!;
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }));
  must('npm', ['install', '--no-audit', '--no-fund', join(project, tarball)], project);
  return project;
}
