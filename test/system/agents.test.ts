/** Twenty agents in twenty namespaces: joining, a partition that heals, and one that returns under a new name. */
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { AgentLab, type AgentHost } from '../support/agents.js';
import { waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const agents = suiteWith('twenty agents', ['root', 'tun', 'ip', 'ping', 'sh']);

const COUNT = 20;
/**
 * Most milliseconds from the last join until all reach each other. It is less than 3 s on a machine that does nothing else; with
 * the regular exchange of states alone, it would be half a minute.
 */
const JOINED = 15_000;
/** Most milliseconds to wait for what takes seconds. */
const PATIENCE = 120_000;
/** Duration of the partition in milliseconds. */
const CUT = 60_000;
let lab: AgentLab;
let program: Program;
const running: Running[] = [];

agents.before(async () => {
  program = await bundledProgram(); // twenty processes start in a fraction of the time
  lab = await AgentLab.create('hb', COUNT);
});
agents.after(async () => {
  await lab?.teardown();
  program?.remove();
});

/** Starts an agent, and waits until it has joined. */
async function start(host: AgentHost, ...more: string[]): Promise<Running> {
  const seed = lab.host(1);
  const args = lab.flags(host, '--local', host.address, '--join', seed.address, ...more);
  const one = lab.lab.spawn([...program.command, ...args], { ns: host.ns });
  const ready = host === seed ? /^ready$/m : /^joined /m;
  await waitFor(`agent ${host.number} to join`, () => ready.test(one.stdout) || !one.running, PATIENCE);
  assert.match(one.stdout, ready, one.stderr);
  return one;
}

/**
 * Pings between each pair of hosts until a reply arrives; fails if a pair has none in time. A reply proves both
 * directions.
 * @returns milliseconds until the last reply.
 */
async function allPing(hosts: readonly AgentHost[], milliseconds: number): Promise<number> {
  const started = performance.now();
  const seconds = Math.ceil(milliseconds / 1000);
  const outcomes = await Promise.all(
    hosts.map((host, i) => {
      const ips = hosts.slice(i + 1).map(({ ip }) => ip);
      // One shell per host, so that a ping does not include process starts.
      const script = `for ip in ${ips.join(' ')}; do until ping -c1 -W1 -q -n $ip >/dev/null; do :; done; done`;
      return lab.lab.spawn(['timeout', String(seconds), 'sh', '-c', script], { ns: host.ns }).ended;
    }),
  );
  const late = hosts.filter((_, i) => outcomes[i]!.code !== 0).map(({ number }) => number);
  assert.equal(late, [], `hosts that did not reach all others in ${seconds} s`);
  return performance.now() - started;
}

/** Waits until each host knows the endpoints of all others. @returns the milliseconds that this took. */
async function allKnow(milliseconds: number): Promise<number> {
  const started = performance.now();
  await Promise.all(
    lab.hosts.map((host) =>
      lab.knows(
        host,
        lab.hosts.filter((other) => other !== host).map(({ ip }) => ip),
        milliseconds,
      ),
    ),
  );
  return performance.now() - started;
}

agents('all reach each other soon after the last join', async () => {
  running.push(await start(lab.host(1)));
  // Three at a time: if all joined at once, there would be no distinct last join.
  for (let i = 1; i < COUNT; i += 3)
    running.push(...(await Promise.all(lab.hosts.slice(i, i + 3).map((host) => start(host)))));
  const known = await allKnow(PATIENCE);
  const first = await allPing(lab.hosts, PATIENCE);
  // A second run measures how long it takes to start the 190 programs.
  const again = await allPing(lab.hosts, PATIENCE);
  const [a, b, c] = [known, first, again].map(Math.round);
  console.log(`# after the last join all know all in ${a} ms, and ping all in ${b} ms more; again in ${c} ms`);
  assert.ok(known + Math.max(0, first - again) < JOINED, `${a} ms, and ${b} ms less ${c} ms`);
});

agents('after a partition of one minute all reach each other again', async () => {
  const [west, east] = [lab.hosts.slice(0, COUNT / 2), lab.hosts.slice(COUNT / 2)];
  await lab.cut(true);
  const cut = performance.now();
  const halves = [west, east].flatMap((half) =>
    half.map((host) =>
      lab.knows(
        host,
        half.filter((other) => other !== host).map(({ ip }) => ip),
        PATIENCE,
      ),
    ),
  );
  await Promise.all(halves); // each half has declared the other dead, and no one else
  const given = performance.now() - cut;
  await allPing(west, PATIENCE);
  await sleep(Math.max(0, CUT - (performance.now() - cut)));
  await lab.cut(false);
  const known = await allKnow(PATIENCE);
  const took = known + (await allPing(lab.hosts, PATIENCE));
  console.log(
    `# the other half is given up after ${Math.round(given)} ms; all have pinged all ${Math.round(took)} ms after the cut`,
  );
});

agents('one is killed, and returns under a new name at the same address', async () => {
  const host = lab.host(COUNT);
  await running.at(-1)!.stop('SIGKILL');
  running[COUNT - 1] = await start(host, '--name', 'new');
  const started = performance.now();
  await Promise.all(
    lab.hosts.map((other) =>
      waitFor(`host ${other.number} to know the new name, and the old one to be gone`, async () => {
        const [network] = await lab.networks(other);
        return network!.members.length === COUNT && network!.members.includes('new') && network!.remote === COUNT - 1;
      }),
    ),
  );
  await allPing([host, ...lab.hosts.slice(0, -1)], PATIENCE);
  console.log(`# all have pinged the new one after ${Math.round(performance.now() - started)} ms`);
});

agents('all leave, and each reports it', async () => {
  const outcomes = await Promise.all(running.map((one) => one.stop()));
  assert.equal(
    outcomes.map(({ code }) => code),
    running.map(() => 0),
  );
});

agents.run();
