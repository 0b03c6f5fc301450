/** Which announced endpoints a host takes into the subnets of its networks. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as db from '../src/gossip/networkdb/index.js';
import { partsOf, type GossipPart } from '../src/host/gossip-parts.js';
import { networksOf, plan } from '../src/schema/index.js';

const NET = 'prod-net';
const MAC = '02:42:00:00:00:fe';

/** The parts of a network with two subnets at node a, and a function that announces an endpoint of node b. */
function parts(): {
  parts: GossipPart[];
  announce: (key: string, ip: string, mac: string) => void;
  taken: string[];
  refused: string[];
} {
  const subnets = [
    { prefix: '10.1.1.0/24', vni: 4097 },
    { prefix: '11.1.1.0/24', vni: 4098 },
  ];
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
  const announce = (key: string, ip: string, mac: string): void => {
    const value = db.peerRecord.encode({ endpointIp: `${ip}/24`, endpointMac: mac, tunnelIp: '192.0.2.2' });
    const event = {
      type: db.CREATE,
      time: time++,
      node: 'b',
      network: NET,
      table: db.OVERLAY_PEER_TABLE,
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
    all.map(({ vni, gateway, peers }) => [vni, gateway, peers.size, peers.conflictCount]),
    [
      [4097, '10.1.1.1', 1, 0],
      [4098, '11.1.1.1', 1, 0],
    ],
  );
});

test.run();
