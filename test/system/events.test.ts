/** The events of a live VTEP and of a live agent, over HTTP and with `vtep events`. */
import * as assert from 'uvu/assert';
import { AgentLab, type AgentHost } from '../support/agents.js';
import { ALL, EventStream, PEERS, requireDescribed, type Line } from '../support/event-stream.js';
import { must, VTEP, waitFor } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { call } from '../support/unix-http.js';

const test = suiteWith('the events of a live VTEP', ['root', 'tun', 'ip', 'curl']);
const VNI = 4097;
let lab: AgentLab;
let h1: AgentHost;
let h2: AgentHost;

test.before(async () => {
  lab = await AgentLab.create('hev', 2);
  [h1, h2] = lab.hosts as [AgentHost, AgentHost];
});
test.after.each(() => lab?.lab.killAll());
test.after(() => lab?.teardown());

async function post(path: string, target: string, body: object): Promise<void> {
  assert.is((await call(path, 'POST', target, { body })).status, 200);
}

async function remove(path: string, target: string): Promise<void> {
  assert.is((await call(path, 'DELETE', target)).status, 200);
}

for (const engine of ['linux', 'dgram'])
  test(`${engine}: what changes over the control socket, and what happens to the host`, async () => {
    const path = h1.control;
    const flags = ['--vni', String(VNI), '--local', h1.address, '--tap', 'tap0', '--engine', engine];
    const vtep = await lab.lab.startVtep({
      ns: h1.ns,
      args: ['up', ...flags, '--control', path, '--log-level', 'error'],
    });
    const description = (await call(path, 'GET', '/v1/openapi.json')).text;
    const all = await new EventStream(lab.lab, path).begun();
    const peers = await new EventStream(lab.lab, path, PEERS).begun();
    const other = await new EventStream(lab.lab, path, `${ALL}?vni=4098`).begun();
    const command = lab.lab.spawn([...VTEP, 'events', '--control', path]);
    const json = lab.lab.spawn([...VTEP, 'events', '--control', path, '--json', '--vni', '4098']);
    await waitFor('both commands', async () => {
      await post(path, '/v1/segments', { vni: 4098 });
      await remove(path, '/v1/segments?vni=4098');
      return [command, json].every(({ stdout }) => stdout.includes('segment-removed'));
    });
    const before = all.types.length;

    await post(path, '/v1/peers', { vni: VNI, address: h2.address });
    await all.has('peer-added', { vni: VNI, address: h2.address, sources: ['api'] });
    const endpoint = { ip: '10.0.0.9', mac: '02:00:00:00:00:09' };
    await post(path, '/v1/endpoints', { vni: VNI, ...endpoint, vtep: h2.address });
    await all.has('endpoint-added', { vni: VNI, ...endpoint, vtep: h2.address, sources: ['api'] });
    const late = { ip: endpoint.ip, mac: '02:00:00:00:00:08' };
    await post(path, '/v1/endpoints', { vni: VNI, ...late });
    const by = { kind: 'ip', ...endpoint, vtep: h2.address };
    await all.has('endpoint-held', { vni: VNI, ...late, vtep: null, sources: ['api'], by });
    await post(path, '/v1/segments', { vni: 4098, peers: [h2.address] });
    await all.has('segment-added', { vni: 4098, sources: ['api'] });
    await post(path, '/v1/taps', { name: 'tap1', vni: 4098, address: '10.1.0.1/24' });
    await all.has('tap-attached', { tap: 'tap1', netns: null, device: 'tap1', vnis: [4098] });
    await remove(path, '/v1/taps?name=tap1');
    await all.has('tap-detached', { tap: 'tap1', netns: null, vnis: [4098] });
    await remove(path, '/v1/segments?vni=4098');
    await all.has('segment-removed', { vni: 4098 });
    await remove(path, `/v1/peers?vni=${VNI}&address=${h2.address}`);
    await all.has('peer-removed', { vni: VNI, address: h2.address });

    await must(['ip', '-n', h1.ns, 'addr', 'del', `${h1.address}/24`, 'dev', 'eth0']);
    const lost = await all.has('local-address-lost', { address: h1.address, fault: 'gone' });
    assert.is(lost['level'], 'error');
    assert.match(String(lost['message']), /is gone from this host/);
    await must(['ip', '-n', h1.ns, 'addr', 'add', `${h1.address}/24`, 'dev', 'eth0']);
    assert.is((await all.has('local-address-back', { address: h1.address }))['level'], 'info', 'less than the log has');
    await post(path, '/v1/taps', { name: 'tap1', vni: VNI });
    await must(['ip', '-n', h1.ns, 'link', 'del', 'tap1']);
    await all.has('tap-lost', { tap: 'tap1', netns: null, vnis: [VNI] });

    const stopped = vtep.stop();
    assert.equal(await all.ended(), { event: 'end', dropped: 0 });
    assert.is(all.types.at(-1), 'stopping');
    assert.equal(all.lines[0], { event: 'status', dropped: 0 });
    requireDescribed(description, all.lines);
    await peers.ended();
    assert.equal(peers.types, ['peer-added'], 'not that of segment 4098');
    await other.ended();
    assert.equal(
      new Set(other.types),
      new Set([
        'segment-added',
        'peer-added',
        'endpoint-added',
        'tap-attached',
        'tap-detached',
        'endpoint-removed',
        'segment-removed',
      ]),
    );
    // The commands end with the VTEP.
    const [shown, lines] = await Promise.all([command.ended, json.ended]);
    assert.equal([shown.code, shown.stderr, lines.code, lines.stderr], [0, '', 0, '']);
    const types = shown.stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' ')[1]);
    assert.equal(types.slice(before - all.types.length), all.types.slice(before));
    assert.match(shown.stdout, /^\S+Z peer-added VNI 4097: 172\.31\.9\.2 \(wanted by: api\)$/m);
    assert.match(
      shown.stdout,
      /^\S+Z endpoint-held VNI 4097: 10\.0\.0\.9 02:00:00:00:00:08 here \(wanted by: api\); in effect is 10\.0\.0\.9 02:00:00:00:00:09 172\.31\.9\.2$/m,
    );
    assert.match(shown.stdout, /^\S+Z local-address-lost error: 172\.31\.9\.1, the address of this VTEP, is gone/m);
    assert.match(shown.stdout, /^\S+Z stopping\n$/m);
    const fromJson = lines.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    assert.equal(
      fromJson.slice(-7),
      other.lines
        .filter(({ event }) => event === 'notice')
        .map(({ event: _event, ...rest }) => rest)
        .slice(-7),
    );
    assert.is((await stopped).code, 0);
  });

test('vtep events ends with Ctrl-C; nothing happened is an error, and so is a VTEP that is killed', async () => {
  const path = h1.control;
  const flags = ['--vni', String(VNI), '--local', h1.address, '--tap', 'tap0'];
  const vtep = await lab.lab.startVtep({ ns: h1.ns, args: ['up', ...flags, '--control', path] });
  const idle = lab.lab.spawn([...VTEP, 'events', '--control', path, '--type', 'loop']);
  const cut = lab.lab.spawn([...VTEP, 'events', '--control', path]);
  const busy = lab.lab.spawn([...VTEP, 'events', '--control', path]);
  await waitFor('a line', async () => {
    await post(path, '/v1/peers', { vni: VNI, address: h2.address });
    await remove(path, `/v1/peers?vni=${VNI}&address=${h2.address}`);
    return [cut, busy].every(({ stdout }) => stdout.includes('peer-added'));
  });
  const ended = await busy.stop('SIGINT');
  assert.equal([ended.code, ended.stderr], [0, '']);
  await waitFor('the third one', async () => {
    const sockets = await must(['ss', '-Hx', 'src', path]);
    return (
      sockets
        .trim()
        .split('\n')
        .filter((line) => line.includes('ESTAB')).length === 2
    );
  });
  const nothing = await idle.stop('SIGINT');
  assert.equal([nothing.code, nothing.stdout, nothing.stderr], [1, '', 'vtep events: nothing happened\n']);
  await vtep.stop('SIGKILL');
  const { code, stderr } = await cut.ended;
  assert.is(code, 1);
  assert.match(stderr, /^vtep events: the VTEP at \S+ closed the connection before the end of its reply/);
});

test('an agent: members come, fail and come back; endpoints of the gossip; conflicts', async () => {
  await lab.start(h1);
  const stream = await new EventStream(lab.lab, h1.control).begun();
  const two = await lab.start(h2, '--join', h1.address);
  const member = { name: h2.address, address: h2.address, port: 7946 };
  await stream.has('member-joined', member);
  const theirs = { vni: VNI, ip: h2.ip, mac: h2.mac, vtep: h2.address };
  await stream.has('endpoint-added', { ...theirs, sources: ['gossip'] });
  await stream.has('peer-added', { vni: VNI, address: h2.address, sources: ['gossip'] });
  // Apart, both attach one address.
  await lab.cut(true);
  await stream.has('member-failed', member);
  await stream.has('endpoint-removed', { ...theirs, sources: [] });
  const ip = '10.0.0.88';
  await post(h1.control, '/v1/endpoints', { vni: VNI, ip, mac: '02:42:0a:00:00:88' });
  await post(h2.control, '/v1/endpoints', { vni: VNI, ip, mac: '02:42:0a:00:00:99' });
  await lab.cut(false);
  await stream.has('member-back', member);
  const conflict = await stream.has('conflict', { network: 'net1', kind: 'ip', value: ip });
  assert.is(conflict['level'], 'warning');
  const removal = `/v1/endpoints?vni=${VNI}&ip=${ip}&mac=02:42:0a:00:00:88`;
  await remove(h1.control, removal);
  await stream.has('conflict-over', { network: 'net1', value: ip });
  await stream.has('endpoint-added', { ip, vtep: h2.address });
  await two.stop();
  await stream.has('member-left', member);
  const description = (await call(h1.control, 'GET', '/v1/openapi.json')).text;
  requireDescribed(description, stream.lines);
});

test.run();
