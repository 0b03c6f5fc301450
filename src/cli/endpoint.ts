/** `vtep endpoint`: adds and removes the endpoints of a running VTEP. */
import { runAction, wordsOf, type Actions } from './actions.js';
import { change, JSON_FLAG, oneArgument, removedLine, requireVni, VNI } from './change.js';
import { CONTROL } from './control-flags.js';
import { UsageError, type Parsed } from './flags.js';
import { type Manual } from './manual.js';

const FLAGS = [CONTROL, VNI, JSON_FLAG];
const ENDPOINT = 'IP,MAC[,VTEP]';

const ACTIONS: Actions = {
  add: {
    usage: `add ${ENDPOINT} --vni N --control PATH`,
    text: 'add an endpoint to a network',
    flags: FLAGS,
    run: add,
  },
  rm: {
    usage: `rm ${ENDPOINT} --vni N --control PATH`,
    text: 'remove an endpoint from a network',
    flags: FLAGS,
    run: remove,
  },
};

export const manual: Manual = {
  name: 'endpoint',
  summary: 'add and remove the endpoints of a running VTEP',
  usage: [`endpoint ACTION ${ENDPOINT} --vni N --control PATH [flags]`],
  words: wordsOf(ACTIONS),
  description: `An endpoint is the IP address, IPv4 or IPv6, and the MAC address of a container, and the address of its VTEP; without VTEP, it is on this host, and an
agent announces it. "vtep show neighbors" lists them. What is added stays until it is removed, or until the VTEP ends.
An endpoint that the gossip of an agent has added stays until its host withdraws it.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep endpoint add 10.0.0.4,02:42:0a:00:00:04,192.168.1.25 --vni 4097 --control /run/vtep.sock
vtep endpoint add fd00::4,02:42:0a:00:00:04,192.168.1.25 --vni 4097 --control /run/vtep.sock
vtep endpoint rm 10.0.0.4,02:42:0a:00:00:04,192.168.1.25 --vni 4097 --control /run/vtep.sock`,
  exit: { 0: 'done', 1: 'no VTEP answered, it refused the request, or there is no such endpoint', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  return runAction(manual.name, ACTIONS, args);
}

async function add(flags: Parsed): Promise<number> {
  const text = oneArgument(flags, ENDPOINT, 'the endpoint to add');
  const vni = requireVni(flags);
  const request = { command: 'add-endpoint' as const, vni, ...fieldsOf(text) };
  return change(flags, request, placeOf, ({ held }) => {
    const but = held === undefined ? '' : `, but it is not in effect: ${held}`;
    return `added endpoint ${text} to network ${vni}${but}`;
  });
}

async function remove(flags: Parsed): Promise<number> {
  const text = oneArgument(flags, ENDPOINT, 'the endpoint to remove');
  const vni = requireVni(flags);
  const request = { command: 'remove-endpoint' as const, vni, ...fieldsOf(text) };
  return change(flags, request, placeOf, (result) => removedLine(`endpoint ${text} of network ${vni}`, result));
}

/** The fields of an endpoint. @throws UsageError if its text has more or fewer. */
function fieldsOf(text: string): { ip: string; mac: string; vtep?: string } {
  const [ip, mac, vtep, ...more] = text.split(',');
  if (mac === undefined || more.length > 0)
    throw new UsageError(`expected ${ENDPOINT} such as 10.0.0.4,02:42:0a:00:00:04,192.168.1.25, got "${text}"`);
  return { ip: ip!, mac, ...(vtep === undefined ? {} : { vtep }) };
}

/** The flag, or the part of the argument, that a field came from. */
function placeOf(path: string): string {
  return path === 'vni' ? '--vni' : path.toUpperCase();
}
