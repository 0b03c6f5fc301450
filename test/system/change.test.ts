/** TAPs and segments of a live VTEP that come and go over its control socket. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type SegmentListing, type TapListing } from '../../src/host/parts.js';
import {
  httpRequestOf,
  type Config,
  type ControlRequest,
  type ErrorBody,
  type Segment,
  type Tap,
} from '../../src/schema/index.js';
import { devices, Lab, must, ping, type Outcome, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { call } from '../support/unix-http.js';

const test = suiteWith('changes over the control socket', ['root', 'tun', 'ip', 'ping']);
const directory = mkdtempSync(join(tmpdir(), 'weft-change-'));
const path = join(directory, 'vtep.sock');
const VNI = 4097;
const OTHER = 4098;
let lab: Lab;
/** Two hosts, and the containers 1 and 3 of the first one, and 2 of the second one. */
let hosts: string[];
let c1: string;
let c2: string;
let c3: string;

test.before(async () => {
  lab = new Lab('chg');
  hosts = [await lab.namespace('h1'), await lab.namespace('h2')];
  c1 = await lab.namespace('c1');
  c2 = await lab.namespace('c2');
  c3 = await lab.namespace('c3');
  const [one, two] = hosts.map((ns, i) => ({ ns, device: 'eth0', addresses: [`172.31.2.${i + 1}/24`] }));
  await lab.join(one!, two!);
});
test.after.each(() => lab.killAll());
test.after(async () => {
  await lab.teardown();
  rmSync(directory, { recursive: true });
});

/** Starts the VTEP under test with a TAP of its own, and one on the other host with a container in each segment. */
async function start(engine: string): Promise<Running> {
  const segment = (vni: number): Segment => ({ vni, peers: ['172.31.2.1'] });
  const tap = (name: string, address: string, vni: number): Tap => ({ name, netns: c2, address, vni });
  const there: Config = {
    local: '172.31.2.2',
    segments: [segment(VNI), segment(OTHER)],
    taps: [tap('eth0', '10.0.0.2/24', VNI), tap('eth1', '10.0.1.2/24', OTHER)],
  };
  const file = join(directory, 'there.json');
  writeFileSync(file, JSON.stringify(there));
  await lab.startVtep({ ns: hosts[1]!, args: ['up', '--config', file] });
  const flags = ['--local', '172.31.2.1', '--peer', '172.31.2.2', '--vni', String(VNI), '--tap', 'tap0'];
  return lab.startVtep({ ns: hosts[0]!, args: ['up', ...flags, '--engine', engine, '--control', path] });
}

/** Sends a request, and returns the result. */
async function ask(request: ControlRequest): Promise<unknown> {
  const { method, target, body } = httpRequestOf(request);
  const answer = await call(path, method, target, body === undefined ? {} : { body: JSON.parse(body) as unknown });
  assert.is(answer.status, 200, `${request.command}: ${answer.text}`);
  return JSON.parse(answer.text);
}

/** Sends a request that must fail. @returns the status, the code, and the fields. */
async function refused(request: ControlRequest): Promise<[number, string, string]> {
  const { method, target, body } = httpRequestOf(request);
  const answer = await call(path, method, target, body === undefined ? {} : { body: JSON.parse(body) as unknown });
  const { code, message, fields = [] } = (JSON.parse(answer.text) as ErrorBody).error;
  assert.not.match(message, /--\w/, 'a message of the API names no flag');
  return [answer.status, code, fields.map((field) => field.path).join()];
}

const taps = async (): Promise<TapListing[]> => (await ask({ command: 'taps' })) as TapListing[];
const segments = async (): Promise<SegmentListing[]> => (await ask({ command: 'segments' })) as SegmentListing[];

for (const engine of ['linux', 'dgram']) {
  test(`${engine}: a TAP is attached, used, detached, and attached again`, async () => {
    const running = await start(engine);
    const [first] = await taps();
    assert.equal([first!.name, first!.netns, first!.addresses, first!.vni, first!.mtu], ['tap0', null, [], VNI, 1450]);
    for (let round = 0; round < 2; round++) {
      const given = { name: 'eth0', netns: c1, vni: VNI };
      const attached = (await ask({ command: 'attach', ...given, address: '10.0.0.1/24' })) as TapListing;
      const [link] = JSON.parse(await must(['ip', '-n', c1, '-j', 'addr', 'show', 'eth0'])) as [
        { mtu: number; address: string },
      ];
      const rest = {
        device: 'eth0',
        addresses: ['10.0.0.1/24'],
        vlans: null,
        native: null,
        mac: link.address,
        mtu: link.mtu,
      };
      assert.equal(attached, { ...given, ...rest });
      assert.equal(await taps(), [first, attached]);
      assert.is(await ping(c1, '10.0.0.2'), 3, `round ${round}`);
      assert.equal(await ask({ command: 'detach', name: 'eth0', netns: c1 }), {
        ...{ name: 'eth0', netns: c1, addresses: ['10.0.0.1/24'], mac: link.address },
      });
      assert.equal(await devices(c1), ['lo']);
      assert.equal(await taps(), [first]);
    }
    await ask({ command: 'detach', name: 'tap0' });
    assert.equal([await taps(), running.running], [[], true], 'it goes on without a TAP');
  });

  test(`${engine}: a segment is added, used by a trunk and an access port, and removed when no TAP is left`, async () => {
    await start(engine);
    const before = await segments();
    assert.equal(
      before.map(({ vni, mtu, learn, tagged }) => ({ vni, mtu, learn, tagged })),
      [{ vni: VNI, mtu: 1450, learn: true, tagged: false }],
    );
    const settings = { proxy: 'vtep', learn: false, ageing: 60, capacity: 100, mac: '02:00:00:00:00:77' } as const;
    const endpoints = [{ ip: '10.0.1.2', mac: await macOf(c2, 'eth1'), vtep: '172.31.2.2' }];
    const tables = { peers: ['172.31.2.2'], endpoints };
    assert.equal(await ask({ command: 'add-segment', vni: OTHER, ...settings, ...tables }), { vni: OTHER, mtu: 1450 });
    const defaults = { flood: true, tagged: false, clampMss: false, network: null, subnets: [] };
    const clear = { encrypted: false, keyNumber: null };
    assert.equal((await segments())[1], { vni: OTHER, mtu: 1450, ...settings, ...defaults, ...clear });
    await ask({ command: 'attach', name: 'eth0', netns: c3, address: '10.0.1.3/24', vni: OTHER, mtu: 1300 });
    assert.is(await ping(c3, '10.0.1.2'), 3);
    const trunk = { name: 'eth0', netns: c1, address: '10.0.0.1/24', vlans: { 20: OTHER }, native: VNI };
    const attached = (await ask({ command: 'attach', ...trunk })) as TapListing;
    assert.equal([attached.vlans, attached.native, attached.vni], [{ 20: OTHER }, VNI, null]);
    assert.is(await ping(c1, '10.0.0.2'), 3);
    for (const netns of [c1, c3]) {
      assert.equal(await refused({ command: 'remove-segment', vni: OTHER }), [409, 'conflict', 'vni']);
      await ask({ command: 'detach', name: 'eth0', netns });
    }
    assert.equal(await ask({ command: 'remove-segment', vni: OTHER }), { vni: OTHER });
    assert.equal(await segments(), before);
  });

  test(`${engine}: what is refused has a status, a code and a field, and leaves nothing behind`, async () => {
    await start(engine);
    const given = { command: 'attach', name: 'eth0', netns: c1, address: '10.0.0.1/24', vni: VNI } as const;
    await ask(given);
    const before = [await taps(), await segments(), await devices(c1), await devices(c3)];
    const invalid = (fields: string): unknown[] => [400, 'invalid-request', fields];
    const free = { ...given, netns: c3, address: '10.0.0.3/24' };
    const { vni: _vni, ...nowhere } = free;
    const segment = { command: 'add-segment', vni: 9 } as const;
    for (const [request, expected] of [
      [{ ...given, address: '10.0.0.9/24' }, invalid('name')],
      [{ ...free, address: '10.0.0.1/24' }, invalid('address')],
      [{ ...free, vni: 9 }, invalid('vni')],
      [nowhere, invalid('')],
      [{ ...free, address: '10.0.0.0/24' }, invalid('address')],
      [{ ...free, address: '10.0.0.3' }, invalid('address')],
      [{ ...free, mac: '01:00:00:00:00:00', mtu: 1 }, invalid('mac,mtu')],
      [{ ...free, vlans: { 4095: VNI } }, invalid('vlans["4095"]')],
      [{ ...free, fd: 3 }, invalid('fd')],
      [{ command: 'attach', vni: VNI }, invalid('name')],
      [{ ...free, netns: `${c3}-not` }, [404, 'not-found', 'netns']],
      [{ ...free, name: 'lo' }, [409, 'conflict', 'name']],
      [{ command: 'detach', name: 'eth0' }, [404, 'not-found', 'name']],
      [{ command: 'detach', name: 'eth0', netns: c3 }, [404, 'not-found', 'name']],
      [{ command: 'detach', name: 'a name' }, invalid('name')],
      [{ command: 'remove-segment', vni: 9 }, [404, 'not-found', 'vni']],
      [{ command: 'remove-segment', vni: VNI }, [409, 'conflict', 'vni']],
      [{ ...segment, vni: VNI }, invalid('vni')],
      [{ ...segment, peers: ['172.31.2.1'] }, invalid('peers[0]')],
      [{ ...segment, peers: ['172.31.2.2', '203.0.113.9'] }, [409, 'conflict', 'peers[1]']],
      [{ ...segment, proxy: 'on' }, invalid('proxy')],
    ] as [ControlRequest, unknown[]][])
      assert.equal(await refused(request), expected, JSON.stringify(request));
    // An endpoint of another host holds the address.
    const held = { ip: '10.0.0.3', mac: '02:00:00:00:00:99' };
    await ask({ command: 'add-endpoint', vni: VNI, ...held, vtep: '172.31.2.2' });
    assert.equal((await refused(free)).slice(0, 2), [409, 'conflict']);
    assert.equal([await taps(), await segments(), await devices(c1), await devices(c3)], before);
  });
}

test('an agent keeps the segments of its networks', async () => {
  const network = ['--network', `net1:${VNI}:10.0.0.0/24`];
  await lab.startVtep({ ns: hosts[0]!, args: ['agent', '--local', '172.31.2.1', ...network, '--control', path] });
  assert.equal(await refused({ command: 'remove-segment', vni: VNI }), [409, 'conflict', 'vni']);
  const outside = { command: 'attach', name: 'eth0', netns: c1, address: '10.9.0.1/24', vni: VNI } as const;
  assert.equal(await refused(outside), [400, 'invalid-request', 'address']);
  await ask({ ...outside, address: '10.0.0.1/24' });
  assert.equal((await taps()).length, 1);
  // An agent keeps its TAPs.
  await ask({ command: 'detach', name: 'eth0', netns: c1 });
  assert.equal(await devices(c1), ['lo']);
});

const vtep = (...args: string[]): Promise<Outcome> => lab.runVtep({ args: [...args, '--control', path] });
/** Runs a command that must succeed, and returns what it prints. */
async function done(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await vtep(...args);
  assert.equal([code, stderr], [0, ''], args.join(' '));
  return stdout;
}
/** Runs a command that the VTEP must refuse, and returns its error. */
async function fails(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await vtep(...args);
  assert.equal([code, stdout], [1, ''], args.join(' '));
  return stderr;
}

test('vtep attach and vtep detach --control', async () => {
  await start('auto');
  const eth0 = ['eth0', '--netns', c1];
  const line = await done('attach', ...eth0, '--address', '10.0.0.1/24', '--vni', String(VNI));
  const facts = `VNI ${VNI}, 10.0.0.1/24, ${await macOf(c1, 'eth0')}, MTU 1450`;
  assert.is(line, `attached TAP eth0 in namespace ${c1} (${facts})\n`);
  assert.is(await ping(c1, '10.0.0.2'), 3);
  assert.match(
    await fails('attach', ...eth0, '--vni', String(VNI)),
    new RegExp(`^vtep attach: TAP: eth0 is in use already \\(name of TAP eth0 in namespace ${c1}\\)\n$`),
  );
  assert.match(
    await fails('attach', 'eth1', '--vni', '9'),
    /^vtep attach: --vni: expected the VNI of a segment \(4097\), got 9\n/,
  );
  assert.match(await fails('attach', 'eth1', '--vlan', '5=9'), /^vtep attach: --vlan: expected the VNI of a segment/);
  assert.match(
    await fails('detach', 'eth0'),
    /^vtep detach: TAP: there is no TAP "eth0"; this VTEP has "tap0", "eth0" in/,
  );
  const removed = `(${await macOf(c1, 'eth0')}, 10.0.0.1/24)`;
  assert.is(await done('detach', ...eth0), `detached TAP eth0 from namespace ${c1} ${removed}\n`);
  assert.equal(await devices(c1), ['lo']);
  const trunk = await done(
    'attach',
    'tap1',
    '--vlan',
    `5=${VNI}`,
    '--mac',
    '02:00:00:00:00:05',
    '--mtu',
    '1400',
    '--json',
  );
  const [, attached] = await taps();
  assert.equal(JSON.parse(trunk), attached);
  assert.equal([attached!.vlans, attached!.mtu, attached!.mac], [{ 5: VNI }, 1400, '02:00:00:00:00:05']);
  assert.equal(JSON.parse(await done('detach', 'tap1', '--json')), {
    ...{ name: 'tap1', netns: null, addresses: [], mac: '02:00:00:00:00:05' },
  });
});

test('vtep network ls, add and rm', async () => {
  await start('auto');
  const settings = ['--mtu', '1400', '--no-learn', '--ageing', '0'];
  const added = await done('network', 'add', String(OTHER), '--peer', '172.31.2.2', ...settings);
  assert.is(added, `added network ${OTHER} (MTU 1400)\n`);
  assert.equal((await done('network', 'ls')).trimEnd().split('\n'), [
    ' VNI  NETWORK  SUBNET  GATEWAY   MTU  PROXY     LEARN  FLOOD  TAGGED  CLAMP MSS  AGEING (s)  CAPACITY  KEY',
    '4097  -        -       -        1450  endpoint  yes    yes    no      no                300     65536  -',
    '4098  -        -       -        1400  endpoint  no     yes    no      no                  0     65536  -',
  ]);
  assert.equal(JSON.parse(await done('network', 'ls', '--json')), await segments());
  await done('attach', 'eth0', '--netns', c3, '--address', '10.0.1.3/24', '--vni', String(OTHER));
  assert.is(await ping(c3, '10.0.1.2'), 3);
  assert.match(
    await fails('network', 'rm', String(OTHER)),
    /^vtep network: VNI: segment 4098 is in use by TAP "eth0" in namespace \S+; detach that TAP first\n$/,
  );
  await done('detach', 'eth0', '--netns', c3);
  assert.is(await done('network', 'rm', String(OTHER)), `removed network ${OTHER}\n`);
  assert.match(await fails('network', 'add', '9', '--peer', '203.0.113.9'), /^vtep network: --peer: no route from/);
  assert.match(await fails('network', 'rm', '9'), /^vtep network: VNI: there is no segment 9; there are 4097\n$/);
});

test('vtep peer and vtep endpoint: add and rm', async () => {
  await start('auto');
  const of = ['--vni', String(VNI)];
  assert.is(await done('peer', 'rm', '172.31.2.2', ...of), `removed peer 172.31.2.2 of network ${VNI}\n`);
  assert.equal(await ask({ command: 'peers' }), []);
  assert.match(
    await fails('peer', 'rm', '172.31.2.2', ...of, '--json'),
    /^vtep peer: there is no peer 172\.31\.2\.2 of network 4097\n$/,
  );
  assert.is(await done('peer', 'add', '172.31.2.2', ...of), `added peer 172.31.2.2 to network ${VNI}\n`);
  const [peer] = (await ask({ command: 'peers' })) as { vni: number; address: string }[];
  assert.equal([peer!.vni, peer!.address], [VNI, '172.31.2.2']);
  assert.match(await fails('peer', 'add', '172.31.2.1', ...of), /^vtep peer: IP: expected the address of another VTEP/);
  assert.match(
    await fails('peer', 'add', '172.31.2.3', '--vni', '9'),
    /^vtep peer: --vni: expected the VNI of a segment/,
  );

  const endpoint = '10.0.0.9,02:00:00:00:00:09,172.31.2.2';
  assert.is(await done('endpoint', 'add', endpoint, ...of), `added endpoint ${endpoint} to network ${VNI}\n`);
  const neighbors = async (): Promise<string[]> =>
    ((await ask({ command: 'neighbors' })) as { ip: string; vtep: string; hidden: boolean }[])
      .filter(({ hidden }) => !hidden)
      .map(({ ip, vtep: place }) => `${ip} ${place}`);
  assert.equal(await neighbors(), ['10.0.0.9 172.31.2.2']);
  const other = '10.0.0.9,02:00:00:00:00:08,172.31.2.2';
  assert.match(
    await done('endpoint', 'add', other, ...of),
    /, but it is not in effect: 10\.0\.0\.9 belongs to an older endpoint/,
  );
  assert.equal(JSON.parse(await done('endpoint', 'rm', other, ...of, '--json')), { removed: true });
  assert.is(await done('endpoint', 'rm', endpoint, ...of), `removed endpoint ${endpoint} of network ${VNI}\n`);
  assert.equal(await neighbors(), []);
});

async function macOf(ns: string, device: string): Promise<string> {
  const [link] = JSON.parse(await must(['ip', '-n', ns, '-j', 'link', 'show', device])) as [{ address: string }];
  return link.address;
}

test.run();
