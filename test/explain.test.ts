/** What `vtep explain` concludes from an explanation: its last line and its exit code. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exitCode, readable } from '../src/cli/explain.js';
import { udpFrame } from './support/frames.js';
import { fromHex } from './support/hex.js';
import { C1, C2, FAR, FRAMES, GATEWAY_MAC, NEAR } from './support/router-host.js';
import { host } from './support/vtep-host.js';

const test = suite('vtep explain');

const H2 = '192.168.1.25';

/** A VTEP with a gateway for a container behind `tap0` in `NEAR`. */
function routed() {
  const { vtep, frame } = host({ vni: NEAR });
  vtep.addSegment({ vni: FAR, mtu: 1400 });
  const subnets = [
    { vni: NEAR, prefix: '10.0.0.0/24', gateway: '10.0.0.1' },
    { vni: FAR, prefix: '10.0.1.0/24', gateway: '10.0.1.1' },
  ];
  vtep.addRouter({ id: 'prod-net', mac: GATEWAY_MAC, subnets });
  const port = vtep.addPort({ name: 'tap0', vni: NEAR });
  vtep.addPeer(NEAR, H2);
  frame(port, udpFrame(C1, { ip: '10.0.0.9', mac: '02:42:0a:00:00:09' }));
  const conclude = (data: Uint8Array): [string, number] => {
    const explanation = vtep.explain({ port, frame: data }, 0);
    return [readable(explanation).at(-1)!, exitCode(explanation, 'tap0')];
  };
  return { vtep, conclude };
}

test('a packet that is answered with an ICMP error counts as dropped', () => {
  const { conclude } = routed();
  assert.equal(conclude(fromHex(FRAMES['expired']![0])), ['=> leaves by tap0; dropped: router-ttl', 3]);
  const far = udpFrame(C1, { ip: '203.0.113.1', mac: GATEWAY_MAC });
  assert.equal(conclude(far), ['=> leaves by tap0; dropped: router-no-route', 3]);
  const big = udpFrame(C1, { ip: '10.0.0.9', mac: '02:42:0a:00:00:09' }, { size: 1500, ip: { dontFragment: true } });
  assert.equal(conclude(big), ['=> leaves by tap0; dropped: too-big', 3]);
  const explanation = { steps: [], delivered: [], transmitted: [H2], dropped: 'too-big' as const };
  assert.is(exitCode(explanation, H2), 3, 'the answer goes to the VTEP that the packet comes from');
});

test('a packet that waits for the answer to an ARP request of the gateway is not forwarded yet', () => {
  const { vtep, conclude } = routed();
  const [packet] = FRAMES['routed']!.map(fromHex) as [Uint8Array];
  assert.equal(conclude(packet), ['=> goes no further than the gateway', 3]);
  vtep.addEndpoint(FAR, { ip: C2.ip, mac: C2.mac, vtep: H2 });
  assert.equal(conclude(packet), [`=> goes to ${H2}`, 0]);
});

test('what the gateway or the proxy answers is served', () => {
  const { conclude } = routed();
  assert.equal(conclude(fromHex(FRAMES['echo']![0])), ['=> leaves by tap0', 0]);
});

test('a packet of which a copy goes on is forwarded, though another copy is dropped', () => {
  const steps = [{ stage: 'drop', text: 'flood-limit: too many datagrams' }] as const;
  const explanation = { steps: [...steps], delivered: ['tap1'], transmitted: [], dropped: 'flood-limit' as const };
  assert.is(exitCode(explanation, 'tap0'), 0);
  assert.is(exitCode({ ...explanation, delivered: [] }, 'tap0'), 3);
});

test.run();
