/**
 * An attacker on the path between two hosts with an encrypted segment: it records, repeats, delays, changes and invents packets. Runs
 * with each engine; `linux` has two workers.
 */
import { join } from 'node:path';
import { createHmac, hkdfSync, randomBytes } from 'node:crypto';
import * as assert from 'uvu/assert';
import * as esp from '../../src/esp/index.js';
import { nodeAead } from '../../src/host/esp/node.js';
import { ask, readGroupKeys, writeGroupKeyFile } from '../../src/host/index.js';
import { Keying, type AssociationKey } from '../../src/keying/index.js';
import { type Config } from '../../src/schema/index.js';
import { Random } from '../../src/sim/index.js';
import * as udp from '../../src/udp/index.js';
import { type DropReason, type Explanation } from '../../src/vtep/index.js';
import * as vxlan from '../../src/vxlan/index.js';
import { CLEAR, EncryptedHosts, GROUP, SEALED } from '../support/encrypted-hosts.js';
import { ENGINE, FIRST, must, ping, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { dropsOf, exchange, sendDatagrams } from '../support/traffic.js';
import { datagramIn, Wire, withDatagram, type Passing } from '../support/wire.js';

const attack = suiteWith('an attacker on the path', ['root', 'tun', 'ip', 'ping', 'sysctl']);

const ENGINE_HERE = ENGINE === 'dgram' ? 'dgram' : 'linux';
const ESP_PORT = 4500;
/** A second encrypted segment of host 2, with keys that host 1 has not. */
const OTHER = 300;
/** The address of a third host, which the test plays. Host 2 has it as a peer in every segment. */
const THIRD = '172.31.1.3';
const THIRD_MAC = '020000000003';
const LISTENING = 41_000;

let hosts: EncryptedHosts;
let wire: Wire;
/** Prints each datagram that arrives in the container on host 2. */
let listener: Running;
let sent = 0;

const otherKeys = (): string => join(hosts.directory, 'other-keys');
const toHost2 = ({ to, frame }: Passing): boolean => to === 1 && datagramIn(frame)?.destinationPort === ESP_PORT;
const payloadOf = ({ frame }: Passing): Buffer => datagramIn(frame)!.payload;
/** Whether it is an ESP packet to host 2 that may have a datagram in it, and no message about keys. */
const isEsp = (one: Passing): boolean => toHost2(one) && payloadOf(one).readUInt32BE(0) !== 0;
const isMessage = (one: Passing): boolean => toHost2(one) && payloadOf(one).readUInt32BE(0) === 0;

function start(i: 1 | 2, config: Partial<Config> = {}): Promise<Running> {
  const engine = {
    engine: ENGINE_HERE,
    config: { ...(ENGINE_HERE === 'linux' ? { workers: 2 } : {}), ...config },
  } as const;
  if (i === 1) return hosts.start(1, engine);
  const peers = [hosts.underlay(1), THIRD];
  const segments = [
    { vni: SEALED, peers, keyFile: hosts.keyFile(2) },
    { vni: CLEAR, peers },
    { vni: OTHER, peers, keyFile: otherKeys() },
  ];
  return hosts.start(2, { ...engine, config: { segments, ...engine.config } });
}

const lines = (): string[] => listener.stdout.split('\n').slice(1, -1);
const drops = async (): Promise<Partial<Record<DropReason, number>>> => dropsOf(await hosts.counters(2));

/** Sends datagrams with numbers that are used once, from several ports. @returns their texts. */
async function send(count: number, flows = 2): Promise<string[]> {
  const all: string[] = [];
  const flow = async (): Promise<void> => {
    const texts = Array.from({ length: count / flows }, () => `datagram ${sent++}`);
    all.push(...texts);
    const hex = texts.map((text) => Buffer.from(text).toString('hex'));
    await sendDatagrams(hosts.containers[1]!.ns, hosts.sealed(2), LISTENING, hex);
  };
  await Promise.all(Array.from({ length: flows }, flow));
  return all;
}

const arrive = (texts: readonly string[]): Promise<unknown> =>
  waitFor('datagrams to arrive', () => {
    const arrived = new Set(lines());
    return texts.every((text) => arrived.has(text));
  });

/** Sends a datagram behind everything that was injected, and fails if one has arrived twice since the listener began. */
async function requireOnce(): Promise<void> {
  await reach();
  await arrive(await send(2));
  const all = lines();
  const twice = all.filter((text, i) => all.indexOf(text) !== i);
  assert.equal(twice, [], 'delivered twice');
}

const reach = (): Promise<unknown> =>
  waitFor(
    'host 2 to be reached',
    async () => (await ping(hosts.containers[1]!.ns, hosts.sealed(2), { count: 1, wait: 1 })) === 1,
  );

/** Records what passes while datagrams are sent and arrive. */
async function recorded(count: number): Promise<Passing[]> {
  const tape: Passing[] = (wire.tape = []);
  await arrive(await send(count));
  wire.tape = null;
  return tape;
}

/** Waits until host 2 has counted so many more drops, for any of the reasons. @returns how many for each of them. */
async function dropped(
  before: Partial<Record<DropReason, number>>,
  count: number,
  reasons: readonly DropReason[],
): Promise<number[]> {
  const since = async (): Promise<number[]> => {
    const now = await drops();
    return reasons.map((reason) => (now[reason] ?? 0) - (before[reason] ?? 0));
  };
  const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
  let last: number[] = [];
  try {
    await waitFor(`${count} drops`, async () => sum((last = await since())) >= count, 15_000);
  } catch {
    assert.unreachable(
      `${count} drops for ${reasons.join(' or ')}, not ${last.join(' and ')}: ${JSON.stringify(await drops())}`,
    );
  }
  return last;
}

attack.before(async () => {
  hosts = await EncryptedHosts.create('ea', 2);
  writeGroupKeyFile(otherKeys(), 128, false);
  const end = (i: number) => ({ ns: hosts.nodes[i]!, device: 'eth0', addresses: [`${hosts.underlay(i)}/24`] });
  wire = await Wire.create([end(1), end(2)]);
  const neighbor = ['lladdr', '02:00:00:00:00:03', 'dev', 'eth0', 'nud', 'permanent'];
  await must(['ip', '-n', hosts.nodes[2]!, 'neigh', 'add', THIRD, ...neighbor]);
  const peer = ['test/support/peer.mjs', 'listen', String(LISTENING)];
  listener = hosts.lab.spawn([process.execPath, ...peer], { ns: hosts.containers[2]!.ns });
  await Promise.all([start(1), start(2), waitFor('the listener', () => listener.stdout.startsWith('ready'))]);
  await reach();
});

attack.after(async () => {
  await wire?.close();
  await hosts?.teardown();
});

/** Everything that went to host 2 in the first test, for later ones. */
let old: Passing[] = [];

attack('repeated packets are dropped, also from other ports, which other workers receive', async () => {
  const tape = (await recorded(40)).filter(isEsp);
  old.push(...tape);
  assert.ok(tape.length >= 40);
  let before = await drops();
  for (const one of tape) wire.inject(one);
  const [replayed] = await dropped(before, tape.length, ['esp-replay']);
  assert.is(replayed, tape.length);
  await requireOnce();

  before = await drops();
  let copies = 0;
  for (const one of tape)
    for (const sourcePort of [1, 2, 3, 4, 5, 6, 4500, 50_001]) {
      wire.inject({ to: 1, frame: withDatagram(one.frame, { sourcePort }) });
      copies++;
    }
  await dropped(before, copies, ['esp-replay', 'esp-source']);
  await requireOnce();
});

attack(
  'no bit of a packet can be changed, and no packet be cut; the originals arrive late and in reverse',
  async () => {
    const held: Passing[] = [];
    wire.filter = (one) => {
      if (!isEsp(one)) return [one.frame];
      held.push(one);
      return [];
    };
    const texts = await send(20);
    await waitFor('packets to be held', () => held.length >= texts.length);
    wire.filter = null;
    const before = await drops();
    const one = held.find((packet) => payloadOf(packet).length > 60)!;
    const payload = payloadOf(one);
    const flip = (bit: number): Buffer => {
      const changed = Buffer.from(payload);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      return changed;
    };
    const inject = (changed: Buffer): void =>
      wire.inject({ to: 1, frame: withDatagram(one.frame, { payload: changed }) });
    const SPI_BITS = 32;
    for (let bit = 0; bit < payload.length * 8; bit++) inject(flip(bit));
    const bits = payload.length * 8;
    const reasons = ['esp-unknown-spi', 'esp-replay', 'esp-authentication', 'esp-source'] as const;
    const [unknown, , authentication] = await dropped(before, bits, reasons);
    // A changed sequence number may look old. Another SPI may be in use, by this host or another one.
    assert.ok(unknown! >= SPI_BITS - 2, `${unknown} unknown SPIs`);
    assert.ok(authentication! >= bits - 2 * SPI_BITS, `${authentication} not authentic`);
    const shorter = await drops();
    for (let length = 2; length < payload.length; length++) inject(payload.subarray(0, length));
    inject(Buffer.concat([payload, Buffer.alloc(4)]));
    inject(Buffer.concat([payload, Buffer.alloc(3)]));
    const [short, longer] = await dropped(shorter, payload.length, ['esp-truncated', 'esp-authentication']);
    // Those whose length is a multiple of 4, from the shortest possible packet on, have an ICV to check.
    assert.is(longer, (payload.length - 36) / 4 + 1, `${short} too short`);
    assert.equal(
      texts.filter((text) => lines().includes(text)),
      [],
      'nothing of it arrived',
    );
    for (const packet of held.reverse()) wire.inject(packet);
    await arrive(texts);
    await requireOnce();
  },
);

attack('a path that loses, repeats and reorders delivers nothing twice, and TCP everything', async () => {
  const random = new Random(7);
  let late: { to: 0 | 1; frame: Buffer } | null = null;
  wire.filter = ({ to, frame }) => {
    if (datagramIn(frame) === null) return [frame];
    const chance = random.float() * 100;
    if (chance < 1) return [];
    if (chance < 3) return [frame, frame];
    if (chance < 6 && late === null) {
      late = { to, frame };
      return [];
    }
    const frames = late?.to === to ? [frame, late.frame] : [frame];
    if (late?.to === to) late = null;
    return frames;
  };
  await exchange({ ns: hosts.containers[1]!.ns, ip: hosts.sealed(1) }, hosts.containers[2]!);
  await send(200);
  wire.filter = null;
  await requireOnce();
  assert.ok((await drops())['esp-replay']! > 0, 'the copies were seen');
});

attack('clear text from a known peer for the encrypted segment is dropped, and explained', async () => {
  const before = await drops();
  const inner = Buffer.from(`02420a010002${THIRD_MAC}88b5${'00'.repeat(46)}`, 'hex');
  const payload = Buffer.from(vxlan.encode({ vni: SEALED, payload: inner }));
  const clear = { sourcePort: 50_000, destinationPort: 4789, payload };
  for (const source of [hosts.underlay(1), THIRD])
    wire.inject({ to: 1, frame: withDatagram(old[0]!.frame, { ...clear, source }) });
  const [count] = await dropped(before, 2, ['esp-clear']);
  assert.is(count, 2);
  const explained = (await ask(hosts.control(2), {
    ...{ command: 'explain', from: hosts.underlay(1), datagram: payload.toString('hex') },
  })) as Explanation;
  assert.is(explained.dropped, 'esp-clear');
});

/** A host of the test, with the keys of one group. It receives at the wire. */
class Impostor {
  readonly keying: Keying;
  association: { spi: number; outbound: esp.Outbound; bytes: Uint8Array } | null = null;

  constructor(group: string, file: string) {
    const crypto = {
      hkdf: (key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number) =>
        new Uint8Array(hkdfSync('sha256', key, salt, info, length)),
      hmac: (key: Uint8Array, text: Uint8Array) => new Uint8Array(createHmac('sha256', key).update(text).digest()),
      random: (length: number) => new Uint8Array(randomBytes(length)),
    };
    const decodeKey = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));
    this.keying = new Keying(
      { local: THIRD, senders: 1, crypto, decodeKey },
      {
        send: (_address, bytes) => this.put(Buffer.concat([Buffer.alloc(4), bytes])),
        change: (change) => {
          if (change.do === 'send') this.#use(change.keys[0]!);
        },
        report: () => undefined,
      },
    );
    this.keying.setKeys(
      group,
      readGroupKeys(file, () => undefined),
      0,
    );
  }

  #use({ spi, key, salt }: AssociationKey): void {
    const bytes = new Uint8Array(4096);
    const outbound = new esp.Outbound(spi, 16, nodeAead(bytes).key({ key, salt, icv: 16, extended: true }));
    this.association = { spi, outbound, bytes };
  }

  put(payload: Buffer): void {
    const ports = { sourcePort: ESP_PORT, destinationPort: ESP_PORT };
    wire.inject({ to: 1, frame: withDatagram(old[0]!.frame, { source: THIRD, ...ports, payload }) });
  }

  /** Sends an authentic packet with a VXLAN datagram for any VNI, or with anything else. */
  seal(inner: Uint8Array, nextHeader = udp.PROTOCOL): void {
    const { outbound, bytes } = this.association!;
    bytes.set(inner, esp.FRONT);
    const packets = new esp.PacketList(1);
    const end = outbound.add(bytes, 0, esp.FRONT + inner.length, nextHeader, packets);
    outbound.seal(packets);
    this.put(Buffer.from(bytes.slice(0, end)));
  }
}

attack('a host with the key of one group reaches no other group, and no segment in clear text', async () => {
  const impostor = new Impostor(GROUP, hosts.keyFile(2));
  wire.filter = ({ to, frame }) => {
    const datagram = datagramIn(frame);
    if (to === 0 && datagram?.destination === THIRD && datagram.destinationPort === ESP_PORT) {
      const { payload } = datagram;
      if (payload.readUInt32BE(0) === 0) impostor.keying.receive(hosts.underlay(2), payload.subarray(4), 0);
      return [];
    }
    return [frame];
  };
  impostor.keying.want(GROUP, hosts.underlay(2), 0);
  await waitFor('an association', () => impostor.association !== null);
  const frame = Buffer.from(`ffffffffffff${THIRD_MAC}88b5${'77'.repeat(46)}`, 'hex');
  const inner = (vni: number): Uint8Array =>
    udp.encode({
      ...{ sourcePort: ESP_PORT, destinationPort: 4789 },
      payload: vxlan.encode({ vni, payload: frame }),
    });
  const before = await drops();
  for (const vni of [OTHER, CLEAR]) impostor.seal(inner(vni));
  const [vnis] = await dropped(before, 2, ['esp-vni']);
  assert.is(vnis, 2);
  // What is no VXLAN datagram, or has a wrong length.
  impostor.seal(Buffer.from(inner(SEALED)).subarray(0, 12));
  impostor.seal(inner(SEALED), 4);
  const wrong = Buffer.from(inner(SEALED));
  wrong.writeUInt16BE(wrong.length + 1, 4);
  impostor.seal(wrong);
  const [payloads] = await dropped(before, 3, ['esp-payload']);
  assert.is(payloads, 3);
  // A frame for its own group is delivered: the keys are right.
  impostor.seal(inner(SEALED));
  await waitFor('its MAC address to be learned', async () => {
    const fdb = (await ask(hosts.control(2), { command: 'fdb' })) as { mac: string; vni: number }[];
    const at = fdb.filter(({ mac }) => mac.replace(/:/g, '') === THIRD_MAC).map(({ vni }) => vni);
    assert.ok(
      at.every((vni) => vni === SEALED),
      `learned in ${at.join()}`,
    );
    return at.length > 0;
  });
  // Its association is bound to its address.
  const spare = await drops();
  const { frame: any } = old[0]!;
  const spoofed = Buffer.alloc(64);
  spoofed.writeUInt32BE(impostor.association!.spi, 0);
  wire.inject({ to: 1, frame: withDatagram(any, { payload: spoofed }) });
  const [sources] = await dropped(spare, 1, ['esp-source']);
  assert.is(sources, 1);
  wire.filter = null;
});

attack('recorded packets and requests are worth nothing after the receiver or the sender has restarted', async () => {
  const tape = (wire.tape = [] as Passing[]);
  for (const i of [2, 1] as const) {
    await hosts.vteps[i]!.stop('SIGKILL');
    await start(i);
    await reach();
    await arrive(await send(10));
    const requests = tape.filter(isMessage);
    const packets = [...old, ...tape.filter(isEsp)];
    assert.ok(requests.length >= 1, 'requests were recorded');
    const before = await drops();
    for (let round = 0; round < 3; round++) for (const one of [...requests, ...packets]) wire.inject(one);
    await dropped(before, 3 * packets.length, ['esp-replay', 'esp-unknown-spi', 'esp-source']);
    await requireOnce();
  }
  wire.tape = null;
  old = [...old, ...tape.filter(toHost2)];
  // Both are still as they should be.
  const { ns } = hosts.containers[1]!;
  assert.is(await ping(ns, hosts.sealed(2)), 3);
  assert.is(await ping(ns, hosts.clear(2)), 3);
});

// The engine has no part in this.
if (FIRST)
  attack(
    'a host with another key, the same key for another network, or none gets nothing, and the log says why',
    async () => {
      const peers = [hosts.underlay(2)];
      const clear = { vni: CLEAR, peers };
      const cases: [string, Partial<Config>, RegExp | null, RegExp | null][] = [
        [
          'another key',
          { segments: [{ vni: SEALED, peers, keyFile: otherKeys() }, clear] },
          /172\.31\.1\.2 (does not answer about keys of vni-100|asks with a key that this host does not have)/,
          /172\.31\.1\.1 asks with a key that this host does not have for any network: compare the key files/,
        ],
        [
          'the same key for another network',
          {
            networks: [
              {
                name: 'prod',
                keyFile: hosts.keyFile(1),
                subnets: [{ prefix: '10.1.0.0/24', gateway: '10.1.0.254', vni: SEALED }],
              },
            ],
            segments: [{ vni: SEALED, peers }, clear],
          },
          /172\.31\.1\.2 (does not answer about keys of prod|asks with a key that this host does not have)/,
          /172\.31\.1\.1 asks with a key that this host does not have for any network/,
        ],
        [
          'no key',
          { segments: [{ vni: SEALED, peers }, clear] },
          null,
          /172\.31\.1\.1 does not answer about keys of vni-100/,
        ],
      ];
      for (const [what, config, own, others] of cases) {
        await Promise.all([1, 2].map((i) => hosts.vteps[i]!.stop()));
        await Promise.all([start(1, config), start(2)]);
        const { ns } = hosts.containers[1]!;
        await waitFor('the segment in clear text', async () => (await ping(ns, hosts.clear(2), { count: 1 })) === 1);
        assert.is(await ping(ns, hosts.sealed(2), { count: 2, wait: 1 }), 0, what);
        assert.is(await ping(hosts.containers[2]!.ns, hosts.sealed(1), { count: 2, wait: 1 }), 0, what);
        for (const [i, log] of [
          [1, own],
          [2, others],
        ] as const)
          if (log !== null)
            await waitFor(
              `${what} in the log of host ${i}: ${log}`,
              () => log.test(hosts.vteps[i]!.stderr),
              8000,
            ).catch((error) => {
              throw new Error(`${(error as Error).message}, which has ${hosts.vteps[i]!.stderr}`);
            });
      }
    },
  );

attack.run();
