/** Requests to a live VTEP that somebody makes by mistake: what they must not break, and what the VTEP says of them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type NeighborListing } from '../../src/vtep/index.js';
import { devices, Lab, must, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { call } from '../support/unix-http.js';

const test = suiteWith('mistakes over the control socket', ['root', 'tun', 'ip']);
const directory = mkdtempSync(join(tmpdir(), 'weft-mistakes-'));
const path = join(directory, 'vtep.sock');
const VNI = 4097;
let lab: Lab;
let host: string;
let c1: string;

test.before(async () => {
  lab = new Lab('chf');
  host = await lab.namespace('h1');
  c1 = await lab.namespace('c1');
  const other = await lab.namespace('h2');
  const end = (ns: string, i: number) => ({ ns, device: 'eth0', addresses: [`172.31.4.${i}/24`] });
  await lab.join(end(host, 1), end(other, 2));
});
test.after.each(() => lab.killAll());
test.after(async () => {
  await lab.teardown();
  rmSync(directory, { recursive: true });
});

async function start(engine: string, ...more: string[]): Promise<Running> {
  const flags = ['--local', '172.31.4.1', '--peer', '172.31.4.2', '--vni', String(VNI), '--tap', 'tap0'];
  return lab.startVtep({ ns: host, args: ['up', ...flags, '--engine', engine, '--control', path, ...more] });
}

/** Sends a request. @returns the result; of one that fails, its status, code, fields and message. */
async function ask(method: string, target: string, body?: object): Promise<unknown> {
  const { status, text } = await call(path, method, target, { body });
  const answer = JSON.parse(text) as { error: { code: string; message: string; fields?: { path: string }[] } };
  if (status < 400) return answer;
  const { code, message, fields = [] } = answer.error;
  return [status, code, fields.map((field) => field.path).join(), message];
}

const neighbors = async (): Promise<string[]> =>
  ((await ask('GET', '/v1/neighbors')) as NeighborListing[]).map(({ ip, mac, vtep }) => `${ip} ${mac} ${vtep}`);

for (const engine of ['linux', 'dgram']) {
  test(`${engine}: an endpoint that was added stays when a TAP with its addresses is detached`, async () => {
    await start(engine);
    const [ip, mac] = ['10.0.0.30', '02:00:00:00:00:30'];
    await ask('POST', '/v1/endpoints', { vni: VNI, ip, mac });
    await ask('POST', '/v1/taps', { name: 'eth0', netns: c1, vni: VNI, address: `${ip}/24`, mac });
    await ask('DELETE', `/v1/taps?name=eth0&netns=${c1}`);
    assert.equal(await neighbors(), [`${ip} ${mac} null`]);
    assert.equal(await ask('DELETE', `/v1/endpoints?vni=${VNI}&ip=${ip}&mac=${mac}`), { removed: true });
    await ask('POST', '/v1/taps', { name: 'eth0', netns: c1, vni: VNI, address: `${ip}/24`, mac });
    assert.equal(await neighbors(), [`${ip} ${mac} null`]);
    await ask('DELETE', `/v1/taps?name=eth0&netns=${c1}`);
    assert.equal(await neighbors(), [], 'the endpoint of a TAP goes with it');
  });

  test(`${engine}: no peer, of the configuration or the API, may be in the subnet of a TAP of the VTEP's namespace`, async () => {
    await start(engine);
    await ask('POST', '/v1/peers', { vni: VNI, address: '10.78.0.9' });
    const tap = { name: 'here', vni: VNI, address: '10.78.0.1/24' };
    const [status, code, fields, message] = (await ask('POST', '/v1/taps', tap)) as string[];
    assert.equal([status, code, fields], [400, 'invalid-request', 'address']);
    assert.match(
      message,
      'the VTEP 10.78.0.9 (peer of segment 4097) is in it: the underlay would run through the overlay',
    );
    assert.not((await devices(host)).includes('here'));
    await ask('DELETE', `/v1/peers?vni=${VNI}&address=10.78.0.9`);
    assert.match(JSON.stringify(await ask('POST', '/v1/taps', tap)), '"device":"here"');
    await ask('DELETE', '/v1/taps?name=here');
  });

  for (const keep of [[], ['--keep-taps']])
    test(`${engine} ${keep.join('')}: a TAP of this VTEP, by another name of its namespace`, async () => {
      const running = await start(engine, ...keep);
      const tap = { name: 'eth0', vni: VNI };
      await ask('POST', '/v1/taps', { ...tap, netns: c1 });
      const other = `/run/netns/${c1}`;
      const refusal = (await ask('POST', '/v1/taps', { ...tap, netns: other })) as [number, string, string, string];
      assert.equal(refusal.slice(0, 3), [409, 'conflict', 'name']);
      // Other processes of this host may have a TAP of that name, in other namespaces.
      assert.is(
        refusal[3].replace(/, or (process|one of the processes) [\d, ]+ has;/, ';'),
        `a TAP "eth0" in namespace ${other} exists already: this VTEP has it, perhaps by another name of the namespace; choose another name`,
      );
      await must(['ip', '-n', c1, 'addr', 'add', '10.7.0.1/24', 'dev', 'eth0']);
      const [, , , message] = (await ask('POST', '/v1/taps', {
        ...{ name: 'eth1', netns: other, vni: VNI, address: '10.7.0.1/24' },
      })) as string[];
      assert.match(message, `"nsenter --net=${other} ip addr del 10.7.0.1/24 dev eth0"`);
      await ask('DELETE', `/v1/taps?name=eth0&netns=${c1}`);
      assert.equal(await devices(c1), ['lo']);
      await running.stop(); // which removes a TAP that a kill would keep
    });
}

test.run();
