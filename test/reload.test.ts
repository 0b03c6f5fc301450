import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compare, merge } from '../src/host/index.js';
import { plan } from '../src/schema/index.js';

const reload = suite('reload');

const segment = { vni: 1, peers: ['192.0.2.2', '192.0.2.3'] };
const near = { ip: '10.0.0.4', mac: '02:00:00:00:00:04', vtep: '192.0.2.2' };
const far = { ip: '10.0.0.5', mac: '02:00:00:00:00:05', vtep: '192.0.2.3' };
const config = (segments: object[], more: object = {}) =>
  plan({ local: '192.0.2.1', segments, taps: [{ name: 'tap0', vni: 1 }], ...more });

reload('the same configuration changes nothing', () => {
  const one = config([{ ...segment, endpoints: [near] }]);
  assert.equal(compare(one, structuredClone(one)), { requests: [], restart: [] });
});

reload('peers and endpoints are added before others are removed', () => {
  const before = config([{ ...segment, endpoints: [near] }]);
  const after = config([{ vni: 1, peers: ['192.0.2.3', '192.0.2.4'], endpoints: [far] }]);
  assert.equal(compare(before, after), {
    requests: [
      { command: 'add-peer', vni: 1, address: '192.0.2.4' },
      { command: 'add-endpoint', vni: 1, ...far },
      { command: 'remove-peer', vni: 1, address: '192.0.2.2' },
      { command: 'remove-endpoint', vni: 1, ...near },
    ],
    restart: [],
  });
  assert.equal(compare(merge(before, after), after), { requests: [], restart: [] });
});

reload('an endpoint with a changed MAC address or VTEP is added and its old version removed', () => {
  const before = config([{ ...segment, endpoints: [near] }]);
  for (const change of [{ mac: '02:00:00:00:00:14' }, { vtep: '192.0.2.3' }]) {
    const { requests } = compare(before, config([{ ...segment, endpoints: [{ ...near, ...change }] }]));
    assert.equal(
      requests.map(({ command }) => command),
      ['add-endpoint', 'remove-endpoint'],
    );
  }
});

reload('changes that need a restart are listed, not applied, and listed again the next time', () => {
  const before = config([segment]);
  const after = config([{ ...segment, learn: false, mtu: 1400 }, { vni: 2 }], { sourcePorts: 4 });
  const expected = ['sourcePorts', 'segments[1].mtu', 'segments[1].learn', 'segments[2]'];
  assert.equal(compare(before, after).restart.sort(), [...expected].sort());
  assert.equal(compare(merge(before, after), after).restart.sort(), [...expected].sort());
  assert.equal(compare(after, before).restart.includes('segments[2]'), true);
});

reload.run();
