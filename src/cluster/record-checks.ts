/**
 * What each record of the store must be. Only managers write it, but a disk may damage it, and a manager of a later version may write
 * what this one does not know. A record that is read in part would be written again in part.
 */
import { planSubnets, requestMac } from '../ipam/index.js';
import {
  choice,
  flag,
  id,
  integer,
  invalid,
  list,
  name,
  object,
  optional,
  pem,
  text,
  texts,
  type Check,
  type Shape,
} from './check.js';
import { address, environment, fingerprint, keyLength, labels, routePrefix, words } from './fields.js';
import { splitKey } from './keys.js';
import { LIMITS } from './limits.js';
import { planOf } from './networks-index.js';
import {
  type AddressRecord,
  type CaRecord,
  type ClusterRecord,
  type Ending,
  type EndpointRecord,
  type GossipKey,
  type NetworkKey,
  type NetworkRecord,
  type NodeRecord,
  type Role,
  type ServiceRecord,
  type SubnetRecord,
  type TaskRecord,
  type TaskReference,
  type VniRecord,
} from './records.js';
import { isRefused, Refused, refusing } from './refusal.js';

/** A record that cannot be read. */
export class RecordError extends Error {
  /** Its key in the store. */
  readonly key: string;
  /** The field at fault, such as `endings[0].state`; empty: the record as a whole, or its key. */
  readonly field: string;

  constructor(key: string, field: string, message: string) {
    super(
      `the record ${JSON.stringify(key.slice(0, SHOWN))} of the store cannot be read: ${message}; it is damaged, or a later ` +
        'version of weft has written it: use one version on all managers, or restore the store',
    );
    this.name = 'RecordError';
    this.key = key;
    this.field = field;
  }
}

/** Characters of a key in a message. */
const SHOWN = 200;

/** Milliseconds since 1970, or an interval before that in a test. */
const time = integer(0, Number.MAX_SAFE_INTEGER);
const count = integer(0, Number.MAX_SAFE_INTEGER);
const port = integer(1, 65_535);
const role = choice<Role>('manager', 'worker');
const nameOf = name(LIMITS.name);
const vni = integer(0, 0xff_ffff);
/** In the canonical text of an address, a prefix, or a MAC address: otherwise two keys could be about one. */
const canonical =
  (check: Check<string>, expected: string): Check<string> =>
  (value, at) => {
    const found = check(value, at);
    if (found !== value) throw invalid(at, expected, value);
    return found;
  };
const ip = canonical(address, 'an IP address in its canonical text');
const prefix = canonical(routePrefix, 'a prefix in its canonical text');
const mac = canonical(
  (value, at) => refusing({ mac: at }, () => requestMac(text(17)(value, at))),
  'a MAC address in its canonical text',
);
/** A text that no message repeats. */
const secret =
  (pattern: RegExp, expected: string): Check<string> =>
  (value, at) => {
    if (typeof value !== 'string' || !pattern.test(value))
      throw new Refused('invalid', `${at === '' ? '' : `${at}: `}expected ${expected}`, at);
    return value;
  };
const networkKey = object<NetworkKey>({
  number: integer(1, 0xffff_ffff),
  key: secret(/^(?:[A-Za-z0-9+/]{21}[AQgw]==|[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)$/, '16 or 32 octets in base64'),
  created: time,
});
/** The newest first, and all of one length: a VTEP has no others. */
const networkKeys: Check<readonly NetworkKey[]> = (value, at) => {
  const all = list(networkKey, LIMITS.networkKeys, 1)(value, at);
  all.forEach(({ number, key }, i) => {
    const before = all[i - 1];
    if (before !== undefined && before.number <= number)
      throw invalid(`${at}[${i}].number`, `a number below ${before.number}, that of the key before`, number);
    if (before !== undefined && before.key.length !== key.length)
      throw new Refused('invalid', `${at}[${i}].key: expected the length of the key before`, `${at}[${i}].key`);
  });
  return all;
};
/** What a program has written: any characters. */
const written =
  (most: number): Check<string> =>
  (value, at) => {
    if (typeof value !== 'string' || value.length > most)
      throw invalid(at, `a text of at most ${most} characters`, value);
    return value;
  };
/** One of two forms of an object, which a field that only the first has tells apart. */
const either =
  <A extends object, B extends object>(field: string, a: Check<A>, b: Check<B>): Check<A | B> =>
  (value, at) =>
    typeof value === 'object' && value !== null && Object.hasOwn(value, field) ? a(value, at) : b(value, at);

const subnet = object<SubnetRecord>({
  prefix,
  gateway: ip,
  vni,
  range: optional(prefix),
  auxiliary: texts(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/, { count: LIMITS.auxiliary, name: LIMITS.name, value: ip }),
});
/** That they can have a gateway and endpoints: what is in use is noted in them. */
const subnets: Check<readonly SubnetRecord[]> = (value, at) => {
  const all = list(subnet, 2 * LIMITS.subnets, 1)(value, at);
  refusing({ subnet: at, gateway: at, ipRange: at, aux: at }, () => planSubnets(all.map(planOf)));
  return all;
};
const reference = object<TaskReference>({ service: id, slot: integer(1, LIMITS.replicas), task: id });
const ending = object<Ending>({
  at: time,
  node: id,
  state: choice('exited', 'failed'),
  code: optional(integer(0, 255)),
  reason: optional(written(LIMITS.reason)),
  output: optional(list(written(LIMITS.outputLine), LIMITS.outputLines)),
});
const nowhere: Check<string> = (value, at) => (value === '' ? '' : id(value, at));

const SHAPES = {
  cluster: object<ClusterRecord>({
    id,
    created: time,
    pools: object({ pools: list(prefix, LIMITS.subnets, 1), maskLength: integer(1, 128) }),
    dataPathPort: integer(1024, 49_151),
    espPort: optional(integer(1024, 49_151)),
  }),
  ca: object<CaRecord>({ certificate: pem(LIMITS.pem), key: pem(LIMITS.pem) }),
  'gossip-keys': list(
    object<GossipKey>({
      key: secret(/^[A-Za-z0-9+/]{22}==$/, '16 octets in base64'),
      tag: count,
      created: time,
    }),
    LIMITS.gossipKeys,
    1,
  ),
  tokens: secret(/^[0-9a-z]{25}$/, 'a secret of 25 digits and small letters'),
  subnets: object({ network: id }),
  uses: object({}),
  nodes: object<NodeRecord>({
    id,
    name: name(LIMITS.nodeName),
    role,
    address: ip,
    port,
    dataPath: optional(ip),
    fingerprints: list(fingerprint, LIMITS.fingerprints),
    joined: time,
    state: choice('alive', 'failed', 'left'),
    since: time,
    keyTag: count,
  }),
  revoked: object({ node: id, at: time }),
  networks: object<NetworkRecord>({
    id,
    name: nameOf,
    subnets,
    ipv6: flag,
    internal: flag,
    mtu: optional(integer(576, 65_535)),
    encrypted: optional(keyLength),
    labels,
    created: time,
  }),
  'network-keys': networkKeys,
  'network-names': id,
  vnis: either<{ network: string; automatic: boolean }, { released: number }>(
    'network',
    object({ network: id, automatic: flag }),
    object({ released: time }),
  ) as Check<VniRecord>,
  endpoints: object<EndpointRecord>({
    id,
    name: nameOf,
    network: id,
    addresses: list(ip, 2, 1),
    mac,
    node: id,
    kind: choice('run', 'attach', 'task'),
    of: optional(reference),
    aliases: list(nameOf, LIMITS.aliases),
    created: time,
  } as unknown as Shape<EndpointRecord>),
  'endpoint-names': id,
  addresses: either<{ endpoint: string; automatic: boolean }, { released: number; node: string }>(
    'endpoint',
    object({ endpoint: id, automatic: flag }),
    object({ released: time, node: id }),
  ) as Check<AddressRecord>,
  macs: id,
  services: object<ServiceRecord>({
    id,
    name: name(LIMITS.serviceName),
    command: words,
    environment,
    networks: list(id, LIMITS.serviceNetworks, 1),
    replicas: integer(0, LIMITS.replicas),
    labels,
    created: time,
  }),
  'service-names': id,
  tasks: object<TaskRecord>({
    id,
    service: id,
    slot: integer(1, LIMITS.replicas),
    node: nowhere,
    endpoints: list(object({ network: id, id }), LIMITS.serviceNetworks),
    attempt: integer(1, Number.MAX_SAFE_INTEGER),
    state: choice('pending', 'assigned', 'running', 'exited', 'failed'),
    since: time,
    reason: optional(written(Infinity)),
    failures: count,
    retry: optional(time),
    endings: list(ending, LIMITS.endings),
  }),
} satisfies Record<string, Check<unknown>>;

type RecordKind = keyof typeof SHAPES;

/** A name as a key has it. */
const lower =
  (most: number): Check<string> =>
  (value, at) => {
    const found = name(most)(value, at);
    if (found !== found.toLowerCase()) throw invalid(at, 'a name in lower case', value);
    return found;
  };
/** A number as a key has it. */
const digits =
  (check: Check<number>): Check<string> =>
  (value, at) => {
    if (typeof value !== 'string' || String(Number(value)) !== value) throw invalid(at, 'a number', value);
    check(Number(value), at);
    return value;
  };

/** The parts of a key behind its kind, with the names of the fields that repeat them. */
const KEYS: Readonly<Record<RecordKind, readonly (readonly [check: Check<string>, field?: string])[]>> = {
  cluster: [],
  ca: [],
  'gossip-keys': [],
  subnets: [],
  tokens: [[role]],
  uses: [[id]],
  nodes: [[id, 'id']],
  revoked: [[fingerprint]],
  networks: [[id, 'id']],
  'network-keys': [[id]],
  'network-names': [[lower(LIMITS.name)]],
  vnis: [[digits(vni)]],
  endpoints: [
    [id, 'network'],
    [id, 'id'],
  ],
  'endpoint-names': [[id], [lower(LIMITS.name)]],
  addresses: [[id], [ip]],
  macs: [[id], [mac]],
  services: [[id, 'id']],
  'service-names': [[lower(LIMITS.serviceName)]],
  tasks: [
    [id, 'service'],
    [digits(integer(1, LIMITS.replicas)), 'slot'],
  ],
};

/**
 * Reads the value of a key.
 * @param value JSON; `null`: the key was deleted.
 * @returns the record; `undefined`: deleted.
 * @throws RecordError that names the key and the field.
 */
export function readRecord(key: string, value: string | null): unknown {
  const [kind, first, second] = splitKey(key);
  const parts = Object.hasOwn(KEYS, kind) ? KEYS[kind as RecordKind] : undefined;
  if (parts === undefined) throw new RecordError(key, '', 'this version knows no records of this kind');
  const given = [first, second].filter((part, i) => i < parts.length || part !== '');
  try {
    if (given.length !== parts.length || key.split('/').length !== parts.length + 1)
      throw new RecordError(key, '', `its key must have ${parts.length} parts behind its kind`);
    parts.forEach(([check], i) => check(given[i], `part ${i + 1} of its key`));
    if (value === null) return undefined;
    const record: unknown = SHAPES[kind as RecordKind](parse(key, value), '');
    parts.forEach(([, field], i) => {
      const own = field === undefined ? given[i] : String((record as Record<string, unknown>)[field]);
      if (own !== given[i]) throw invalid(field!, `${given[i]}, as in the key`, own);
    });
    return record;
  } catch (error) {
    if (!isRefused(error)) throw error;
    const { message, fields } = error.refusal;
    throw new RecordError(key, fields[0] ?? '', message.replace(/^: /, ''));
  }
}

function parse(key: string, value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    throw new RecordError(key, '', 'it is not JSON');
  }
}
