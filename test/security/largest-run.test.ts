/** The largest run of merged datagrams, for a TAP without virtio header, which gets it in pieces from a scratch buffer. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as ethernet from '../../src/ethernet/index.js';
import * as ipv4 from '../../src/ipv4/index.js';
import * as ipv6 from '../../src/ipv6/index.js';
import { readCounts } from '../../src/host/linux/counts.js';
import * as tcp from '../../src/tcp/index.js';
import { encode } from '../../src/vxlan/index.js';
import { FakePath, VNI } from '../support/fake-path.js';

/** A TCP segment from one endpoint to another in a datagram. */
function segment(version: 4 | 6, sequence: number, payload: Uint8Array): Uint8Array {
  const [source, destination] = version === 4 ? ['10.0.0.3', '10.0.0.4'] : ['fd00::3', 'fd00::4'];
  const upper = tcp.encode(
    {
      ...{ sourcePort: 1, destinationPort: 2, sequence, acknowledgment: 4, flags: tcp.FLAG_ACK, window: 5 },
      payload,
    },
    { source, destination },
  );
  const ends = { destination: '02:00:00:00:00:99', source: '02:00:00:00:00:01' };
  const frame =
    version === 4
      ? ethernet.encode({
          ...ends,
          etherType: 0x0800,
          payload: ipv4.encode({ protocol: 6, source, destination, payload: upper, dontFragment: true }),
        })
      : ethernet.encode({
          ...ends,
          etherType: 0x86dd,
          payload: ipv6.encode({ nextHeader: 6, source, destination, payload: upper }),
        });
  return encode({ vni: VNI, payload: frame });
}

for (const version of [4, 6] as const)
  test(`a run as long as the longest packet of IPv${version} does not leave the buffer`, () => {
    const fake = new FakePath({ vnet: false });
    // 65,535 bytes after the IPv6 header, or with the IPv4 header.
    const most = 65_535 - 20 - (version === 4 ? 20 : 0);
    const size = Math.ceil(most / 46);
    let data = new Uint8Array(0);
    const sent = Array.from({ length: most }, (_, i) => (i * 7 + (i >> 8)) & 255);
    let datagram = 0;
    for (let at = 0; at < most; at += size) {
      const one = segment(version, at, Uint8Array.from(sent.slice(at, at + size)));
      datagram ||= one.length;
      data = Uint8Array.from([...data, ...one]);
    }
    fake.receiveMany(data, datagram);
    const { framesWritten, datagramsReceived, writeErrors } = readCounts(fake.counts);
    assert.equal([framesWritten, datagramsReceived, writeErrors], [46, 46, {}]);
    assert.equal(fake.outside, [], 'pieces outside the buffers');
    const head = version === 4 ? 54 : 74;
    const received = fake.written.flatMap((frame) => [...frame.subarray(head)]);
    assert.is(received.length, most);
    assert.ok(received.every((octet, i) => octet === sent[i]));
  });

test.run();
