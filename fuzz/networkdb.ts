/** The decoders of NetworkDB's messages: the first octet chooses one, the rest is the message. */
import * as networkdb from '../src/gossip/networkdb/index.js';
import { attempt, ensure, equal, wireError } from '../test/support/contract.js';

const CODECS = [
  networkdb.gossipMessage,
  networkdb.nodeEvent,
  networkdb.networkEvent,
  networkdb.networkEntry,
  networkdb.networkPushPull,
  networkdb.tableEvent,
  networkdb.bulkSyncMessage,
  networkdb.simpleMessage,
  networkdb.compoundMessage,
  networkdb.peerRecord,
  networkdb.portConfig,
  networkdb.endpointRecord,
] as networkdb.MessageCodec<object>[];

export function fuzz(data: Uint8Array): void {
  if (data.length > 0) holds(CODECS[data[0]! % CODECS.length]!, data.subarray(1));
}

/** Checks the promises of a message codec for any bytes. */
export function holds(codec: networkdb.MessageCodec<object>, input: Uint8Array): void {
  const [value, error] = attempt(() => codec.decode(input));
  const framed = new Uint8Array(input.length + 12).fill(0xff);
  framed.set(input, 5);
  const [inside, wrong] = attempt(() => codec.decode(framed, 5, 5 + input.length));
  if (value === undefined) {
    const wire = wireError(error);
    ensure(wire.offset >= 0 && wire.offset <= input.length, `the error is at ${wire.offset} of ${input.length}`);
    if (wire.reason === 'truncated')
      ensure(wire.needed > wire.available, `needs ${wire.needed}, has ${wire.available}`);
    ensure(wireError(wrong).offset === wire.offset + 5, 'the error does not move with the bytes');
    return;
  }
  equal(inside, value, 'the value decoded between other bytes');
  const canonical = codec.encode(value);
  // A negative 32-bit number that came in five octets is encoded in ten.
  ensure(canonical.length <= 2 * input.length, `${canonical.length} bytes for ${input.length}`);
  equal(codec.decode(canonical), value, 'decode(encode(decode(b)))');
  equal(codec.encode(codec.decode(canonical)), canonical, 'encode(decode(canonical))');
  const dirty = new Uint8Array(canonical.length + 7).fill(0xa5);
  ensure(codec.encodeInto(value, dirty, 3) === 3 + canonical.length, 'encodeInto returns a wrong end');
  equal(dirty.subarray(3, -4), canonical, 'the octets that encodeInto wrote');
  ensure(
    dirty.subarray(0, 3).every((octet) => octet === 0xa5),
    'encodeInto wrote before the message',
  );
  ensure(
    dirty.subarray(-4).every((octet) => octet === 0xa5),
    'encodeInto wrote behind the message',
  );
}
