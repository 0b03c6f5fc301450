/** Sandboxes: what is made and removed, by processes that are killed at every step. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { HostError, Sandboxes, type SandboxPlan, type SandboxesOptions } from '../../src/host/index.js';
import { Lab, must, REPOSITORY, run, waitFor, type Outcome } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundle, type Program } from '../support/program.js';
import type { Request } from '../support/sandbox-node.js';

const sandbox = suiteWith('sandboxes', ['root', 'tun', 'ip', 'nsenter', 'setsid']);

/** Names of this run. */
const ID = `sb${process.pid}`;
const NAME = `${ID}-a`;
const NETNS = `weft-${NAME}`;

let directory: string;
let node: Program;
let lab: Lab;

sandbox.before(async () => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'weft-sandbox-')));
  lab = new Lab('sbx');
  node = await bundle(join(REPOSITORY, 'test/support/sandbox-node.ts'));
});

sandbox.after.each(async () => {
  await open().retain([], 100);
  await lab.killAll();
});

sandbox.after(async () => {
  await lab?.teardown();
  node?.remove();
  rmSync(directory, { recursive: true, force: true });
});

function open(options: Partial<SandboxesOptions> = {}): Sandboxes {
  return new Sandboxes({ directory: join(directory, 'sandboxes'), ...options });
}

function planOf(name: string, more: Partial<SandboxPlan> = {}): SandboxPlan {
  return {
    name,
    addresses: ['10.77.0.2/24'],
    gateways: ['10.77.0.1'],
    resolver: { servers: ['10.77.0.1'], search: ['uber.example'], options: ['ndots:0'] },
    hosts: [{ address: '10.77.0.2', names: ['test.1', 'test'] }],
    ...more,
  };
}

/** Runs a node in a process of its own, and waits for its end. */
function nodeDoes(request: Omit<Request, 'directory'>): Promise<Outcome> {
  return run([...node.command, JSON.stringify({ directory: join(directory, 'sandboxes'), ...request })]);
}

/** Everything on this machine that has to do with the sandboxes of this run. */
async function traces(): Promise<string[]> {
  const under = (path: string): string[] =>
    existsSync(path) ? readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name)) : [];
  const links = JSON.parse(await must(['ip', '-j', 'link', 'show'])) as { ifname: string }[];
  return [
    ...(await must(['ip', 'netns', 'list'])).split('\n').filter((line) => line.includes(ID)),
    ...[...under('/run/netns'), ...under('/etc/netns')].filter((path) => path.includes(ID)),
    ...under(join(directory, 'sandboxes')),
    ...links.map(({ ifname }) => ifname).filter((name) => name.includes(ID.slice(-8))),
    ...processes(),
  ];
}

/** The command lines of processes that name this run, without the programs of this test. */
function processes(): string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .flatMap((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const pipe = readFileSync(`/proc/${pid}/environ`, 'utf8').includes(ID);
        return pipe || words.some((word) => word.includes(ID)) ? [`${pid}: ${words.join(' ')}`] : [];
      } catch {
        return []; // it has ended
      }
    });
}

/** A TAP as a VTEP leaves it that was killed. */
async function keptTap(netns = NETNS): Promise<void> {
  await must(['ip', 'tuntap', 'add', 'dev', ID, 'mode', 'tap', 'multi_queue']);
  await must(['ip', 'link', 'set', 'dev', ID, 'netns', netns, 'name', 'eth0']);
  await must(['ip', '-n', netns, 'link', 'set', 'dev', 'eth0', 'up', 'alias', 'weft vtep']);
}

function inside(...command: string[]): Promise<string> {
  return must(['ip', 'netns', 'exec', NETNS, ...command]);
}

async function rejects(step: () => Promise<unknown>, expected: RegExp): Promise<HostError> {
  try {
    await step();
  } catch (error) {
    assert.instance(error, HostError);
    assert.match((error as Error).message, expected);
    return error as HostError;
  }
  throw new Error(`no error like ${expected}`);
}

sandbox(
  'a sandbox has its loopback, address, routes, resolver and hosts file; its removal leaves nothing',
  async () => {
    assert.equal(await traces(), []);
    const sandboxes = open();
    const made = await sandboxes.ensure(
      planOf(NAME, { mtu: 1300, routes: [{ to: '10.78.0.0/24', via: '10.77.0.1' }] }),
    );
    assert.is(made.netns, NETNS);
    assert.match(await must(['ip', 'netns', 'list']), new RegExp(`^${NETNS}( |$)`, 'm'));
    assert.match(await must(['ip', '-n', NETNS, 'link', 'show', 'dev', 'lo']), /LOOPBACK,UP/);
    assert.is(await inside('cat', '/proc/sys/net/ipv6/conf/default/accept_ra'), '0\n');
    await rejects(() => sandboxes.configure(NAME), /there is no device "eth0" in namespace weft-/);
    await keptTap();
    // A device that was made elsewhere keeps its neighbors here while no process reads the TAP.
    for (const file of ['ipv4/conf/eth0/arp_evict_nocarrier', 'ipv6/conf/eth0/ndisc_evict_nocarrier'])
      if (existsSync(`/proc/sys/net/${file.replace('eth0', 'lo')}`))
        assert.is(await inside('cat', `/proc/sys/net/${file}`), '0\n', file);
    await sandboxes.configure(NAME);
    assert.is(await inside('cat', '/etc/resolv.conf'), 'nameserver 10.77.0.1\nsearch uber.example\noptions ndots:0\n');
    assert.match(await inside('getent', 'hosts', 'test.1'), /^10\.77\.0\.2\s+test\.1 test$/m);
    assert.match(await inside('getent', 'ahostsv4', 'localhost'), /^127\.0\.0\.1 /);
    assert.match(await inside('ip', 'addr', 'show', 'dev', 'eth0'), /mtu 1300[^]*inet 10\.77\.0\.2\/24/);
    const routes = await inside('ip', 'route');
    assert.match(routes, /^default via 10\.77\.0\.1 dev eth0/m);
    assert.match(routes, /^10\.78\.0\.0\/24 via 10\.77\.0\.1 dev eth0/m);
    assert.not.match(readFileSync('/etc/hosts', 'utf8'), /test\.1/, 'the host has its own');
    await sandboxes.remove(NAME);
    assert.equal(await traces(), []);
    await sandboxes.remove(NAME); // there is nothing, and that is what was wanted
  },
);

sandbox('IPv6, and a network without a way out', async () => {
  const sandboxes = open();
  await sandboxes.ensure(planOf(NAME, { addresses: ['10.77.0.2/24', 'fd77::2/64'], gateways: ['fd77::1'] }));
  await keptTap();
  await sandboxes.configure(NAME);
  assert.match(await inside('ip', '-6', 'addr', 'show', 'dev', 'eth0'), /inet6 fd77::2\/64 scope global/);
  assert.not.match(await inside('ip', '-6', 'addr', 'show', 'dev', 'eth0'), /fd77::2.* tentative/);
  assert.match(await inside('ip', '-6', 'route'), /^default via fd77::1 dev eth0/m);
  assert.not.match(await inside('ip', 'route'), /default/);
});

sandbox(
  'a new plan replaces what the old one had, leaves what others have added, and reaches running processes',
  async () => {
    const sandboxes = open();
    await sandboxes.ensure(planOf(NAME, { routes: [{ to: '10.78.0.0/24', via: '10.77.0.1' }] }));
    await keptTap();
    await sandboxes.configure(NAME);
    await must(['ip', '-n', NETNS, 'route', 'add', '192.0.2.0/24', 'via', '10.77.0.9']);
    const shell = lab.spawn(
      ['ip', 'netns', 'exec', NETNS, 'sh', '-c', 'until grep test.2 /etc/hosts; do sleep 0.05; done'],
      {},
    );
    // Another node changes it: the first was killed after it had written the new plan, and before it changed the device.
    const changed = planOf(NAME, {
      addresses: ['10.77.0.3/24'],
      gateways: ['10.77.0.254'],
      hosts: [{ address: '10.77.0.4', names: ['test.2'] }],
    });
    const { signal } = await nodeDoes({ ensure: changed, dies: true });
    assert.is(signal, 'SIGKILL');
    await open().configure(NAME);
    assert.match((await shell.ended).stdout, /^10\.77\.0\.4 test\.2$/m);
    const addresses = await inside('ip', '-4', 'addr', 'show', 'dev', 'eth0');
    assert.match(addresses, /inet 10\.77\.0\.3\/24/);
    assert.not.match(addresses, /10\.77\.0\.2\//);
    const routes = await inside('ip', 'route');
    assert.match(routes, /^default via 10\.77\.0\.254 /m);
    assert.not.match(routes, /10\.78\.0\.0|default via 10\.77\.0\.1 /);
    assert.match(routes, /192\.0\.2\.0\/24 via 10\.77\.0\.9/);
    assert.is((await open().find(NAME))?.netns, NETNS);
    assert.is((await (await open().find(NAME))?.record())?.stale, undefined);
  },
);

const CREATION = ['record', 'namespace', 'identity', 'loopback', 'files', 'ready'];

CREATION.forEach((step, i) =>
  sandbox(`killed after "${step}" of the creation, the next process completes or removes the sandbox`, async () => {
    for (const completes of [true, false]) {
      const { signal, stdout } = await nodeDoes({ ensure: planOf(NAME), killAt: i + 1 });
      assert.is(signal, 'SIGKILL');
      assert.equal(stdout.trim().split('\n'), CREATION.slice(0, i + 1));
      const next = open();
      if (completes) {
        await next.ensure(planOf(NAME));
        assert.match(await inside('cat', '/etc/resolv.conf'), /10\.77\.0\.1/);
        assert.match(await must(['ip', '-n', NETNS, 'link', 'show', 'dev', 'lo']), /LOOPBACK,UP/);
        assert.equal(
          (await next.list()).map(({ name }) => name),
          [NAME],
        );
      } else {
        assert.equal(
          (await next.list()).map(({ name }) => name),
          i === CREATION.length - 1 ? [NAME] : [],
        );
      }
      assert.equal(await next.retain([]), [NAME]);
      assert.equal(await traces(), []);
    }
  }),
);

const REMOVAL = ['removal', 'adopted', 'processes', 'workload main', 'devices', 'namespace', 'files', 'removed'];

REMOVAL.forEach((step, i) =>
  sandbox(
    `killed after "${step}" of the removal, the next process finishes it, or creates the sandbox anew`,
    async () => {
      for (const creates of [false, true]) {
        const made = await open().ensure(planOf(NAME));
        await keptTap();
        await made.start({ id: 'main', command: ['sh', '-c', `trap '' TERM; while :; do sleep 0.1; done; : ${ID}`] });
        const { signal, stdout } = await nodeDoes({ remove: NAME, killAt: i + 1 });
        assert.is(signal, 'SIGKILL');
        assert.equal(stdout.trim().split('\n'), REMOVAL.slice(0, i + 1));
        const next = open();
        assert.equal(await next.list(), [], 'it is no longer one that others find');
        if (creates) {
          const again = await next.ensure(planOf(NAME));
          assert.equal(await again.workloads(), []);
          assert.not.match(await inside('ip', 'link'), /eth0/);
          await next.remove(NAME);
        } else {
          await next.retain([NAME]);
        }
        assert.equal(await traces(), []);
      }
    },
  ),
);

sandbox('the creation in a node that runs in "ip netns exec" is visible to all, and outlives the node', async () => {
  const host = await lab.namespace('host');
  const request = JSON.stringify({ directory: join(directory, 'sandboxes'), ensure: planOf(NAME), dies: true });
  const { signal, stderr } = await run(['ip', 'netns', 'exec', host, ...node.command, request]);
  assert.is(signal ?? stderr, 'SIGKILL');
  assert.match(await inside('cat', '/etc/resolv.conf'), /10\.77\.0\.1/);
  const removal = JSON.stringify({ directory: join(directory, 'sandboxes'), remove: NAME });
  assert.is((await run(['ip', 'netns', 'exec', host, ...node.command, removal])).code, 0);
  assert.equal(await traces(), []);
});

sandbox('namespaces and files of others are refused, and stay as they are', async () => {
  const sandboxes = open();
  await must(['ip', 'netns', 'add', NETNS]);
  try {
    const { path } = await rejects(() => sandboxes.ensure(planOf(NAME)), /exists already, .*"ip netns del weft-/);
    assert.is(path, 'name');
    await sandboxes.remove(NAME);
    assert.equal(await sandboxes.retain([]), []);
    assert.match(await must(['ip', 'netns', 'list']), new RegExp(NETNS));
  } finally {
    await must(['ip', 'netns', 'del', NETNS]);
  }
  mkdirSync(`/etc/netns/${NETNS}`, { recursive: true });
  try {
    writeFileSync(`/etc/netns/${NETNS}/resolv.conf`, 'nameserver 192.0.2.53\n');
    await rejects(() => sandboxes.ensure(planOf(NAME)), /directory \/etc\/netns\/weft-\S+ exists already/);
    await sandboxes.remove(NAME);
    assert.is(readFileSync(`/etc/netns/${NETNS}/resolv.conf`, 'utf8'), 'nameserver 192.0.2.53\n');
  } finally {
    rmSync(`/etc/netns/${NETNS}`, { recursive: true });
  }
});

sandbox('a namespace that somebody has put in the place of the own one is not removed', async () => {
  const sandboxes = open();
  await sandboxes.ensure(planOf(NAME));
  await must(['ip', 'netns', 'del', NETNS]);
  await must(['ip', 'netns', 'add', NETNS]);
  const other = lab.spawn(['ip', 'netns', 'exec', NETNS, 'sleep', '300'], {});
  try {
    await rejects(() => sandboxes.ensure(planOf(NAME)), /is not the one that this VTEP has made/);
    await sandboxes.remove(NAME, 100);
    assert.match(await must(['ip', 'netns', 'list']), new RegExp(NETNS));
    assert.ok(other.running);
  } finally {
    await other.stop('SIGKILL');
    await must(['ip', 'netns', 'del', NETNS]);
  }
  assert.equal(await traces(), []);
});

sandbox(
  'a namespace that was removed by hand, and one of which a restart has left the file, are made again',
  async () => {
    const sandboxes = open();
    await sandboxes.ensure(planOf(NAME));
    await must(['ip', 'netns', 'del', NETNS]);
    await sandboxes.ensure(planOf(NAME));
    await inside('true');
    await must(['ip', 'netns', 'del', NETNS]);
    writeFileSync(`/run/netns/${NETNS}`, '');
    await sandboxes.ensure(planOf(NAME));
    await inside('true');
    await must(['ip', 'netns', 'del', NETNS]);
    writeFileSync(`/run/netns/${NETNS}`, '');
    await sandboxes.remove(NAME);
    assert.equal(await traces(), []);
  },
);

sandbox(
  'the removal ends every process in the namespace; a TAP that a process has is named, and the removal goes on later',
  async () => {
    const sandboxes = open();
    await sandboxes.ensure(planOf(NAME));
    await inside('sh', '-c', `setsid --fork sh -c 'sleep 300; : ${ID}' >/dev/null 2>&1`);
    assert.is(processes().length > 0, true);
    await keptTap();
    // This process has it open: `cat` keeps the file of the device that python attaches.
    const holder = lab.spawn(['ip', 'netns', 'exec', NETNS, 'python3', '-c', HOLD], {});
    await waitFor('the TAP to be held', () => holder.stdout.includes('held') || !holder.running);
    assert.ok(holder.running, holder.stderr);
    // Other processes of the machine may have a TAP of that name, too: all are named then.
    await rejects(
      () => sandboxes.remove(NAME, 0),
      new RegExp(`TAP "eth0" in namespace ${NETNS} of the sandbox cannot be removed: .*process.*\\b${holder.pid}\\b`),
    );
    assert.equal(await sandboxes.list(), []);
    await holder.stop('SIGKILL');
    await sandboxes.remove(NAME, 0);
    assert.equal(await traces(), []);
  },
);

/** Attaches to eth0, and moves to the namespace of this test, where the removal of the sandbox does not end it. */
const HOLD = `
import fcntl, os, struct, time, ctypes
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'eth0', 0x1102))
home = os.open('/proc/${process.pid}/ns/net', os.O_RDONLY)
assert ctypes.CDLL(None).setns(home, 0x40000000) == 0
print('held', flush=True)
time.sleep(300)
`;

sandbox('a damaged record is reported, and does not keep the others from being found', async () => {
  const problems: string[] = [];
  const sandboxes = open({ problem: ({ message }) => problems.push(message) });
  await sandboxes.ensure(planOf(NAME));
  const broken = join(directory, 'sandboxes', `${ID}-b`);
  mkdirSync(broken);
  writeFileSync(join(broken, 'sandbox.json'), '{"version":1');
  assert.equal(
    (await sandboxes.list()).map(({ name }) => name),
    [NAME],
  );
  assert.match(problems.join('\n'), /sandbox\.json is not the record of a sandbox; if its namespace is gone/);
  assert.equal(await sandboxes.retain([NAME]), []);
  assert.ok(existsSync(join(broken, 'sandbox.json')));
  rmSync(broken, { recursive: true });
});

const WRONG: [field: string, more: Partial<SandboxPlan>, message: RegExp][] = [
  ['name', { name: '../x' }, /cannot name a sandbox/],
  ['name', { name: '' }, /cannot name a sandbox/],
  ['device', { device: 'a/b' }, /cannot name a device/],
  ['addresses', { addresses: [] }, /needs an address/],
  ['addresses[0]', { addresses: ['10.0.0.1'] }, /prefix length/],
  ['addresses[0]', { addresses: ['10.0.0.1/33'] }, /prefix length/],
  ['mtu', { mtu: 20 }, /not an MTU/],
  ['gateways[0]', { gateways: ['here'] }, /not the address of a gateway/],
  ['gateways[1]', { gateways: ['10.77.0.1', '10.77.0.9'] }, /second gateway for IPv4/],
  ['gateways[0]', { gateways: ['fd00::1'] }, /no IPv6 address/],
  ['routes[0].via', { routes: [{ to: '10.1.0.0/24', via: 'fd00::1' }] }, /gateway to 10\.1\.0\.0/],
  ['resolver.servers[0]', { resolver: { servers: ['dns'] } }, /name server/],
  ['resolver.servers', { resolver: { servers: ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'] } }, /3 name servers/],
  ['resolver.search', { resolver: { servers: [], search: ['a\nnameserver 192.0.2.1'] } }, /without spaces/],
  ['hosts[0].names', { hosts: [{ address: '10.0.0.1', names: ['a b'] }] }, /without spaces/],
  ['hosts[0].address', { hosts: [{ address: '10.0.0', names: ['a'] }] }, /not an IP address/],
];

sandbox('a wrong plan is refused with its field, and leaves nothing', async () => {
  for (const [field, more, message] of WRONG) {
    const { path } = await rejects(() => open().ensure(planOf(NAME, more)), message);
    assert.is(path, field);
  }
  assert.equal(await traces(), []);
});

sandbox.run();
