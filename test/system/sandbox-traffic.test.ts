/** Sandboxes on a live VTEP: what kill -9 of the VTEP and of the agent leaves, and how traffic goes on. */
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { Sandboxes } from '../../src/host/index.js';
import { ENGINE, Lab, ping, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const traffic = suiteWith('traffic of sandboxes', ['root', 'tun', 'ip', 'setsid', 'ping']);

const NAMES = [1, 2].map((i) => `st${process.pid}-${i}`);
const SUBNETS = ['10.1.1.0/24', '10.1.2.0/24'];
const directory = realpathSync(mkdtempSync(join(tmpdir(), 'weft-traffic-')));

let lab: Lab;
let program: Program;

traffic.before(async () => {
  program = await bundledProgram();
  lab = new Lab('stx');
});

traffic.after(async () => {
  await lab?.teardown();
  await open().retain([], 0);
  program?.remove();
  rmSync(directory, { recursive: true, force: true });
});

function open(): Sandboxes {
  return new Sandboxes({ directory: join(directory, 'sandboxes') });
}

traffic('a command keeps its connection over kill -9 of the VTEP and the agent', async () => {
  const host = await lab.namespace('host');
  const addresses = ['10.1.1.10/24', '10.1.2.20/24'];
  const gateways = ['10.1.1.1', '10.1.2.1'];
  for (const [i, name] of NAMES.entries())
    await open().ensure({ name, addresses: [addresses[i]!], gateways: [gateways[i]!] });
  const config = join(directory, 'vtep.json');
  const taps = NAMES.map((name, i) => ({
    name: 'eth0',
    netns: `weft-${name}`,
    address: addresses[i],
    vni: 4097 + i,
  }));
  const networks = [{ name: 'prod-net', subnets: SUBNETS.map((prefix, i) => ({ prefix, vni: 4097 + i })) }];
  writeFileSync(config, JSON.stringify({ local: '127.0.0.1', engine: ENGINE, keepTaps: true, networks, taps }));
  const start = (): Promise<Running> =>
    lab.startVtep({ ns: host, command: program.command, args: ['up', '--config', config] });
  const first = await start();
  for (const name of NAMES) await open().configure(name);
  assert.is(await ping(`weft-${NAMES[0]}`, '10.1.2.20', { count: 1 }), 1, 'through the gateway');
  const pinger = await (await open().find(NAMES[0]!))!.start({
    id: 'ping',
    command: ['ping', '-n', '-O', '-i', '0.2', '10.1.2.20'],
  });
  const replies = async (): Promise<number> => [...(await pinger.output()).toString().matchAll(/bytes from/g)].length;
  await waitFor('replies', async () => (await replies()) > 2);
  await first.stop('SIGKILL');
  // The next agent finds the sandboxes, and its VTEP their TAPs.
  const next = open();
  assert.equal(
    (await next.list()).map(({ name }) => name),
    NAMES,
  );
  const [same] = await (await next.find(NAMES[0]!))!.workloads();
  assert.equal(same!.state, pinger.state);
  const before = await replies();
  await start();
  for (const name of NAMES) await next.configure(name);
  await waitFor('replies to the same command', async () => (await replies()) > before + 2);
  await lab.killVteps();
  assert.equal(await next.retain([], 0), NAMES);
});

traffic.run();
