/** Charts as SVG: line charts and grouped bar charts. */

export interface Axis {
  label: string;
  max: number;
  /** Distance between two ticks. */
  step: number;
}

export interface Line {
  name: string;
  color: string;
  dashed?: boolean;
  points: readonly (readonly [x: number, y: number])[];
}

export interface LineChart {
  title: string;
  note: string;
  x: Axis;
  y: Axis;
  lines: readonly Line[];
}

export interface BarChart {
  title: string;
  note: string;
  y: Axis;
  /** Name and colour of each bar in a group. */
  series: readonly { name: string; color: string }[];
  groups: readonly { name: string; values: readonly number[] }[];
}

const WIDTH = 760;
const HEIGHT = 400;
const LEFT = 64;
const RIGHT = 190;
const TOP = 56;
const BOTTOM = 64;
const PLOT = { width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM };

export function lineChart({ title, note, x, y, lines }: LineChart): string {
  const across = (value: number): number => LEFT + (value / x.max) * PLOT.width;
  const down = (value: number): number => TOP + PLOT.height - (value / y.max) * PLOT.height;
  const marks = steps(x).map((value) =>
    text(round(value), across(value), TOP + PLOT.height + 20, { 'text-anchor': 'middle' }),
  );
  const drawn = lines.map(({ color, dashed, points }) =>
    element('polyline', {
      fill: 'none',
      stroke: color,
      'stroke-width': dashed === true ? 1.25 : 2,
      ...(dashed === true ? { 'stroke-dasharray': '5 4' } : {}),
      points: points
        .filter(([at]) => at <= x.max)
        .map(([at, value]) => `${round(across(at))},${round(down(value))}`)
        .join(' '),
    }),
  );
  const keys = lines.map(({ name, color, dashed }, i) => key(i, name, color, dashed === true));
  return sheet(title, note, [...frame(y), ...marks, axisLabel(x), ...drawn, ...keys]);
}

export function barChart({ title, note, y, series, groups }: BarChart): string {
  const width = PLOT.width / groups.length;
  const bar = (width * 0.8) / series.length;
  const drawn = groups.flatMap(({ name, values }, i) => {
    const left = LEFT + width * (i + 0.1);
    const bars = values.flatMap((value, k) => {
      const height = Math.min(1, value / y.max) * PLOT.height;
      const [at, top] = [left + bar * k, TOP + PLOT.height - height];
      const { color } = series[k]!;
      return [
        element('rect', { x: round(at), y: round(top), width: round(bar * 0.9), height: round(height), fill: color }),
        text(round(value), at + bar * 0.45, top - 5, { 'text-anchor': 'middle', 'font-size': 11 }),
      ];
    });
    return [...bars, text(name, left + width * 0.4, TOP + PLOT.height + 20, { 'text-anchor': 'middle' })];
  });
  return sheet(title, note, [...frame(y), ...drawn, ...series.map(({ name, color }, i) => key(i, name, color, false))]);
}

/** Values of an axis's ticks, from 0. */
function steps({ max, step }: Axis): number[] {
  return Array.from({ length: Math.floor(max / step + 1e-9) + 1 }, (_, i) => i * step);
}

/** Horizontal grid lines with their values. */
function frame(y: Axis): string[] {
  const down = (value: number): number => TOP + PLOT.height - (value / y.max) * PLOT.height;
  return [
    ...steps(y).flatMap((value) => [
      element('line', {
        x1: LEFT,
        x2: LEFT + PLOT.width,
        y1: round(down(value)),
        y2: round(down(value)),
        stroke: value === 0 ? '#444' : '#ddd',
      }),
      text(round(value), LEFT - 8, down(value) + 4, { 'text-anchor': 'end' }),
    ]),
    text(y.label, LEFT - 44, TOP - 14, {}),
  ];
}

function axisLabel({ label }: Axis): string {
  return text(label, LEFT + PLOT.width / 2, TOP + PLOT.height + 42, { 'text-anchor': 'middle' });
}

/** A legend entry, right of the plot. */
function key(at: number, name: string, color: string, dashed: boolean): string {
  const x = LEFT + PLOT.width + 16;
  const y = TOP + 10 + at * 20;
  const stroke = { stroke: color, 'stroke-width': dashed ? 1.25 : 3, ...(dashed ? { 'stroke-dasharray': '5 4' } : {}) };
  return element('line', { x1: x, x2: x + 24, y1: y, y2: y, ...stroke }) + text(name, x + 32, y + 4, {});
}

function sheet(title: string, note: string, parts: readonly string[]): string {
  const body = [
    element('rect', { width: WIDTH, height: HEIGHT, fill: '#fff' }),
    text(title, LEFT - 44, 24, { 'font-size': 15, 'font-weight': 600 }),
    ...parts,
    text(note, LEFT - 44, HEIGHT - 8, { 'font-size': 11, fill: '#555' }),
  ];
  const open = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`;
  return `${open}\n${body.join('\n')}\n</svg>\n`;
}

function text(words: string | number, x: number, y: number, more: Record<string, string | number>): string {
  return element('text', { x: round(x), y: round(y), fill: '#222', ...more }, escape(String(words)));
}

function element(name: string, attributes: Record<string, string | number>, body = ''): string {
  const list = Object.entries(attributes).map(([key, value]) => ` ${key}="${escape(String(value))}"`);
  return body === '' ? `<${name}${list.join('')}/>` : `<${name}${list.join('')}>${body}</${name}>`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function escape(words: string): string {
  return words.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}
