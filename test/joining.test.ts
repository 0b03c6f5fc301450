/** Attempts to join a cluster, and their reports: over real sockets on the loopback. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GossipHost } from '../src/host/index.js';
import { Joining } from '../src/host/joining.js';
import { waitFor } from './support/lab.js';

/** Open hosts and attempts, which keep the process alive until they are closed, also where a test fails. */
const opened: GossipHost[] = [];
const attempts: Joining[] = [];
test.after.each(() => {
  attempts.splice(0).forEach((joining) => joining.stop());
  opened.splice(0).forEach((host) => host.close());
});

async function open(name: string, port = 0): Promise<GossipHost> {
  const host = await GossipHost.open({ name, address: '127.0.0.1', port });
  opened.push(host);
  return host;
}

/** A port on which no process listens. A host that is opened with port 0 afterwards may get the same port. */
async function freePort(): Promise<number> {
  const host = await open('free');
  host.close();
  return host.machine.self.port;
}

/** Starts to join the members at these ports; returns the reports, in order. */
function join(host: GossipHost, ...ports: number[]): string[] {
  const reports: string[] = [];
  const joining = new Joining(
    host,
    ports.map((port) => ({ host: '127.0.0.1', port })),
    {
      joined: (through, failed) => void reports.push(`joined ${through} after ${failed}`),
      partly: (failures, delay) => void reports.push(`partly ${delay}: ${failures.join('; ')}`),
      failed: (failures, delay) => void reports.push(`failed ${delay}: ${failures.join('; ')}`),
    },
  );
  attempts.push(joining);
  void joining.start();
  return reports;
}

test('a host that is down is named, tried again, and its answer is reported', async () => {
  const a = await open('a');
  const port = await freePort();
  const reports = join(a, port);
  await waitFor('a failure', () => reports.length > 0);
  assert.match(reports[0]!, new RegExp(`^failed 1000: 127\\.0\\.0\\.1:${port}: .`));
  await open('b', port);
  await waitFor('the second attempt', () => reports.length > 1);
  assert.is(reports[1], `joined 127.0.0.1:${port} after 1`);
});

test('a host that was down and joins by itself is a success, too', async () => {
  const a = await open('a');
  const port = await freePort();
  const reports = join(a, port);
  await waitFor('a failure', () => reports.length > 0);
  const b = await open('b', port);
  assert.equal(join(b, a.machine.self.port), []);
  await waitFor('both', () => a.machine.members().length === 2);
  await waitFor('the report', () => reports.length > 1);
  assert.is(reports[1], `joined 127.0.0.1:${port} after 1`);
});

test('if one host answers, the others are named', async () => {
  const there = (await open('b')).machine.self.port;
  const a = await open('a');
  const port = await freePort();
  const reports = join(a, port, there);
  await waitFor('two reports', () => reports.length === 2);
  assert.is(reports[0], `joined 127.0.0.1:${there} after 0`);
  assert.match(reports[1]!, new RegExp(`^partly 60000: 127\\.0\\.0\\.1:${port}: .`));
});

test.run();
