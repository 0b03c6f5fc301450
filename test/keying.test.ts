import assert from 'node:assert/strict';
import { createHmac, hkdfSync } from 'node:crypto';
import { suite } from 'uvu';
import { Keying, message, type AssociationChange, type KeyingReport } from '../src/keying/index.js';
import { type GroupKey } from '../src/model/index.js';

const test = suite('keying');

const A = '10.0.0.1';
const B = '10.0.0.2';
const key = (number: number, octet = number): GroupKey => ({
  number,
  key: Buffer.alloc(16, octet).toString('base64'),
});

let seed = 0;
function random(length: number): Uint8Array {
  seed++;
  return new Uint8Array(createHmac('sha512', 'seed').update(`${seed}`).digest()).slice(0, length);
}

/** A host, with what its machine has done. */
class Host {
  readonly changes: AssociationChange[] = [];
  readonly reports: KeyingReport[] = [];
  readonly sent: { to: string; bytes: Uint8Array }[] = [];
  readonly keying: Keying;

  constructor(
    readonly address: string,
    readonly senders = 1,
  ) {
    this.keying = new Keying(
      {
        local: address,
        senders,
        crypto: {
          hkdf: (ikm, salt, info, length) => new Uint8Array(hkdfSync('sha256', ikm, salt, info, length)),
          hmac: (secret, text) => new Uint8Array(createHmac('sha256', secret).update(text).digest()),
          random,
        },
        decodeKey: (text) => new Uint8Array(Buffer.from(text, 'base64')),
      },
      {
        send: (to, bytes) => void this.sent.push({ to, bytes }),
        change: (change) => void this.changes.push(change),
        report: (report) => void this.reports.push(report),
      },
    );
  }

  /** The associations that it sends by to an address, as the data plane knows them last. */
  sends(group: string, address: string): readonly { spi: number; key: Uint8Array; salt: Uint8Array }[] {
    const last = this.changes
      .filter((one) => (one.do === 'send' || one.do === 'stop') && one.address === address)
      .at(-1);
    return last?.do === 'send' && last.group === group ? last.keys : [];
  }

  /** The keys by SPI that it accepts. */
  accepts(): Map<number, { key: Uint8Array; salt: Uint8Array }> {
    const keys = new Map<number, { key: Uint8Array; salt: Uint8Array }>();
    for (const change of this.changes) {
      if (change.do === 'accept') for (const one of change.keys) keys.set(one.spi, one);
      if (change.do === 'forget') for (const spi of change.spis) keys.delete(spi);
    }
    return keys;
  }
}

/** Delivers what the hosts have sent, until nothing is left. @param loses Whether a message is lost. */
function deliver(hosts: readonly Host[], now: number, loses: (bytes: Uint8Array) => boolean = () => false): void {
  for (let busy = true; busy;) {
    busy = false;
    for (const from of hosts)
      for (const { to, bytes } of from.sent.splice(0)) {
        busy = true;
        if (!loses(bytes)) hosts.find(({ address }) => address === to)?.keying.receive(from.address, bytes, now);
      }
  }
}

function pair(senders = 1): [Host, Host] {
  const hosts: [Host, Host] = [new Host(A, senders), new Host(B, 2)];
  for (const { keying } of hosts) keying.setKeys('net', [key(1)], 0);
  return hosts;
}

/** Fails unless the receiver accepts what the sender seals. */
function assertAgreed(from: Host, to: Host): void {
  const keys = from.sends('net', to.address);
  assert.equal(keys.length, from.senders);
  const accepted = to.accepts();
  for (const { spi, key: own, salt } of keys) assert.deepEqual(accepted.get(spi), { spi, key: own, salt });
}

test('a host asks, the other one grants, and both have the same keys: one for each worker', () => {
  const [a, b] = pair(3);
  a.keying.want('net', B, 0);
  deliver([a, b], 0);
  assertAgreed(a, b);
  assert.equal(b.changes.findIndex((one) => one.do === 'accept') < b.changes.length, true);
  const texts = a.sends('net', B).map((one) => Buffer.from(one.key).toString('hex'));
  assert.equal(new Set(texts).size, 3);
  assert.equal(b.sends('net', A).length, 0); // each direction is agreed on by its sender
  b.keying.want('net', A, 0);
  deliver([a, b], 0);
  assertAgreed(b, a);
  assert.notDeepEqual(b.sends('net', A)[0]!.key, a.sends('net', B)[0]!.key);
});

test('an association is accepted before it is granted', () => {
  const order: string[] = [];
  const [a] = pair();
  const b = new Keying(
    {
      ...{ local: B, senders: 1 },
      crypto: {
        hkdf: (ikm, salt, info, length) => new Uint8Array(hkdfSync('sha256', ikm, salt, info, length)),
        hmac: (secret, text) => new Uint8Array(createHmac('sha256', secret).update(text).digest()),
        random,
      },
      decodeKey: (text) => new Uint8Array(Buffer.from(text, 'base64')),
    },
    { send: () => order.push('send'), change: ({ do: what }) => order.push(what), report: () => undefined },
  );
  b.setKeys('net', [key(1)], 0);
  a.keying.want('net', B, 0);
  b.receive(A, a.sent[0]!.bytes, 0);
  assert.deepEqual(order, ['accept', 'send']);
});

test('lost messages are repeated, and the receiver does not make a second association', () => {
  const [a, b] = pair();
  let lost = 0;
  a.keying.want('net', B, 0);
  for (let now = 0; now < 30_000 && a.sends('net', B).length === 0; now += 100) {
    a.keying.tick(now);
    deliver([a, b], now, () => ++lost <= 5);
  }
  assertAgreed(a, b);
  assert.equal(b.changes.filter((one) => one.do === 'accept').length, 1);
});

test('keys differ after each restart of either side, although the group key is the same', () => {
  const seen = new Set<string>();
  let [a, b] = pair();
  for (let i = 0; i < 20; i++) {
    if (i % 2 === 0) [a] = pair();
    else [, b] = pair();
    a.keying.want('net', B, 0);
    deliver([a, b], 0);
    const { key: own, salt } = a.sends('net', B)[0]!;
    seen.add(Buffer.concat([own, salt]).toString('hex'));
    a.keying.removeGroup('net');
    a.keying.setKeys('net', [key(1)], 0);
  }
  assert.equal(seen.size, 20);
});

test('a receiver that has restarted asks itself, and the other host then asks again', () => {
  const [a, b] = pair();
  a.keying.want('net', B, 0);
  b.keying.want('net', A, 0);
  deliver([a, b], 0);
  const fresh = new Host(B, 2);
  fresh.keying.setKeys('net', [key(1)], 5000);
  fresh.keying.want('net', A, 5000);
  deliver([a, fresh], 5000);
  assertAgreed(a, fresh);
  assertAgreed(fresh, a);
});

test('the hint of a host that knows no such SPI makes the sender ask again, once a second at most', () => {
  const [a, b] = pair();
  a.keying.want('net', B, 0);
  deliver([a, b], 0);
  const { spi } = a.sends('net', B)[0]!;
  const fresh = new Host(B, 2);
  fresh.keying.setKeys('net', [key(1)], 5000);
  fresh.keying.unknownSpi(A, spi);
  deliver([a, fresh], 5000);
  assertAgreed(a, fresh);
  const now = 10_000;
  const { spi: next } = a.sends('net', B)[0]!;
  for (let i = 0; i < 50; i++) a.keying.receive(B, message.encodeInvalidSpi(next), now + i);
  assert.equal(a.sent.length, 1);
  a.keying.receive(B, message.encodeInvalidSpi(next + 1), now + 2000); // of nothing
  a.keying.receive('10.0.0.3', message.encodeInvalidSpi(next), now + 2000); // of another host
  assert.equal(a.sent.length, 1);
});

test('a rotation changes the key as soon as the other host has it, and the old one is accepted meanwhile', () => {
  const [a, b] = pair();
  a.keying.want('net', B, 0);
  deliver([a, b], 0);
  const old = a.sends('net', B)[0]!;
  a.keying.setKeys('net', [key(2), key(1)], 1000);
  for (let now = 1000; now < 5000; now += 100) {
    a.keying.tick(now);
    deliver([a, b], now); // b ignores what it cannot read
  }
  assert.equal(a.sends('net', B)[0], old);
  b.keying.setKeys('net', [key(1), key(2)], 5000);
  for (let now = 5000; now < 12_000; now += 100) {
    a.keying.tick(now);
    deliver([a, b], now);
  }
  const { spi } = a.sends('net', B)[0]!;
  assert.notEqual(spi, old.spi);
  assertAgreed(a, b);
  assert.ok(b.accepts().has(old.spi));
  assert.deepEqual(a.reports.at(-1), { type: 'established', group: 'net', address: B, key: 2 });
  b.keying.used(old.spi, 12_000);
  b.keying.used(spi, 12_000);
  for (let now = 12_000; now < 45_000; now += 1000) b.keying.tick(now);
  assert.ok(!b.accepts().has(old.spi));
  assert.ok(b.accepts().has(spi));
});

test('without an association, older keys are tried too', () => {
  const [a, b] = pair();
  a.keying.setKeys('net', [key(3), key(2), key(1)], 0);
  a.keying.want('net', B, 0);
  for (let now = 0; now < 5000; now += 100) {
    a.keying.tick(now);
    deliver([a, b], now);
  }
  assertAgreed(a, b);
});

test('a removed key is used no more after the grace period', () => {
  const [a, b] = pair();
  a.keying.want('net', B, 0);
  deliver([a, b], 0);
  const { spi } = a.sends('net', B)[0]!;
  for (const { keying } of [a, b]) keying.setKeys('net', [key(2)], 1000);
  a.sent.length = 0;
  for (let now = 1000; now < 100_000; now += 500) {
    for (const { keying } of [a, b]) keying.tick(now);
    a.sent.length = 0; // nothing arrives
  }
  assert.deepEqual(a.sends('net', B), []);
  assert.ok(!b.accepts().has(spi));
});

test('a host with another key gets nothing, and both hosts report it', () => {
  const [a, b] = pair();
  b.keying.setKeys('net', [key(1, 99)], 0);
  a.keying.want('net', B, 0);
  for (let now = 0; now < 10_000; now += 100) {
    a.keying.tick(now);
    deliver([a, b], now);
  }
  assert.deepEqual(a.sends('net', B), []);
  assert.equal(b.changes.length, 0);
  assert.ok(b.reports.every(({ type, address }) => type === 'unknown-key' && address === A));
  assert.ok(a.reports.some(({ type }) => type === 'unanswered'));
});

test('a key of one group gives nothing in another group', () => {
  const [a, b] = pair();
  b.keying.removeGroup('net');
  b.keying.setKeys('other', [key(1)], 0);
  a.keying.want('net', B, 0);
  deliver([a, b], 0);
  assert.equal(b.changes.length, 0);
});

test('a message with another source address or any changed bit is refused', () => {
  const [a, b] = pair();
  a.keying.want('net', B, 0);
  const { bytes } = a.sent[0]!;
  b.keying.receive('10.0.0.9', bytes, 0);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const changed = bytes.slice();
    changed[bit >> 3]! ^= 1 << (bit & 7);
    b.keying.receive(A, changed, 0);
  }
  for (let length = 0; length < bytes.length; length++) b.keying.receive(A, bytes.slice(0, length), 0);
  assert.equal(b.changes.length, 0);
  assert.equal(b.sent.length, 0);
  b.keying.receive(A, bytes, 0);
  assert.equal(b.sent.length, 1);
});

test('repeated old requests neither end an association in use nor pile up', () => {
  const [a, b] = pair();
  const old: Uint8Array[] = [];
  for (let i = 0; i < 50; i++) {
    const before = new Host(A);
    before.keying.setKeys('net', [key(1)], 0);
    before.keying.want('net', B, 0);
    old.push(before.sent[0]!.bytes);
  }
  a.keying.want('net', B, 0);
  deliver([a, b], 0);
  const { spi } = a.sends('net', B)[0]!;
  b.keying.used(spi, 0);
  for (let now = 0; now < 100_000; now += 1000) {
    for (const bytes of old) b.keying.receive(A, bytes, now);
    b.keying.tick(now);
  }
  assert.ok(b.accepts().has(spi));
  assert.ok(b.accepts().size <= 9, `${b.accepts().size}`);
});

test('a flood of old requests interrupts nothing: what a host sends by is accepted all the time', () => {
  for (const count of [3, 50]) {
    const old = Array.from({ length: count }, () => {
      const before = new Host(A);
      before.keying.setKeys('net', [key(1)], 0);
      before.keying.want('net', B, 0);
      return before.sent[0]!.bytes;
    });
    const [a, b] = pair();
    a.keying.want('net', B, 0);
    deliver([a, b], 0);
    b.keying.used(a.sends('net', B)[0]!.spi, 0);
    const spis = new Set<number>();
    // Each message, and the first packet of an association, takes 20 ms.
    const way: { at: number; arrive: () => void }[] = [];
    const later = (at: number, arrive: () => void): void => void way.push({ at: at + 20, arrive });
    for (let now = 1; now < 20_000; now++) {
      b.keying.receive(A, old[now % count]!, now);
      if (now % 100 === 0) for (const { keying } of [a, b]) keying.tick(now);
      // A stranger may send this hint, so that there is always a new association to evict.
      if (now % 1500 === 0) a.keying.receive(B, message.encodeInvalidSpi(a.sends('net', B)[0]!.spi), now);
      for (const { bytes } of a.sent.splice(0)) later(now, () => b.keying.receive(A, bytes, now + 20));
      for (const { bytes } of b.sent.splice(0)) later(now, () => a.keying.receive(B, bytes, now + 20));
      while (way.length > 0 && way[0]!.at <= now) way.shift()!.arrive();
      const { spi } = a.sends('net', B)[0]!;
      if (!spis.has(spi)) later(now, () => b.keying.used(spi, now + 20));
      spis.add(spi);
      assert.ok(b.accepts().has(spi), `${count} old requests: after ${now} ms`);
    }
    if (count === 3) assert.ok(spis.size > 8, 'few of them prevent no new association');
    // They cost little: a flood does not make as many associations.
    const made = b.changes.filter((one) => one.do === 'accept').length;
    assert.ok(made < 100, `${made} associations`);
  }
});

test('an old grant is ignored', () => {
  const [a, b] = pair();
  a.keying.want('net', B, 0);
  b.keying.receive(A, a.sent.splice(0)[0]!.bytes, 0);
  const grant = b.sent.splice(0)[0]!.bytes;
  a.keying.receive(B, grant, 0);
  const before = a.sends('net', B);
  a.keying.receive(B, grant, 1);
  assert.equal(a.sends('net', B), before);
  a.keying.removeGroup('net');
  a.keying.setKeys('net', [key(1)], 0);
  a.keying.want('net', B, 0);
  const { length } = a.changes;
  a.keying.receive(B, grant, 1);
  assert.equal(a.changes.length, length);
});

test('a host that starts minutes after the first request is asked again as soon as it is heard', () => {
  for (const minutes of [2, 10]) {
    const [a] = pair();
    const began = minutes * 60_000 + 5000;
    a.keying.want('net', B, 0);
    for (let now = 0; now < began; now += 100) a.keying.tick(now);
    a.sent.length = 0; // the other host was not there
    const b = new Host(B);
    b.keying.setKeys('net', [key(1)], began);
    b.keying.want('net', A, began);
    for (let now = began; now <= began + 1000; now += 100) {
      a.keying.tick(now);
      deliver([a, b], now);
    }
    assertAgreed(b, a);
    assertAgreed(a, b);
  }
});

test('a host that comes back while an old request waits for its turn is asked at once', () => {
  const [a, b] = pair();
  a.keying.want('net', B, 0);
  deliver([a, b], 0);
  const { spi } = a.sends('net', B)[0]!;
  a.keying.setKeys('net', [key(2), key(1)], 1000);
  const back = 200_000;
  for (let now = 1000; now < back; now += 100) a.keying.tick(now);
  a.sent.length = 0;
  const fresh = new Host(B);
  fresh.keying.setKeys('net', [key(2), key(1)], back);
  fresh.keying.unknownSpi(A, spi);
  deliver([a, fresh], back);
  assertAgreed(a, fresh);
  // A stranger may send such hints: they cause one request a second.
  a.keying.setKeys('net', [key(3), key(2), key(1)], back + 1000);
  for (let now = back + 1000; now < 2 * back; now += 100) a.keying.tick(now);
  a.sent.length = 0;
  const last = a.sends('net', B)[0]!.spi;
  for (let i = 0; i < 500; i++) a.keying.receive(B, message.encodeInvalidSpi(last), 2 * back + i);
  assert.equal(a.sent.length, 1);
});

test('an association is renewed each hour', () => {
  const [a, b] = pair();
  a.keying.want('net', B, 0);
  deliver([a, b], 0);
  const spis = new Set<number>();
  for (let now = 0; now < 3 * 3_600_000; now += 10_000) {
    for (const { keying } of [a, b]) keying.tick(now);
    deliver([a, b], now);
    spis.add(a.sends('net', B)[0]!.spi);
  }
  assert.equal(spis.size, 3);
});

test.run();
