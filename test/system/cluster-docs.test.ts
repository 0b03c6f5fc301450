/** Types the commands of docs/cluster.md, in their order, on two hosts. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ClusterHost } from '../support/cluster-host.js';
import { createUnderlay, hopsIn, run, waitFor, type Outcome, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const test = suiteWith('docs/cluster.md', ['root', 'tun', 'ip', 'ping', 'traceroute', 'nsenter', 'setsid']);

/** Its names, which other tests have too, as those of this file: sandboxes and namespaces are visible on the whole machine. */
const OWN: readonly (readonly [RegExp, string])[] = [
  [/\btest\b/g, 'guide'],
  [/\bp1\b/g, 'guide-p1'],
  [/\bweb\b/g, 'guide-web'],
];
/** Commands that show something only after some time, and what it is. */
const SHOWN: readonly (readonly [command: RegExp, shown: RegExp])[] = [
  [/service ps/, /(running[\s\S]*){2}/],
  [/network ls/, /uber-net/],
  [/ping/, / 3 received, 0% packet loss/],
  [/network rm/, /removed network uber-net[\s\S]*removed network prod-net/],
];

let program: Program;
let underlay: Underlay;
let folder = '';
let hosts: ClusterHost[] = [];

test.before(async () => {
  program = await bundledProgram();
  underlay = await createUnderlay({ prefix: 'cd' });
  folder = mkdtempSync(join(tmpdir(), 'weft-guide-'));
  const { node1, node2, lab } = underlay;
  const place = { folder, lab, program };
  hosts = [new ClusterHost(place, 'host1', node1), new ClusterHost(place, 'host2', node2)];
});
test.after(async () => {
  for (const host of [...hosts].reverse()) {
    if (host.agent !== undefined) await host.run('leave', '--force');
    await host.kill();
  }
  rmSync(folder, { recursive: true, force: true });
  await underlay.lab.teardown();
  program.remove();
});

test('each command of the walk through does what the text says', async () => {
  const lines = [...readFileSync('docs/cluster.md', 'utf8').matchAll(/^ {4}(host[12])# (.+)$/gm)];
  assert.ok(lines.length > 15);
  let token = '';
  for (const [, name, text] of lines) {
    const host = hosts.find((one) => one.name === name)!;
    const line = OWN.reduce((all, [word, own]) => all.replace(word, own), text!).replace('TOKEN', token);
    const [first, ...words] = line.split(' ') as [string, ...string[]];
    // A namespace that is added within another one is visible there only.
    const once = (): Promise<Outcome> => (first === 'vtep' ? host.run(...words) : run([first, ...words]));
    const shown = SHOWN.find(([command]) => command.test(line))?.[1];
    const { code, stdout, stderr } = await waitFor(line, async () => {
      const done = await once();
      return shown === undefined || shown.test(done.stdout) ? done : undefined;
    });
    assert.is(code, 0, `${line}: ${stderr}`);
    if (words[0] === 'init') token = /--token (WEFT-1-\S+)/.exec(stdout)![1]!;
    if (line.includes('traceroute'))
      assert.is(hopsIn(stdout).length, line.includes('guide-web') ? 2 : 1, 'the hops that the text speaks of');
  }
  assert.equal(
    readdirSync('/run/netns').filter((name) => /guide/.test(name)),
    [],
  );
});

test.run();
