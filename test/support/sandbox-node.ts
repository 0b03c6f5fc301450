/**
 * A node that makes sandboxes and may be killed at any step: `sandbox-node.js JSON`, with a `Request`. It prints a line for
 * each step, and what it was asked for, and then kills itself or ends.
 */
import { writeSync } from 'node:fs';
import {
  runForeground,
  Sandboxes,
  type ForegroundPlan,
  type SandboxPlan,
  type WorkloadPlan,
} from '../../src/host/index.js';

export interface Request {
  directory: string;
  /** The number of the step after which it is killed; absent: never. */
  killAt?: number;
  ensure?: SandboxPlan;
  start?: { sandbox: string; workload: WorkloadPlan };
  remove?: string;
  /** Runs a command in the foreground, and exits as it does. */
  run?: ForegroundPlan;
  /** Whether to kill itself at the end. */
  dies?: boolean;
}

const request = JSON.parse(process.argv[2]!) as Request;
const die = (): void => {
  process.kill(process.pid, 'SIGKILL');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
};

let steps = 0;
const sandboxes = new Sandboxes({
  directory: request.directory,
  step: (done) => {
    writeSync(1, `${done}\n`);
    if (++steps === request.killAt) die();
  },
});

if (request.run !== undefined) {
  try {
    process.exit(await runForeground(request.run));
  } catch (error) {
    writeSync(2, `${(error as Error).message}\n`);
    process.exit((error as { exitCode?: number }).exitCode ?? 1);
  }
}
if (request.ensure !== undefined) await sandboxes.ensure(request.ensure);
if (request.start !== undefined) {
  const { sandbox, workload } = request.start;
  await (await sandboxes.find(sandbox))!.start(workload);
}
if (request.remove !== undefined) await sandboxes.remove(request.remove, 100);
if (request.dies === true) die();
