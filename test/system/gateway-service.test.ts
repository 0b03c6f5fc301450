/**
 * Services of this host at the gateways of a network, asked by containers through real TAPs:
 *
 *     a 10.1.1.10 fd01::10 --+
 *     b 10.1.1.11 fd01::11 --+-- VTEP with gateways 10.1.1.1, fd01::1, 11.1.1.1, fd02::fe
 *     c 11.1.1.10 fd02::10 --+
 */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { Logger, Overlay, type Captured, type GatewayHandler, type GatewayRequest } from '../../src/host/index.js';
import { build, dissect } from '../../src/packet/index.js';
import { plan, type Tap } from '../../src/schema/index.js';
import { type CountName, type DropReason } from '../../src/vtep/index.js';
import { fromHex, hex } from '../support/hex.js';
import { exec, Lab, ping, waitFor } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const NEEDS = ['root', 'tun', 'ip', 'ping', 'python3'];
const CLIENT = fileURLToPath(new URL('../support/gateway-client.mjs', import.meta.url));
const PORT = 53;
const MTU = 1450;
const [NEAR, FAR] = [4097, 4098];
const SUBNETS = [
  { prefix: '10.1.1.0/24', vni: NEAR },
  { prefix: 'fd01::/64', vni: NEAR },
  { prefix: '11.1.1.0/24', vni: FAR },
  { prefix: 'fd02::/64', gateway: 'fd02::fe', vni: FAR },
];
const STATIONS = {
  a: { vni: NEAR, ips: ['10.1.1.10', 'fd01::10'] },
  b: { vni: NEAR, ips: ['10.1.1.11', 'fd01::11'] },
  c: { vni: FAR, ips: ['11.1.1.10', 'fd02::10'] },
} as const;
type Name = keyof typeof STATIONS;
/** Sends ten datagrams of four bytes as one super-frame, and prints how many answers come within a second. */
const SUPER_FRAME = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], ${PORT}))
s.setsockopt(17, 103, 4)
s.send(b"".join(b"no%02d" % i for i in range(10)))
s.settimeout(1)
answers = set()
try:
    while len(answers) < 10: answers.add(s.recv(100))
except TimeoutError: pass
print(len(answers))
`;

for (const [engine, workers] of [
  ['linux', 1],
  ['linux', 2],
  ['dgram', 1],
] as const) {
  const title = `${engine}${workers > 1 ? ` with ${workers} workers` : ''}`;
  const test = suiteWith(`services at the gateways of ${title}`, NEEDS);
  const namespaces = {} as Record<Name, string>;
  let lab: Lab;
  let overlay: Overlay;
  let lines: string[];
  /** What ends the services of the current test. */
  let ends: (() => Promise<void>)[] = [];

  const tapOf = (name: Name): Tap => {
    const { vni, ips } = STATIONS[name];
    return { name: 'eth0', netns: namespaces[name], vni, address: [`${ips[0]}/24`, `${ips[1]}/64`] };
  };

  async function start(): Promise<void> {
    lines = [];
    const local = `127.93.${(process.pid >> 8) & 255}.${process.pid & 255}`;
    const config = {
      ...{ local, engine, workers, networks: [{ name: 'prod', subnets: SUBNETS }] },
      segments: [NEAR, FAR].map((vni) => ({ vni, mtu: MTU })),
      taps: (['a', 'b', 'c'] as const).map(tapOf),
    };
    overlay = await Overlay.start(plan(config), {
      log: new Logger(({ event, message }) => void lines.push(`${event}: ${message}`)),
      end: (reason) => assert.unreachable(`it ends: ${reason}`),
    });
  }

  test.before(async () => {
    lab = new Lab(`gs${engine}${workers}`);
    for (const name of ['a', 'b', 'c'] as const) {
      namespaces[name] = await lab.namespace(name);
      // The addresses are in use at once, and no solicitation of a probe is captured.
      await exec(namespaces[name], ['sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0']);
    }
    await start();
  });
  test.after.each(async () => {
    for (const end of ends.splice(0)) await end();
  });
  test.after(async () => {
    await overlay?.stop();
    await lab?.teardown();
  });

  const serve = async (handle: GatewayHandler, port = PORT): Promise<() => Promise<void>> => {
    const end = await overlay.serveGateway(port, handle);
    ends.push(end);
    return end;
  };
  const client = (from: Name, ...args: string[]): Promise<string> =>
    exec(namespaces[from], [process.execPath, CLIENT, ...args]);
  /** What the service answers to a station's texts: an error code, or `null` if there is no answer in time. */
  const ask = async (from: Name, to: string, texts: string[], patience = 5000): Promise<unknown[]> => {
    const command = ['env', `PATIENCE=${patience}`, process.execPath, CLIENT, 'ask', to, String(PORT), ...texts];
    return JSON.parse(await exec(namespaces[from], command)) as unknown[];
  };
  const counts = async (name: CountName): Promise<number> => (await overlay.counters()).vtep.counts[name];
  const drops = async (name: DropReason): Promise<number> => (await overlay.counters()).vtep.drops[name];
  const told = ({ vni, gateway, source, payload }: GatewayRequest): Uint8Array =>
    Buffer.from(`${vni} ${gateway} ${source} ${Buffer.from(payload).toString()}`);
  /** The error of a service that is refused. */
  const refusal = async (port: number): Promise<unknown> =>
    overlay
      .serveGateway(port, async () => undefined)
      .then(
        () => 'none',
        ({ message }: Error) => message,
      );
  /** A handler whose requests wait until the test calls what is in `answers`. */
  function waiting(): { answers: ((payload?: Uint8Array) => void)[]; handle: GatewayHandler } {
    const answers: ((payload?: Uint8Array) => void)[] = [];
    return { answers, handle: () => new Promise((resolve) => answers.push((payload) => resolve(payload))) };
  }

  test('stations of both subnets ask every gateway, over IPv4 and IPv6', async () => {
    await serve(async (request) => told(request));
    for (const [name, { vni, ips }] of Object.entries(STATIONS))
      for (const gateway of ['10.1.1.1', 'fd01::1', '11.1.1.1', 'fd02::fe']) {
        const source = ips[gateway.includes(':') ? 1 : 0];
        const expected = ['one', 'two'].map((text) => `${vni} ${gateway} ${source} ${text}`);
        assert.equal(await ask(name as Name, gateway, ['one', 'two']), expected, `${name} to ${gateway}`);
      }
    assert.equal([await counts('gateway-requests'), await counts('gateway-answers')], [24, 24]);
    assert.is(await ping(namespaces.a, '10.1.1.1', { count: 1 }), 1, 'the gateway answers ping as before');
  });

  test('other ports are closed, and so is that of a service that has ended; errors of the caller', async () => {
    const end = await serve(async (request) => told(request));
    assert.match(String((await ask('a', '10.1.1.1', ['x']))[0]), /x$/);
    for (const to of ['10.1.1.1', 'fd01::1'])
      assert.equal(JSON.parse(await client('a', 'ask', to, '54', 'x')), ['ECONNREFUSED'], to);
    assert.is(await refusal(PORT), 'UDP port 53 of the gateways is served already; end that service first');
    for (const bad of [0, 65_536, 1.5])
      assert.is(await refusal(bad), `port must be an integer from 1 to 65535, not ${bad}`);
    await Promise.all([end(), end()]);
    for (const to of ['10.1.1.1', 'fd01::1']) assert.equal(await ask('a', to, ['x']), ['ECONNREFUSED'], to);
    await serve(async () => Buffer.from('again'));
    assert.equal(await ask('a', '10.1.1.1', ['x']), ['again']);
  });

  test('explain says that the service gets a request', async () => {
    await serve(async () => assert.unreachable('a datagram that is explained') as never);
    const { vni, ips } = STATIONS.a;
    const station = overlay.plan.taps.find((tap) => tap.netns === namespaces.a)!;
    const gateway = overlay.plan.networks.find(({ subnets }) => subnets.some((one) => one.vni === vni))!;
    const frame = build([
      { protocol: 'ethernet', destination: gateway.mac!, source: station.mac! },
      { protocol: 'ipv4', source: ips[0], destination: '10.1.1.1' },
      { protocol: 'udp', sourcePort: 5000, destinationPort: PORT },
      { protocol: 'payload', bytes: Buffer.from('question') },
    ]);
    const { steps, dropped, service } = await overlay.engine.explain({
      ...{ command: 'explain', port: 'eth0', frame: hex(frame) },
    });
    assert.equal([steps.at(-1)!.stage, dropped, service], ['router', null, PORT]);
  });

  test('requests and answers are captured at the TAP', async () => {
    await serve(async () => Buffer.from('an answer'));
    const gone = new AbortController();
    const pages = overlay.engine.capture({ command: 'capture', count: 1000, seconds: 60 }, gone.signal);
    const seen: string[] = [];
    let asked: Promise<unknown> | undefined;
    for await (const { result } of pages) {
      // The first page says that the capture has begun.
      asked ??= Promise.all(['10.1.1.1', 'fd01::1'].map((to) => ask('a', to, ['question'])));
      for (const { direction, data } of result as Captured[])
        for (const one of dissect(fromHex(data)).layers)
          if (one.protocol === 'udp' && [one.sourcePort, one.destinationPort].includes(PORT))
            seen.push(`${direction} ${one.destinationPort === PORT ? 'request' : 'answer'}`);
      if (seen.length >= 4) break;
    }
    gone.abort();
    await asked;
    assert.equal(seen.sort(), ['in request', 'in request', 'out answer', 'out answer']);
  });

  test('an answer may fill a packet; a longer one is counted and not sent', async () => {
    const rooms: number[] = [];
    await serve(async ({ payload, room }) => {
      rooms.push(room);
      return new Uint8Array(room + Number(Buffer.from(payload).toString()));
    });
    const before = await drops('router-gateway-answer');
    assert.equal(await ask('a', '10.1.1.1', ['0', '1', '100000000'], 300), [MTU - 28, null, null]);
    assert.equal(await ask('a', 'fd01::1', ['0', '1'], 300), [MTU - 48, null]);
    assert.is((await drops('router-gateway-answer')) - before, 3);
    assert.equal(rooms, [MTU - 28, MTU - 28, MTU - 28, MTU - 48, MTU - 48]);
  });

  test('a handler that throws, has no answer or a wrong one does no harm', async () => {
    lines.length = 0;
    await serve(async ({ payload }) => {
      const text = Buffer.from(payload).toString();
      if (text === 'throw') throw new Error('out of order');
      if (text === 'wrong') return 'text' as never;
      return text === 'none' ? undefined : payload;
    });
    const texts = ['throw', 'wrong', 'none', 'fine'];
    assert.equal(await ask('a', '10.1.1.1', texts, 300), [null, null, null, 'fine']);
    assert.equal(lines, [
      'gateway-service: the service at UDP port 53 of the gateways could not answer a request: out of order',
    ]);
  });

  test('the datagrams of a super-frame are answered one by one', async () => {
    const before = await counts('gateway-requests');
    await serve(async ({ payload }) => payload);
    assert.is(Number(await exec(namespaces.a, ['python3', '-c', SUPER_FRAME, '10.1.1.1'])), 10);
    assert.is((await counts('gateway-requests')) - before, 10);
  });

  test('TAPs go and come while requests wait; answers that come too late are counted', async () => {
    const { answers, handle } = waiting();
    await serve(handle);
    const before = await drops('router-gateway-late');
    const lost = ask('b', '10.1.1.1', ['x'], 1500);
    await waitFor('the request', () => answers.length === 1);
    await overlay.detach('eth0', namespaces.b);
    const kept = ask('a', '10.1.1.1', ['x']);
    await waitFor('the other request', () => answers.length === 2);
    for (const answer of answers) answer(Buffer.from('an answer'));
    assert.equal(await kept, ['an answer']);
    await waitFor('the answer to be too late', async () => (await drops('router-gateway-late')) === before + 1);
    await overlay.attach(tapOf('b'));
    assert.equal(await lost, [null]);
    const again = ask('b', '10.1.1.1', ['x']);
    await waitFor('the request', () => answers.length === 3);
    answers[2]!(Buffer.from('again'));
    assert.equal(await again, ['again']);
  });

  test('a flood of requests delays neither frames nor the requests of others, and is bounded', async () => {
    let now = 0;
    let most = 0;
    await serve(async ({ payload, source }) => {
      if (source === STATIONS.b.ips[0]) return payload;
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 50));
      now--;
      return payload;
    });
    const before = await drops('router-gateway-busy');
    const requests = await counts('gateway-requests');
    let done = false;
    const flooded = (async () => {
      do await client('a', 'flood', '10.1.1.1', String(PORT), '100000');
      while (!done);
    })();
    await waitFor('the flood', async () => (await drops('router-gateway-busy')) > before);
    const pings = ping(namespaces.b, '11.1.1.10', { count: 20, interval: 0.05 });
    const texts = Array.from({ length: 20 }, (_, i) => `text ${i}`);
    assert.equal(await ask('b', '10.1.1.1', texts), texts);
    assert.is(await pings, 20);
    done = true;
    await flooded;
    const dropped = (await drops('router-gateway-busy')) - before;
    const taken = (await counts('gateway-requests')) - requests;
    assert.ok(dropped > 50_000, `${dropped} dropped`);
    assert.ok(most <= 64, `${most} waited at a time`);
    assert.ok(taken < 50_000, `${taken} taken`);
  });

  test('it stops while requests wait', async () => {
    const { answers, handle } = waiting();
    await serve(handle);
    const lost = ask('a', '10.1.1.1', ['x', 'y'], 500).catch(() => undefined);
    await waitFor('the request', () => answers.length > 0);
    await overlay.stop();
    for (const answer of answers) answer(Buffer.from('too late'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await lost;
    assert.is(await refusal(99), 'the VTEP is stopping');
  });

  test.run();
}
