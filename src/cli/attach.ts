/** `vtep attach`: attaches a namespace to a network of the cluster, or a TAP to one running VTEP. */
import { type TapListing } from '../host/index.js';
import { attachEndpoint, OF_CLUSTER } from './attach-endpoint.js';
import { change, given, inNamespace, JSON_FLAG, numberOf } from './change.js';
import { CONTROL } from './control-flags.js';
import { integerOf, parseFlags, refuseBeside, UsageError, type Flag, type Parsed } from './flags.js';
import { type Manual } from './manual.js';
import { ADDRESS, addressOf, vlansOf } from './up-config.js';

/** Flags of a TAP of a VTEP. */
const OF_VTEP: readonly Flag[] = [
  CONTROL,
  { name: 'vni', value: 'N', text: 'VNI for the frames of the TAP; with --vlan, for its untagged frames' },
  { name: 'vlan', value: 'VID=VNI', many: true, text: 'make the TAP a trunk: the VNI for the frames of a VLAN' },
  ADDRESS,
  { name: 'mtu', value: 'N', text: 'MTU of the TAP (default: that of its segment; on a trunk, the smallest one)' },
];
const BOTH: readonly Flag[] = [
  { name: 'netns', value: 'NS', text: 'namespace for the device: a name, or a path (/proc/PID/ns/net)' },
  { name: 'pid', value: 'PID', text: 'the namespace of a process, such as that of a container' },
  { name: 'mac', value: 'MAC', text: 'MAC address of the device (default: chosen)' },
  JSON_FLAG,
];

export const manual: Manual = {
  name: 'attach',
  summary: 'attach a namespace to a network of the cluster, or a TAP to one running VTEP',
  usage: [
    'attach NETWORK --netns NS|--pid PID [flags]',
    'attach TAP --control PATH --vni N [flags]',
    'attach TAP --control PATH --vlan VID=VNI … [flags]',
  ],
  description: `Without --control, a namespace that exists already becomes an endpoint of a network of the cluster: the agent gives it a
device with an address, routes to the other subnets, and a name. It stays until "vtep detach NAME", until the namespace is
gone, or until this host leaves the cluster; also over a restart of the agent. Anything with a namespace will do: a
container by the id of its process, systemd-nspawn, or "ip netns add".

With --control, the VTEP of that "vtep up" or "vtep agent" creates the TAP with its addresses, as "vtep up" does at its
start, and announces it. The TAP stays until "vtep detach NAME --control PATH", or until the VTEP ends. Its segments must
exist; see "vtep up --help".`,
  flags: [
    { flags: BOTH },
    { title: 'a namespace, without --control', flags: OF_CLUSTER },
    { title: 'a TAP of one VTEP', flags: OF_VTEP },
  ],
  examples: `vtep attach prod-net --netns c2 --ip 11.1.1.20
vtep attach prod-net --pid 4242 --name web --alias www

# one VTEP
vtep attach eth0 --netns c2 --address 10.0.0.4/24 --vni 4097 --control /run/vtep.sock
vtep attach eth0 --netns c2 --address 10.0.0.4/24,fd00::4/64 --vni 4097 --control /run/vtep.sock
vtep attach trunk0 --vlan 10=4097 20=4098 --vni 4096 --control /run/vtep.sock`,
  exit: { 0: 'attached', 1: 'no agent or VTEP answered, or it refused the request', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, [...BOTH, ...OF_CLUSTER, ...OF_VTEP]);
  const [name, ...more] = flags.rest;
  const netns = namespaceOf(flags);
  if (!flags.given.has('control')) {
    const other = OF_VTEP.find((flag) => flags.given.has(flag.name));
    if (other !== undefined)
      throw new UsageError(
        `missing: --control PATH, the same as that of "vtep up", which ${flags.typed(other.name)} goes with`,
      );
    return attachEndpoint(flags, netns);
  }
  refuseBeside(
    flags,
    'control',
    OF_CLUSTER.map((flag) => flag.name),
    ', which means one VTEP',
  );
  if (name === undefined) throw new UsageError('missing: TAP, the TAP to create');
  if (more.length > 0) throw new UsageError(`expected one TAP, got "${flags.rest.join(' ')}"`);
  const vlans = vlansOf(flags);
  const vni = numberOf(flags.value('vni'));
  const isTrunk = Object.keys(vlans).length > 0;
  if (vni === undefined && !isTrunk) throw new UsageError('missing: --vni N, or --vlan VID=VNI');
  const fields = given({
    netns,
    address: addressOf(flags),
    mac: flags.value('mac'),
    mtu: numberOf(flags.value('mtu')),
    ...(isTrunk ? { vlans, native: vni } : { vni }),
  });
  return change(flags, { command: 'attach', name, ...fields }, placeOf, attachedLine);
}

/**
 * The namespace of --netns or --pid.
 * @throws UsageError if both are given, or --pid is no process id.
 */
function namespaceOf(flags: Parsed): string | undefined {
  refuseBeside(flags, 'netns', ['pid']);
  const pid = integerOf(flags, 'pid', { least: 1, most: 4_194_304, what: 'the id of a process' });
  return pid === undefined ? flags.value('netns') : `/proc/${pid}/ns/net`;
}

/** The flag or the argument that a field came from. */
function placeOf(path: string): string {
  if (path === 'name') return 'TAP';
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
