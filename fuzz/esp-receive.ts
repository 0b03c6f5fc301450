/**
 * What receives ESP packets. The input is a list of datagrams, each after its length in two octets, low octet first. The AEAD
 * accepts every packet whose ICV is 16 times the octet 0x42, and decrypts nothing, so that the rest of the receiver is reached.
 */
import { type Socket } from 'node:dgram';
import * as esp from '../src/esp/index.js';
import { EspDgram, ESP_ROOM } from '../src/host/esp/dgram.js';
import { Recorder } from '../src/host/recorder.js';
import { Frame, Vtep, type VtepSink } from '../src/vtep/index.js';

const REMOTE = '192.0.2.2';
const STRANGER = '192.0.2.9';
const ICV = 0x42;
const SPI = 0x1122_3344;

export function fuzz(data: Uint8Array): void {
  const vtep = new Vtep({ local: '192.0.2.1', peersOnly: true });
  vtep.addSegment({ vni: 42, group: 'net' });
  vtep.addSegment({ vni: 43 });
  vtep.addSegment({ vni: 44, group: 'other' });
  for (const vni of [42, 43, 44]) vtep.addPeer(vni, REMOTE);
  const ports = [42, 43, 44].map((vni) => vtep.addPort({ name: `tap${vni}`, vni }));
  const delivered: number[] = [];
  const sink: VtepSink = {
    deliver: (port, { bytes, start, end }) => {
      ensure(start >= 0 && start < end && end <= bytes.length, `hands out ${start} to ${end}`);
      delivered.push(port);
    },
    transmit: () => ensure(false, 'a datagram goes into a tunnel'),
  };
  const bytes = new Uint8Array(ESP_ROOM);
  const receiver = new EspDgram({
    ...{ vtep, bytes, local: '192.0.2.1', port: 4500, sink },
    socket: { send: () => undefined, on: () => undefined } as unknown as Socket,
    recorder: new Recorder(() => undefined),
    aead: fakeAead(bytes),
    received: () => undefined,
    events: () => undefined,
  });
  const keys = [{ spi: SPI, key: new Uint8Array(16), salt: new Uint8Array(4) }];
  receiver.associate([{ do: 'accept', group: 'net', address: REMOTE, keys }], 0);

  const authentic = new Set<number>();
  let now = 0;
  for (const datagram of datagramsOf(data)) {
    const from = datagram[0] === 0x07 ? STRANGER : REMOTE;
    const before = delivered.length;
    const sequence = datagram.length >= esp.HEADER_LENGTH ? esp.getSequence(datagram, 0) : -1;
    const isClear = datagram[0] === 0x08;
    if (isClear) vtep.receiveDatagram(REMOTE, new Frame(datagram.slice(), 0, datagram.length), now, 0, sink);
    else receiver.receive(datagram, from, 5000, now);
    now += 10;
    for (const port of delivered.slice(before)) {
      // Clear text reaches the segment in clear text, an association the segments of its group.
      ensure(port === (isClear ? ports[1] : ports[0]), `port ${port} receives a frame`);
      if (isClear) continue;
      ensure(from === REMOTE && esp.getSpi(datagram, 0) === SPI, 'a packet of no association');
      ensure(!authentic.has(sequence), `sequence number ${sequence} twice`);
    }
    if (delivered.length > before && !isClear) authentic.add(sequence);
  }
  ensure(receiver.events.take().length < 2100, 'events pile up');
}

function* datagramsOf(data: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at + 2 <= data.length;) {
    const length = data[at]! + (data[at + 1]! << 8);
    yield data.subarray(at + 2, Math.min(at + 2 + length, data.length));
    at += 2 + length;
  }
}

function fakeAead(bytes: Uint8Array): esp.Aead {
  return {
    name: 'fake',
    key: () => ({
      seal: () => undefined,
      open(packets) {
        for (let i = 0; i < packets.count; i++) {
          const end = packets.offset[i]! + esp.FRONT + packets.length[i]!;
          ensure(end + 16 <= bytes.length, 'a packet ends outside of the buffer');
          // No sender has sent so much that the high half of a sequence number is not 0; it is authenticated, too.
          const isWhole = bytes.subarray(end, end + 16).every((octet) => octet === ICV) && packets.high[i] === 0;
          packets.authentic[i] = isWhole ? 1 : 0;
        }
      },
      free: () => undefined,
    }),
  };
}

function ensure(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}
