/** The proxy of neighbor discovery, with frames that scapy wrote (test/support/discovery-frames.py). */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as ethernet from '../src/ethernet/index.js';
import * as icmpv6 from '../src/icmpv6/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import { DISCOVERY as FRAMES } from './support/discovery-frames.js';
import { fromHex, hex } from './support/hex.js';
import { HEADER, host, wrap } from './support/vtep-host.js';

const [SOLICITATION, ADVERTISEMENT] = FRAMES.answered['solicitation']!;

const C1 = { ip: 'fd00::3', mac: '02:42:0a:00:00:03' };
const C2 = { ip: 'fd00::4', mac: '02:42:0a:00:00:04' };
const OTHER = { ip: 'fd00::9', mac: '02:42:0a:00:00:09' };
const C3 = { ip: 'fd00::5', mac: '02:42:0a:00:00:05' };
const H2 = '192.168.1.25';
const H3 = '192.168.1.33';

/** A VTEP with two ports, a peer, the remote endpoint C2, and the endpoint OTHER of this host. */
function lab(segment: Parameters<typeof host>[0] = {}) {
  const one = host(segment);
  const [a, b] = ['a', 'b'].map((name) => one.vtep.addPort({ name, vni: 4097 })) as [number, number];
  one.vtep.addPeer(4097, H3);
  one.vtep.addEndpoint(4097, { ...C2, vtep: H2 });
  one.vtep.addEndpoint(4097, OTHER);
  one.tick();
  return {
    ...one,
    a,
    b,
    send: (frame: string, port = a) => one.frame(port, fromHex(frame)),
    /** What left: by port or peer, the frame. */
    out: () => [
      ...one.delivered.map(({ port, frame }) => [port, hex(frame)]),
      ...one.sent.map(({ address, datagram }) => [address, hex(datagram)]),
    ],
  };
}

function tagged(frame: string, tags: string): string {
  return frame.slice(0, 24) + tags + frame.slice(24);
}

// ---- What is answered ----

for (const [proxy, kind] of [
  ['endpoint', 'answered'],
  ['vtep', 'vtep'],
] as const)
  for (const [name, [asked, answer]] of Object.entries(FRAMES[kind]))
    test(`in mode ${proxy}, the proxy answers a ${name}`, () => {
      const { send, out, a, count, drops } = lab({ proxy });
      send(asked);
      assert.equal(out(), [[a, answer]]);
      assert.equal([count('nd-answered'), drops()], [1, {}]);
    });

test('explain says what the proxy does', () => {
  const { vtep, now, a, b, count } = lab();
  const explain = (frame: string): [string[], string[]] => {
    const { steps, delivered } = vtep.explain({ port: a, frame: fromHex(frame) }, now());
    return [steps.flatMap(({ stage, text }) => (stage === 'nd' ? [text] : [])), delivered];
  };
  assert.equal(explain(SOLICITATION), [['the proxy answers: fd00::4 is at 02:42:0a:00:00:04'], ['a']]);
  assert.equal(explain(FRAMES.unknown), [['the control plane knows no endpoint with the target address'], ['b']]);
  assert.equal([count('nd-answered'), b], [0, 1]);
});

test('an answer has the tags of the solicitation', () => {
  for (const [port, tags, answered] of [
    ['a', '81000000', ''],
    ['a', '81000005', '81000005'],
    ['a', '88a8000581000007', '88a8000581000007'],
    ['trunk', '8100000a', '8100000a'],
    ['trunk', '8100a00a81000007', '8100a00a81000007'],
  ] as const) {
    const { vtep, frame, out, a } = lab({ tagged: true });
    const trunk = vtep.addPort({ name: 'trunk', vlans: { 10: 4097 } });
    const from = port === 'a' ? a : trunk;
    frame(from, fromHex(tagged(SOLICITATION, tags)));
    assert.equal(out(), [[from, tagged(ADVERTISEMENT, answered)]], tags);
  }
  // 36 bytes of tags do not fit into an answer.
  const { send, out, b, count } = lab({ tagged: true });
  const asked = tagged(SOLICITATION, '81000005'.repeat(9));
  send(asked);
  assert.equal(
    [out(), count('nd-answered')],
    [
      [
        [b, asked],
        [H3, HEADER + asked],
      ],
      0,
    ],
  );
});

test('in mode vtep, a host that asks the VTEP for an endpoint that moved here learns its address', () => {
  const { vtep, send, out, a, count } = lab({ proxy: 'vtep' });
  vtep.removeEndpoint(4097, { ...C2, vtep: H2 });
  vtep.addEndpoint(4097, C2);
  const [asked, answer] = FRAMES.moved;
  send(asked);
  assert.equal([out(), count('nd-answered')], [[[a, answer]], 1]);
});

// ---- What is not answered ----

test('solicitations that are not for a remote endpoint are forwarded to all', () => {
  for (const name of ['unknown', 'own probe', 'local', 'announcement'] as const) {
    const { vtep, send, out, b, count, drops } = lab();
    vtep.addEndpoint(4097, C1);
    send(FRAMES[name]);
    assert.equal(
      [out(), count('nd-answered'), drops()],
      [
        [
          [b, FRAMES[name]],
          [H3, HEADER + FRAMES[name]],
        ],
        0,
        {},
      ],
      name,
    );
  }
});

test('a message that hosts discard is not answered, and claims nothing', () => {
  for (const [name, frame] of Object.entries(FRAMES.invalid)) {
    const { send, out, b, count } = lab();
    send(frame);
    const copies = frame.startsWith('3333')
      ? [
          [b, frame],
          [H3, HEADER + frame],
        ]
      : [[H2, HEADER + frame]];
    assert.equal([out(), count('nd-answered'), count('duplicate-address')], [copies, 0, 0], name);
  }
});

test('a cut solicitation is not answered', () => {
  const { frame, count } = lab();
  const bytes = fromHex(SOLICITATION);
  for (let end = 14; end < bytes.length; end++) frame(0, bytes.subarray(0, end));
  assert.is(count('nd-answered'), 0);
  frame(0, bytes);
  assert.is(count('nd-answered'), 1);
});

test('a solicitation from a tunnel, or with the proxy off, is forwarded', () => {
  const { datagram, out, a, b, count } = lab();
  datagram(H3, wrap(fromHex(SOLICITATION)));
  assert.equal(out(), [
    [a, SOLICITATION],
    [b, SOLICITATION],
  ]);
  const off = lab({ proxy: 'off' });
  off.send(SOLICITATION);
  assert.equal(off.out(), [
    [b, SOLICITATION],
    [H3, HEADER + SOLICITATION],
  ]);
  assert.equal([count('nd-answered'), off.count('nd-answered')], [0, 0]);
});

test('with flooding off, a question for an unknown address is dropped, and answered when the endpoint is added', () => {
  const { vtep, send, out, a, b, tick, drops } = lab({ flood: false });
  vtep.removeEndpoint(4097, { ...C2, vtep: H2 });
  for (const asked of [FRAMES.unknown, SOLICITATION]) send(asked);
  assert.equal([out(), drops()], [[], { 'arp-unknown': 2 }]);
  vtep.addEndpoint(4097, { ...C2, mac: OTHER.mac, vtep: H2 });
  tick();
  const announced = FRAMES.announced['OTHER']!;
  assert.equal(out(), [
    [a, announced],
    [b, announced],
  ]);
});

// ---- Claims ----

test('a claim of the address of an endpoint goes no further, whichever message makes it', () => {
  for (const [name, frame] of Object.entries(FRAMES.claims))
    for (const from of ['port', 'tunnel']) {
      const { vtep, send, datagram, out, drops, count, b } = lab();
      vtep.removeEndpoint(4097, OTHER);
      if (from === 'port') send(frame, b);
      else datagram(H3, wrap(fromHex(frame)));
      assert.equal([out(), drops(), count('duplicate-address')], [[], { 'arp-claim': 1 }, 1], `${name}, ${from}`);
      const place = from === 'port' ? { port: b, vtep: null } : { port: null, vtep: H3 };
      assert.equal(
        vtep
          .findings(1000)
          .flatMap((one) => (one.kind === 'duplicate-address' ? [[one.ip, one.place, one.known]] : [])),
        [[C2.ip, place, true]],
      );
    }
});

test('behind the port of the endpoint itself, another MAC address may claim its address', () => {
  const { vtep, send, drops, count, out, a, b } = lab();
  vtep.removeEndpoint(4097, { ...C2, vtep: H2 });
  vtep.addEndpoint(4097, C2);
  const claim = FRAMES.claims['unsolicited advertisement']!;
  send(claim, b); // its port is not known yet
  assert.equal(
    [out(), drops(), count('duplicate-address')],
    [
      [
        [a, claim],
        [H3, HEADER + claim],
      ],
      {},
      1,
    ],
  );
  vtep.announce(4097, { ...C2, port: a });
  vtep.sendAnnouncements(0, { deliver: () => undefined, transmit: () => undefined });
  send(claim, b);
  assert.equal(drops(), { 'arp-claim': 1 });
});

test('the address in the option counts, not that of the frame; the zero address is none', () => {
  const { send, drops, count } = lab();
  send(FRAMES.virtual);
  assert.equal([drops(), count('duplicate-address')], [{}, 0]);
  send(FRAMES['no address']);
  assert.equal(drops(), { 'arp-sender': 1 });
});

// ---- What changes of the endpoints do ----

test('a new MAC address of an endpoint is announced, and what is added and removed is listed', () => {
  const { vtep, tick, out, a, b } = lab();
  const neighbors = (): string[] => vtep.neighbors(4097).map(({ ip, mac, vtep: at }) => `${ip} ${mac} ${at ?? 'here'}`);
  vtep.removeEndpoint(4097, OTHER);
  assert.equal(neighbors(), [`${C2.ip} ${C2.mac} ${H2}`]);
  vtep.addEndpoint(4097, { ip: 'FD00:0::4', mac: OTHER.mac, vtep: H2 });
  tick();
  const [changed, again] = [FRAMES.announced['OTHER']!, FRAMES.announced['C2']!];
  assert.equal(out(), [
    [a, changed],
    [b, changed],
  ]);
  assert.equal(neighbors(), [`${C2.ip} ${OTHER.mac} ${H2}`]);
  assert.not(vtep.removeEndpoint(4097, { ...C2, vtep: H2 }), 'it has been replaced');
  vtep.addEndpoint(4097, { ...C2, vtep: H2 });
  assert.not(vtep.removeEndpoint(4097, { ip: C2.ip, mac: OTHER.mac, vtep: H2 }));
  tick();
  assert.equal(out(), [
    [a, again],
    [b, again],
  ]);
  // An address that comes back with another MAC address: hosts may still have the old one.
  vtep.removeEndpoint(4097, { ...C2, vtep: H2 });
  tick();
  vtep.addEndpoint(4097, { ip: C2.ip, mac: OTHER.mac, vtep: H2 });
  tick();
  assert.equal(out(), [
    [a, changed],
    [b, changed],
  ]);
});

test('a host that probes an address does not get the announcement of its own endpoint', () => {
  for (const [mac, announced] of [
    [C1.mac, 0],
    [C2.mac, 1],
  ] as const) {
    const { vtep, frame, tick, delivered } = host({ flood: false });
    frame(vtep.addPort({ name: 'a', vni: 4097 }), fromHex(FRAMES.answered['probe']![0]));
    vtep.addEndpoint(4097, { ip: C2.ip, mac, vtep: H2 });
    tick();
    assert.is(delivered.length, announced, mac);
  }
  // Nor does the station of a port, before it has sent anything.
  const { vtep, tick, delivered } = host();
  vtep.addPort({ name: 'a', vni: 4097, mac: C1.mac });
  vtep.addEndpoint(4097, { ip: C1.ip, mac: OTHER.mac });
  vtep.addEndpoint(4097, C1);
  tick();
  assert.is(delivered.length, 0);
});

test('the address of an endpoint is that of one host', () => {
  const { vtep } = lab();
  for (const ip of ['ff02::1', '::', 'fd00::1::2', 'fd00::4/64'])
    assert.throws(() => vtep.addEndpoint(4097, { ip, mac: C1.mac }), RangeError, ip);
});

test('in vtep mode, a packet to the VTEP’s address is forwarded by its IPv6 address', () => {
  const { send, out, drops } = lab({ proxy: 'vtep' });
  send(FRAMES.packet);
  const to = FRAMES.packet.replace('027600001001', C2.mac.replaceAll(':', ''));
  assert.equal(out(), [[H2, HEADER + to]]);
  send(FRAMES['packet to nobody']);
  assert.equal([out(), drops()], [[], { 'no-neighbor': 1 }]);
  send(FRAMES.packet.slice(0, 106)); // 39 of the 40 bytes of the header
  assert.equal([out(), drops()], [[], { 'no-neighbor': 2 }]);
});

// ---- Against a naive reference ----

test('answers what a naive reading of the RFCs answers', () => {
  const addresses = [C1.ip, C2.ip, C3.ip, OTHER.ip, 'fe80::4', '::', 'ff02::1:ff00:4', 'ff02::1:ff00:3', 'ff02::1'];
  const address = fc.constantFrom(...addresses);
  const mac = fc.constantFrom(C1.mac, C2.mac, C3.mac, OTHER.mac);
  const message = fc.record({
    source: address,
    destination: address,
    target: fc.constantFrom(C2.ip, C2.ip, C2.ip, ...addresses.filter((ip) => ip !== C3.ip)),
    mac,
    option: fc.option(mac),
    padding: fc.constantFrom(0, 0, 0, 8, 3),
    hopLimit: fc.constantFrom(255, 255, 255, 255, 255, 255, 255, 64),
    type: fc.constantFrom(135, 135, 135, 136, 128),
    code: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1),
    wrong: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1),
  });
  const isGroup = (ip: string): boolean => ip.startsWith('ff');
  let answers = 0;
  fc.assert(
    fc.property(message, (fields) => {
      const { source, destination, target, option, hopLimit, type, code, wrong } = fields;
      const options = [
        ...(option === null ? [] : [icmpv6.encodeOption({ type: 1, address: option })]),
        ...(fields.padding === 8 ? [{ type: 14, data: new Uint8Array(6) }] : []),
      ];
      const head = { type, code, ...(type === 128 ? {} : { target, options }) };
      const payload = new Uint8Array(fields.padding === 3 ? 3 : 0);
      const bytes = icmpv6.encode({ ...head, payload }, { source, destination });
      bytes[2]! ^= wrong;
      const packet = ipv6.encode({ source, destination, nextHeader: 58, hopLimit, payload: bytes });
      const to = isGroup(destination) ? '33:33:ff:00:00:01' : '02:00:00:00:00:66';
      const frame = ethernet.encode({ source: fields.mac, destination: to, etherType: 0x86dd, payload: packet });

      const isValid = type === 135 && code === 0 && wrong === 0 && hopLimit === 255 && fields.padding !== 3;
      const isProbe = source === '::';
      const fits = isProbe ? option === null && destination.startsWith('ff02::1:ff') : true;
      const isAsked = isValid && fits && !isGroup(target) && target === C2.ip && source !== target;
      // A station gets no answer if it claims the address of C3, or sends from the MAC address of C2 or C3.
      const isLiar = source === C3.ip && (option ?? fields.mac) !== C3.mac;
      const isOwn = fields.mac === C2.mac || fields.mac === C3.mac || option === C2.mac;
      const { vtep, send, delivered, count, a } = lab({ flood: false });
      vtep.addEndpoint(4097, { ...C3, vtep: H3 });
      send(hex(frame));
      const expected = isAsked && !isLiar && !isOwn;
      assert.is(count('nd-answered'), expected ? 1 : 0, JSON.stringify(fields));
      if (!expected) return;
      answers++;
      const answer = ethernet.decode(delivered[0]!.frame);
      const header = ipv6.decode(answer.payload);
      const { checksum, ...said } = icmpv6.decode(header.payload);
      assert.ok(icmpv6.verifyChecksum(header.payload, 0, header.payload.length, header), `checksum ${checksum}`);
      assert.equal(
        [delivered[0]!.port, answer.source, answer.destination, header.source, header.destination, header.hopLimit],
        [a, C2.mac, isProbe ? '33:33:00:00:00:01' : fields.mac, C2.ip, isProbe ? 'ff02::1' : source, 255],
      );
      assert.equal([said.target, said.solicited, said.override, said.router], [C2.ip, !isProbe, true, false]);
    }),
    { numRuns: 2000 },
  );
  assert.ok(answers > 30, `${answers} answers`);
});

test.run();
