/** The router, compared with naive models of it. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ipv4ToText, parseIpv4 } from '../src/address/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import { ANSWERED, DROPPED, FRAGMENTED, Router, TUNNEL } from '../src/router/index.js';
import type { Option } from '../src/wire/index.js';
import { fromHex, hex } from './support/hex.js';
import { C2, FAR, FRAMES, GATEWAY_MAC, NEAR, packetTo, PORT, routerHost } from './support/router-host.js';

const unknown = { lookup: (): number => 0 };

test('routes by the longest prefix, as a naive model does', () => {
  const bits = (address: string): string => parseIpv4(address).toString(2).padStart(32, '0');
  const prefix = fc
    .tuple(
      fc.constantFrom('10.1.0.0', '10.1.128.0', '10.1.129.0', '10.2.3.4', '0.0.0.0'),
      fc.integer({ min: 0, max: 32 }),
    )
    .map(([address, length]) => ({ address, length }));
  const target = fc
    .tuple(
      fc.constantFrom('10.1.0.9', '10.1.128.9', '10.1.129.9', '10.2.3.4', '10.2.3.5', '192.0.2.1', '11.1.0.1'),
      fc.nat(3),
    )
    .map(([address, more]) => ipv4ToText(parseIpv4(address) + more));
  fc.assert(
    fc.property(
      fc.array(prefix, { maxLength: 8 }),
      fc.array(target, { minLength: 1, maxLength: 5 }),
      (drawn, targets) => {
        const router = new Router({ mac: GATEWAY_MAC, lookup: (vni) => vni + 2 });
        router.addInterface({ vni: 0, gateway: '172.16.0.1/30' });
        const routes: { bits: string; length: number; vni: number }[] = [
          { bits: bits('172.16.0.1').slice(0, 30), length: 30, vni: 0 },
        ];
        drawn.forEach(({ address, length }, i) => {
          const own = bits(address).slice(0, length);
          if (routes.some((route) => route.bits === own)) return;
          // Each route has an interface of its own, to the next router.
          const vni = i + 1;
          router.addInterface({ vni, gateway: `172.17.${vni}.1/30` });
          routes.push({ bits: bits(`172.17.${vni}.1`).slice(0, 30), length: 30, vni });
          router.addRoute({ prefix: `${address}/${length}`, via: `172.17.${vni}.2` });
          routes.push({ bits: own, length, vni });
        });
        for (const destination of targets) {
          const expected = routes
            .filter((route) => bits(destination).startsWith(route.bits))
            .reduce<{ length: number; vni: number }>((best, one) => (one.length > best.length ? one : best), {
              length: -1,
              vni: -1,
            });
          const bytes = fromHex(packetTo(destination));
          let answered = 0;
          const sink = { answer: () => void answered++, send: () => assert.unreachable() };
          const result = router.receive(0, PORT, bytes, 0, bytes.length, 0, sink);
          assert.equal([result, answered], expected.vni < 0 ? [ANSWERED, 1] : [expected.vni, 0], destination);
          if (result >= 0) assert.is(ethernet.getDestination(bytes, 0), result + 2);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('a routed packet differs only in MAC addresses, TTL and checksum, which is right', () => {
  fc.assert(
    fc.property(
      fc.record({
        ttl: fc.integer({ min: 2, max: 255 }),
        dscp: fc.nat(63),
        ecn: fc.nat(3),
        identification: fc.nat(0xffff),
        dontFragment: fc.boolean(),
        protocol: fc.nat(255),
        source: fc.nat(250).map((last) => `10.0.0.${last + 2}`),
        payload: fc.uint8Array({ maxLength: 60 }),
      }),
      (fields) => {
        const host = routerHost();
        const before = packetTo(C2.ip, fields);
        const { result, frame } = host.receive(before);
        if (fields.source === '10.0.0.255') return void assert.is(result, DROPPED);
        assert.is(result, FAR);
        const { ttl, checksum: _, ...same } = ipv4.decode(fromHex(frame), 14);
        const { ttl: old, checksum: __, ...expected } = ipv4.decode(fromHex(before), 14);
        assert.equal([ttl, same], [old - 1, expected]);
        assert.ok(ipv4.verifyChecksum(fromHex(frame), 14));
        assert.is(frame.slice(0, 24), '02420a00010402420a000001');
      },
    ),
  );
});

test('fragments reassemble to the packet', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 68, max: 200 }),
      fc.integer({ min: 50, max: 900 }),
      fc.nat(40),
      fc.boolean(),
      fc.constantFrom<Option[]>(
        [],
        [{ kind: 7, data: Uint8Array.of(4, 0, 0, 0, 0) }],
        [
          { kind: 148, data: Uint8Array.of(0, 0) },
          { kind: 68, data: Uint8Array.of(5, 0, 0, 0, 0, 0) },
        ],
      ),
      (mtu, size, offset, moreFragments, options) => {
        const host = routerHost();
        host.router.addInterface({ vni: 3, gateway: '10.3.0.1/24', mtu });
        host.router.addRoute({ prefix: '10.4.0.0/16', via: '10.3.0.2' });
        const far = new Router({ mac: GATEWAY_MAC, lookup: () => 2 });
        far.addInterface({ vni: 1, gateway: '10.0.0.1/24' });
        far.addInterface({ vni: 3, gateway: '10.3.0.1/24', mtu });
        const payload = Uint8Array.from({ length: moreFragments ? size & ~7 : size }, (_, i) => i * 7);
        const frame = fromHex(packetTo('10.3.0.9', { payload, fragmentOffset: offset * 8, moreFragments, options }));
        const parts: Required<ipv4.Ipv4>[] = [];
        const sink = {
          answer: () => assert.unreachable(),
          send: (vni: number, bytes: Uint8Array, start: number, end: number) => {
            assert.is(vni, 3);
            assert.ok(end - start - 14 <= mtu);
            assert.ok(ipv4.verifyChecksum(bytes, start + 14));
            parts.push(ipv4.decode(bytes, start + 14, end));
          },
        };
        const result = far.receive(1, PORT, frame, 0, frame.length, 0, sink);
        const whole = ipv4.decode(frame, 14);
        if (whole.totalLength <= mtu) return void assert.is(result, 3);
        assert.is(result, FRAGMENTED);
        const again = new Uint8Array(payload.length);
        let next = offset * 8;
        parts.forEach((part, i) => {
          assert.is(part.fragmentOffset, next);
          assert.is(part.moreFragments, moreFragments || i < parts.length - 1);
          assert.is(part.ttl, 63);
          again.set(part.payload, part.fragmentOffset - offset * 8);
          next += part.payload.length;
          // Options with the copied bit are in every fragment, others in the first (RFC 791, section 3.1).
          const kinds = part.options.map(({ kind }) => kind).filter((kind) => kind > 1);
          assert.equal(
            kinds,
            options.map(({ kind }) => kind).filter((kind) => i === 0 || kind >= 128),
          );
        });
        assert.is(hex(again), hex(payload));
      },
    ),
    { numRuns: 300 },
  );
});

test('never throws or writes outside the frame, whatever arrives', () => {
  const seeds = Object.values(FRAMES).flat();
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.constantFrom(...seeds),
          fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 3 }),
          fc.constantFrom(NEAR, FAR),
          fc.constantFrom(PORT, TUNNEL),
          fc.nat(60),
        ),
        { maxLength: 12 },
      ),
      (frames) => {
        const host = routerHost(unknown);
        for (const [seed, flips, vni, from, cut] of frames) {
          const bytes = Buffer.from(seed, 'hex').subarray(0, cut < 40 ? undefined : cut);
          for (const [at, octet] of flips) if (at < bytes.length) bytes[at] = octet;
          const { result } = host.receive(bytes.toString('hex'), { vni, from });
          assert.ok(result >= DROPPED && result <= FAR);
          host.second();
        }
        assert.ok(host.answers.every(({ from }) => from !== TUNNEL));
      },
    ),
    { numRuns: 300 },
  );
});

test.run();
