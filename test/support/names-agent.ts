/**
 * An agent that announces names: `names-agent.ts CONFIG`. Each line of its standard input is a request,
 * `{"announce":[NETWORK,[NAME…]]}` or `{"addressesOf":[NETWORK,NAME]}` or `{"namesOf":[NETWORK,ADDRESS]}`; each line of its
 * standard output the answer. It ends with its input.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { EndpointNames } from '../../src/gossip/networkdb/index.js';
import { Logger, Overlay } from '../../src/host/index.js';
import { plan } from '../../src/schema/index.js';

export interface NamesRequest {
  announce?: [network: string, names: (EndpointNames & { mac: string })[]];
  addressesOf?: [network: string, name: string];
  namesOf?: [network: string, address: string];
}

const log = new Logger(({ level, event, message }) => void process.stderr.write(`${level} ${event}: ${message}\n`));
const overlay = await Overlay.start(plan(JSON.parse(readFileSync(process.argv[2]!, 'utf8'))), {
  log,
  end: (reason) => void process.stderr.write(`ended: ${reason}\n`),
});
const gossip = overlay.gossip!;
process.stdout.write('"ready"\n');
for await (const line of createInterface({ input: process.stdin })) {
  const { announce, addressesOf, namesOf } = JSON.parse(line) as NamesRequest;
  let answer: unknown = null;
  if (announce !== undefined) gossip.announceNames(...announce);
  else if (addressesOf !== undefined) answer = gossip.namesIn(addressesOf[0])?.addressesOf(addressesOf[1]);
  else if (namesOf !== undefined) answer = gossip.namesIn(namesOf[0])?.namesOf(namesOf[1]);
  process.stdout.write(`${JSON.stringify(answer ?? null)}\n`);
}
await overlay.stop();
process.exit(0);
