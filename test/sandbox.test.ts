/** Sandboxes without root: the texts that they write and read. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { hostsText, nsswitchText, resolverText } from '../src/host/sandbox/etc.js';
import { propagationOf } from '../src/host/sandbox/mounts.js';
import { addedBy, staleOf } from '../src/host/sandbox/network.js';
import { parseIdentity, processIdentity } from '../src/host/sandbox/processes.js';
import { Workload } from '../src/host/sandbox/workload.js';

test('resolv.conf(5) and hosts(5)', () => {
  assert.is(resolverText({ servers: ['10.0.0.1', 'fd00::1'] }), 'nameserver 10.0.0.1\nnameserver fd00::1\n');
  assert.is(
    resolverText({ servers: ['10.0.0.1'], search: ['a.example', 'b'], options: ['ndots:0'] }),
    'nameserver 10.0.0.1\nsearch a.example b\noptions ndots:0\n',
  );
  assert.is(
    hostsText([{ address: '10.0.0.2', names: ['test.1', 'test'] }]),
    '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n10.0.0.2 test.1 test\n',
  );
});

test('a shim that takes its workload between two looks at it does not look like one that was killed', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-claim-'));
  const { pid, start, boot } = processIdentity(process.pid)!;
  // A claim appears whole, as that of a shim does, again and again.
  const program = `
    const fs = require('node:fs');
    const [directory, text] = process.argv.slice(1);
    fs.writeFileSync(directory + '/claim.shim', text + '\\n');
    for (;;) {
      fs.linkSync(directory + '/claim.shim', directory + '/claim');
      fs.unlinkSync(directory + '/claim');
    }`;
  const child = spawn(process.execPath, ['-e', program, directory, `${pid} ${start} ${boot}`], { stdio: 'inherit' });
  try {
    const workload = new Workload('attempt-1', directory, 'none');
    const limit = performance.now() + 60_000;
    for (let looks = 0, taken = 0, was = false; taken < 500 && performance.now() < limit; looks++) {
      const { state } = workload;
      assert.is(state.state, 'starting', `look ${looks}`);
      const is = existsSync(join(directory, 'claim'));
      if (is && !was) taken++;
      was = is;
    }
  } finally {
    child.kill('SIGKILL');
    await new Promise((resolve) => child.on('close', resolve));
    rmSync(directory, { recursive: true, force: true });
  }
});

test('a resolver that would ask a service of the host asks the name server instead', () => {
  const fedora = 'passwd: files sss\nhosts:      files myhostname resolve [!UNAVAIL=return] dns\nservices: files\n';
  assert.is(nsswitchText(fedora), 'passwd: files sss\nhosts: files dns\nservices: files\n');
  assert.is(nsswitchText('hosts: files mdns4_minimal [NOTFOUND=return] dns # local\n'), 'hosts: files dns# local\n');
  for (const plain of ['hosts: files dns\n', 'hosts:\tfiles dns myhostname\n', '# hosts: resolve\n', ''])
    assert.is(nsswitchText(plain), undefined, plain);
});

test('the mount of a path, and its peer groups (proc_pid_mountinfo(5))', () => {
  // From a process in `ip netns exec`, on Linux 6.18.
  const slave = [
    '45 44 254:0 / / rw,relatime - ext4 /dev/vda rw,discard',
    '65 45 254:0 /run/netns /run/netns rw,relatime shared:3 master:1 - ext4 /dev/vda rw,discard',
    '66 65 0:4 net:[4026532177] /run/netns/c1 rw shared:4 master:2 - nsfs nsfs rw',
  ].join('\n');
  assert.equal(propagationOf(slave, '/run/netns'), { shared: 3, master: 1 });
  assert.equal(propagationOf(slave, '/run/netns2'), { shared: undefined, master: undefined });
  assert.equal(propagationOf(slave, '/run/netns/c1'), { shared: 4, master: 2 });
  assert.is(propagationOf('', '/run/netns'), undefined);
});

test('the identity of a process is read only if it is whole', () => {
  assert.equal(parseIdentity('17 2710799 9daf2c82\n'), { pid: 17, start: 2_710_799, boot: '9daf2c82' });
  for (const text of ['', '17 2710799 9daf', '17 2710799\n', 'nobody\n', '-1 2 3\n'])
    assert.is(parseIdentity(text), undefined, text);
});

test('what a new plan no longer has', () => {
  const before = addedBy({
    name: 'a',
    addresses: ['10.0.0.2/24', 'fd00::0:2/64'],
    gateways: ['10.0.0.1', 'fd00::1'],
    routes: [{ to: '10.1.0.0/24', via: '10.0.0.1' }],
  });
  assert.equal(before.addresses, ['10.0.0.2/24', 'fd00::2/64']);
  const now = addedBy({ name: 'a', addresses: ['10.0.0.2/24'], gateways: ['10.0.0.254'] });
  assert.equal(staleOf(before, now), {
    addresses: ['fd00::2/64'],
    routes: [
      { to: '10.1.0.0/24', via: '10.0.0.1' },
      { to: '0.0.0.0/0', via: '10.0.0.1' },
      { to: '::/0', via: 'fd00::1' },
    ],
  });
  assert.equal(staleOf(now, now), { addresses: [], routes: [] });
});

test.run();
