/** `vtep attach`: attaches a TAP to a running VTEP. */
import { type TapListing } from '../host/index.js';
import { change, given, inNamespace, JSON_FLAG, numberOf } from './change.js';
import { CONTROL } from './control-flags.js';
import { parseFlags, UsageError, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { ADDRESS, addressOf, vlansOf } from './up-config.js';

const FLAGS: readonly Flag[] = [
  CONTROL,
  { name: 'vni', value: 'N', text: 'VNI for the frames of the TAP; with --vlan, for its untagged frames' },
  { name: 'vlan', value: 'VID=VNI', many: true, text: 'make the TAP a trunk: the VNI for the frames of a VLAN' },
  { name: 'netns', value: 'NS', text: 'namespace to move the TAP to: a name, or a path (/proc/PID/ns/net)' },
  ADDRESS,
  { name: 'mac', value: 'MAC', text: 'MAC address of the TAP (default: derived from network and address)' },
  { name: 'mtu', value: 'N', text: 'MTU of the TAP (default: that of its segment; on a trunk, the smallest one)' },
  JSON_FLAG,
];

export const manual: Manual = {
  name: 'attach',
  summary: 'attach a TAP to a running VTEP',
  usage: ['attach NAME --control PATH --vni N [flags]', 'attach NAME --control PATH --vlan VID=VNI … [flags]'],
  description: `The VTEP creates the TAP with its addresses, as "vtep up" does at its start, and announces it. The TAP stays until
"vtep detach NAME --control PATH", or until the VTEP ends. Its segments must exist; see "vtep up --help".`,
  flags: [{ flags: FLAGS }],
  examples: `vtep attach eth0 --netns c2 --address 10.0.0.4/24 --vni 4097 --control /run/vtep.sock
vtep attach eth0 --netns c2 --address 10.0.0.4/24,fd00::4/64 --vni 4097 --control /run/vtep.sock
vtep attach trunk0 --vlan 10=4097 20=4098 --vni 4096 --control /run/vtep.sock`,
  exit: { 0: 'attached', 1: 'no VTEP answered, or it refused the request', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  const [name, ...more] = flags.rest;
  if (name === undefined) throw new UsageError('missing: NAME, the TAP to create');
  if (more.length > 0) throw new UsageError(`expected one NAME, got "${flags.rest.join(' ')}"`);
  const vlans = vlansOf(flags);
  const vni = numberOf(flags.value('vni'));
  const isTrunk = Object.keys(vlans).length > 0;
  if (vni === undefined && !isTrunk) throw new UsageError('missing: --vni N, or --vlan VID=VNI');
  const fields = given({
    netns: flags.value('netns'),
    address: addressOf(flags),
    mac: flags.value('mac'),
    mtu: numberOf(flags.value('mtu')),
    ...(isTrunk ? { vlans, native: vni } : { vni }),
  });
  return change(flags, { command: 'attach', name, ...fields }, placeOf, attachedLine);
}

/** The flag or the argument that a field came from. */
function placeOf(path: string): string {
  if (path === 'name') return 'NAME';
  if (path.startsWith('vlans')) return '--vlan';
  if (path === 'native') return '--vni';
  const [field = ''] = path.split('[');
  return ['vni', 'netns', 'address', 'mac', 'mtu'].includes(field) ? `--${field}` : path;
}

function attachedLine({ device, netns, addresses, mac, mtu, vni, vlans, native }: TapListing): string {
  const trunk = [...Object.entries(vlans ?? {}).map(([vid, one]) => `VLAN ${vid}: VNI ${one}`)];
  const segments = vni === null ? [...trunk, ...(native === null ? [] : [`untagged: VNI ${native}`])] : [`VNI ${vni}`];
  const facts = [...segments, ...addresses, ...(mac === null ? [] : [mac]), `MTU ${mtu}`];
  return `attached TAP ${device}${inNamespace('in', netns)} (${facts.join(', ')})`;
}
