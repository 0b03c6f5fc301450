/** A VTEP that changes while it runs: TAPs and segments come and go. */
import * as assert from 'uvu/assert';
import { type Tap } from '../../src/schema/index.js';
import { devices, must, ping, waitFor } from '../support/lab.js';
import { LiveLab, OTHER, VNI } from '../support/live-lab.js';
import { suiteWith } from '../support/needs.js';

const live = suiteWith('a VTEP that changes while it runs', ['root', 'tun', 'ip', 'ping']);

let lab: LiveLab;
let container: LiveLab['container'];
const address = (which: 1 | 2): string => `172.31.1.${which}`;

live.before(async () => {
  lab = await LiveLab.create('lv');
  container = lab.container;
});
live.after.each(() => lab?.end());
live.after(() => lab?.teardown());

/** The error of a request: its path and its message. */
async function refusal(request: Promise<unknown>): Promise<string> {
  return request.then(
    () => assert.unreachable('it was accepted') as never,
    ({ path, message }: Error & { path?: string }) => `${path}: ${message}`,
  );
}

for (const engine of ['linux', 'dgram'] as const) {
  live(`${engine}: a TAP is attached, used, detached, and attached again; also the last one`, async () => {
    const { vtep, program } = await lab.start(engine, { taps: [] });
    assert.equal((await vtep.facts()).taps, []);
    for (let round = 0; round < 3; round++) {
      const { device } = await vtep.attach(lab.tap(1));
      assert.is(device, 'eth0');
      assert.is(await ping(container[1], '10.0.0.2'), 3, `round ${round}`);
      await vtep.attach(lab.tap(3, { mac: '02:00:00:00:00:33', mtu: 1300 }));
      const [link] = JSON.parse(await must(['ip', '-n', container[3], '-j', 'addr', 'show', 'eth0'])) as [
        { mtu: number; address: string; addr_info: { local: string }[] },
      ];
      assert.equal([link.mtu, link.address], [1300, '02:00:00:00:00:33']);
      assert.ok(link.addr_info.some(({ local }) => local === '10.0.0.3'));
      assert.is(await ping(container[3], '10.0.0.2'), 3);
      assert.is(await ping(container[3], '10.0.0.1'), 3, 'between two TAPs of this VTEP');
      assert.equal(await vtep.neighbors(VNI), ['10.0.0.1 here', '10.0.0.3 here']);
      await vtep.detach('eth0', container[1]);
      assert.equal(await devices(container[1]), ['lo']);
      assert.is(await ping(container[3], '10.0.0.2'), 3, 'the other TAP stays');
      await vtep.detach('eth0', container[3]);
      assert.equal([(await vtep.facts()).taps, await vtep.neighbors(VNI)], [[], []]);
    }
    assert.equal([program.running, program.stderr], [true, '']);
    const { vtep: counters, engine: own } = await vtep.counters();
    assert.ok(counters.counts['frames-in'] >= 3 * 12, 'the counts of detached TAPs stay');
    assert.equal(own.writeErrors, {});
  });

  live(`${engine}: segments and trunks come and go under traffic`, async () => {
    const { vtep } = await lab.start(engine);
    const pings = ping(container[1], '10.0.0.2', { count: 300, interval: 0.01 });
    const peers = [address(2)];
    let frames = 0;
    for (let round = 0; round < 3; round++) {
      await vtep.addSegment({ vni: OTHER, peers });
      assert.match(await refusal(vtep.addSegment({ vni: OTHER })), /^vni: .*in use already/);
      await vtep.attach(lab.tap(3, { address: '10.0.1.3/24', vni: OTHER }));
      assert.is(await ping(container[3], '10.0.1.2'), 3);
      assert.match(await refusal(vtep.removeSegment(OTHER)), /TAP "eth0"/);
      await vtep.detach('eth0', container[3]);
      const { name, netns } = lab.tap(4);
      await vtep.attach({ name: name!, netns: netns!, vlans: { 10: OTHER }, native: VNI, address: '10.0.0.4/24' });
      assert.is(await ping(container[4], '10.0.0.2'), 3);
      await vtep.detach('eth0', container[4]);
      await vtep.removeSegment(OTHER);
      assert.equal((await vtep.facts()).segments, [VNI]);
      const { counts } = (await vtep.counters()).vtep;
      assert.ok(counts['frames-in'] > frames, 'totals do not go backwards');
      frames = counts['frames-in'];
    }
    assert.is(await pings, 300);
  });

  live(`${engine}: what cannot be attached leaves nothing behind, and says what is wrong`, async () => {
    const { vtep, program } = await lab.start(engine);
    const before = [await lab.things(), await vtep.facts()] as const;
    const refused: [Partial<Tap>, RegExp][] = [
      [{ vni: 9 }, /^vni: .*expected the VNI of a segment \(4097\)/],
      [{ netns: 'no-such-namespace' }, /^netns: .*does not exist/],
      [{ name: 'lo' }, /^name: .*exists already/],
      [{ name: 'a-name-that-is-too-long' }, /^name: /],
      [{ address: '10.0.0.1/24' }, /^address: .*in use already \(address of TAP eth0 in namespace /],
      [{ name: 'eth0', netns: container[1], address: '10.0.0.9/24' }, /^name: .*in use already/],
      [{ address: '10.0.0.0/24' }, /^address: /],
      [{ address: 'fd00::1/64', mtu: 1200 }, /^mtu: .*1280/],
      [{ address: '127.0.0.1/8' }, /^address: /],
    ];
    for (const [wrong, expected] of refused) assert.match(await refusal(vtep.attach(lab.tap(3, wrong))), expected);
    assert.match(await refusal(vtep.detach('eth0', container[3])), /^name: there is no TAP "eth0" in namespace/);
    assert.match(await refusal(vtep.removeSegment(9)), /^vni: there is no segment 9/);
    assert.match(await refusal(vtep.addSegment({ vni: 9, peers: [address(1)] })), /^peers\[0\]: /);
    assert.match(await refusal(vtep.addSegment({ vni: 9, peers: ['203.0.113.9'] })), /^peers\[0\]: no route/);
    const now = await vtep.facts();
    assert.equal(await lab.things(), before[0]);
    assert.equal([now.files, now.taps, now.segments], [before[1].files, before[1].taps, before[1].segments]);
    assert.is(await ping(container[1], '10.0.0.2'), 3);
    assert.is(program.stderr, '');
  });

  live(`${engine}: a lost TAP is detached, and its address is free`, async () => {
    const { vtep, program } = await lab.start(engine);
    await vtep.attach(lab.tap(3));
    await must(['ip', '-n', container[3], 'link', 'del', 'eth0']);
    await waitFor('the TAP to be lost', async () => (await vtep.facts()).taps.length === 1);
    await waitFor('the warning', () => /TAP eth0 is lost: the device has been removed/.test(program.stderr));
    assert.equal(await vtep.neighbors(VNI), ['10.0.0.1 here']);
    await vtep.attach(lab.tap(4, { address: '10.0.0.3/24' }));
    assert.is(await ping(container[4], '10.0.0.2'), 3);
    for (const which of [1, 4] as const) await must(['ip', '-n', container[which], 'link', 'del', 'eth0']);
    await waitFor('the TAPs to be lost', async () => (await vtep.facts()).taps.length === 0);
    assert.ok(program.running, 'a VTEP whose TAPs come and go lives without one');
    await vtep.attach(lab.tap(1));
    assert.is(await ping(container[1], '10.0.0.2'), 3);
  });

  live(
    `${engine}: a TAP that is attached is kept like one of the configuration, and removed when it is detached`,
    async () => {
      const first = await lab.start(engine, { keepTaps: true });
      await first.vtep.attach(lab.tap(3));
      const index = await must(['ip', '-n', container[3], '-o', 'link', 'show', 'eth0']);
      await first.program.stop('SIGKILL');
      assert.equal(await devices(container[3]), ['lo', 'eth0']);
      await lab.lab.killAll();
      const { vtep } = await lab.start(engine, { keepTaps: true });
      await vtep.attach(lab.tap(3));
      const again = await must(['ip', '-n', container[3], '-o', 'link', 'show', 'eth0']);
      assert.is(again.split(':')[0], index.split(':')[0], 'it is the same device');
      assert.is(await ping(container[3], '10.0.0.2'), 3);
      for (const which of [1, 3] as const) await vtep.detach('eth0', container[which]);
      assert.equal(await devices(container[3]), ['lo']);
    },
  );
}

live.run();
