/** The schema of the configuration file. types.ts documents each field. */
import { Type, type TSchema } from '@sinclair/typebox';
import { MAX_PEERS } from '../vtep/index.js';
import { MAX_VNI } from '../vxlan/index.js';
import {
  Advertise,
  Bind,
  DeviceName,
  Gateway,
  Host,
  HostIp,
  Ip,
  Mac,
  MemberName,
  Netns,
  NetworkId,
  Prefix,
  SocketPath,
  Subnet,
} from './formats.js';
import { type Config, type JsonSchema } from './types.js';

/** Lowest MTU that IPv4 hosts must support (RFC 791). */
export const MIN_MTU = 68;
/** Highest MTU that a TAP accepts. */
export const MAX_MTU = 65_521;
const strict = { additionalProperties: false } as const;

/** @internal */
export const Vni = Type.Integer({ minimum: 0, maximum: MAX_VNI, expected: `a VNI: an integer from 0 to ${MAX_VNI}` });
const Mtu = Type.Integer({
  minimum: MIN_MTU,
  maximum: MAX_MTU,
  expected: `an MTU in bytes: an integer from ${MIN_MTU} to ${MAX_MTU}`,
});

const UdpPort = Type.Integer({ minimum: 1, maximum: 65_535, expected: 'a UDP port: an integer from 1 to 65535' });
/** A text here may be a key by mistake. */
const KeyFile = Type.String({
  minLength: 1,
  maxLength: 4095,
  pattern: '^[^\\0]+$',
  expected: 'the path of a key file ("vtep network keygen" makes one)',
  secret: true,
});

const Endpoint = Type.Object({ ip: HostIp, mac: Mac, vtep: Type.Optional(Ip) }, strict);

/** @internal */
export const Segment = Type.Object(
  {
    vni: Vni,
    mtu: Type.Optional(Mtu),
    proxy: Type.Optional(Type.Union([Type.Literal('endpoint'), Type.Literal('vtep'), Type.Literal('off')])),
    learn: Type.Optional(Type.Boolean()),
    flood: Type.Optional(Type.Boolean()),
    tagged: Type.Optional(Type.Boolean()),
    clampMss: Type.Optional(Type.Boolean()),
    ageing: Type.Optional(Type.Number({ minimum: 0, maximum: 1_000_000, expected: 'seconds, from 0 to 1000000' })),
    capacity: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 16_777_216, expected: 'an integer from 1 to 16777216' }),
    ),
    mac: Type.Optional(Mac),
    keyFile: Type.Optional(KeyFile),
    peers: Type.Optional(Type.Array(Ip, { maxItems: MAX_PEERS, expected: `a list of ${MAX_PEERS} addresses at most` })),
    endpoints: Type.Optional(Type.Array(Endpoint)),
  },
  strict,
);

/** Most addresses of a TAP. The alias of its device names them, and has 255 bytes (IFALIASZ). */
const MAX_ADDRESSES = 4;
const Addresses = Type.Union(
  [
    Prefix,
    Type.Array(Prefix, {
      ...{ minItems: 1, maxItems: MAX_ADDRESSES },
      expected: `a list of 1 to ${MAX_ADDRESSES} addresses with their prefix lengths`,
    }),
  ],
  { expected: `${Prefix['expected']}, or a list of 1 to ${MAX_ADDRESSES}` },
);

/** @internal */
export const Tap = Type.Object(
  {
    name: Type.Optional(DeviceName),
    fd: Type.Optional(
      Type.Integer({ minimum: 3, maximum: 1_048_576, expected: 'a file descriptor: an integer from 3 to 1048576' }),
    ),
    netns: Type.Optional(Netns),
    address: Type.Optional(Addresses),
    mac: Type.Optional(Mac),
    mtu: Type.Optional(Mtu),
    vni: Type.Optional(Vni),
    vlans: Type.Optional(
      Type.Record(Type.String({ pattern: '^([1-9][0-9]{0,2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-4])$' }), Vni, {
        ...strict,
        expectedKey: 'a VLAN id from 1 to 4094',
      }),
    ),
    native: Type.Optional(Vni),
  },
  strict,
);

const NetworkSubnet = Type.Object({ prefix: Subnet, gateway: Type.Optional(Gateway), vni: Vni }, strict);
const subnets = Type.Array(NetworkSubnet, { expected: 'a list of one subnet or more' });
/** Most subnets of a network that is added to a running VTEP: to compare them with each other must not delay it. */
const MAX_SUBNETS = 64;

/** @internal */
export const Network = Type.Object(
  { name: NetworkId, mac: Type.Optional(Mac), keyFile: Type.Optional(KeyFile), subnets },
  strict,
);

/**
 * A network that is added to a running VTEP.
 * @internal
 */
export const NewNetwork = Type.Composite(
  [
    Type.Omit(Network, ['subnets']),
    Type.Object({
      subnets: Type.Array(NetworkSubnet, {
        ...{ minItems: 1, maxItems: MAX_SUBNETS },
        expected: `a list of 1 to ${MAX_SUBNETS} subnets`,
      }),
      gossip: Type.Optional(Type.Boolean()),
    }),
    Type.Omit(Segment, ['vni', 'mac', 'endpoints', 'keyFile']),
  ],
  strict,
);

const Gossip = Type.Object(
  {
    name: Type.Optional(MemberName),
    bind: Type.Optional(Bind),
    advertise: Type.Optional(Advertise),
    tunnel: Type.Optional(Ip),
    join: Type.Optional(Type.Array(Host)),
    keys: Type.Optional(
      Type.Array(
        Type.String({ minLength: 1, expected: 'a key in base64, or a file with one key per line', secret: true }),
        { expected: 'a list of keys and files of keys', secret: true },
      ),
    ),
    networks: Type.Optional(
      Type.Array(
        Type.Object(
          {
            id: NetworkId,
            vni: Type.Optional(Vni),
            subnet: Type.Optional(Subnet),
            mac: Type.Optional(Mac),
            keyFile: Type.Optional(KeyFile),
            subnets: Type.Optional(subnets),
          },
          strict,
        ),
      ),
    ),
  },
  strict,
);

/**
 * Name of an engine.
 * @internal
 */
export const EngineChoice = Type.Union([Type.Literal('auto'), Type.Literal('dgram'), Type.Literal('linux')]);

/** The whole file. */
export const CONFIG: JsonSchema = schemaOf<Config>(
  Type.Object(
    {
      local: Ip,
      port: Type.Optional(UdpPort),
      espPort: Type.Optional(UdpPort),
      sourcePorts: Type.Optional(Type.Integer({ minimum: 0, maximum: 64, expected: 'an integer from 0 to 64' })),
      engine: Type.Optional(EngineChoice),
      workers: Type.Optional(Type.Integer({ minimum: 1, maximum: 16, expected: 'an integer from 1 to 16' })),
      busyPoll: Type.Optional(
        Type.Integer({ minimum: 0, maximum: 100_000, expected: 'microseconds, from 0 to 100000' }),
      ),
      udpChecksum: Type.Optional(Type.Boolean()),
      zeroChecksum: Type.Optional(Type.Boolean()),
      peersOnly: Type.Optional(Type.Boolean()),
      keepTaps: Type.Optional(Type.Boolean()),
      control: Type.Optional(SocketPath),
      gossip: Type.Optional(Gossip),
      networks: Type.Optional(Type.Array(Network)),
      segments: Type.Array(Segment, { expected: 'a list of one segment or more' }),
      taps: Type.Array(Tap, { expected: 'a list of one TAP or more' }),
    },
    strict,
  ),
);

/** Makes the compiler check that a schema and its hand-written type agree. */
function schemaOf<T>(schema: TSchema & { static: T }): JsonSchema {
  return schema;
}
