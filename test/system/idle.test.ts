/** What a VTEP costs when nothing happens. */
import { readdirSync, readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { createUnderlay, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const idle = suiteWith('an idle VTEP', ['root', 'tun', 'ip']);

/** Milliseconds of a window, and of processor time that a VTEP may take in it: 0.5 %. */
const WINDOW = 3000;
const LIMIT = 15;
const WINDOWS = 6;

let underlay: Underlay;
let program: Program;
let container: string;

idle.before(async () => {
  program = await bundledProgram();
  underlay = await createUnderlay({ prefix: 'wid' });
  container = await underlay.lab.namespace('c1');
});

idle.after.each(() => underlay.lab.killVteps());

idle.after(async () => {
  await underlay?.lab.teardown();
  program?.remove();
});

/** Milliseconds of processor time that a process has used, over all threads. */
function usedBy(pid: number): number {
  return readdirSync(`/proc/${pid}/task`)
    .map((task) => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1e6)
    .reduce((sum, time) => sum + time);
}

for (const engine of ['linux', 'dgram'])
  idle(`${engine}: takes less than 0.5 % of a core`, async () => {
    const { node1, node2 } = underlay;
    const one = await underlay.lab.startVtep({
      ns: node1.ns,
      command: program.command,
      // Without coverage, which has a cost of its own.
      env: { NODE_V8_COVERAGE: '' },
      args: [
        ...['up', '--vni', '4097', '--local', node1.address, '--peer', node2.address, '--engine', engine],
        ...['--tap', 'eth0', '--netns', container, '--address', '10.0.0.3/24'],
      ],
    });
    // V8 collects garbage once after the start, in one of the first windows.
    const windows: number[] = [];
    while (windows.length < WINDOWS && !windows.some((time) => time < LIMIT)) {
      const before = usedBy(one.pid);
      await new Promise((resolve) => setTimeout(resolve, WINDOW));
      windows.push(usedBy(one.pid) - before);
    }
    console.log(`# ${engine}: ${windows.map((time) => time.toFixed(1)).join(', ')} ms in ${WINDOW / 1000} s`);
    assert.ok(windows.at(-1)! < LIMIT, `ms in ${WINDOW / 1000} s: ${windows.join(', ')}`);
    assert.is((await one.stop()).code, 0);
  });

idle.run();
