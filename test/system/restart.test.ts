/** Time until traffic resumes for a container after a restart, on another host, or with another MAC address. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/host/index.js';
import { exec, Lab, must, run, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const restart = suiteWith('traffic after a restart', ['root', 'tun', 'ip', 'ping']);

type Which = 1 | 2 | 3;
const ALL = [1, 2, 3] as const;
/** Most milliseconds without traffic for the peers once a VTEP is ready, and an allowance for a loaded machine. */
const SILENCE = 2000;
const LOAD = 4000;

const directory = mkdtempSync(join(tmpdir(), 'weft-restart-'));
let lab: Lab;
let program: Program;
const node = {} as Record<Which, string>;
const container = {} as Record<Which, string>;

restart.before(async () => {
  program = await bundledProgram();
  lab = new Lab('rs');
  const middle = await lab.namespace('switch');
  await must(['ip', '-n', middle, 'link', 'add', 'br0', 'type', 'bridge']);
  await must(['ip', '-n', middle, 'link', 'set', 'dev', 'br0', 'up']);
  for (const which of ALL) {
    node[which] = await lab.namespace(`node${which}`);
    container[which] = await lab.namespace(`c${which}`);
    await lab.join(
      { ns: node[which], device: 'eth0', addresses: [`172.31.1.${which}/24`] },
      { ns: middle, device: `p${which}`, addresses: [] },
    );
    await must(['ip', '-n', middle, 'link', 'set', 'dev', `p${which}`, 'master', 'br0']);
  }
});

restart.after.each(() => lab?.killAll());

restart.after(async () => {
  await lab?.teardown();
  program?.remove();
  rmSync(directory, { recursive: true, force: true });
});

const control = (which: Which): string => join(directory, `control${which}`);

/** A VTEP without --mac, whose TAP is removed with it. */
function start(
  kind: 'up' | 'agent',
  which: Which,
  engine: string,
  address: string,
  ...more: string[]
): Promise<Running> {
  const others = ALL.filter((other) => other !== which).map((other) => `172.31.1.${other}`);
  const network =
    kind === 'up'
      ? ['--vni', '4097', '--peer', ...others]
      : ['--network', 'net1:4097:10.0.0.0/24', '--join', ...others];
  return lab.startVtep({
    ns: node[which],
    command: program.command,
    args: [
      ...[kind, ...network, '--local', `172.31.1.${which}`, '--engine', engine, '--control', control(which)],
      ...['--tap', 'eth0', '--netns', container[which], '--address', address, '--no-keep-taps', ...more],
    ],
  });
}

/** Milliseconds until the second container reaches an address. */
async function reachedAfter(ip: string): Promise<number> {
  const began = performance.now();
  await waitFor(`${ip} to answer`, async () => {
    const { code } = await run(['ip', 'netns', 'exec', container[2], 'ping', '-c1', '-W0.2', '-q', ip]);
    return code === 0;
  });
  return Math.round(performance.now() - began);
}

function requireSoon(what: string, time: number): void {
  console.log(`# ${what}: traffic ${time} ms after "ready"`);
  assert.ok(time < SILENCE + LOAD, `${what}: ${time} ms`);
}

for (const kind of ['up', 'agent'] as const)
  for (const engine of ['linux', 'dgram'] as const)
    restart(`${kind}, ${engine}: restarted, moved to another host, and with another MAC address`, async () => {
      const ip = '10.0.0.1';
      let one = await start(kind, 1, engine, `${ip}/24`);
      await start(kind, 2, engine, '10.0.0.2/24');
      await reachedAfter(ip);
      const mac = (await exec(container[2], ['ip', 'neigh', 'show', 'to', ip])).split(' ')[4];
      await one.stop();
      one = await start(kind, 1, engine, `${ip}/24`);
      requireSoon(`${kind}, ${engine}, restarted`, await reachedAfter(ip));
      assert.match(await exec(container[2], ['ip', 'neigh', 'show', 'to', ip]), mac!);

      await one.stop();
      const three = await start(kind, 3, engine, `${ip}/24`);
      requireSoon(`${kind}, ${engine}, on another host`, await reachedAfter(ip));
      assert.match(await exec(container[2], ['ip', 'neigh', 'show', 'to', ip]), mac!);

      await three.stop();
      await start(kind, 1, engine, `${ip}/24`, '--mac', '02:42:0a:00:00:77');
      requireSoon(`${kind}, ${engine}, with another MAC address`, await reachedAfter(ip));
      assert.match(await exec(container[2], ['ip', 'neigh', 'show', 'to', ip]), '02:42:0a:00:00:77');
    });

for (const engine of ['linux', 'dgram'] as const) {
  restart(`${engine}: an IPv6 address with another MAC address is advertised`, async () => {
    const ip = 'fd00:a::1';
    const one = await start('up', 1, engine, `${ip}/64`);
    await start('up', 2, engine, 'fd00:a::2/64');
    await reachedAfter(ip);
    await one.stop();
    await start('up', 1, engine, `${ip}/64`, '--mac', '02:42:0a:00:00:77');
    requireSoon(`${engine}, IPv6, with another MAC address`, await reachedAfter(ip));
    assert.match(await exec(container[2], ['ip', 'neigh', 'show', 'to', ip]), '02:42:0a:00:00:77');
  });

  restart(
    `${engine}: an endpoint that is added again with another MAC address is announced to its neighbors`,
    async () => {
      await start('up', 2, engine, '10.0.0.2/24');
      const endpoint = { vni: 4097, ip: '10.0.0.9', vtep: '172.31.1.1' };
      const change = (command: 'add-endpoint' | 'remove-endpoint', mac: string) =>
        ask(control(2), { command, ...endpoint, mac });
      const neighbor = (): Promise<string> => exec(container[2], ['ip', 'neigh', 'show', 'to', endpoint.ip]);
      await change('add-endpoint', '02:42:0a:00:00:09');
      await run(['ip', 'netns', 'exec', container[2], 'ping', '-c1', '-W0.2', '-q', endpoint.ip]);
      assert.match(await neighbor(), '02:42:0a:00:00:09');
      await change('remove-endpoint', '02:42:0a:00:00:09');
      await change('add-endpoint', '02:42:0a:00:00:99');
      const began = performance.now();
      await waitFor('the neighbor to know', async () => (await neighbor()).includes('02:42:0a:00:00:99'));
      assert.ok(performance.now() - began < SILENCE + LOAD);
    },
  );
}

restart.run();
