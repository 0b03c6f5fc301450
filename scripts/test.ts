/**
 * Runs every `test/**\/*.test.ts` in a process of its own, so that a hang or a crash costs one file, and prints
 * `N passed, N failed` at the end.
 *
 *     npm test                   all
 *     npm test -- vxlan fdb      the files whose path contains one of the words
 *
 * Files in `test/system` use devices, namespaces and ports, and run one after the other; the rest run two at a time.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

/** Longest a file may take, in seconds. */
const LIMIT = 600;

interface Outcome {
  passed: number;
  failed: number;
}

const words = process.argv.slice(2);
const files = (readdirSync('test', { recursive: true }) as string[])
  .map((name) => join('test', name))
  .filter((name) => name.endsWith('.test.ts') && (words.length === 0 || words.some((word) => name.includes(word))))
  .sort();
if (files.length === 0) {
  console.error(`no test file's path contains ${words.join(' or ')}`);
  process.exit(2);
}

function run(file: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const started = performance.now();
    const child = spawn(process.execPath, ['--import', 'tsx', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    child.stderr.on('data', (data: Buffer) => (output += data.toString()));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGTERM');
      setTimeout(() => child.kill('SIGKILL'), 3000).unref();
    }, LIMIT * 1000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      // eslint-disable-next-line no-control-regex
      const plain = output.replace(/\x1b\[[0-9;]*m/g, '');
      let total = 0;
      let passed = 0;
      for (const match of plain.matchAll(/^\s*(Total|Passed):\s+(\d+)/gm)) {
        if (match[1] === 'Total') total += Number(match[2]);
        else passed += Number(match[2]);
      }
      let failed = total - passed;
      if (failed === 0 && (code !== 0 || late || total === 0))
        failed = code === 0 && !late && /^skipped /m.test(plain) ? 0 : 1;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      console.log(
        `${failed === 0 ? 'ok  ' : 'FAIL'} ${file}: ${passed} passed${failed ? `, ${failed} failed` : ''} (${seconds} s)`,
      );
      for (const line of plain.split('\n')) if (/^(skipped |# )/.test(line)) console.log(`     ${line}`);
      if (late) console.log(`     stopped after ${LIMIT} s`);
      else if (signal) console.log(`     ended by ${signal}`);
      if (failed !== 0) console.log(output);
      resolve({ passed, failed });
    });
  });
}

const outcome: Outcome = { passed: 0, failed: 0 };
async function drain(queue: string[]): Promise<void> {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const one = await run(file);
    outcome.passed += one.passed;
    outcome.failed += one.failed;
  }
}
const inSystem = (file: string): boolean => file.startsWith(join('test', 'system'));
const quick = files.filter((file) => !inSystem(file));
await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, () => drain(quick)));
await drain(files.filter(inSystem));
console.log(`${outcome.passed} passed, ${outcome.failed} failed`);
process.exit(outcome.failed === 0 ? 0 : 1);
