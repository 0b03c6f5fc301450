/** The gossip benchmark at a small size: its limits, formulas and plots, in virtual time and from seeds. */
import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { falseDeaths, measureSize } from '../bench/gossip/measure.js';
import { epidemic, serfShare, serfTime } from '../bench/gossip/model.js';
import { barChart, lineChart } from '../bench/gossip/svg.js';
import { Random } from '../src/sim/index.js';

const LAN = { interval: 200, fanout: 3, loss: 0 };
const near = (value: number, expected: number, tolerance: number): void =>
  assert.ok(Math.abs(value - expected) <= expected * tolerance, `${value} instead of about ${expected}`);

test('100 nodes: updates spread within 1.5 s and as in the model, a death as expected, with little traffic', () => {
  const plan = { seeds: 1, endpoints: 5, broadcasts: 2, deaths: 1, idle: 30 };
  const { endpoint, endpointWorst, broadcast, model, death, expectedDeath, idle, curve } = measureSize(
    100,
    plan,
    () => undefined,
  );
  assert.ok(endpointWorst! <= 1500, `99 % after ${endpointWorst} ms`);
  assert.ok(broadcast.most! <= 1500, `99 % after ${broadcast.most} ms`);
  // Medians of few trials: they may differ by the phase of a gossip interval.
  assert.ok(Math.abs(endpoint.half! - model.half!) < 200, `${endpoint.half}, in the model ${model.half}`);
  assert.ok(Math.abs(endpoint.most! - model.most!) < 200, `${endpoint.most}, in the model ${model.most}`);
  near(death.first!, expectedDeath, 0.3);
  assert.ok(death.all! - death.first! < 1500);
  assert.ok(idle.total < 20 * 1024, `${idle.total} octets per second`);
  // By hand: a node sends one ping (85 octets) and one ack (22) per second, with 28 octets of headers each.
  near(idle.packets, 85 + 22 + 2 * 28, 0.1);
  assert.ok(idle.linksAgree);
  assert.is(curve.length, 100);
  assert.equal(
    curve.map(([, time]) => time),
    curve.map(([, time]) => time).sort((a, b) => a - b),
  );
});

test('100 nodes, two minutes at 5 % loss: no living member is declared dead', () => {
  const { declared, believed } = falseDeaths(100, 0.05, true, 2);
  assert.equal([declared, believed], [0, 0]);
});

test('false deaths are counted: with 85 % loss there are some', () => {
  const { declared, believed } = falseDeaths(10, 0.85, false, 2);
  assert.ok(declared > 0 && believed >= declared);
});

test('the formula of Serf’s simulator, with its own settings', () => {
  const serf = { nodes: 30, ...LAN };
  near(serfShare(serf, 0), 1 / 32, 1e-9);
  near(serfShare(serf, 1000), 0.98315, 1e-4); // 1 / (1 + 31 e^-7.5)
  near(serfShare({ ...serf, loss: 0.5 }, 2000), 0.98315, 1e-4);
  for (const share of [0.1, 0.5, 0.99]) near(serfShare(serf, serfTime(serf, share)), share, 1e-9);
});

test('the model: one interval with full fanout, never with total loss, and logistic growth between', () => {
  const random = new Random(1);
  const once = epidemic({ nodes: 10, interval: 200, fanout: 9, loss: 0 }, 1, random);
  assert.is(once[0], 0);
  assert.is(once[1], once[9]);
  assert.ok(once[9]! <= 201);
  assert.is(epidemic({ nodes: 10, ...LAN, loss: 1 }, 1, random)[1], Infinity);
  // From 10 % to 90 % takes 2 ln(9) / 15 s: each node that knows sends to 15 others per second.
  const rise = (): number => {
    const times = epidemic({ nodes: 2000, ...LAN }, 0, random);
    return times[1800]! - times[200]!;
  };
  near([...Array(9)].map(rise).sort((a, b) => a - b)[4]!, (2000 * Math.log(9)) / 15, 0.15);
});

/** Elements by name, with their attributes. */
function elements(svg: string, name: string): Record<string, string>[] {
  return [...svg.matchAll(new RegExp(`<${name} ([^>]*?)/?>`, 'g'))].map(([, list]) =>
    Object.fromEntries([...list!.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key!, value!])),
  );
}

test('lines as SVG: where they should be, dashed or not, and no markup in words', () => {
  const svg = lineChart({
    title: 'a < b & "c"',
    note: 'n',
    x: { label: 'seconds', max: 2, step: 1 },
    y: { label: '%', max: 100, step: 50 },
    lines: [
      { name: 'one', color: '#111', points: [[0, 0], [1, 50], [2, 100], [3, 100]] }, // prettier-ignore
      { name: 'two', color: '#222', dashed: true, points: [[0, 100]] },
    ],
  });
  assert.ok(svg.startsWith('<svg xmlns="http://www.w3.org/2000/svg"') && svg.endsWith('</svg>\n'));
  assert.ok(svg.includes('a &lt; b &amp; &quot;c&quot;'));
  const [one, two] = elements(svg, 'polyline');
  const points = one!['points']!.split(' ').map((point) => point.split(',').map(Number));
  assert.is(points.length, 3); // points beyond the axis are omitted
  assert.equal(points[1], [(points[0]![0]! + points[2]![0]!) / 2, (points[0]![1]! + points[2]![1]!) / 2]);
  assert.ok(points[0]![1]! > points[2]![1]!);
  assert.is(one!['stroke-dasharray'], undefined);
  assert.ok(two!['stroke-dasharray'] !== undefined);
  assert.is((svg.match(/<text/g) ?? []).length, (svg.match(/<\/text>/g) ?? []).length);
});

test('bars as SVG: heights in proportion to the values', () => {
  const svg = barChart({
    title: '',
    note: '',
    y: { label: '', max: 10, step: 5 },
    series: [
      { name: 'with', color: '#123456' },
      { name: 'without', color: '#654321' },
    ],
    groups: [{ name: '5 %', values: [2, 4] }],
  });
  const bars = elements(svg, 'rect').filter(({ fill }) => fill !== '#fff');
  assert.is(bars.length, 2);
  assert.is(Number(bars[1]!['height']), 2 * Number(bars[0]!['height']));
});

test('the suite as a program: its JSON, and the error for a wrong size', () => {
  const run = (...args: string[]) => spawnSync(process.execPath, ['scripts/bench.mjs', ...args], { encoding: 'utf8' });
  const { stdout, stderr, status } = run('gossip', '--json', '--quick', '--nodes', '5', '8', '--minutes', '0.1');
  assert.is(status, 0, stderr);
  const { results } = JSON.parse(stdout) as { results: { gossip: Record<string, Record<string, unknown>[]> } };
  const { sizes, goals, plots } = results.gossip;
  assert.equal(
    sizes!.map(({ nodes }) => nodes),
    [5, 8],
  );
  for (const key of ['endpoint', 'broadcast', 'death', 'serf', 'model', 'idle', 'memory', 'curve'])
    assert.ok(key in sizes![0]!, key);
  assert.ok((sizes![0]!['memory'] as number) > 1000);
  assert.ok(goals!.every(({ met }) => met === true));
  assert.equal(plots, []);
  const wrong = run('gossip', '--nodes', '1');
  assert.is(wrong.status, 2);
  assert.match(wrong.stderr, '--nodes must be integers from 2');
});

test.run();
