/**
 * The commands of the control socket: one table, from which the routes of the server, the calls of the client and the
 * OpenAPI description are made. types.ts documents the fields. node-commands.ts has the commands of a node of a cluster.
 *
 * To add a command, add its request to `Request` in types.ts, an entry here, and a case to `handle` of src/host/overlay.ts.
 */
import { Type, type TSchema } from '@sinclair/typebox';
import { fields, type CommandEntry, type Entry } from './command-entry.js';
import { NewNetwork, Segment, Tap, Vni as vni } from './config.js';
import { DeviceName, HostIp, Ip, Mac, Netns, NetworkId } from './formats.js';
import { NoticeEvent, NoticeName } from './notices.js';
import { NODE_COMMANDS } from './node-commands.js';
import { type NodeRequest } from './node-types.js';
import {
  Added,
  AddedNetwork,
  AllCounters,
  AssociationKey,
  Description,
  DetachedTap,
  Done,
  Explanation,
  FdbEntry,
  Key,
  MAX_SNAP,
  Member,
  Neighbor,
  Network,
  PacketEvent,
  Peer,
  Reloaded,
  Remote,
  Removed,
  RemovedNetwork,
  RemovedSegment,
  SegmentEntry,
  SegmentWithMtu,
  TapEntry,
  Version,
} from './results.js';
import { type Command } from './types.js';

/** Limits of a capture, besides `MAX_SNAP`: packets, and seconds. */
export const MAX_COUNT = 1_000_000_000;
export const MAX_SECONDS = 86_400;
/** Most octets of a packet to explain: more than a datagram or a super-frame can have. */
export const MAX_PACKET = 65_536;

const hex = Type.String({
  pattern: '^([0-9a-fA-F]{2})+$',
  maxLength: 2 * MAX_PACKET,
  expected: 'bytes in hexadecimal, two digits each',
});
const key = Type.String({
  minLength: 1,
  maxLength: 64,
  expected: 'a key in base64, or its fingerprint',
  secret: true,
});
const endpoint = { vni, ip: HostIp, mac: Mac, vtep: Type.Optional(Ip) };
const integer = (most: number): TSchema & { static: number } =>
  Type.Integer({ minimum: 1, maximum: most, expected: `an integer from 1 to ${most}` });

const nothing = fields({});
const ofNetwork = fields({ vni: Type.Optional(vni) });

const table: { [C in Exclude<Command, NodeRequest['command']>]: Entry<C> } = {
  fdb: {
    method: 'GET',
    path: '/v1/fdb',
    summary: 'List the MAC addresses, learned and static, and the TAP or VTEP that each one is behind',
    kind: 'list',
    request: ofNetwork,
    result: FdbEntry,
  },
  neighbors: {
    method: 'GET',
    path: '/v1/neighbors',
    summary: 'List the endpoints: IP address, MAC address and VTEP',
    kind: 'list',
    request: ofNetwork,
    result: Neighbor,
  },
  peers: {
    method: 'GET',
    path: '/v1/peers',
    summary: 'List the VTEPs that receive a copy of flooded frames',
    kind: 'list',
    request: ofNetwork,
    result: Peer,
  },
  remotes: {
    method: 'GET',
    path: '/v1/remotes',
    summary: 'List the known VTEPs, their path MTU if it is smaller, and datagrams reported undelivered',
    kind: 'list',
    request: nothing,
    result: Remote,
  },
  'association-keys': {
    method: 'GET',
    path: '/v1/association-keys',
    summary: 'List the keys of the associations of encrypted segments, with which a capture can be decrypted',
    kind: 'list',
    request: nothing,
    result: AssociationKey,
  },
  counters: {
    method: 'GET',
    path: '/v1/counters',
    summary: 'Count the frames forwarded, and the frames dropped by reason',
    kind: 'value',
    request: nothing,
    result: AllCounters,
  },
  explain: {
    method: 'POST',
    path: '/v1/explain',
    summary: 'Tell what the VTEP would do with a packet, and why; nothing is sent or learned',
    kind: 'value',
    request: fields(
      {
        port: Type.Optional(Type.String()),
        frame: Type.Optional(hex),
        from: Type.Optional(Ip),
        datagram: Type.Optional(hex),
        esp: Type.Optional(hex),
      },
      {
        oneOf: [{ required: ['port', 'frame'] }, { required: ['from', 'datagram'] }, { required: ['from', 'esp'] }],
      },
    ),
    result: Explanation,
    rule: (given) => {
      const names = Object.keys(given);
      const isPacket = (['port frame', 'from datagram', 'from esp'] as const).some((pair) =>
        pair.split(' ').every((name) => given[name] !== undefined),
      );
      if (names.length === 2 && isPacket) return undefined;
      return { path: '', expected: 'either port and frame, or from and datagram, or from and esp', given };
    },
  },
  capture: {
    method: 'GET',
    path: '/v1/capture',
    summary: 'Capture the packets that pass the VTEP, at its TAPs and on the underlay',
    kind: 'events',
    request: fields({
      count: integer(MAX_COUNT),
      seconds: Type.Number({ minimum: 0, maximum: MAX_SECONDS, expected: `seconds from 0 to ${MAX_SECONDS}` }),
      snap: Type.Optional(integer(MAX_SNAP)),
      decrypt: Type.Optional(Type.Boolean()),
    }),
    result: PacketEvent,
  },
  events: {
    method: 'GET',
    path: '/v1/events',
    summary: 'Tell what changes, from now on: all events, those of one type, or those of one segment',
    kind: 'events',
    request: fields({ type: Type.Optional(NoticeName), vni: Type.Optional(vni) }),
    result: NoticeEvent,
  },
  'add-peer': {
    method: 'POST',
    path: '/v1/peers',
    summary: 'Add a VTEP that receives a copy of flooded frames',
    kind: 'value',
    request: fields({ vni, address: Ip }),
    result: Done,
  },
  'remove-peer': {
    method: 'DELETE',
    path: '/v1/peers',
    summary: 'Remove a VTEP that receives a copy of flooded frames',
    kind: 'value',
    request: fields({ vni, address: Ip }),
    result: Removed,
  },
  'add-endpoint': {
    method: 'POST',
    path: '/v1/endpoints',
    summary: 'Add an endpoint; an agent announces one without a VTEP, which is on this host',
    kind: 'value',
    request: fields(endpoint),
    result: Added,
  },
  'remove-endpoint': {
    method: 'DELETE',
    path: '/v1/endpoints',
    summary: 'Remove an endpoint',
    kind: 'value',
    request: fields(endpoint),
    result: Removed,
  },
  attach: {
    method: 'POST',
    path: '/v1/taps',
    summary: 'Create a TAP and attach it to a segment, or to several as a trunk',
    kind: 'value',
    request: Type.Composite([Type.Omit(Tap, ['name', 'fd']), fields({ name: DeviceName })], {
      additionalProperties: false,
    }),
    result: TapEntry,
  },
  detach: {
    method: 'DELETE',
    path: '/v1/taps',
    summary: 'Detach a TAP, and remove its device unless another program opened it',
    kind: 'value',
    request: fields({ name: DeviceName, netns: Type.Optional(Netns) }),
    result: DetachedTap,
  },
  taps: {
    method: 'GET',
    path: '/v1/taps',
    summary: 'List the TAPs with their addresses and segments',
    kind: 'list',
    request: nothing,
    result: TapEntry,
  },
  'add-segment': {
    method: 'POST',
    path: '/v1/segments',
    summary: 'Add a segment with its peers and endpoints',
    kind: 'value',
    request: Segment,
    result: SegmentWithMtu,
  },
  'remove-segment': {
    method: 'DELETE',
    path: '/v1/segments',
    summary: 'Remove a segment without TAPs, with its peers and endpoints',
    kind: 'value',
    request: fields({ vni }),
    result: RemovedSegment,
  },
  segments: {
    method: 'GET',
    path: '/v1/segments',
    summary: 'List the segments with their settings',
    kind: 'list',
    request: nothing,
    result: SegmentEntry,
  },
  'add-network': {
    method: 'POST',
    path: '/v1/networks',
    summary: 'Add a network with its subnets, their segments and the router between them; an agent joins it',
    kind: 'value',
    request: NewNetwork,
    result: AddedNetwork,
  },
  'remove-network': {
    method: 'DELETE',
    path: '/v1/networks',
    summary: 'Remove a network that has no TAPs and no endpoints of this host, with its segments; an agent leaves it',
    kind: 'value',
    request: fields({ name: NetworkId }),
    result: RemovedNetwork,
  },
  reload: {
    method: 'POST',
    path: '/v1/reload',
    summary: 'Read the configuration again, and apply what can change while the VTEP runs',
    kind: 'value',
    request: nothing,
    result: Reloaded,
  },
  members: {
    method: 'GET',
    path: '/v1/members',
    summary: 'List the members of the cluster that an agent is in',
    kind: 'list',
    request: nothing,
    result: Member,
  },
  networks: {
    method: 'GET',
    path: '/v1/networks',
    summary: 'List the networks with their subnets and endpoints; of an agent, the members of each and its conflicts',
    kind: 'list',
    request: nothing,
    result: Network,
  },
  keys: {
    method: 'GET',
    path: '/v1/keys',
    summary: 'List the keys of an agent by fingerprint',
    kind: 'list',
    request: nothing,
    result: Key,
  },
  // The keys of these are in the body: paths and queries are what people log.
  'install-key': {
    method: 'POST',
    path: '/v1/keys',
    summary: 'Let an agent decrypt with this key, too',
    kind: 'list',
    request: fields({ key }),
    result: Key,
  },
  'use-key': {
    method: 'POST',
    path: '/v1/keys/use',
    summary: 'Let an agent encrypt with this key, which must be installed',
    kind: 'list',
    request: fields({ key }),
    result: Key,
  },
  'remove-key': {
    method: 'POST',
    path: '/v1/keys/remove',
    summary: 'Let an agent no longer decrypt with this key, which must not be the one that encrypts',
    kind: 'list',
    request: fields({ key }),
    result: Key,
  },
  stop: {
    method: 'POST',
    path: '/v1/stop',
    summary: 'Stop the VTEP, as a signal would',
    kind: 'value',
    request: nothing,
    result: Done,
  },
  version: {
    method: 'GET',
    path: '/v1/version',
    summary: 'Tell the version of the program',
    kind: 'value',
    request: nothing,
    result: Version,
  },
  openapi: {
    method: 'GET',
    path: '/v1/openapi.json',
    summary: 'Describe all commands as OpenAPI 3.1',
    kind: 'value',
    request: nothing,
    result: Description,
  },
};

/** Every command of the control socket. */
export const COMMANDS: Readonly<Record<Command, CommandEntry>> = { ...table, ...NODE_COMMANDS };
