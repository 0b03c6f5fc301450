/** Which announced endpoints a host takes into the subnets of its networks. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as db from '../src/gossip/networkdb/index.js';
import { partsOf, takes, type GossipPart } from '../src/host/gossip-parts.js';
import { networksOf, plan, type NetworkSubnet } from '../src/schema/index.js';

const NET = 'prod-net';
const MAC = '02:42:00:00:00:fe';

const SUBNETS = [
  { prefix: '10.1.1.0/24', vni: 4097 },
  { prefix: '11.1.1.0/24', vni: 4098 },
];

/** The parts of a network at node a, and a function that announces an endpoint of node b. */
function parts(subnets: NetworkSubnet[] = SUBNETS): {
  parts: GossipPart[];
  announce: (key: string, ip: string, mac: string, more?: Partial<db.PeerExtension>) => void;
  taken: string[];
  refused: string[];
} {
  const made = plan({
    local: '192.0.2.1',
    segments: [],
    taps: [],
    gossip: { networks: [{ id: NET, mac: MAC, subnets }] },
  });
  const silent = { sendPacket: () => undefined, sendReliable: () => undefined, contact: () => undefined };
  const machine = new db.NetworkDb({ name: 'a', random: () => 0.5 }, silent);
  machine.start(0);
  machine.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, 0);
  const [taken, refused]: [string[], string[]] = [[], []];
  const sink: db.OverlaySink = {
    addEndpoint: (vni, { ip }) => void taken.push(`${vni} ${ip}`),
    removeEndpoint: () => undefined,
    addPeer: () => undefined,
    removePeer: () => undefined,
  };
  const [network] = networksOf(made);
  const all = partsOf(network!, made.local, machine, sink, {
    conflict: () => undefined,
    announced: () => undefined,
    refused: (reason) => void refused.push(reason),
  });
  all[0]!.peers.addLocal({ id: 'own', ip: '10.1.1.9/24', mac: '02:42:0a:01:01:09' }, 0);
  machine.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: 'b', network: NET }), 0);
  let time = 10;
  const announce = (key: string, ip: string, mac: string, more?: Partial<db.PeerExtension>): void => {
    const [length, table] = ip.includes(':') ? [128, db.PEER_TABLE6] : [24, db.OVERLAY_PEER_TABLE];
    const record = { endpointIp: `${ip}/${length}`, endpointMac: mac, tunnelIp: '192.0.2.2' };
    const extension = { since: 7, attached: 7, vni: 0, subnet: '', ...more };
    const unknown = more === undefined ? {} : { unknown: db.peerExtension.encode(extension) };
    const value = db.peerRecord.encode({ ...record, ...unknown });
    const event = {
      type: db.CREATE,
      time: time++,
      node: 'b',
      network: NET,
      table,
      key,
      value,
      residual: 0,
    };
    machine.receive(db.wrap(db.TABLE_EVENT, db.tableEvent, event), 0);
  };
  return { parts: all, announce, taken, refused };
}

test('an endpoint belongs to the subnet that has its address; that of a gateway is refused, once in the log', () => {
  const { announce, taken, refused, parts: all } = parts();
  announce('e1', '10.1.1.2', '02:42:0a:01:01:02');
  announce('e2', '11.1.1.2', '02:42:0b:01:01:02');
  assert.equal(taken, ['4097 10.1.1.2', '4098 11.1.1.2']);
  assert.equal(refused, []);
  announce('e3', '11.1.1.1', '02:42:0b:01:01:01');
  announce('e4', '11.1.1.4', MAC);
  announce('e5', '12.1.1.4', '02:42:0c:01:01:04');
  announce('e6', '12.1.1.4', '02:42:0c:01:01:04');
  assert.equal(taken.length, 2);
  const by = 'network prod-net: the endpoint';
  assert.equal(refused, [
    `${by} 11.1.1.1 with 02:42:0b:01:01:01, which b announces, is refused: the address is the gateway of 11.1.1.0/24, which every host has`,
    `${by} 11.1.1.4 with ${MAC}, which b announces, is refused: the MAC address is that of the gateways, which every host has`,
    `${by} 12.1.1.4 with 02:42:0c:01:01:04, which b announces, is refused: the network here has only the subnets 10.1.1.0/24, 11.1.1.0/24`,
  ]);
  assert.equal(
    all.map(({ vni, subnets, peers }) => [vni, subnets[0]!.gateway, peers.size, peers.conflictCount]),
    [
      [4097, '10.1.1.1', 1, 0],
      [4098, '11.1.1.1', 1, 0],
    ],
  );
});

test('an IPv4 and an IPv6 subnet with one VNI are one part, and a MAC address has one place in it', () => {
  const subnets = [
    { prefix: 'fd01::/64', vni: 4097 },
    { prefix: '10.1.1.0/24', vni: 4097 },
    { prefix: 'fd02::/64', vni: 4098 },
  ];
  const { announce, taken, refused, parts: all } = parts(subnets);
  assert.equal(
    all.map((part) => [part.vni, part.subnets.map(({ prefix, gateway }) => `${prefix} ${gateway}`)]),
    [
      [4097, ['10.1.1.0/24 10.1.1.1', 'fd01::/64 fd01::1']],
      [4098, ['fd02::/64 fd02::1']],
    ],
  );
  const [near, far] = [
    { vni: 4097, subnet: '10.1.1.0/24' },
    { vni: 4098, subnet: 'FD02:0::/64' },
  ];
  announce('e1', '10.1.1.2', '02:42:0a:01:01:02');
  announce('e1', 'fd01::2', '02:42:0a:01:01:02', near);
  announce('e2', 'fd02::2', '02:42:0b:01:01:02', far);
  assert.equal(taken, ['4097 10.1.1.2', '4097 fd01::2', '4098 fd02::2']);
  assert.equal(
    all.map(({ peers }) => [peers.size, peers.size6]),
    [
      [2, 1],
      [1, 1],
    ],
  );
  assert.equal(refused, []);
  announce('e3', 'fd01::1', '02:42:0a:01:01:03', near);
  announce('e4', 'fd02::4', '02:42:0a:01:01:04', near);
  announce('e5', 'fd01::5', '02:42:0a:01:01:05', { ...near, subnet: '10.1.0.0/16' });
  announce('e6', 'fd02::6', '02:42:0b:01:01:06', { ...far, subnet: 'fd02::/48' });
  announce('e7', 'fd02::7', '02:42:0b:01:01:07', { ...far, subnet: 'fd02::/129' });
  announce('e8', '10.1.1.8', '02:42:0a:01:01:09', { since: 9e15, vni: 4097 });
  assert.equal(taken.length, 3);
  assert.equal(
    refused.map((text) => /endpoint (\S+) .* is refused: (.*)/.exec(text)!.slice(1).join(': ')),
    [
      'fd01::1: the address is the gateway of fd01::/64, which every host has',
      ...['fd02::4', 'fd01::5', 'fd02::6'].map(
        (ip) => `${ip}: the network here has only the subnets fd01::/64, 10.1.1.0/24, fd02::/64`,
      ),
    ],
  );
  assert.is(all[1]!.peers.rejected, 1, 'a subnet that is none');
});

test('which endpoints of this host a part takes', () => {
  const of = (...prefixes: string[]): GossipPart =>
    parts([...prefixes.map((prefix) => ({ prefix, vni: 1 })), ...SUBNETS]).parts[0]!;
  const [four, six, dual] = [of('10.0.0.0/24'), of('fd00::/64'), of('fd00::/64', '10.0.0.0/24')];
  const ips = ['10.0.0.2', '10.0.1.2', 'fd00::2', 'fd00:1::2'];
  const taken = [four, six, dual].map((part) => ips.filter((ip) => takes(part, ip)));
  assert.equal(taken, [['10.0.0.2', 'fd00::2', 'fd00:1::2'], ['fd00::2'], ['10.0.0.2', 'fd00::2']]);
});

test.run();
