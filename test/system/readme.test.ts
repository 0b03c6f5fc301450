/** Runs the walk-throughs of docs/overlay.md literally in a shell, in separate network and mount namespaces. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { REPOSITORY, run } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { shellBlocks, TSX } from '../support/readme.js';

const test = suiteWith('walk-throughs', ['root', 'tun', 'ip', 'ping', 'unshare']);
const folder = mkdtempSync(join(tmpdir(), 'weft-readme-'));
const GUIDE = 'docs/overlay.md';

test.before(() => {
  // The npx in PATH runs the sources, from any working directory.
  const vtep = `${process.execPath} --import ${TSX} ${join(REPOSITORY, 'src/cli/main.ts')}`;
  writeFileSync(join(folder, 'npx'), `#!/bin/sh\nshift\nexec ${vtep} "$@"\n`);
  chmodSync(join(folder, 'npx'), 0o755);
});

test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a script; its shell sees only namespaces of its own, and ends its jobs when it ends. */
async function bash(script: string): Promise<string> {
  const file = join(folder, 'script.sh');
  writeFileSync(
    file,
    `set -eu
mount -t tmpfs tmpfs /run; mkdir -p /run/netns; ip link set lo up
export PATH=${folder}:$PATH
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
wait_for() { for _ in $(seq 300); do grep -q "$1" "$2" && return; sleep 0.1; done; echo "no $1 in $2:"; cat "$2"; exit 1; }
${script}
`,
  );
  const { code, stdout, stderr } = await run(['unshare', '--net', '--mount', '--propagation', 'private', 'bash', file]);
  assert.is(code, 0, `${stdout}\n${stderr}`);
  return stdout;
}

test('two hosts with static peers', async () => {
  const [, first, second, ping] = shellBlocks(GUIDE, 'Two hosts with static peers');
  const background = (command: string, i: number): string =>
    `ip netns exec host${i} ${command.replaceAll('c1', `c${i}`).replace('/run/vtep.sock', `/run/vtep${i}.sock`)} >${folder}/up${i} 2>&1 &`;
  const printed = await bash(`
for i in 1 2; do ip netns add host$i; ip netns add c$i; ip -n host$i link set lo up; done
ip netns add router; ip netns exec router sysctl -qw net.ipv4.ip_forward=1
ip link add eth0 netns host1 type veth peer name eth1 netns router
ip link add eth0 netns host2 type veth peer name eth2 netns router
ip -n host1 addr add 172.31.1.5/24 dev eth0; ip -n router addr add 172.31.1.1/24 dev eth1
ip -n host2 addr add 192.168.1.25/24 dev eth0; ip -n router addr add 192.168.1.1/24 dev eth2
for i in 1 2; do ip -n host$i link set eth0 up; ip -n router link set eth$i up; done
ip -n host1 route add default via 172.31.1.1; ip -n host2 route add default via 192.168.1.1
${background(first!, 1)}
${background(second!, 2)}
wait_for '^ready$' ${folder}/up1; wait_for '^ready$' ${folder}/up2
${ping!} -c 3
`);
  assert.match(printed, / 3 received, 0% packet loss/);
});

test('agents that find each other', async () => {
  const [setup, checks] = shellBlocks(GUIDE, 'Agents that find each other');
  let agents = 0;
  const logged = setup!.replace(/ &$/gm, () => ` >${folder}/agent${++agents} 2>&1 &`);
  const printed = await bash(`
cd ${folder}
${logged}
wait_for '^ready$' ${folder}/agent1; wait_for 'joined through 172.31.9.1: 2 members' ${folder}/agent2
${checks!}
kill %1 %2; wait
`);
  assert.match(printed, / 3 received, 0% packet loss/);
  assert.match(printed, /net1\s+4097/);
  assert.match(printed, /10\.0\.0\.2/);
  assert.match(printed, /172\.31\.9\.1[\s\S]*172\.31\.9\.2/);
});

test('networks that come and go', async () => {
  const [setup] = shellBlocks(GUIDE, 'Agents that find each other');
  const [namespaces] = setup!.split(/\n\n(?=npx vtep gossip)/);
  const [start, add, remove] = shellBlocks(GUIDE, 'Networks that come and go');
  const printed = await bash(`
cd ${folder}
known() { npx vtep show neighbors --control agent$1.sock | grep -q $2; }
${namespaces!}
${start!.replace(/ &$/m, ` >${folder}/live$i 2>&1 &`)}
for i in 1 2; do wait_for '^ready$' ${folder}/live$i; done
wait_for 'alive' ${folder}/live2
${add!.replace(/^(?=ip netns exec c1 ping)/m, 'until known 1 11.1.1.2 && known 2 10.1.1.2; do sleep 0.1; done\n')}
${remove!}
npx vtep network ls --control agent1.sock
kill %1 %2; wait
`);
  assert.match(printed, / 3 received, 0% packet loss/);
  assert.match(printed, /^4098 +prod-net +11\.1\.1\.0\/24 +11\.1\.1\.1 +1450/m);
  assert.is(printed.match(/^removed network prod-net \(VNI 4097, 4098\)$/gm)?.length, 2);
  assert.match(printed, /removed network prod-net.*\n *VNI +NETWORK.*\n$/);
});

test.run();
