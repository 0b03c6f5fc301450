/** The configuration of `vtep up` as it is written: in the file, or made of the flags. */
import { Type, type Static } from '@sinclair/typebox';
import { MAX_VNI } from '../vxlan/index.js';
import { DeviceName, Ip, Ipv4, Mac, Netns, Prefix } from './text.js';

/** The lowest MTU that IPv4 hosts have to take (RFC 791), which every segment carries. */
export const MIN_MTU = 68;
/** The highest MTU that a TAP takes. */
export const MAX_MTU = 65_521;
const strict = { additionalProperties: false } as const;

const Vni = Type.Integer({ minimum: 0, maximum: MAX_VNI, expected: `a VNI: a whole number from 0 to ${MAX_VNI}` });
const Mtu = Type.Integer({
  minimum: MIN_MTU,
  maximum: MAX_MTU,
  expected: `an MTU in bytes: a whole number from ${MIN_MTU} to ${MAX_MTU}`,
});
const Port = Type.Integer({ minimum: 1, maximum: 65_535, expected: 'a UDP port: a whole number from 1 to 65535' });

/** What answers ARP requests for the endpoints of a segment. */
export const Proxy = Type.Union([Type.Literal('endpoint'), Type.Literal('vtep'), Type.Literal('off')]);

/** Where one container is: its IP and MAC address and the VTEP it is behind. */
export const Endpoint = Type.Object(
  {
    ip: Ipv4,
    mac: Mac,
    /** Address of the VTEP that the endpoint is behind; absent, or `local` itself: on this host. */
    vtep: Type.Optional(Ip),
  },
  strict,
);

/** One overlay network: a broadcast domain with its VNI. */
export const Segment = Type.Object(
  {
    vni: Vni,
    /** Largest inner IP packet in bytes; absent: worked out from the underlay. */
    mtu: Type.Optional(Mtu),
    /** Default `endpoint`: requests for known endpoints are answered with the endpoint's own MAC address. */
    proxy: Type.Optional(Proxy),
    /** Whether MAC addresses are learned from frames. Default true. */
    learn: Type.Optional(Type.Boolean()),
    /** Whether frames of unknown destination go to every peer. Default true. */
    flood: Type.Optional(Type.Boolean()),
    /** Whether VLAN-tagged frames are carried with their tags rather than dropped (RFC 7348, section 6.1). Default false. */
    tagged: Type.Optional(Type.Boolean()),
    /** Seconds after which a learned address that was not seen again is gone; 0 for never. Default 300. */
    ageing: Type.Optional(Type.Number({ minimum: 0, maximum: 1_000_000, expected: 'seconds, from 0 to 1000000' })),
    /** Learned addresses at most. Default 65,536. */
    capacity: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 16_777_216, expected: 'a whole number from 1 to 16777216' }),
    ),
    /** The MAC address that proxy `vtep` answers with; default: made of the VNI. */
    mac: Type.Optional(Mac),
    /** VTEPs that get a copy of what is flooded (head-end replication). */
    peers: Type.Optional(Type.Array(Ip)),
    endpoints: Type.Optional(Type.Array(Endpoint)),
  },
  strict,
);

/** A TAP and the segment or segments behind it. */
export const Tap = Type.Object(
  {
    /** Device name; may be left out with `fd`. */
    name: Type.Optional(DeviceName),
    /** A TAP that somebody else has opened and configured: its file descriptor in this process. */
    fd: Type.Optional(
      Type.Integer({ minimum: 3, maximum: 1_048_576, expected: 'a file descriptor: a whole number from 3 up' }),
    ),
    netns: Type.Optional(Netns),
    address: Type.Optional(Prefix),
    mac: Type.Optional(Mac),
    /** Default: the MTU of the segment, the smallest one on a trunk. */
    mtu: Type.Optional(Mtu),
    /** The one segment of an access port. */
    vni: Type.Optional(Vni),
    /** A trunk: VLAN id to VNI. */
    vlans: Type.Optional(
      Type.Record(Type.String({ pattern: '^([1-9][0-9]{0,2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-4])$' }), Vni, {
        ...strict,
        expectedKey: 'a VLAN id from 1 to 4094',
      }),
    ),
    /** VNI of the untagged frames of a trunk. */
    native: Type.Optional(Vni),
  },
  strict,
);

export const Engine = Type.Union([Type.Literal('auto'), Type.Literal('dgram'), Type.Literal('linux')]);

/** The whole file. */
export const Config = Type.Object(
  {
    /** The address of this VTEP on the underlay. */
    local: Ip,
    /** UDP port, here and at the peers. Default 4789. */
    port: Type.Optional(Port),
    /** UDP source ports that flows are spread over, for the underlay's ECMP; 0 to send from `port`. Default 8. */
    sourcePorts: Type.Optional(Type.Integer({ minimum: 0, maximum: 64, expected: 'a whole number from 0 to 64' })),
    engine: Type.Optional(Engine),
    /** Whether datagrams are taken from configured peers and endpoints' VTEPs only. Default false, as RFC 7348 has it. */
    peersOnly: Type.Optional(Type.Boolean()),
    /** Path of the control socket; absent: none. */
    control: Type.Optional(Type.String({ minLength: 1, maxLength: 107, expected: 'a path of 1 to 107 bytes' })),
    segments: Type.Array(Segment, { minItems: 1, expected: 'a list of one segment or more' }),
    taps: Type.Array(Tap, { minItems: 1, expected: 'a list of one TAP or more' }),
  },
  strict,
);

export type Config = Static<typeof Config>;
export type Segment = Static<typeof Segment>;
export type Tap = Static<typeof Tap>;
export type Endpoint = Static<typeof Endpoint>;
export type Proxy = Static<typeof Proxy>;
export type EngineName = Static<typeof Engine>;
