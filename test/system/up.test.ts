import { closeSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { openTap, TapChannel } from '../../src/host/index.js';
import {
  createUnderlay,
  devices,
  exec,
  FIRST,
  must,
  ping,
  udpSockets,
  waitFor,
  type Running,
  type Underlay,
} from '../support/lab.js';
import { fromHex, hex } from '../support/hex.js';
import { suiteWith } from '../support/needs.js';
import { get } from '../support/unix-http.js';

const up = suiteWith('vtep up', ['root', 'tun', 'ip', 'ping', 'setpriv']);

const VNI = '4097';
const directory = mkdtempSync(join(tmpdir(), 'weft-up-'));
const socket = (name: string): string => join(directory, name);
/** Makes every import of koffi fail, as if it were not installed. */
const WITHOUT_KOFFI = {
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(
    `import { register } from 'node:module';
     register('data:text/javascript,' + encodeURIComponent(\`export async function resolve(name, context, next) {
       if (name === 'koffi') throw Object.assign(new Error('no koffi'), { code: 'ERR_MODULE_NOT_FOUND' });
       return next(name, context);
     }\`));`,
  )}`,
};

let underlay: Underlay;
let c1: string;
let c2: string;

/** Flags of the VTEP of container 1 or 2, with its peer. */
function sideOf(which: 1 | 2, ...more: string[]): { ns: string; args: string[] } {
  const [here, there] = which === 1 ? [underlay.node1, underlay.node2] : [underlay.node2, underlay.node1];
  const digit = which + 2;
  return {
    ns: here.ns,
    args: [
      ...['up', '--vni', VNI, '--local', here.address, '--peer', there.address, '--control', socket(`control${which}`)],
      ...['--tap', 'eth0', '--netns', which === 1 ? c1 : c2, '--address', `10.0.0.${digit}/24`],
      ...['--mac', `02:42:0a:00:00:0${digit}`, ...more],
    ],
  };
}

async function pair(...more: string[]): Promise<[Running, Running]> {
  return [await underlay.lab.startVtep(sideOf(1, ...more)), await underlay.lab.startVtep(sideOf(2, ...more))];
}

async function show(view: string, which: 1 | 2, ...more: string[]): Promise<unknown> {
  const args = ['show', view, '--json', '--control', socket(`control${which}`), ...more];
  const { code, stdout, stderr } = await underlay.lab.runVtep({ args });
  assert.is(code, 0, stderr);
  return JSON.parse(stdout);
}

/** State that a VTEP must not leave behind. */
async function nothingLeft(which: 1 | 2): Promise<void> {
  const node = which === 1 ? underlay.node1 : underlay.node2;
  assert.equal(await devices(which === 1 ? c1 : c2), ['lo']);
  assert.equal(await devices(node.ns), ['lo', 'eth0']);
  assert.equal(await udpSockets(node.ns), []);
}

up.before(async () => {
  underlay = await createUnderlay({ prefix: 'hs' });
  c1 = await underlay.lab.namespace('c1');
  c2 = await underlay.lab.namespace('c2');
});

up.after.each(() => underlay?.lab.killAll());

up.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

up('containers on two hosts reach each other, and nothing is left when it stops', async () => {
  const [one, two] = await pair();
  assert.match(one.stdout, /^segment 4097: MTU 1450 \(eth0 towards 192\.168\.1\.25 has 1500, less 50\)/m);
  assert.match(one.stdout, /^tap eth0 in \S+: 02:42:0a:00:00:03, 10\.0\.0\.3\/24, MTU 1450, segment 4097$/m);
  assert.is(await ping(c1, '10.0.0.4', { count: 10 }), 10);
  assert.is(await ping(c2, '10.0.0.3'), 3);
  // The largest packet that the MTU allows, and not one byte more.
  assert.is(await ping(c1, '10.0.0.4', { size: 1450 - 28, dontFragment: true }), 3);
  assert.is(await ping(c1, '10.0.0.4', { size: 1450 - 27, dontFragment: true, count: 1 }), 0);

  // One socket receives on the VTEP's own address. Eight send, one sends what may be fragmented, and one of dgram sends probes.
  const bound = await udpSockets(underlay.node1.ns);
  assert.ok(bound.includes('172.31.1.5:4789'), bound.join(' '));
  assert.is(bound.length, /engine linux/.test(one.stdout) ? 10 : 11);
  assert.ok(bound.every((place) => place.startsWith('172.31.1.5:')));

  for (const [which, running] of [
    [1, one],
    [2, two],
  ] as const) {
    const { code, stdout, stderr } = await running.stop(which === 1 ? 'SIGTERM' : 'SIGINT');
    assert.is(code, 0, stderr);
    assert.match(stdout, /^stopped$/m);
    assert.match(stdout, /^frames-in +[1-9]/m);
    assert.is(stderr, '');
    assert.not(existsSync(socket(`control${which}`)));
    await nothingLeft(which);
  }
});

up('the control socket shows and changes its state, and explains decisions', async () => {
  const [one, two] = await pair();
  assert.is(await ping(c1, '10.0.0.4'), 3);
  const fdb = (await show('fdb', 1)) as { mac: string; vtep: string | null; port: string | null }[];
  assert.equal(
    fdb
      .filter(({ mac }) => mac.startsWith('02:42'))
      .map(({ mac, vtep, port }) => [mac, vtep, port])
      .sort(),
    [
      ['02:42:0a:00:00:03', null, 'eth0'],
      ['02:42:0a:00:00:04', '192.168.1.25', null],
    ],
  );
  assert.equal(await show('peers', 1), [
    { vni: 4097, address: '192.168.1.25', port: 4789, sources: ['configuration'] },
  ]);
  // The TAP's own addresses add a local endpoint.
  assert.equal(await show('neighbors', 1), [
    { vni: 4097, ip: '10.0.0.3', mac: '02:42:0a:00:00:03', vtep: null, hidden: false, sources: ['configuration'] },
  ]);
  const send = async (request: object): Promise<unknown> => {
    const { ask } = await import('../../src/host/index.js');
    return ask(socket('control1'), request as never).catch((error: Error) => error.message);
  };
  const endpoint = { vni: 4097, ip: '10.0.0.9', mac: '02:42:0a:00:00:09', vtep: '192.168.1.25' };
  assert.equal(await send({ command: 'add-endpoint', ...endpoint }), {});
  // An older endpoint has the MAC address; the newer one is listed all the same.
  const held = { ...endpoint, ip: '10.0.0.10', vtep: '172.31.1.77' };
  assert.match(((await send({ command: 'add-endpoint', ...held })) as { held: string }).held, /an older endpoint/);
  const wanted = (await show('neighbors', 1)) as (typeof endpoint & { hidden: boolean; sources: string[] })[];
  assert.equal(
    wanted.map(({ ip, vtep, hidden, sources }) => [ip, vtep, hidden, sources]),
    [
      ['10.0.0.3', null, false, ['configuration']],
      ['10.0.0.9', '192.168.1.25', false, ['api']],
      ['10.0.0.10', '172.31.1.77', true, ['api']],
    ],
  );
  assert.equal(await send({ command: 'remove-endpoint', ...held }), { removed: true });
  assert.equal(await send({ command: 'remove-endpoint', ...endpoint }), { removed: true });
  assert.equal(await send({ command: 'remove-endpoint', ...endpoint }), { removed: false });
  assert.match(String(await send({ command: 'add-endpoint', ...endpoint, vni: 5 })), /^vni: expected the VNI of a seg/);
  assert.match(
    String(await send({ command: 'add-peer', vni: 4097, address: 'fd00::1' })),
    /^address: expected an IPv4/,
  );
  assert.equal(await send({ command: 'add-peer', vni: 4097, address: '172.31.1.77' }), {});
  assert.equal(await send({ command: 'remove-peer', vni: 4097, address: '172.31.1.77' }), { removed: true });

  const arp = 'ffffffffffff 02420a000003 0806 0001080006040001 02420a000003 0a000003 000000000000 0a000063';
  const explained = await underlay.lab.runVtep({
    args: ['explain', '--control', socket('control1'), '--port', 'eth0', '--frame', arp],
  });
  assert.is(explained.code, 0, explained.stderr);
  assert.match(explained.stdout, /^ 1\. port /m);
  assert.match(explained.stdout, /^=> goes to 192\.168\.1\.25$/m);
  const dropped = await underlay.lab.runVtep({
    args: ['explain', '--control', socket('control1'), '--from', '192.168.1.25', '--datagram', '00 00'],
  });
  assert.is(dropped.code, 3);
  assert.match(dropped.stdout, /^=> dropped: datagram-truncated$/m);

  const metrics = await underlay.lab.runVtep({
    args: ['show', 'counters', '--prometheus', '--control', socket('control1')],
  });
  assert.match(metrics.stdout, /^weft_frames_in_total\{vni="4097"\} [1-9]/m);
  assert.equal(await send({ command: 'stop' }), {});
  assert.is((await one.ended).code, 0);
  await two.stop();
  await nothingLeft(1);
});

up('proxy, no flooding, JSON events: configured endpoints are enough', async () => {
  const endpoint = (which: 3 | 4): string => {
    const { address } = which === 3 ? underlay.node1 : underlay.node2;
    return `10.0.0.${which},02:42:0a:00:00:0${which},${address}`;
  };
  const [one, two] = await pair('--endpoint', endpoint(3), endpoint(4), '--no-learn', '--no-flood', '--json');
  const ready = JSON.parse(one.stdout.split('\n')[0]!);
  assert.is(ready.event, 'ready');
  assert.is(ready.segments[0].mtu, 1450);
  assert.is(ready.pid, one.pid);
  assert.is(await ping(c1, '10.0.0.4'), 3);
  const stopped = JSON.parse((await one.stop()).stdout.trim().split('\n').at(-1)!);
  assert.is(stopped.event, 'stopped');
  assert.ok(stopped.counters.vtep.counts['arp-answered'] >= 1);
  await two.stop();
});

up('an IPv6 underlay leaves 20 bytes less for the containers', async () => {
  const side = (which: 1 | 2): { ns: string; args: string[] } => {
    const [here, there] = which === 1 ? [underlay.node1, underlay.node2] : [underlay.node2, underlay.node1];
    return {
      ns: here.ns,
      args: [
        ...['up', '--vni', VNI, '--local', here.address6, '--peer', there.address6, '--tap', 'eth0'],
        ...['--netns', which === 1 ? c1 : c2, '--address', `10.0.0.${which + 2}/24`],
      ],
    };
  };
  const one = await underlay.lab.startVtep(side(1));
  const two = await underlay.lab.startVtep(side(2));
  assert.match(one.stdout, /^segment 4097: MTU 1430 \(eth0 towards fd00:2::25 has 1500, less 70\)/m);
  assert.is(await ping(c1, '10.0.0.4', { size: 1430 - 28, dontFragment: true }), 3);
  await one.stop();
  await two.stop();
});

up('several segments, an access port and a trunk, from a file; the smallest route MTU counts', async () => {
  const { lab, node1 } = underlay;
  await must(['ip', '-n', node1.ns, 'route', 'add', '192.168.1.0/24', 'via', '172.31.1.1', 'mtu', '1400']);
  const file = join(directory, 'config.json');
  writeFileSync(
    file,
    JSON.stringify({
      local: node1.address,
      segments: [
        { vni: 100, peers: ['172.31.1.9', '192.168.1.25'] },
        { vni: 200, peers: ['192.168.1.25'], mtu: 1480 },
        { vni: 300 },
      ],
      taps: [
        { name: 'access0', netns: c1, vni: 100, address: '10.1.0.1/24' },
        { name: 'trunk0', netns: `/var/run/netns/${c2}`, vlans: { '10': 100, '20': 200 }, native: 300 },
      ],
    }),
  );
  const running = await lab.startVtep({ ns: node1.ns, args: ['up', '--config', file, '--control', socket('file')] });
  assert.match(running.stdout, /^segment 100: MTU 1350 \(eth0 towards 192\.168\.1\.25 has 1400, less 50\)/m);
  assert.match(running.stdout, /^segment 300: MTU 1450 \(eth0 has 1500, less 50\)/m);
  assert.match(running.stderr, /warning: segment 200: MTU 1480 does not fit the underlay, which carries at most 1350/);
  assert.equal(await devices(c1), ['lo', 'access0']);
  assert.equal(await devices(c2), ['lo', 'trunk0']);
  // The trunk's VLAN 10 and the access port are one segment: a tagged request gets a tagged reply. A TAP of the test,
  // bridged to the trunk, sends it.
  const asker = await openTap('weft%d');
  const answers: string[] = [];
  const channel = new TapChannel(asker.fd, 0, {
    frame: (bytes, offset, end) => void answers.push(hex(bytes.subarray(offset, end))),
    lost: () => undefined,
  });
  await must(['ip', 'link', 'set', 'dev', asker.name, 'netns', c2]);
  await must(['ip', '-n', c2, 'link', 'add', 'name', 'br0', 'type', 'bridge']);
  for (const device of [asker.name, 'trunk0', 'br0'])
    await must(['ip', '-n', c2, 'link', 'set', 'dev', device, ...(device === 'br0' ? [] : ['master', 'br0']), 'up']);
  const request = fromHex(
    'ffffffffffff 02420a010002 8100 000a 0806 0001080006040001 02420a010002 0a010002 000000000000 0a010001',
  );
  await waitFor('a tagged answer', async () => {
    channel.write(request, 0, request.length);
    await new Promise((resolve) => setTimeout(resolve, 100));
    return answers.some((frame) => /^02420a010002.{12}8100000a08060001080006040002.{12}0a010001/.test(frame));
  });
  await channel.close();
  await must(['ip', '-n', c2, 'link', 'del', 'dev', 'br0']);
  await running.stop();
  assert.equal(await devices(c1), ['lo']);
  assert.equal(await devices(c2), ['lo']);
  await must(['ip', '-n', node1.ns, 'route', 'del', '192.168.1.0/24']);
});

/** A VTEP without privileges, with a TAP of the first container that another process has opened. */
async function startWithTap(env: Record<string, string>): Promise<Running> {
  const { lab, node1, node2 } = underlay;
  const tap = await openTap('weft%d');
  try {
    await must(['ip', 'link', 'set', 'dev', tap.name, 'netns', c1, 'name', 'eth0']);
    await must(['ip', '-n', c1, 'addr', 'add', '10.0.0.3/24', 'dev', 'eth0']);
    await must(['ip', '-n', c1, 'link', 'set', 'dev', 'eth0', 'mtu', '1450', 'up']);
    const network = ['--vni', VNI, '--local', node1.address, '--peer', node2.address];
    return await lab.startVtep({
      ns: node1.ns,
      args: ['up', ...network, '--tap-fd', '3', '--engine', 'auto'],
      fds: [tap.fd],
      unprivileged: true,
      env,
    });
  } finally {
    closeSync(tap.fd);
  }
}

if (FIRST)
  up('an inherited TAP needs neither privileges nor koffi, which makes it faster', async () => {
    const note =
      'warning: engine "dgram" moves the frames, many times slower than "linux" would: ' +
      'engine "linux" needs koffi, which is not installed; add it with "npm install koffi"\n';
    for (const [env, engine, stderr] of [
      [{}, 'linux', ''],
      [WITHOUT_KOFFI, 'dgram', note],
    ] as const) {
      const running = await startWithTap(env);
      assert.match(running.stdout, /^tap eth0, fd 3: its opener sets the MTU, at most 1450, segment 4097$/m);
      assert.match(running.stdout, new RegExp(`, engine ${engine}, `));
      const two = await underlay.lab.startVtep(sideOf(2));
      assert.is(await ping(c1, '10.0.0.4'), 3);
      const outcome = await running.stop();
      assert.equal([outcome.code, outcome.stderr.replace(/^\S+Z /, '')], [0, stderr]);
      await two.stop();
      await nothingLeft(1);
    }
  });

if (FIRST)
  up('without koffi, privileges or iproute2: an error with the fix', async () => {
    const { lab } = underlay;
    const args = ['up', '--vni', '1', '--local', '127.0.0.1', '--tap', 'weft-none', '--engine', 'auto'];
    const koffi = await lab.runVtep({ args, env: WITHOUT_KOFFI });
    assert.is(koffi.code, 1);
    assert.match(koffi.stderr, /koffi, which is not installed; add it with "npm install koffi", or pass an open TAP/);
    const privilege = await lab.runVtep({ args, unprivileged: true });
    assert.is(privilege.code, 1);
    assert.match(
      privilege.stderr,
      /^vtep up: \/dev\/net\/tun: (permission denied|no permission to make TAP "weft-none"); run as root or give CAP_NET_ADMIN, or pass an open TAP as --tap-fd$/m,
    );
    const iproute = await lab.runVtep({ args, env: { PATH: '/nonexistent' } });
    assert.is(iproute.code, 1);
    assert.match(iproute.stderr, /^vtep up: the program "ip" is not installed; install iproute2/);
    const route = await lab.runVtep({ args: [...args, '--peer', '127.0.0.2'], env: { PATH: '/nonexistent' } });
    assert.match(route.stderr, /^vtep up: the program "ip" is not installed; install iproute2/);
  });

up('a name or port in use, an fd that is not a TAP: an error, and nothing is left', async () => {
  const { lab, node1 } = underlay;
  const refuse = async (message: RegExp, ...args: string[]): Promise<void> => {
    const { code, stderr } = await lab.runVtep({ ns: node1.ns, args: ['up', '--vni', '1', ...args] });
    assert.is(code, 1, stderr);
    assert.match(stderr, message);
  };
  const local = ['--local', node1.address];
  await refuse(/a device "eth0" exists already/, ...local, '--tap', 'eth0');
  await must(['ip', '-n', c1, 'link', 'add', 'name', 'taken', 'type', 'bridge']);
  await refuse(
    /a device "taken" in namespace \S+ exists already, and is a bridge and not a TAP/,
    ...local,
    '--tap',
    'taken',
    '--netns',
    c1,
  );
  await must(['ip', '-n', c1, 'link', 'del', 'taken']);
  writeFileSync(socket('precious'), '');
  const onto = ['--tap', 't0', '--netns', c1, '--control', socket('precious')];
  await refuse(/^vtep up: --control: \S+ exists and is not a socket; choose another path$/m, ...local, ...onto);
  await refuse(/file descriptor 77 is not open; pass an open TAP/, ...local, '--tap-fd', '77');

  await must([
    'ip',
    '-n',
    node1.ns,
    'link',
    'add',
    'kernel',
    'type',
    'vxlan',
    'id',
    '5',
    'dstport',
    '4789',
    'local',
    node1.address,
  ]);
  await must(['ip', '-n', node1.ns, 'link', 'set', 'dev', 'kernel', 'up']);
  await refuse(
    /^vtep up: --port: UDP 172\.31\.1\.5:4789 is already in use: by another vtep, or by a vxlan device/,
    ...local,
    '--tap',
    't0',
    '--netns',
    c1,
  );
  await must(['ip', '-n', node1.ns, 'link', 'del', 'kernel']);
  assert.equal(await devices(c1), ['lo']);
  assert.equal(await devices(node1.ns), ['lo', 'eth0']);
});

up('SIGKILL leaves no device, and a stale control socket is replaced', async () => {
  const one = await underlay.lab.startVtep(sideOf(1));
  await one.stop('SIGKILL');
  assert.ok(existsSync(socket('control1')));
  await waitFor('the device to go', async () => (await devices(c1)).length === 1);
  const again = await underlay.lab.startVtep(sideOf(1));
  assert.is((await again.stop()).code, 0);
  await nothingLeft(1);
});

up('send errors after the underlay has gone are counted, not fatal', async () => {
  const { node1 } = underlay;
  const [one, two] = await pair();
  assert.is(await ping(c1, '10.0.0.4'), 3);
  await must(['ip', '-n', node1.ns, 'route', 'del', 'default']);
  assert.is(await ping(c1, '10.0.0.4', { count: 2 }), 0);
  await must(['ip', '-n', node1.ns, 'route', 'add', 'default', 'via', '172.31.1.1']);
  await waitFor('the way back', async () => (await ping(c1, '10.0.0.4', { count: 1 })) === 1);
  await must(['ip', '-n', c1, 'link', 'set', 'dev', 'eth0', 'down']);
  await exec(c2, ['ping', '-c1', '-W1', '-q', '10.0.0.3']).catch(() => undefined);
  const { engine } = (await show('counters', 1)) as { engine: Record<string, Record<string, number>> };
  assert.ok(engine['sendErrors']!['ENETUNREACH']! >= 2);
  assert.ok(engine['writeErrors']!['EIO']! >= 1);
  assert.is((await one.stop()).code, 0);
  await two.stop();
});

up('it exits with the reason when the container has gone', async () => {
  const gone = await underlay.lab.namespace('gone');
  const running = await underlay.lab.startVtep({
    ns: underlay.node1.ns,
    args: ['up', '--vni', '1', '--local', underlay.node1.address, '--tap', 'eth0', '--netns', gone],
  });
  await underlay.lab.removeNamespace(gone);
  const { code, stderr } = await running.ended;
  assert.is(code, 1);
  assert.match(
    stderr,
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning: TAP eth0 is lost: the device has been removed$/m,
  );
  assert.match(stderr, /^vtep: no TAP is left$/m);
  await nothingLeft(1);
});

if (FIRST)
  up('a client that does not read delays a stop by at most 0.5 s, and a second signal ends it at once', async () => {
    for (const again of [false, true]) {
      // With the engine that answers synchronously, so that answers wait only for the client.
      const one = await underlay.lab.startVtep(sideOf(1, '--engine', 'dgram'));
      const client = connect(socket('control1')).on('error', () => undefined);
      client.pause();
      client.write(get('/v1/openapi.json').repeat(32));
      await waitFor('the answers to fill the socket', async () => {
        const queued = client.writableLength;
        await new Promise((resolve) => setTimeout(resolve, 300));
        return queued === 0;
      });
      const started = performance.now();
      one.signal('SIGINT');
      if (again) {
        await new Promise((resolve) => setTimeout(resolve, 150));
        one.signal('SIGTERM');
      }
      const { code } = await one.ended;
      client.destroy();
      assert.is(code, again ? 143 : 0);
      if (!again) assert.ok(performance.now() - started > 400);
      await waitFor('the device to go', async () => (await devices(c1)).length === 1);
    }
    rmSync(socket('control1'), { force: true });
  });

if (FIRST)
  up('a closed TAP accepts no frames, since its descriptor may belong to another file', async () => {
    const { fd } = await openTap('weft%d');
    const channel = new TapChannel(fd, 0, { frame: () => undefined, lost: () => undefined });
    const frame = new Uint8Array(60);
    assert.is(channel.write(frame, 0, 60), 'EIO'); // the device is down
    await channel.close();
    assert.is(channel.write(frame, 0, 60), 'ENXIO');
  });

up('no route to a peer: the error names the flag and what to do, not the text of "ip"', async () => {
  const ns = await underlay.lab.namespace('nowhere');
  for (const words of [
    ['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far'],
    ['addr', 'add', '172.31.9.1/24', 'dev', 'eth0'],
    ['link', 'set', 'eth0', 'up'],
    ['link', 'set', 'far', 'up'],
    ['route', 'add', 'unreachable', '198.51.100.0/24'],
    ['route', 'add', 'prohibit', '198.51.101.0/24'],
    ['route', 'add', 'blackhole', '198.51.102.0/24'],
  ])
    await must(['ip', '-n', ns, ...words]);
  const endpoint = (vtep: string): string[] => ['--endpoint', `10.0.0.4,02:42:0a:00:00:04,${vtep}`];
  for (const [flags, front, peer, why] of [
    [['--peer', '203.0.113.9'], '--peer', '203.0.113.9', ''],
    [endpoint('203.0.113.8'), `${endpoint('203.0.113.8').join(' ')} (VTEP)`, '203.0.113.8', ''],
    [
      ['--peer', '198.51.100.1'],
      '--peer',
      '198.51.100.1',
      ' (a route of type "unreachable" covers it, see "ip route")',
    ],
    [['--peer', '198.51.101.1'], '--peer', '198.51.101.1', ' (a route of type "prohibit" covers it, see "ip route")'],
    [['--peer', '198.51.102.1'], '--peer', '198.51.102.1', ' (a route of type "blackhole" covers it, see "ip route")'],
  ] as const) {
    const args = ['up', '--vni', '1', '--local', '172.31.9.1', '--tap', 'tap0', ...flags];
    const { code, stderr } = await underlay.lab.runVtep({ ns, args });
    assert.is(code, 1);
    assert.is(
      stderr,
      `vtep up: ${front}: no route from 172.31.9.1 to ${peer}${why}; add a route, or set the segment's MTU\n`,
    );
  }
});

up('an address on a device without carrier', async () => {
  const ns = await underlay.lab.namespace('dark');
  for (const words of [
    ['link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far'],
    ['addr', 'add', '172.31.9.1/24', 'dev', 'eth0'],
    ['link', 'set', 'eth0', 'up'],
  ])
    await must(['ip', '-n', ns, ...words]);
  const running = await underlay.lab.startVtep({
    ns,
    args: ['up', '--vni', VNI, '--local', '172.31.9.1', '--tap', 'tap0', '--no-peers-only'],
  });
  await waitFor('the log to say so', () => running.stderr.includes('no carrier'));
  const { code, stderr } = await running.stop();
  assert.is(code, 0);
  assert.match(stderr, /^\S+Z error: the device that has 172\.31\.9\.1, .* has no carrier: [^\n]*\n$/); // and only that
});

up.run();
