/** The engine of a VTEP that names none, depending on kernel and koffi; and that the VTEP works with it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { exec, Lab, ping, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { countersOf } from '../support/traffic.js';

const choice = suiteWith('the choice of an engine', ['root', 'tun', 'ip', 'ping', 'iperf3']);

type Which = 1 | 2;

const directory = mkdtempSync(join(tmpdir(), 'weft-choice-'));
const control = (which: Which): string => join(directory, `control${which}`);
let lab: Lab;
const node = {} as Record<Which, string>;
const container = {} as Record<Which, string>;

choice.before(async () => {
  lab = new Lab('ch');
  for (const which of [1, 2] as const) {
    node[which] = await lab.namespace(`node${which}`);
    container[which] = await lab.namespace(`c${which}`);
  }
  const end = (which: Which) => ({ ns: node[which], device: 'eth0', addresses: [`172.31.1.${which}/24`] });
  await lab.join(end(1), end(2));
  await start(2);
});

choice.after(async () => {
  await lab?.teardown();
  rmSync(directory, { recursive: true, force: true });
});

/** Replaces koffi in every thread of a program by a module, whose text may use the real `koffi`. */
function instead(name: string, module: string): Record<string, string> {
  const [replacement, preloaded] = [join(directory, `${name}.mjs`), join(directory, `${name}.cjs`)];
  writeFileSync(replacement, `import koffi from ${JSON.stringify(import.meta.resolve('koffi'))};\n${module}`);
  const hooks = `export async function resolve(name, context, next) {
    if (name !== 'koffi') return next(name, context);
    return { url: ${JSON.stringify(`file://${replacement}`)}, format: 'module', shortCircuit: true };
  }`;
  const url = `data:text/javascript,${encodeURIComponent(hooks)}`;
  writeFileSync(preloaded, `require('node:module').register(${JSON.stringify(url)});`);
  return { NODE_OPTIONS: `--require=${preloaded}` };
}

/** A fake kernel with another result for one ioctl request. */
function kernel(name: string, request: string, answer: string): Record<string, string> {
  return instead(
    name,
    `export default {
       ...koffi,
       load: (...args) => {
         const library = koffi.load(...args);
         const func = (...definition) => {
           const call = library.func(...definition);
           return definition.join().includes('ioctl')
             ? (fd, request, argument) => (request === ${request} ? ${answer} : call(fd, request, argument))
             : call;
         };
         return { func };
       },
     };`,
  );
}

function args(which: Which, ...more: string[]): string[] {
  return [
    ...['up', '--vni', '4097', '--local', `172.31.1.${which}`, '--peer', `172.31.1.${3 - which}`],
    ...['--tap', 'eth0', '--netns', container[which], '--address', `10.0.0.${which}/24`],
    ...['--control', control(which), ...more],
  ];
}

function start(which: Which, env: Record<string, string> = {}): Promise<Running> {
  return lab.startVtep({ ns: node[which], env, args: args(which, '--engine', 'auto') });
}

/** Fails unless the VTEP forwards frames with that engine and exits with 0. @returns its warnings. */
async function requireEngine(running: Running, name: string): Promise<string> {
  assert.match(running.stdout, new RegExp(`^vtep 172\\.31\\.1\\.1:4789 .*, engine ${name}, `, 'm'));
  assert.is(await ping(container[1], '10.0.0.2'), 3);
  const { code, stderr } = await running.stop();
  assert.is(code, 0, stderr);
  return stderr.replace(/^\S+Z /, '');
}

/** Super-frames of a TCP transfer. */
async function superFrames(): Promise<number | undefined> {
  const server = lab.spawn(['iperf3', '-s', '-1', '--forceflush'], { ns: container[2] });
  await waitFor('iperf3 to listen', () => /listening/.test(server.stdout));
  await exec(container[1], ['iperf3', '-c', '10.0.0.2', '-n', '4M']);
  return (await countersOf(control(1))).engine.superFramesRead;
}

choice('the fast engine if koffi and the kernel support it', async () => {
  const running = await start(1);
  assert.ok((await superFrames())! > 0);
  assert.is(await requireEngine(running, 'linux'), '');
});

choice('the fast engine without super-frames if the kernel’s TAPs do not support them', async () => {
  const running = await start(1, kernel('plain', '0x400454d0', '-1')); // TUNSETOFFLOAD
  assert.is(await superFrames(), 0);
  assert.is(await requireEngine(running, 'linux'), '');
});

/** `TUNGETFEATURES` answers with IFF_TUN, IFF_TAP and IFF_NO_PI. */
const OLD = ['old', '0x800454cf', '(argument.writeUInt32LE(0x1003), 0)'] as const;

choice('the portable engine, with a warning, if the kernel’s TAPs have no virtio header', async () => {
  assert.is(
    await requireEngine(await start(1, kernel(...OLD)), 'dgram'),
    'warning: engine "dgram" moves the frames, many times slower than "linux" would: ' +
      'engine "linux" needs a kernel with IFF_VNET_HDR, which this kernel does not have\n',
  );
});

choice('the fast engine by name without support: an error with the reason and the alternative', async () => {
  const refuse = async (env: Record<string, string>, message: string): Promise<void> => {
    const outcome = await lab.runVtep({ ns: node[1], env, args: args(1, '--engine', 'linux') });
    assert.equal([outcome.code, outcome.stderr], [1, `vtep up: ${message}, or use --engine dgram\n`]);
  };
  await refuse(kernel(...OLD), 'engine "linux" needs a kernel with IFF_VNET_HDR, which this kernel does not have');
  const missing = "throw Object.assign(new Error('no koffi'), { code: 'ERR_MODULE_NOT_FOUND' });";
  await refuse(
    instead('missing', missing),
    'engine "linux" needs koffi, which is not installed; add it with "npm install koffi"',
  );
});

choice.run();
