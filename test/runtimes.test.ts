/**
 * The README's programs on Deno and Bun, with the packed package. `WEFT_RUNTIMES` names a node_modules directory with
 * the npm packages `deno` and `bun`; without it the runtimes come from PATH.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { suiteWith } from './support/needs.js';
import { programs, run } from './support/readme.js';
import { installedProject } from './support/tarball.js';

const folder = process.env['WEFT_RUNTIMES'];
const program = (name: string): string => (folder === undefined ? name : join(folder, '.bin', name));
/** The command line of each runtime, for a program in TypeScript. */
const RUNTIMES: Record<string, string[]> = {
  deno: [program('deno'), 'run', '--quiet', '--no-check', '--node-modules-dir=manual'],
  bun: [program('bun')],
};

let project = '';
process.on('exit', () => {
  if (project !== '') rmSync(project, { recursive: true, force: true });
});

for (const [name, command] of Object.entries(RUNTIMES)) {
  const test = suiteWith(name, [command[0]!]);
  test.before(() => {
    if (project === '') project = installedProject();
  });
  for (const { title, text, expected } of programs())
    test(`${title} prints the documented lines on ${name}`, () => {
      const file = join(project, 'program.ts');
      writeFileSync(file, text);
      // What does no I/O needs no permission.
      const permissions = name === 'deno' && text.includes(`'weftnet/host'`) ? ['--allow-all'] : [];
      assert.equal(run(file, project, [...command, ...permissions]), expected);
    });
  test(`every entry without Node's modules loads on ${name}`, () => {
    const file = join(project, 'entries.mjs');
    writeFileSync(file, `import * as main from 'weftnet'; console.log(Object.keys(main).length > 15);`);
    assert.equal(run(file, project, command), ['true']);
  });
  test.run();
}
