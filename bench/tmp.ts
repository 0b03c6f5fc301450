import { do_not_optimize, measure } from 'mitata';
import { allocated } from './library.js';
import { forwarding, lookups } from './machines.js';
import { PING, readFields } from './packet.js';
console.log(PING.length, readFields(PING));
const { forward } = forwarding();
const { lookup } = lookups();
for (const [n, f] of [
  ['fields', () => readFields(PING)],
  ['fwd', forward],
  ['fdb', lookup],
] as const) {
  for (let i = 0; i < 3; i++) console.log(n, (await measure(() => do_not_optimize(f()))).p50, allocated(f));
}
