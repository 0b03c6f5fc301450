const __defProp = Object.defineProperty;
const __export = (target, all) => {
  for (var name in all)
    __defProp(target, name, { get: all[name], enumerable: true });
};

// ../../work/wt/scale/bench/calls.ts
import koffi from "koffi";
import { PerformanceObserver } from "node:perf_hooks";

// ../../work/wt/scale/src/address/mac.ts
const MAC_LENGTH = 6;
const HEX = /* @__PURE__ */ Array.from(
  { length: 256 },
  (_, octet) => octet.toString(16).padStart(2, "0")
);
const HEX_COLON = /* @__PURE__ */ HEX.map((digits) => `${digits}:`);
function getMac(bytes, offset) {
  return (bytes[offset] << 8 | bytes[offset + 1]) * 4294967296 + ((bytes[offset + 2] << 24 | bytes[offset + 3] << 16 | bytes[offset + 4] << 8 | bytes[offset + 5]) >>> 0);
}
function setMac(bytes, offset, mac) {
  const high = Math.floor(mac / 4294967296);
  const low = mac | 0;
  bytes[offset] = high >>> 8;
  bytes[offset + 1] = high;
  bytes[offset + 2] = low >>> 24;
  bytes[offset + 3] = low >>> 16;
  bytes[offset + 4] = low >>> 8;
  bytes[offset + 5] = low;
}
function formatMac(bytes, offset = 0) {
  return HEX_COLON[bytes[offset]] + HEX_COLON[bytes[offset + 1]] + HEX_COLON[bytes[offset + 2]] + HEX_COLON[bytes[offset + 3]] + HEX_COLON[bytes[offset + 4]] + HEX[bytes[offset + 5]];
}
function macToText(mac) {
  const high = Math.floor(mac / 4294967296);
  const low = mac | 0;
  return HEX_COLON[high >>> 8] + HEX_COLON[high & 255] + HEX_COLON[low >>> 24] + HEX_COLON[low >>> 16 & 255] + HEX_COLON[low >>> 8 & 255] + HEX[low & 255];
}
function parseMac(text) {
  const match = /^[0-9a-f]{1,2}(?:(?::[0-9a-f]{1,2}){5}|(?:-[0-9a-f]{1,2}){5})$/i.exec(text);
  if (match === null) throw new RangeError(`"${text}" is not a MAC address; write it as 02:42:0a:00:00:02`);
  let mac = 0;
  for (const group of text.split(/[:-]/)) mac = mac * 256 + parseInt(group, 16);
  return mac;
}
function isGroupMac(mac) {
  return (Math.floor(mac / 1099511627776) & 1) === 1;
}

// ../../work/wt/scale/src/address/ipv4.ts
const IPV4_LENGTH = 4;
const DECIMAL = /* @__PURE__ */ Array.from({ length: 256 }, (_, octet) => String(octet));
const DECIMAL_DOT = /* @__PURE__ */ DECIMAL.map((digits) => `${digits}.`);
function formatIpv4(bytes, offset = 0) {
  return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
}
function ipv4ToText(address) {
  return DECIMAL_DOT[address >>> 24] + DECIMAL_DOT[address >>> 16 & 255] + DECIMAL_DOT[address >>> 8 & 255] + DECIMAL[address & 255];
}
function parseIpv4(text) {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  let address = 0;
  for (let i = 1; i <= 4; i++) {
    const group = match?.[i];
    if (group === void 0 || Number(group) > 255 || group.length > 1 && group[0] === "0")
      throw new RangeError(`"${text}" is not an IPv4 address; write it as 10.0.0.4`);
    address = address * 256 + Number(group);
  }
  return address;
}

// ../../work/wt/scale/src/address/ipv6.ts
const IPV6_LENGTH = 16;
function formatIpv6(bytes, offset = 0) {
  const group = (index) => bytes[offset + index * 2] << 8 | bytes[offset + index * 2 + 1];
  let best = 8;
  let length = 1;
  for (let i = 0, run = 0; i < 8; i++) {
    run = group(i) === 0 ? run + 1 : 0;
    if (run > length) best = i + 1 - (length = run);
  }
  if (best === 0 && length === 5 && group(5) === 65535) return "::ffff:" + formatIpv4(bytes, offset + 12);
  let text = "";
  for (let i = 0; i < 8; i++) {
    if (i === best) {
      text += "::";
      i += length - 1;
    } else text += (i === 0 || i === best + length ? "" : ":") + group(i).toString(16);
  }
  return text;
}
function parseIpv6(text) {
  const refuse = () => {
    throw new RangeError(`"${text}" is not an IPv6 address; write it as fd00::4`);
  };
  let rest = text;
  const tail = [];
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (dotted !== null) {
    let address = 0;
    try {
      address = parseIpv4(dotted[2]);
    } catch {
      refuse();
    }
    tail.push(address >>> 16, address & 65535);
    rest = dotted[1].endsWith("::") ? dotted[1] : dotted[1].slice(0, -1);
  }
  const groups = (part) => part === "" ? [] : part.split(":").map((group) => /^[0-9a-f]{1,4}$/i.test(group) ? parseInt(group, 16) : refuse());
  const halves = rest.split("::");
  if (halves.length > 2) refuse();
  const head = groups(halves[0]);
  const last = [...halves.length === 2 ? groups(halves[1]) : [], ...tail];
  const gap = 8 - head.length - last.length;
  if (halves.length === 2 ? gap < 1 : gap !== 0) refuse();
  const bytes = new Uint8Array(16);
  [...head, ...new Array(gap).fill(0), ...last].forEach((group, i) => {
    bytes[i * 2] = group >>> 8;
    bytes[i * 2 + 1] = group;
  });
  return bytes;
}

// ../../work/wt/scale/src/address/pseudo.ts
function isIpv6Text(text) {
  return text.includes(":");
}
function words(text) {
  if (!isIpv6Text(text)) {
    const address = parseIpv4(text);
    return (address >>> 16) + (address & 65535);
  }
  const bytes = parseIpv6(text);
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += bytes[i] << 8 | bytes[i + 1];
  return total;
}
function pseudoHeaderSum(addresses, protocol, length) {
  const { source, destination } = addresses;
  if (isIpv6Text(source) !== isIpv6Text(destination))
    throw new RangeError(`"${source}" and "${destination}" are of different address families`);
  return words(source) + words(destination) + protocol + (length >>> 16) + (length & 65535);
}

// ../../work/wt/scale/src/vtep/drops.ts
const DROPS = [
  ["datagram-truncated", "a datagram too short for a VXLAN header"],
  ["vxlan-flag", "a VXLAN header without flag I (RFC 7348, section 5)"],
  ["unknown-vni", "a VNI without a segment on this VTEP"],
  ["unknown-peer", "a datagram whose sender is not a peer of the segment (--no-peers-only accepts every sender)"],
  ["frame-truncated", "a frame too short for its Ethernet header or VLAN tag"],
  ["source-group", "a frame whose source is a multicast or broadcast address, or all zeros"],
  ["vlan-unexpected", "a VLAN-tagged frame in a segment that does not carry tags (RFC 7348, section 6.1)"],
  ["vlan-unmapped", "a trunk frame whose VLAN has no VNI"],
  ["reserved-group", "a frame to 01:80:c2:00:00:0x, which bridges do not forward (IEEE 802.1Q, 8.6.3)"],
  ["same-port", "a frame whose destination is behind the port that it came from"],
  ["split-horizon", "a frame from a tunnel whose destination is behind another tunnel"],
  ["unknown-destination", "a unicast frame for an unknown address, with flooding off"],
  ["no-receiver", "a frame to flood in a segment with no other port and no peer"],
  ["too-big", "a packet larger than the MTU of the segment or the path"],
  ["ecn", "a packet marked as congested whose sender does not support ECN (RFC 6040, section 4.2)"],
  ["no-neighbor", "a packet to the VTEP\u2019s MAC address, for an IP address that no known endpoint has"],
  ["arp-unknown", "an ARP request for an unknown address, with flooding off"],
  ["own-address", "a datagram that claims to come from this VTEP itself"],
  ["source-own", "a frame whose source is the MAC address that the proxy answers with"],
  ["arp-sender", "an ARP packet whose sender hardware address is all zeros"],
  ["vlan-native", "a VLAN-tagged frame for the untagged side of a trunk, where the tag would be read as the trunk\u2019s"],
  ["source-bound", "a frame whose source address is bound to another place, from a sender that may not use it"],
  ["arp-claim", "an ARP packet that claims the IP address of an endpoint with another MAC address"],
  ["flood-limit", "a super-frame to flood that would become too many datagrams"]
];
const DROP = Object.fromEntries(DROPS.map(([name], index) => [name, index]));

// ../../work/wt/scale/src/vtep/refused-senders.ts
const MAX_SENDERS = 16;
const RefusedSenders = class {
  #senders = /* @__PURE__ */ new Map();
  note(address, packets) {
    const known = this.#senders.get(address);
    if (known !== void 0) known.packets += packets;
    else if (this.#senders.size < 16) this.#senders.set(address, { address, packets });
  }
  /** Returns and forgets the senders since the last call. */
  take() {
    const senders = [...this.#senders.values()];
    this.#senders.clear();
    return senders;
  }
};

// ../../work/wt/scale/src/vtep/ecn.ts
const NOT_ECT = 0;
const ECT1 = 1;
const ECT0 = 2;
const CE = 3;
const ECN_DROP = -1;
const TABLE = Int8Array.of(
  /* Not-ECT */
  0,
  0,
  0,
  (-1),
  /* ECT(1)  */
  1,
  1,
  1,
  3,
  /* ECT(0)  */
  2,
  1,
  2,
  3,
  /* CE      */
  3,
  3,
  3,
  3
);
function combine(inner2, outer) {
  return TABLE[inner2 << 2 | outer];
}

// ../../work/wt/scale/src/ethernet/index.ts
const ethernet_exports = {};
__export(ethernet_exports, {
  HEADER_LENGTH: () => 14,
  MAX_LENGTH: () => 1500,
  MIN_FRAME_LENGTH: () => 60,
  SOURCE_OFFSET: () => SOURCE_OFFSET,
  TYPE_ARP: () => 2054,
  TYPE_IPV4: () => 2048,
  TYPE_IPV6: () => 34525,
  TYPE_LLDP: () => 35020,
  TYPE_MPLS: () => 34887,
  TYPE_OLD_VLAN: () => 37120,
  TYPE_SERVICE_VLAN: () => 34984,
  TYPE_VLAN: () => 33024,
  check: () => check2,
  decode: () => decode2,
  decodeLax: () => decodeLax2,
  diagnose: () => diagnose2,
  encode: () => encode2,
  encodeInto: () => encodeInto2,
  getDestination: () => getDestination,
  getEtherType: () => getEtherType2,
  getSource: () => getSource,
  isFromGroup: () => isFromGroup,
  isLength: () => isLength,
  isToGroup: () => isToGroup,
  isToItself: () => isToItself,
  isToReservedGroup: () => isToReservedGroup,
  isVlanType: () => isVlanType,
  setDestination: () => setDestination,
  setEtherType: () => setEtherType2,
  setSource: () => setSource,
  vlan: () => vlan_exports,
  writeHeader: () => writeHeader2
});

// ../../work/wt/scale/src/wire/bytes.ts
function getU16(bytes, offset) {
  return bytes[offset] << 8 | bytes[offset + 1];
}
function getU24(bytes, offset) {
  return bytes[offset] << 16 | bytes[offset + 1] << 8 | bytes[offset + 2];
}
function getU32(bytes, offset) {
  return (bytes[offset] << 24 | bytes[offset + 1] << 16 | bytes[offset + 2] << 8 | bytes[offset + 3]) >>> 0;
}
function getI32(bytes, offset) {
  return bytes[offset] << 24 | bytes[offset + 1] << 16 | bytes[offset + 2] << 8 | bytes[offset + 3];
}
function setU16(bytes, offset, value) {
  bytes[offset] = value >>> 8;
  bytes[offset + 1] = value;
}
function setU24(bytes, offset, value) {
  bytes[offset] = value >>> 16;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value;
}
function setU32(bytes, offset, value) {
  bytes[offset] = value >>> 24;
  bytes[offset + 1] = value >>> 16;
  bytes[offset + 2] = value >>> 8;
  bytes[offset + 3] = value;
}

// ../../work/wt/scale/src/wire/checksum.ts
function sum(bytes, offset, end, partial = 0) {
  let total = partial;
  const even = offset + (end - offset & ~1);
  let i = offset;
  for (; i + 8 <= even; i += 8) {
    total += (bytes[i] << 8 | bytes[i + 1]) + (bytes[i + 2] << 8 | bytes[i + 3]) + (bytes[i + 4] << 8 | bytes[i + 5]) + (bytes[i + 6] << 8 | bytes[i + 7]);
  }
  for (; i < even; i += 2) total += bytes[i] << 8 | bytes[i + 1];
  if (even < end) total += bytes[even] << 8;
  return total;
}
function fold(partial) {
  let total = partial;
  while (total > 65535) total = (total & 65535) + Math.floor(total / 65536);
  return total;
}
function finish(partial) {
  return ~fold(partial) & 65535;
}
function checksum(bytes, offset = 0, end = bytes.length) {
  return finish(sum(bytes, offset, end));
}
function update(checksum2, before, after) {
  return finish((~checksum2 & 65535) + (~before & 65535) + after);
}

// ../../work/wt/scale/src/wire/error.ts
const TRUNCATED = -1;
const MALFORMED = -2;
const UNSUPPORTED = -3;
const WireError = class extends Error {
  constructor(problem) {
    super(`${problem.protocol}: ${problem.reason} at offset ${problem.offset}: ${problem.detail}`);
    Object.assign(this, problem, { name: "WireError" });
  }
};
function problemAt(protocol, offset, detail, reason = "malformed", needed = 0, available = 0, limitedBy = "") {
  return { protocol, reason, offset, needed, available, limitedBy, detail };
}
function truncatedProblem(protocol, offset, needed, end, limitedBy = "buffer") {
  const available = Math.max(0, end - offset);
  return needed <= available ? null : problemAt(
    protocol,
    offset,
    `needs ${needed} bytes, has ${available} (limited by ${limitedBy})`,
    "truncated",
    needed,
    available,
    limitedBy
  );
}
function uint(field, value, max) {
  if (!Number.isInteger(value) || value < 0 || value > max)
    throw new RangeError(`${field} must be an integer from 0 to ${max}, not ${value}`);
  return value;
}
function room(protocol, bytes, offset, length) {
  const end = offset + length;
  if (!(offset >= 0) || end > bytes.length)
    throw new RangeError(`${protocol} needs ${length} bytes at offset ${offset} of a buffer of ${bytes.length}`);
  return end;
}

// ../../work/wt/scale/src/wire/options.ts
const OPTION_NOP = 1;
function readOptions(bytes, offset, end) {
  const options = [];
  for (let at = offset; at < end; ) {
    const kind = bytes[at];
    const left = end - at;
    let length = kind > 1 ? bytes[at + 1] | 0 : kind || left;
    const malformed2 = kind > 1 && (length < 2 || length > left);
    if (malformed2) length = left;
    options.push({
      kind,
      data: bytes.subarray(at + (kind > 1 && !malformed2 ? 2 : 1), at + length),
      ...malformed2 && { malformed: malformed2 }
    });
    at += length;
  }
  return options;
}
function hasLength(option) {
  return option.kind > 1 && option.malformed !== true;
}
function optionsLength(options) {
  let length = 0;
  for (const option of options) length += (hasLength(option) ? 2 : 1) + option.data.length;
  return length + 3 & ~3;
}
function writeOptions(field, options, bytes, offset) {
  const end = offset + optionsLength(options);
  let at = offset;
  for (const option of options) {
    bytes[at++] = uint(`${field} kind`, option.kind, 255);
    if (hasLength(option)) bytes[at++] = uint(`${field} length`, 2 + option.data.length, 255);
    bytes.set(option.data, at);
    at += option.data.length;
  }
  bytes.fill(0, at, end);
  return end;
}

// ../../work/wt/scale/src/ethernet/type.ts
const MAX_LENGTH = 1500;
const TYPE_IPV4 = 2048;
const TYPE_ARP = 2054;
const TYPE_VLAN = 33024;
const TYPE_IPV6 = 34525;
const TYPE_SERVICE_VLAN = 34984;
const TYPE_OLD_VLAN = 37120;
const TYPE_LLDP = 35020;
const TYPE_MPLS = 34887;
function isLength(typeOrLength2) {
  return typeOrLength2 > 0 && typeOrLength2 <= 1500;
}
function isVlanType(etherType) {
  return etherType === 33024 || etherType === 34984 || etherType === 37120;
}
function typeOrLength(protocol, value) {
  const { etherType, length } = value;
  if (etherType === void 0) {
    if (length === 0) throw new RangeError(`${protocol}.length must be from 1 to ${1500}, not 0: that is a type`);
    return uint(`${protocol}.length`, length ?? value.payload.length, 1500);
  }
  if (length !== void 0) throw new RangeError(`${protocol} must have an etherType or a length, not both`);
  if (isLength(etherType))
    throw new RangeError(`${protocol}.etherType must be 0 or above ${1500}, not ${etherType}: that is a length`);
  return uint(`${protocol}.etherType`, etherType, 65535);
}

// ../../work/wt/scale/src/ethernet/vlan.ts
const vlan_exports = {};
__export(vlan_exports, {
  HEADER_LENGTH: () => 4,
  ID_NONE: () => 0,
  MAX_ID: () => 4094,
  check: () => check,
  decode: () => decode,
  decodeLax: () => decodeLax,
  diagnose: () => diagnose,
  encode: () => encode,
  encodeInto: () => encodeInto,
  getDropEligible: () => getDropEligible,
  getEtherType: () => getEtherType,
  getId: () => getId,
  getPriority: () => getPriority,
  setDropEligible: () => setDropEligible,
  setEtherType: () => setEtherType,
  setId: () => setId,
  setPriority: () => setPriority,
  writeHeader: () => writeHeader
});
const CONTROL = 0;
const TYPE = 2;
const PRIORITY_SHIFT = 13;
const DROP_ELIGIBLE = 4096;
const ID_MASK = 4095;
const HEADER_LENGTH = 4;
const ID_NONE = 0;
const MAX_ID = 4094;
function check(bytes, offset, end) {
  if (end - offset < 4) return (-1);
  const type = getU16(bytes, offset + 2);
  return isLength(type) && type > end - offset - 4 ? (-1) : 4;
}
function diagnose(bytes, offset, end, limitedBy) {
  let needed = 4;
  if (end - offset >= needed) {
    const type = getU16(bytes, offset + 2);
    if (isLength(type)) needed += type;
  }
  return truncatedProblem("vlan", offset, needed, end, limitedBy);
}
function getPriority(bytes, offset) {
  return bytes[offset + 0] >>> 13 - 8;
}
function getDropEligible(bytes, offset) {
  return (getU16(bytes, offset + 0) & 4096) !== 0;
}
function getId(bytes, offset) {
  return getU16(bytes, offset + 0) & 4095;
}
function getEtherType(bytes, offset) {
  return getU16(bytes, offset + 2);
}
function setPriority(bytes, offset, priority) {
  const rest = getU16(bytes, offset + 0) & (4096 | 4095);
  setU16(bytes, offset + 0, priority << 13 | rest);
}
function setDropEligible(bytes, offset, dropEligible) {
  const rest = getU16(bytes, offset + 0) & ~4096;
  setU16(bytes, offset + 0, dropEligible ? rest | 4096 : rest);
}
function setId(bytes, offset, id) {
  setU16(bytes, offset + 0, getU16(bytes, offset + 0) & ~4095 | id);
}
function setEtherType(bytes, offset, etherType) {
  setU16(bytes, offset + 2, etherType);
}
function writeHeader(bytes, offset, id, etherType) {
  setU16(bytes, offset + 0, id);
  setU16(bytes, offset + 2, etherType);
}
function decode(bytes, offset = 0, end = bytes.length) {
  const problem = diagnose(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read(bytes, offset, end);
}
function decodeLax(bytes, offset, end) {
  return end - offset < 4 ? null : read(bytes, offset, end);
}
function read(bytes, offset, end) {
  const priority = getPriority(bytes, offset);
  const dropEligible = getDropEligible(bytes, offset);
  const id = getId(bytes, offset);
  const type = getU16(bytes, offset + 2);
  const start = offset + 4;
  if (!isLength(type)) return { priority, dropEligible, id, etherType: type, payload: bytes.subarray(start, end) };
  return { priority, dropEligible, id, length: type, payload: bytes.subarray(start, Math.min(start + type, end)) };
}
function encode(value) {
  const bytes = new Uint8Array(4 + value.payload.length);
  encodeInto(value, bytes, 0);
  return bytes;
}
function encodeInto(value, bytes, offset) {
  const end = room("vlan", bytes, offset, 4 + value.payload.length);
  const control = uint("vlan.priority", value.priority ?? 0, 7) << 13 | (value.dropEligible === true ? 4096 : 0) | uint("vlan.id", value.id, 4095);
  setU16(bytes, offset + 0, control);
  setU16(bytes, offset + 2, typeOrLength("vlan", value));
  bytes.set(value.payload, offset + 4);
  return end;
}

// ../../work/wt/scale/src/ethernet/index.ts
const DESTINATION = 0;
const SOURCE = 6;
const TYPE2 = 12;
const SOURCE_OFFSET = 6;
const HEADER_LENGTH2 = 14;
const MIN_FRAME_LENGTH = 60;
const RESERVED_GROUP = 25215488;
function check2(bytes, offset, end) {
  const room2 = end - offset - 14;
  if (room2 < 0) return (-1);
  const type = getU16(bytes, offset + 12);
  return type > room2 && isLength(type) ? (-1) : 14;
}
function diagnose2(bytes, offset, end, limitedBy) {
  let needed = 14;
  if (end - offset >= needed) {
    const type = getU16(bytes, offset + 12);
    if (isLength(type)) needed += type;
  }
  return truncatedProblem("ethernet", offset, needed, end, limitedBy);
}
function getDestination(bytes, offset) {
  return getMac(bytes, offset + 0);
}
function getSource(bytes, offset) {
  return getMac(bytes, offset + 6);
}
function isToGroup(bytes, offset) {
  return (bytes[offset + 0] & 1) !== 0;
}
function isFromGroup(bytes, offset) {
  return (bytes[offset + 6] & 1) !== 0;
}
function isToItself(bytes, offset) {
  return getI32(bytes, offset + 0 + 2) === getI32(bytes, offset + 6 + 2) && getU16(bytes, offset + 0) === getU16(bytes, offset + 6);
}
function isToReservedGroup(bytes, offset) {
  return getI32(bytes, offset + 0) === 25215488 && bytes[offset + 0 + 4] === 0 && bytes[offset + 0 + 5] < 16;
}
function getEtherType2(bytes, offset) {
  return getU16(bytes, offset + 12);
}
function setDestination(bytes, offset, mac) {
  setMac(bytes, offset + 0, mac);
}
function setSource(bytes, offset, mac) {
  setMac(bytes, offset + 6, mac);
}
function setEtherType2(bytes, offset, etherType) {
  setU16(bytes, offset + 12, etherType);
}
function writeHeader2(bytes, offset, destination, source, etherType) {
  setMac(bytes, offset + 0, destination);
  setMac(bytes, offset + 6, source);
  setU16(bytes, offset + 12, etherType);
}
function decode2(bytes, offset = 0, end = bytes.length) {
  const problem = diagnose2(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read2(bytes, offset, end);
}
function decodeLax2(bytes, offset, end) {
  return end - offset < 14 ? null : read2(bytes, offset, end);
}
function read2(bytes, offset, end) {
  const destination = formatMac(bytes, offset + 0);
  const source = formatMac(bytes, offset + 6);
  const type = getU16(bytes, offset + 12);
  const start = offset + 14;
  if (!isLength(type)) return { destination, source, etherType: type, payload: bytes.subarray(start, end) };
  return { destination, source, length: type, payload: bytes.subarray(start, Math.min(start + type, end)) };
}
function encode2(value) {
  const bytes = new Uint8Array(14 + value.payload.length);
  encodeInto2(value, bytes, 0);
  return bytes;
}
function encodeInto2(value, bytes, offset) {
  const end = room("ethernet", bytes, offset, 14 + value.payload.length);
  const type = typeOrLength("ethernet", value);
  writeHeader2(bytes, offset, parseMac(value.destination), parseMac(value.source), type);
  bytes.set(value.payload, offset + 14);
  return end;
}

// ../../work/wt/scale/src/ipv4/index.ts
const VERSION_LENGTH = 0;
const TOS = 1;
const TOTAL_LENGTH = 2;
const IDENTIFICATION = 4;
const FRAGMENT = 6;
const TTL = 8;
const PROTOCOL = 9;
const CHECKSUM = 10;
const SOURCE2 = 12;
const DESTINATION2 = 16;
const OPTIONS = 20;
const RESERVED_FLAG = 32768;
const DONT_FRAGMENT = 16384;
const MORE_FRAGMENTS = 8192;
const FRAGMENT_MASK = 8191;
const NO_OPTIONS = 69;
const MIN_HEADER_LENGTH = 20;
const MAX_HEADER_LENGTH = 60;
const MAX_LENGTH2 = 65535;
const DEFAULT_TTL = 64;
const PROTOCOL_ICMP = 1;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
function check3(bytes, offset, end) {
  const available = end - offset;
  if (available >= 20 && bytes[offset + 0] === 69) {
    const total = getU16(bytes, offset + 2);
    if (total >= 20 && total <= available) return 20;
  }
  return checkAny(bytes, offset, available);
}
function checkAny(bytes, offset, available) {
  if (available < 20) return (-1);
  const first = bytes[offset + 0];
  const length = (first & 15) << 2;
  if (first >>> 4 !== 4 || length < 20) return (-2);
  if (length > available) return (-1);
  const total = getU16(bytes, offset + 2);
  if (total < length) return (-2);
  return total > available ? (-1) : length;
}
function diagnose3(bytes, offset, end, limitedBy) {
  let needed = 20;
  if (end - offset >= needed) {
    const version = bytes[offset] >> 4;
    if (version !== 4) return problemAt("ipv4", offset, `version is ${version}, not 4`);
    needed = (bytes[offset] & 15) << 2;
    if (needed < 20)
      return problemAt("ipv4", offset, `header length is ${needed}, less than ${20}`);
    if (needed <= end - offset) {
      const total = getU16(bytes, offset + 2);
      if (total < needed) return problemAt("ipv4", offset + 2, `total length ${total} < header ${needed}`);
      needed = total;
    }
  }
  return truncatedProblem("ipv4", offset, needed, end, limitedBy);
}
function getHeaderLength(bytes, offset) {
  return (bytes[offset + 0] & 15) << 2;
}
function getEcn(bytes, offset) {
  return bytes[offset + 1] & 3;
}
function getTotalLength(bytes, offset) {
  return getU16(bytes, offset + 2);
}
function getDontFragment(bytes, offset) {
  return (getU16(bytes, offset + 6) & 16384) !== 0;
}
function getFragmentOffset(bytes, offset) {
  return (getU16(bytes, offset + 6) & 8191) << 3;
}
function isFragment(bytes, offset) {
  return (getU16(bytes, offset + 6) & (8192 | 8191)) !== 0;
}
function getProtocol(bytes, offset) {
  return bytes[offset + 9];
}
function getSource2(bytes, offset) {
  return getI32(bytes, offset + 12) >>> 0;
}
function getDestination2(bytes, offset) {
  return getI32(bytes, offset + 16) >>> 0;
}
function getSourceWord(bytes, offset) {
  return getI32(bytes, offset + 12);
}
function getDestinationWord(bytes, offset) {
  return getI32(bytes, offset + 16);
}
function pseudoHeaderSum2(bytes, offset, protocol, length) {
  return sum(bytes, offset + 12, offset + 20) + protocol + length;
}
function setEcn(bytes, offset, ecn) {
  const before = getU16(bytes, offset + 0);
  const after = before & ~3 | ecn;
  bytes[offset + 1] = after;
  setU16(bytes, offset + 10, update(getU16(bytes, offset + 10), before, after));
}
function fillChecksum(bytes, offset) {
  setU16(bytes, offset + 10, 0);
  setU16(bytes, offset + 10, checksum(bytes, offset, offset + getHeaderLength(bytes, offset)));
}
function decode3(bytes, offset = 0, end = bytes.length) {
  const problem = diagnose3(bytes, offset, end);
  if (problem) throw new WireError(problem);
  return read3(bytes, offset, offset + ((bytes[offset] & 15) << 2), offset + getU16(bytes, offset + 2));
}
function read3(bytes, offset, start, end) {
  const tos = bytes[offset + 1];
  const fragment = getU16(bytes, offset + 6);
  return {
    dscp: tos >> 2,
    ecn: tos & 3,
    totalLength: getU16(bytes, offset + 2),
    identification: getU16(bytes, offset + 4),
    reservedFlag: fragment > 32767,
    dontFragment: !!(fragment & 16384),
    moreFragments: !!(fragment & 8192),
    fragmentOffset: (fragment & 8191) * 8,
    ttl: bytes[offset + 8],
    protocol: bytes[offset + 9],
    checksum: getU16(bytes, offset + 10),
    source: formatIpv4(bytes, offset + 12),
    destination: formatIpv4(bytes, offset + 16),
    options: readOptions(bytes, offset + 20, start),
    payload: bytes.subarray(start, end)
  };
}
function encode3(value) {
  const bytes = new Uint8Array(headerLength(value) + value.payload.length);
  encodeInto3(value, bytes, 0);
  return bytes;
}
function encodeInto3(value, bytes, offset) {
  const length = headerLength(value);
  const end = room("ipv4", bytes, offset, length + value.payload.length);
  const fragmentOffset = uint("ipv4.fragmentOffset", value.fragmentOffset ?? 0, 8191 << 3);
  if ((fragmentOffset & 7) !== 0)
    throw new RangeError(`ipv4.fragmentOffset must be a multiple of 8, not ${fragmentOffset}`);
  bytes[offset + 0] = 64 | length >>> 2;
  bytes[offset + 1] = uint("ipv4.dscp", value.dscp ?? 0, 63) << 2 | uint("ipv4.ecn", value.ecn ?? 0, 3);
  const total = value.totalLength ?? length + value.payload.length;
  setU16(bytes, offset + 2, uint("ipv4.totalLength", total, 65535));
  setU16(bytes, offset + 4, uint("ipv4.identification", value.identification ?? 0, 65535));
  const flags = (value.reservedFlag === true ? 32768 : 0) | (value.dontFragment === true ? 16384 : 0) | (value.moreFragments === true ? 8192 : 0);
  setU16(bytes, offset + 6, flags | fragmentOffset >>> 3);
  bytes[offset + 8] = uint("ipv4.ttl", value.ttl ?? 64, 255);
  bytes[offset + 9] = uint("ipv4.protocol", value.protocol, 255);
  setU32(bytes, offset + 12, parseIpv4(value.source));
  setU32(bytes, offset + 16, parseIpv4(value.destination));
  if (value.options !== void 0) writeOptions("ipv4.options", value.options, bytes, offset + 20);
  if (value.checksum === void 0) fillChecksum(bytes, offset);
  else setU16(bytes, offset + 10, uint("ipv4.checksum", value.checksum, 65535));
  bytes.set(value.payload, offset + length);
  return end;
}
function headerLength(value) {
  const options = value.options === void 0 ? 0 : optionsLength(value.options);
  return 20 + uint("ipv4.options length", options, 60 - 20);
}

// ../../work/wt/scale/src/ipv6/index.ts
const VERSION_CLASS_LABEL = 0;
const PAYLOAD_LENGTH = 4;
const NEXT_HEADER = 6;
const HOP_LIMIT = 7;
const SOURCE3 = 8;
const DESTINATION3 = 24;
const EXTENSION_NEXT_HEADER = 0;
const EXTENSION_LENGTH = 1;
const FRAGMENT_OFFSET = 2;
const CLASS_SHIFT = 20;
const LABEL_MASK = 1048575;
const FRAGMENT_OFFSET_MASK = 65528;
const FRAGMENT_MORE = 1;
const EXTENSION_MIN_LENGTH = 8;
const HEADER_LENGTH3 = 40;
const MAX_PAYLOAD_LENGTH = 65535;
const DEFAULT_HOP_LIMIT = 64;
const NEXT_HOP_BY_HOP = 0;
const NEXT_ROUTING = 43;
const NEXT_FRAGMENT = 44;
const NEXT_AUTHENTICATION = 51;
const NEXT_ICMPV6 = 58;
const NEXT_DESTINATION_OPTIONS = 60;
const NEXT_MOBILITY = 135;
const NEXT_HIP = 139;
const NEXT_SHIM6 = 140;
const MAX_EXTENSIONS = 16;
const FOUND_OFFSET_SHIFT = 8;
const FOUND_FRAGMENT = 1 << 24;
function isJumbogram(bytes, offset) {
  return getU16(bytes, offset + 4) === 0 && bytes[offset + 6] === 0;
}
function check4(bytes, offset, end) {
  if (end - offset < 40) return (-1);
  if (bytes[offset + 0] >>> 4 !== 6) return (-2);
  if (isJumbogram(bytes, offset)) return (-3);
  return getU16(bytes, offset + 4) > end - offset - 40 ? (-1) : 40;
}
function diagnose4(bytes, offset, end, limitedBy) {
  let needed = 40;
  if (end - offset >= needed) {
    const version = bytes[offset + 0] >>> 4;
    if (version !== 6) return problemAt("ipv6", offset + 0, `version is ${version}, not 6`);
    if (isJumbogram(bytes, offset))
      return problemAt("ipv6", offset + 4, "it is a jumbogram", "unsupported");
    needed += getU16(bytes, offset + 4);
  }
  return truncatedProblem("ipv6", offset, needed, end, limitedBy);
}
function getTrafficClass(bytes, offset) {
  return getU16(bytes, offset + 0) >>> 4 & 255;
}
function getEcn2(bytes, offset) {
  return getTrafficClass(bytes, offset) & 3;
}
function getPayloadLength(bytes, offset) {
  return getU16(bytes, offset + 4);
}
function getNextHeader(bytes, offset) {
  return bytes[offset + 6];
}
function getSourceWord2(bytes, offset, index) {
  return getI32(bytes, offset + 8 + index * 4);
}
function getDestinationWord2(bytes, offset, index) {
  return getI32(bytes, offset + 24 + index * 4);
}
function pseudoHeaderSum3(bytes, offset, protocol, length) {
  return sum(bytes, offset + 8, offset + 40) + protocol + (length >>> 16) + (length & 65535);
}
function isExtension(nextHeader) {
  switch (nextHeader) {
    case 0:
    case 43:
    case 44:
    case 51:
    case 60:
    case 135:
    case 139:
    case 140:
      return true;
    default:
      return false;
  }
}
function findUpper(bytes, offset, end) {
  let next = bytes[offset + 6];
  let at = offset + 40;
  let fragment = 0;
  for (let passed = 0; passed <= 16; passed++) {
    if (!isExtension(next)) return fragment | at - offset << 8 | next;
    if (end - at < 8) return (-1);
    let length = 8;
    if (next === 44) {
      const word = getU16(bytes, at + 2);
      if ((word & 65528) !== 0) return at - offset << 8 | next;
      if ((word & 1) !== 0) fragment = FOUND_FRAGMENT;
    } else if (next === 51) {
      length = (bytes[at + 1] + 2) * 4;
    } else {
      length = (bytes[at + 1] + 1) * 8;
    }
    if (length > end - at) return (-1);
    next = bytes[at + 0];
    at += length;
  }
  return (-3);
}
function upperProtocol(found) {
  return found & 255;
}
function upperOffset(found) {
  return found >>> 8 & 65535;
}
function setEcn2(bytes, offset, ecn) {
  setTrafficClass(bytes, offset, getTrafficClass(bytes, offset) & ~3 | ecn);
}
function setTrafficClass(bytes, offset, trafficClass) {
  const rest = getU16(bytes, offset + 0) & 61455;
  setU16(bytes, offset + 0, rest | trafficClass << 4);
}
function decode4(bytes, offset = 0, end = bytes.length) {
  const problem = diagnose4(bytes, offset, end);
  if (problem !== null) throw new WireError(problem);
  return read4(bytes, offset, offset + 40 + getU16(bytes, offset + 4));
}
function read4(bytes, offset, end) {
  const word = getI32(bytes, offset + 0);
  return {
    dscp: word >>> 20 + 2 & 63,
    ecn: word >>> 20 & 3,
    flowLabel: word & 1048575,
    payloadLength: getU16(bytes, offset + 4),
    nextHeader: bytes[offset + 6],
    hopLimit: bytes[offset + 7],
    source: formatIpv6(bytes, offset + 8),
    destination: formatIpv6(bytes, offset + 24),
    payload: bytes.subarray(offset + 40, end)
  };
}
function encode4(value) {
  const bytes = new Uint8Array(40 + value.payload.length);
  encodeInto4(value, bytes, 0);
  return bytes;
}
function encodeInto4(value, bytes, offset) {
  const end = room("ipv6", bytes, offset, 40 + value.payload.length);
  const trafficClass = uint("ipv6.dscp", value.dscp ?? 0, 63) << 2 | uint("ipv6.ecn", value.ecn ?? 0, 3);
  const label = uint("ipv6.flowLabel", value.flowLabel ?? 0, 1048575);
  setU32(bytes, offset + 0, 1610612736 | trafficClass << 20 | label);
  const length = value.payloadLength ?? value.payload.length;
  setU16(bytes, offset + 4, uint("ipv6.payloadLength", length, 65535));
  bytes[offset + 6] = uint("ipv6.nextHeader", value.nextHeader, 255);
  bytes[offset + 7] = uint("ipv6.hopLimit", value.hopLimit ?? 64, 255);
  bytes.set(parseIpv6(value.source), offset + 8);
  bytes.set(parseIpv6(value.destination), offset + 24);
  bytes.set(value.payload, offset + 40);
  return end;
}

// ../../work/wt/scale/src/vtep/tags.ts
var { vlan } = ethernet_exports;
const ETHERNET = 14;
const ADDRESSES = ETHERNET - 2;
const PRIORITY = 61440;
const MIN_TYPE = 1536;
const SNAP = 2863268608 | 0;
const SNAP_OUI = 4;
const SNAP_TYPE = 6;
const SNAP_LENGTH = 8;
function isUntagged(type) {
  return type === 2048 || type === 34525 || type === 2054;
}
const FrameTags = class {
  /** The frame's segment, or `null`. Only `read` sets it. */
  segment = null;
  /** Start of the frame without the removed tags. */
  start = 0;
  /** Type after the last tag. */
  type = 0;
  /** Start of the payload of that type. */
  payload = 0;
  /** Whether the payload is encapsulated in LLC and SNAP. */
  snap = false;
  /** Priority and drop-eligible bits for the tag that a trunk adds, from the first removed tag that has any. */
  priority = 0;
  /** Whether the frame starts with a tag of VLAN 0, which a trunk's tag replaces. */
  priorityTagged = false;
  /** Whether the frame has a tag with a VLAN id other than 0. */
  vlanTagged = false;
  setUntagged(offset, type) {
    this.start = offset;
    this.type = type;
    this.payload = offset + ETHERNET;
    this.snap = false;
    this.priority = 0;
    this.priorityTagged = false;
    this.vlanTagged = false;
  }
  /**
   * Reads all VLAN tags of a frame, and removes those that do not name a VLAN inside the segment: tags of VLAN 0, and
   * on a trunk the tag that selects the segment. A tag behind a removed one is checked as if it were the first, because
   * the next bridge reads it that way (CVE-2021-27853).
   *
   * A segment that carries tags keeps the first tag that names a VLAN, all tags behind it, and the first tag of VLAN 0
   * in front of it that has a priority. Tags are those of `ethernet.isVlanType`. 0x9200 and 0x9300 are not tags, as in
   * the data paths of Linux and in Wireshark.
   *
   * @param port The port on which the frame arrived; `null` for a tunnel.
   * @param segment The segment of untagged frames from there.
   * @param trace An explanation, to which `read` appends its steps.
   * @returns -1, or the reason to drop the frame.
   */
  read(port, segment, bytes, offset, end, trace) {
    let type = getEtherType2(bytes, offset);
    this.setUntagged(offset, type);
    this.segment = segment;
    let trunk = port === null ? null : port.vlans;
    let at = offset + ETHERNET;
    let removed = at;
    let inside = 0;
    let insideType = 0;
    while (isVlanType(type)) {
      if (end - at < vlan.HEADER_LENGTH) return DROP["frame-truncated"];
      const id = vlan.getId(bytes, at);
      const priority = getU16(bytes, at) & 61440;
      const tagType = type;
      type = vlan.getEtherType(bytes, at);
      at += vlan.HEADER_LENGTH;
      if (this.vlanTagged) continue;
      if (id === vlan.ID_NONE) {
        if (inside === 0) {
          inside = priority;
          insideType = tagType;
        }
        if (trace !== null) addStep(trace, "VLAN 0 names no VLAN; the tag is removed");
      } else if (trunk !== null) {
        segment = trunk.get(id) ?? null;
        this.segment = segment;
        if (segment === null) return DROP["vlan-unmapped"];
        trunk = null;
        inside = 0;
        if (trace !== null)
          addStep(trace, `VLAN ${id} on trunk ${port.name} is VNI ${segment.vni}; the tag is removed`);
      } else if (segment !== null && segment.tagged) {
        this.vlanTagged = true;
        if (trace !== null) addStep(trace, `the segment carries the tag of VLAN ${id}`);
        continue;
      } else {
        if (trace !== null) addStep(trace, `VLAN ${id} is not allowed here`);
        return segment === null ? DROP["vlan-unmapped"] : DROP["vlan-unexpected"];
      }
      this.priority ||= priority;
      removed = at;
    }
    if (type < 1536 && end - at >= 8 && isSnap(bytes, at)) {
      type = getU16(bytes, at + 6);
      at += 8;
      this.snap = true;
      if (isVlanType(type)) {
        if (trace !== null) addStep(trace, "a VLAN tag is hidden behind an LLC and SNAP header");
        return DROP["vlan-unexpected"];
      }
    }
    this.type = type;
    this.payload = at;
    this.priorityTagged = inside !== 0 && segment !== null && segment.tagged;
    if (this.priorityTagged && trace !== null)
      addStep(trace, `the segment carries tags: priority ${inside >>> 13} stays, in a tag of VLAN 0`);
    this.start = removed - ETHERNET - (this.priorityTagged ? vlan.HEADER_LENGTH : 0);
    if (this.start === offset) return -1;
    bytes.copyWithin(this.start, offset, offset + ADDRESSES);
    if (this.priorityTagged) {
      setEtherType2(bytes, this.start, insideType);
      setU16(bytes, this.start + ETHERNET, inside);
    }
    return -1;
  }
};
function behindTags(bytes, offset, end) {
  let start = offset;
  while (isVlanType(getEtherType2(bytes, start)) && end - start >= 14 + vlan.HEADER_LENGTH)
    start += vlan.HEADER_LENGTH;
  return start;
}
function addStep(trace, text) {
  trace.steps.push({ stage: "vlan", text });
}
function isSnap(bytes, offset) {
  const oui = getU16(bytes, offset + 4);
  return getI32(bytes, offset) === SNAP && (oui === 0 || oui === 248);
}

// ../../work/wt/scale/src/vtep/flow.ts
function flowHash(bytes, offset, end) {
  let type = getEtherType2(bytes, offset);
  let ip = offset + 14;
  if (type !== 2048 && isVlanType(type)) {
    const start = behindTags(bytes, offset, end);
    type = getEtherType2(bytes, start);
    ip = start + 14;
  }
  let hash;
  if (type === 2048 && end - ip >= 20) {
    const protocol = getProtocol(bytes, ip);
    hash = mix(mix(protocol, getSourceWord(bytes, ip)), getDestinationWord(bytes, ip));
    const ports = ip + getHeaderLength(bytes, ip);
    if (hasPorts(protocol) && !isFragment(bytes, ip) && end - ports >= 4)
      hash = mix(hash, getI32(bytes, ports));
  } else if (type === 34525 && end - ip >= 40) {
    const protocol = getNextHeader(bytes, ip);
    const ports = ip + 40;
    hash = protocol;
    for (let i = 0; i < 4; i++)
      hash = mix(mix(hash, getSourceWord2(bytes, ip, i)), getDestinationWord2(bytes, ip, i));
    if (hasPorts(protocol) && end - ports >= 4) hash = mix(hash, getI32(bytes, ports));
  } else {
    hash = mix(mix(getI32(bytes, offset), getI32(bytes, offset + 4)), getI32(bytes, offset + 8));
  }
  return hash ^ hash >>> 15;
}
function sourcePort(hash) {
  return 49152 | hash & 16383;
}
const PORTS = 4;
function hasPorts(protocol) {
  return protocol === 6 || protocol === 17;
}
function mix(hash, word) {
  const product = Math.imul(hash ^ word, 2654435761);
  return product ^ product >>> 16;
}

// ../../work/wt/scale/src/vtep/remote.ts
const UNLIMITED = 65535;
const LOOKS = 2048;
const Remotes = class {
  #byAddress = /* @__PURE__ */ new Map();
  #byId = [];
  #free = [];
  #limit;
  /** Those without a reference by the control plane. */
  #unnamed = /* @__PURE__ */ new Set();
  /** Where `forget` continues. */
  #next = this.#unnamed.values();
  /** @param limit Most remotes learned from datagrams. */
  constructor(limit) {
    this.#limit = limit;
  }
  get(id) {
    return this.#byId[id];
  }
  find(address) {
    return this.#byAddress.get(address);
  }
  /** Whether another sender of datagrams would be learned. */
  get hasRoom() {
    return this.#unnamed.size < this.#limit;
  }
  /** Adds a reference by the control plane; `release` removes it. */
  name(address, port, fallback) {
    const key = canonicalAddress(address);
    let entry = this.#byAddress.get(key);
    if (entry === void 0) entry = this.#add(key, port ?? fallback);
    else if (entry.named === 0) this.#unnamed.delete(entry);
    if (port !== void 0) entry.port = port;
    entry.named++;
    return entry;
  }
  /** Removes references. The remote stays until `forget`, because addresses may be learned behind it. */
  release(id, references = 1) {
    const entry = this.#byId[id];
    entry.named -= references;
    if (entry.named === 0) this.#unnamed.add(entry);
  }
  /** The remote that sent a datagram; `null` if the limit is reached. */
  learn(address, port) {
    const known = this.#byAddress.get(address);
    if (known !== void 0) return known;
    if (!this.hasRoom) return null;
    const entry = this.#add(address, port);
    this.#unnamed.add(entry);
    return entry;
  }
  /**
   * Removes the remotes without a reference by the control plane that `inUse` does not report. A call looks at
   * `LOOKS` of them, and the next one continues there.
   */
  forget(inUse) {
    for (let left = Math.min(2048, this.#unnamed.size); left > 0; left--) {
      let { value: entry } = this.#next.next();
      if (entry === void 0) {
        this.#next = this.#unnamed.values();
        entry = this.#next.next().value;
      }
      if (entry === void 0 || inUse(entry.id)) continue;
      this.#unnamed.delete(entry);
      this.#byAddress.delete(entry.address);
      this.#byId[entry.id] = void 0;
      this.#free.push(entry.id);
    }
  }
  all() {
    return this.#byAddress.values();
  }
  #add(address, port) {
    const id = this.#free.pop() ?? this.#byId.length;
    const entry = { id, address, port, mtu: 65535, undelivered: 0, reason: "", named: 0 };
    this.#byAddress.set(address, entry);
    this.#byId[id] = entry;
    return entry;
  }
};
function canonicalAddress(address) {
  return address.includes(":") ? formatIpv6(parseIpv6(address)) : address;
}

// ../../work/wt/scale/src/fdb/slot.ts
const STRIDE = 4;
const LOW = 0;
const HIGH = 1;
const DESTINATION4 = 2;
const SEEN = 3;
const USED = 65536;
const STATIC = 131072;
const ERA_SHIFT = 18;
const KEPT = 262143;
const LAST_ERA = 16383;
const GROUP = 256;
const TICK = 64;
function isFlushed(flushed, words2, at) {
  if (flushed === null || (words2[at + 1] & 131072) !== 0) return false;
  const era = flushed.get(words2[at + 2]);
  return era !== void 0 && words2[at + 1] >>> 18 <= era;
}
function entryAt(words2, at, tick) {
  const word = words2[at + 1];
  const fixed = (word & 131072) !== 0;
  return {
    mac: macToText((word & 65535) * 4294967296 + (words2[at + 0] >>> 0)),
    destination: words2[at + 2],
    static: fixed,
    age: fixed ? 0 : Math.max(0, (tick - words2[at + 3] | 0) * 64)
  };
}
function ticks(now) {
  return now / 64 | 0;
}
function isInvalid(mac) {
  return mac === 0 || (highOf(mac) & 256) !== 0;
}
function highOf(mac) {
  return Math.floor(mac / 4294967296);
}
function hashOf(low, high, seed) {
  let hash = Math.imul(low ^ seed, 2654435761) ^ Math.imul(high + seed, 2246822507);
  hash = Math.imul(hash ^ hash >>> 15, 739982445);
  return hash ^ hash >>> 13;
}

// ../../work/wt/scale/src/fdb/memory.ts
const SMALLEST = 16;
const SHARED = 1 << 16;
const CACHED = 1 << 15;
const FdbMemory = class {
  /** Free regions by size: `SMALLEST` times two to the power of the index. */
  #free = [];
  #behind = new Int32Array(16);
  /** Slots in use. */
  #slots = 0;
  /** Learned entries behind a destination, in all tables. */
  behind(destination) {
    return this.#behind[destination] ?? 0;
  }
  /** Changes the number of learned entries behind a destination. */
  count(destination, change) {
    if (destination >= this.#behind.length) {
      const grown = new Int32Array(Math.max(destination + 1, this.#behind.length * 2));
      grown.set(this.#behind);
      this.#behind = grown;
    }
    this.#behind[destination] += change;
  }
  /**
   * The most entries of a table of `count` slots. Where the caches hold all tables, short runs of used slots save most
   * time: 10 ns a frame. With more tables, fewer cache lines do: 50 ns.
   */
  room(count) {
    return this.#slots <= CACHED ? count - (count >> 2) : count - (count >> 3);
  }
  /** A region of `count` slots, a power of two of at least 16. */
  take(count) {
    this.#slots += count;
    if (count > SHARED) return { words: new Int32Array(count * 4), base: 0 };
    const size = sizeOf(count);
    let from = size;
    while (from < sizeOf(SHARED) && (this.#free[from]?.length ?? 0) === 0) from++;
    let region = this.#free[from]?.pop() ?? { words: new Int32Array(SHARED * 4), base: 0 };
    while (from > size) {
      from--;
      const half = (16 << from) * 4;
      (this.#free[from] ??= []).push({ words: region.words, base: region.base + half });
      region = { words: region.words, base: region.base };
    }
    return region;
  }
  /** Takes back a region that `take` returned. */
  give({ words: words2, base }, count) {
    this.#slots -= count;
    if (count > SHARED) return;
    words2.fill(0, base, base + count * 4);
    (this.#free[sizeOf(count)] ??= []).push({ words: words2, base });
  }
};
function sizeOf(count) {
  return 31 - Math.clz32(count / 16);
}

// ../../work/wt/scale/src/fdb/outcome.ts
const NONE = -1;
const REFRESHED = 0;
const LEARNED = 1;
const MOVED = 2;
const CONFIRMED = 3;
const CONTRADICTED = 4;
const FULL = 5;
const QUOTA = 6;
const INVALID = 7;

// ../../work/wt/scale/src/fdb/fdb.ts
const SMALLEST2 = 16;
const REMOVAL = 16;
const COPIED = 1 << 16;
const Fdb = class {
  // What a look-up reads comes first, so that it is in one cache line or two.
  #words;
  #base;
  #mask = 16 - 1;
  #seed;
  /** Entries that `flush` removed and that still use a slot. */
  #stale = 0;
  #ageTicks;
  /** By destination, the last era in which a learned entry was flushed; `null` if no such entry uses a slot. */
  #flushed = null;
  /** Increases with each flush. */
  #era = 0;
  #statics = 0;
  #learned = 0;
  capacity;
  perDestination;
  /** The former destination of the address for which `learn` last returned `MOVED`. */
  movedFrom = NONE;
  /** Learned entries by destination. */
  #behind = /* @__PURE__ */ new Map();
  #memory;
  /** The next slot that `sweepSome` looks at. */
  #cursor = 0;
  /** No learned entry was last seen before this tick; without meaning if there are none. */
  #oldest = 0;
  /** The same for the slots before the cursor. */
  #oldestSwept = 0;
  /** Whether there are any before the cursor. */
  #anySwept = false;
  constructor(options = {}) {
    this.capacity = options.capacity ?? 65536;
    if (!Number.isInteger(this.capacity) || this.capacity < 0 || this.capacity > 1 << 24)
      throw new RangeError(`fdb.capacity must be an integer from 0 to ${1 << 24}, not ${this.capacity}`);
    this.perDestination = options.perDestination ?? Math.ceil(this.capacity / 2);
    const ageing = options.ageing ?? 3e5;
    if (!(ageing >= 0)) throw new RangeError(`fdb.ageing must be 0 or more milliseconds, not ${ageing}`);
    this.#ageTicks = ageing === 0 ? 2147483647 : Math.min(Math.ceil(ageing / 64), 2147483647);
    this.#seed = (options.seed ?? 0) | 0;
    this.#memory = options.memory ?? new FdbMemory();
    const { words: words2, base } = this.#memory.take(16);
    this.#words = words2;
    this.#base = base;
  }
  /** Entries of both kinds; learned ones that expired count until they are swept. */
  get size() {
    return this.#statics + this.#learned;
  }
  /** Learned entries behind one destination. */
  behind(destination) {
    return this.#behind.get(destination) ?? 0;
  }
  /** The destination of the address at `offset`, or `NONE`. Does not find an expired entry. */
  lookup(bytes, offset, now) {
    return this.find(getI32(bytes, offset + 2), getU16(bytes, offset), now);
  }
  /** Like `lookup`. The address is given by its low 32 bits, signed, and its high 16 bits. */
  find(low, high, now) {
    const words2 = this.#words;
    const at = this.#find(low, high);
    const word = words2[at + 1];
    if (word === 0 || (word & 131072) === 0 && this.#isGone(at, ticks(now))) return (-1);
    return words2[at + 2];
  }
  /** Whether the address at `offset` has a static entry. */
  isStatic(bytes, offset) {
    return (this.#words[this.#find(getI32(bytes, offset + 2), getU16(bytes, offset)) + 1] & 131072) !== 0;
  }
  /** The destination of a MAC address, a number of 48 bits, or `NONE`. Does not find an expired entry. */
  locate(mac, now) {
    return this.find(mac | 0, highOf(mac), now);
  }
  /**
   * Refreshes the entry of the address at `offset` if its destination is `destination`, as for nearly every frame.
   * @returns whether it is; if not, call `learn`.
   */
  refresh(bytes, offset, destination, now) {
    return this.touch(getI32(bytes, offset + 2), getU16(bytes, offset), destination, now);
  }
  /** Like `refresh`. The address is given by its low 32 bits, signed, and its high 16 bits. */
  touch(low, high, destination, now) {
    const words2 = this.#words;
    const at = this.#find(low, high);
    if (words2[at + 1] === 0 || words2[at + 2] !== destination) return false;
    if (this.#stale !== 0 && this.#isStale(at)) return false;
    words2[at + 3] = ticks(now);
    return true;
  }
  /**
   * Learns that the address at `offset` was seen as a source behind `destination`.
   * @returns one of `REFRESHED`, `LEARNED`, `MOVED`, `CONFIRMED`, `CONTRADICTED`, `FULL`, `QUOTA`, `INVALID`.
   */
  learn(bytes, offset, destination, now) {
    const low = getI32(bytes, offset + 2);
    const high = getU16(bytes, offset);
    if ((high & 256) !== 0 || low === 0 && high === 0) return 7;
    const words2 = this.#words;
    const at = this.#find(low, high);
    const word = words2[at + 1];
    const tick = ticks(now);
    if (word !== 0 && !this.#isStale(at)) {
      const known = words2[at + 2];
      if ((word & 131072) !== 0) return known === destination ? 3 : 4;
      if (known === destination) {
        words2[at + 3] = tick;
        return 0;
      }
      const isAged = this.#isAged(at, tick);
      if (this.behind(destination) >= this.perDestination) return 6;
      this.#move(at, destination, tick);
      this.movedFrom = known;
      return isAged ? 1 : 2;
    }
    if (this.#learned >= this.capacity) return 5;
    if (this.behind(destination) >= this.perDestination) return 6;
    this.#addLearned(at, low, high, destination, tick);
    return 1;
  }
  /**
   * Learns from another table of the same segment that an address was seen behind `destination` `age` milliseconds ago.
   * Does not replace a static entry, or one that was seen later.
   * @param mac A number of 48 bits.
   */
  adopt(mac, destination, age, now) {
    if (isInvalid(mac)) return;
    const at = this.#find(mac | 0, highOf(mac));
    const words2 = this.#words;
    const word = words2[at + 1];
    const seen2 = ticks(now - age);
    if (word === 0 || this.#isStale(at)) {
      if (this.#learned >= this.capacity || this.behind(destination) >= this.perDestination) return;
      this.#addLearned(at, mac | 0, highOf(mac), destination, seen2);
      return;
    }
    if ((word & 131072) !== 0 || (seen2 - words2[at + 3] | 0) < 0) return;
    if (words2[at + 2] === destination) words2[at + 3] = seen2;
    else if (this.behind(destination) < this.perDestination) this.#move(at, destination, seen2);
  }
  /** The destination of a MAC address, a number of 48 bits, whatever its age, or `NONE`. */
  peek(mac) {
    const at = this.#find(mac | 0, highOf(mac));
    return this.#words[at + 1] === 0 || this.#isStale(at) ? (-1) : this.#words[at + 2];
  }
  /** Sets a static entry, and replaces any other. `mac` is a number of 48 bits. */
  setStatic(mac, destination) {
    if (!Number.isInteger(destination) || destination < 0 || destination >= 1 << 30)
      throw new RangeError(`fdb.destination must be an integer from 0 to ${(1 << 30) - 1}, not ${destination}`);
    const at = this.#find(mac | 0, highOf(mac));
    if (this.#words[at + 1] !== 0) this.#forget(at);
    this.#statics++;
    this.#write(at, mac | 0, highOf(mac) | 65536 | 131072, destination, 0);
  }
  /** Removes the entry, learned or static, and returns whether there was one. */
  remove(mac) {
    const at = this.#find(mac | 0, highOf(mac));
    if (this.#words[at + 1] === 0) return false;
    const isStale = this.#isStale(at);
    this.#forget(at);
    this.#close(at);
    return !isStale;
  }
  /**
   * Removes the learned entries: all, or those behind one destination. They are gone at once, but use their slots until
   * they are swept, so the time of a call does not depend on their number.
   */
  flush(destination) {
    if (destination === void 0) {
      for (const one of [...this.#behind.keys()]) this.flush(one);
      return;
    }
    const count = this.behind(destination);
    if (count === 0) return;
    if (this.#era === 16383) this.#resize(this.#mask + 1);
    (this.#flushed ??= /* @__PURE__ */ new Map()).set(destination, this.#era++);
    this.#stale += count;
    this.#learned -= count;
    this.#behind.delete(destination);
    this.#memory.count(destination, -count);
  }
  /** Removes expired entries. Look-ups do not find them anyway; call it from time to time to free memory. */
  sweep(now) {
    this.#cursor = 0;
    this.sweepSome(now, Number.POSITIVE_INFINITY);
  }
  /**
   * Does a part of what `sweep` does. The next call continues where this one ends. A whole round takes at least one call
   * for each `most` slots, of which there are two to three for an entry.
   * @param most The most slots to look at. An entry that is removed counts as 16 of them.
   * @returns as how many slots the work counts; 0 if there was none to do.
   */
  sweepSome(now, most) {
    const tick = ticks(now);
    if (this.#cursor === 0 && this.#stale === 0 && !this.#isDue(tick)) return this.#shrink();
    const words2 = this.#words;
    const base = this.#base;
    const limit = this.#ageTicks;
    const end = base + (this.#mask + 1) * 4;
    let at = base + this.#cursor * 4;
    if (this.#cursor === 0) this.#anySwept = false;
    let done = 0;
    while (at < end && done < most) {
      done++;
      const word = words2[at + 1];
      if (word === 0 || (word & 131072) !== 0) at += 4;
      else if ((tick - words2[at + 3] | 0) > limit || this.#isStale(at)) {
        this.#forget(at);
        this.#close(at);
        done += 16;
      } else {
        this.#noteSwept(words2[at + 3]);
        at += 4;
      }
    }
    if (at < end) this.#cursor = (at - base) / 4;
    else {
      this.#cursor = 0;
      this.#oldest = this.#oldestSwept;
      this.#shrink();
    }
    return done;
  }
  /** Gives the memory back. The table must not be used any more, except by listings in progress. */
  close() {
    for (const [destination, count] of this.#behind) this.#memory.count(destination, -count);
    this.#behind.clear();
    this.#memory.give({ words: this.#words, base: this.#base }, this.#mask + 1);
    this.#words = new Int32Array(16 * 4);
    this.#base = 0;
    this.#mask = 16 - 1;
    this.#statics = this.#learned = this.#stale = this.#cursor = 0;
    this.#flushed = null;
  }
  /**
   * The entries that have not expired, in unspecified order. The table may change during the iteration. An entry that
   * exists throughout is listed exactly once; an entry that is added or removed meanwhile may be missing.
   */
  *entries(now) {
    const tick = ticks(now);
    const count = this.#mask + 1;
    const words2 = count <= COPIED ? this.#words.slice(this.#base, this.#base + count * 4) : this.#words;
    let flushed = this.#stale === 0 ? null : new Map(this.#flushed);
    let before = 0;
    while (words2[before + 1] !== 0) before += 4;
    const run = [];
    for (let i = 4; i <= words2.length; i += 4) {
      const at = before + i & words2.length - 1;
      const word = words2[at + 1];
      if (word !== 0 && ((word & 131072) !== 0 || (tick - words2[at + 3] | 0) <= this.#ageTicks && !isFlushed(flushed, words2, at)))
        run.push(entryAt(words2, at, tick));
      if (word !== 0 && i < words2.length) continue;
      for (let k = 0; k < run.length; k++) yield run[k];
      if (words2 === this.#words) flushed = this.#flushed;
      run.length = 0;
    }
  }
  /** The entry of a MAC address, a number of 48 bits, or `null`. */
  entry(mac, now) {
    const words2 = this.#words;
    const at = this.#find(mac | 0, highOf(mac));
    const word = words2[at + 1];
    if (word === 0 || (word & 131072) === 0 && this.#isGone(at, ticks(now))) return null;
    return entryAt(words2, at, ticks(now));
  }
  /** The slot of an address, or the free slot for it. */
  #find(low, high) {
    const words2 = this.#words;
    const base = this.#base;
    const mask = this.#mask;
    let slot = hashOf(low, high, this.#seed) & mask;
    for (; ; ) {
      const at = base + slot * 4;
      const word = words2[at + 1];
      if (word === 0 || words2[at + 0] === low && (word & 65535) === high) return at;
      slot = slot + 1 & mask;
    }
  }
  #isAged(at, tick) {
    return (tick - this.#words[at + 3] | 0) > this.#ageTicks;
  }
  /** Whether the entry in a used slot was removed by `flush`. */
  #isStale(at) {
    return this.#stale !== 0 && isFlushed(this.#flushed, this.#words, at);
  }
  #isGone(at, tick) {
    return this.#isAged(at, tick) || this.#isStale(at);
  }
  /** Whether a learned entry may have expired. */
  #isDue(tick) {
    return this.#learned > 0 && (tick - this.#oldest | 0) > this.#ageTicks;
  }
  /** A learned entry is before the cursor of `sweepSome`, or it may be. */
  #noteSwept(seen2) {
    if (this.#anySwept && (seen2 - this.#oldestSwept | 0) >= 0) return;
    this.#oldestSwept = seen2;
    this.#anySwept = true;
  }
  /** Puts an address into its slot, which is free or has an entry that `flush` removed. */
  #addLearned(at, low, high, destination, seen2) {
    if (this.#words[at + 1] !== 0) this.#forget(at);
    if (this.#learned === 0 || (seen2 - this.#oldest | 0) < 0) this.#oldest = seen2;
    this.#noteSwept(seen2);
    this.#learned++;
    this.#count(destination, 1);
    this.#write(at, low, high | 65536, destination, seen2);
  }
  /** Moves a learned entry to another destination. */
  #move(at, destination, seen2) {
    const words2 = this.#words;
    this.#count(words2[at + 2], -1);
    this.#count(destination, 1);
    words2[at + 1] = words2[at + 1] & 262143 | this.#era << 18;
    words2[at + 2] = destination;
    words2[at + 3] = seen2;
  }
  /** Writes an entry, which is counted already, into its slot; into a larger table if the slot was free and this is full. */
  #write(at, low, high, destination, seen2) {
    const isFree = this.#words[at + 1] === 0;
    if (isFree && this.size + this.#stale > this.#memory.room(this.#mask + 1)) {
      this.#resize((this.#mask + 1) * 2);
      at = this.#find(low, high & 65535);
    }
    const words2 = this.#words;
    words2[at + 0] = low;
    words2[at + 1] = high | this.#era << 18;
    words2[at + 2] = destination;
    words2[at + 3] = seen2;
  }
  /** Copies the entries to a region of `count` slots, without those that `flush` removed. The eras start again. */
  #resize(count) {
    const [before, from, slots] = [this.#words, this.#base, this.#mask + 1];
    const { words: words2, base } = this.#memory.take(count);
    const flushed = this.#stale === 0 ? null : this.#flushed;
    this.#words = words2;
    this.#base = base;
    this.#mask = count - 1;
    for (let at = from; at < from + slots * 4; at += 4) {
      const word = before[at + 1];
      if (word === 0 || isFlushed(flushed, before, at)) continue;
      const to = this.#find(before[at + 0], word & 65535);
      words2[to + 0] = before[at + 0];
      words2[to + 1] = word & 262143;
      words2[to + 2] = before[at + 2];
      words2[to + 3] = before[at + 3];
    }
    this.#memory.give({ words: before, base: from }, slots);
    this.#stale = 0;
    this.#flushed = null;
    this.#era = 0;
    this.#cursor = 0;
  }
  /** Stops counting the entry in a used slot. */
  #forget(at) {
    const words2 = this.#words;
    if ((words2[at + 1] & 131072) !== 0) this.#statics--;
    else if (!this.#isStale(at)) {
      this.#learned--;
      this.#count(words2[at + 2], -1);
    } else if (--this.#stale === 0) this.#flushed = null;
  }
  /** Empties a slot and moves the entries that probed past it, so that no tombstones are needed. */
  #close(hole) {
    const words2 = this.#words;
    const base = this.#base;
    const mask = this.#mask;
    let free = (hole - base) / 4;
    for (let slot = free + 1 & mask; ; slot = slot + 1 & mask) {
      const at = base + slot * 4;
      const word = words2[at + 1];
      if (word === 0) break;
      const home = hashOf(words2[at + 0], word & 65535, this.#seed) & mask;
      if ((slot - home & mask) < (slot - free & mask)) continue;
      if ((word & 131072) === 0) this.#noteSwept(words2[at + 3]);
      const to = base + free * 4;
      for (let i = 0; i < 4; i++) words2[to + i] = words2[at + i];
      free = slot;
    }
    words2.fill(0, base + free * 4, base + (free + 1) * 4);
  }
  /** Moves few entries out of a large table. Returns the number of slots that it looked at. */
  #shrink() {
    const slots = this.#mask + 1;
    let count = slots;
    while (count > 16 && this.size * 8 < count) count /= 2;
    if (count === slots) return 0;
    this.#resize(count);
    return slots;
  }
  #count(destination, change) {
    const count = this.behind(destination) + change;
    if (count === 0) this.#behind.delete(destination);
    else this.#behind.set(destination, count);
    this.#memory.count(destination, change);
  }
};

// ../../work/wt/scale/src/arp/index.ts
const HARDWARE_TYPE = 0;
const HARDWARE_LENGTH = 4;
const PROTOCOL_LENGTH = 5;
const OPERATION = 6;
const ADDRESSES2 = 8;
const SENDER_MAC = 8;
const SENDER_IP = 14;
const TARGET_MAC = 18;
const TARGET_IP = 24;
const HEADER_LENGTH4 = 8;
const ETHERNET_IPV4_LENGTH = 28;
const HARDWARE_ETHERNET = 1;
const PROTOCOL_IPV4 = 2048;
const REQUEST = 1;
const REPLY = 2;
const ETHERNET_IPV4_TYPES = 1 << 16 | 2048;
const ETHERNET_IPV4_LENGTHS = 6 << 8 | 4;
function lengthOf(bytes, offset) {
  return 8 + 2 * (bytes[offset + 4] + bytes[offset + 5]);
}
function check5(bytes, offset, end) {
  if (end - offset < 8) return (-1);
  const length = lengthOf(bytes, offset);
  return length > end - offset ? (-1) : length;
}
function isEthernetIpv4(bytes, offset) {
  return getI32(bytes, offset + 0) === ETHERNET_IPV4_TYPES && getU16(bytes, offset + 4) === ETHERNET_IPV4_LENGTHS;
}
function getOperation(bytes, offset) {
  return getU16(bytes, offset + 6);
}
function getSenderMac(bytes, offset) {
  return getMac(bytes, offset + 8);
}
function getSenderIp(bytes, offset) {
  return getU32(bytes, offset + 14);
}
function getTargetIp(bytes, offset) {
  return getU32(bytes, offset + 24);
}
function writeEthernetIpv4(bytes, offset, operation, senderMac, senderIp, targetMac, targetIp) {
  setU32(bytes, offset + 0, ETHERNET_IPV4_TYPES);
  setU16(bytes, offset + 4, ETHERNET_IPV4_LENGTHS);
  setU16(bytes, offset + 6, operation);
  setMac(bytes, offset + 8, senderMac);
  setU32(bytes, offset + 14, senderIp);
  setMac(bytes, offset + 18, targetMac);
  setU32(bytes, offset + 24, targetIp);
}

// ../../work/wt/scale/src/neighbor/index.ts
const LOCAL = -1;
const Neighbors = class {
  #all = /* @__PURE__ */ new Map();
  /** The newest binding of each address. */
  #byIp = /* @__PURE__ */ new Map();
  #byMac = /* @__PURE__ */ new Map();
  /** Number of bindings, hidden ones included. */
  get size() {
    return this.#all.size;
  }
  /** Adds a binding, or makes an existing one the newest. */
  add(binding) {
    this.remove(binding);
    const { ip, mac } = binding;
    const [olderIp, olderMac] = [this.#byIp.get(ip), this.#byMac.get(mac)];
    const entry = { binding, olderIp, olderMac, newerIp: void 0, newerMac: void 0 };
    if (olderIp !== void 0) olderIp.newerIp = entry;
    if (olderMac !== void 0) olderMac.newerMac = entry;
    this.#byIp.set(ip, entry);
    this.#byMac.set(mac, entry);
    this.#all.set(keyOf(binding), entry);
  }
  /** Withdraws a binding and returns whether it existed. */
  remove(binding) {
    const key = keyOf(binding);
    const entry = this.#all.get(key);
    if (entry === void 0) return false;
    this.#all.delete(key);
    const { olderIp, newerIp, olderMac, newerMac } = entry;
    if (olderIp !== void 0) olderIp.newerIp = newerIp;
    if (newerIp !== void 0) newerIp.olderIp = olderIp;
    else setNewest(this.#byIp, binding.ip, olderIp);
    if (olderMac !== void 0) olderMac.newerMac = newerMac;
    if (newerMac !== void 0) newerMac.olderMac = olderMac;
    else setNewest(this.#byMac, binding.mac, olderMac);
    return true;
  }
  /** The binding in effect for an IP address. */
  byIp(ip) {
    return this.#byIp.get(ip)?.binding;
  }
  /** The binding in effect for a MAC address, which may have several IP addresses. */
  byMac(mac) {
    return this.#byMac.get(mac)?.binding;
  }
  /** All bindings; for each IP address the one in effect comes first. */
  *bindings() {
    for (const newest of this.#byIp.values()) {
      const all = [];
      for (let entry = newest; entry !== void 0; entry = entry.olderIp) all.push(entry.binding);
      for (let i = 0; i < all.length; i++) yield { ...all[i], hidden: i > 0 };
    }
  }
  /** All bindings for listings. */
  *entries() {
    for (const { ip, mac, location, hidden } of this.bindings())
      yield { ip: ipv4ToText(ip), mac: macToText(mac), location, hidden };
  }
};
function keyOf({ ip, mac, location }) {
  return `${ip} ${mac} ${location}`;
}
function setNewest(map, address, newest) {
  if (newest === void 0) map.delete(address);
  else map.set(address, newest);
}
const ANSWER = 0;
const NOT_A_REQUEST = 1;
const OWN_ADDRESS = 2;
const UNKNOWN = 3;
const ON_THIS_HOST = 4;
function judge(neighbors, bytes, offset, end) {
  if (check5(bytes, offset, end) < 0 || !isEthernetIpv4(bytes, offset)) return 1;
  if (getOperation(bytes, offset) !== 1) return 1;
  const target = getTargetIp(bytes, offset);
  if (getSenderIp(bytes, offset) === target) return 2;
  const binding = neighbors.byIp(target);
  if (binding === void 0) return 3;
  if (binding.mac === getSenderMac(bytes, offset)) return 2;
  return binding.location === (-1) ? 4 : 0;
}
function hasNoSender(bytes, offset, end) {
  return check5(bytes, offset, end) >= 0 && isEthernetIpv4(bytes, offset) && getSenderMac(bytes, offset) === 0;
}

// ../../work/wt/scale/src/vxlan/index.ts
const FLAGS = 0;
const RESERVED1 = 1;
const GROUP_FLAGS = 1;
const VNI = 4;
const RESERVED2 = 7;
const HEADER_LENGTH5 = 8;
const PORT = 4789;
const MAX_VNI = 16777215;
const FLAG_VNI = 8;
const FLAG_GROUP = 128;
const DONT_LEARN = 64;
function check6(bytes, offset, end) {
  if (end - offset < 8) return (-1);
  if ((bytes[offset + 0] & 8) === 0) return (-2);
  return 8;
}
function getVni(bytes, offset) {
  return getU24(bytes, offset + 4);
}
function getDontLearn(bytes, offset) {
  return (bytes[offset + 0] & 128) !== 0 && (bytes[offset + 1] & 64) !== 0;
}
function writeHeader3(bytes, offset, vni) {
  bytes[offset + 0] = 8;
  setU24(bytes, offset + 1, 0);
  setU24(bytes, offset + 4, vni);
  bytes[offset + 7] = 0;
}
function encode5(value) {
  const bytes = new Uint8Array(8 + value.payload.length);
  encodeInto5(value, bytes, 0);
  return bytes;
}
function encodeInto5(value, bytes, offset) {
  const end = room("vxlan", bytes, offset, 8 + value.payload.length);
  bytes[offset + 0] = uint("vxlan.flags", value.flags ?? 8, 255);
  setU24(bytes, offset + 1, uint("vxlan.reserved1", value.reserved1 ?? 0, 16777215));
  setU24(bytes, offset + 4, uint("vxlan.vni", value.vni, 16777215));
  bytes[offset + 7] = uint("vxlan.reserved2", value.reserved2 ?? 0, 255);
  bytes.set(value.payload, offset + 8);
  return end;
}

// ../../work/wt/scale/src/vtep/counter-rows.ts
const ROWS = 64;
const LINE = 8;
const CounterRows = class {
  /** Counters in a row. */
  length;
  #stride;
  #arrays = [];
  #free = [];
  constructor(length) {
    this.length = length;
    this.#stride = Math.ceil(length / 8) * 8;
  }
  /** A row of zeros: the counters from the index `row` on. */
  take() {
    if (this.#free.length === 0) {
      const counters = new Float64Array(64 * this.#stride);
      this.#arrays.push(counters);
      for (let i = 64 - 1; i >= 0; i--) this.#free.push({ counters, row: i * this.#stride });
    }
    return this.#free.pop();
  }
  /** Takes back a row that `take` returned. */
  give(counters, row) {
    counters.fill(0, row, row + this.length);
    this.#free.push({ counters, row });
  }
  /** Copies all rows. The function that it returns writes the copies back. */
  save() {
    const copies = this.#arrays.map((counters) => counters.slice());
    return () => copies.forEach((copy, i) => this.#arrays[i].set(copy));
  }
};

// ../../work/wt/scale/src/vtep/destination.ts
function portDestination(port) {
  return port << 1;
}
function remoteDestination(id) {
  return id << 1 | 1;
}
function isRemote(destination) {
  return (destination & 1) === 1;
}
function portOf(destination) {
  return destination >> 1;
}
function remoteIdOf(destination) {
  return destination >> 1;
}
const UNLEARNED_REMOTE = 1073741823;
const NEW_REMOTE = 1073741821;

// ../../work/wt/scale/src/vtep/flood-list.ts
const MAX_PEERS = 4096;
const MAX_REPLICAS = 8192;
const FloodList = class {
  #remotes = /* @__PURE__ */ new Set();
  /** The remotes in an array, which is faster to iterate; `null` after a change. */
  #list = [];
  get size() {
    return this.#remotes.size;
  }
  has(remote) {
    return this.#remotes.has(remote);
  }
  add(remote) {
    this.#remotes.add(remote);
    this.#list = null;
  }
  /** Removes a remote and returns whether it was there. */
  delete(remote) {
    if (!this.#remotes.delete(remote)) return false;
    this.#list = null;
    return true;
  }
  /** The remotes. A change does not affect the array, because a sink may change the list during an iteration. */
  all() {
    return this.#list ??= [...this.#remotes];
  }
};

// ../../work/wt/scale/src/vtep/watch.ts
const FLOOD = 1e3;
const MOVES = 5;
const BACK_AND_FORTH = 6e4;
const MOVERS = 64;
const CLAIMS = 512;
const DUPLICATES = 16;
const Watch = class {
  vni;
  #noticed;
  /** Whether `#noticed` has this. */
  #isNoticed = false;
  #learned = 0;
  #refused = 0;
  #place = 0;
  // The moves of this second, in slots by a hash of the address. The first address in a slot keeps it until the second
  // is over.
  #movers = null;
  #moves;
  #from;
  #to;
  #moved = false;
  // Claims, in slots by a hash of the key: the current claimant, the one before, and when it changed.
  #keys = null;
  #macs;
  #before;
  #changed;
  #duplicates = [];
  /** @param noticed A list to which this adds itself when `findings` may return something, and until then. */
  constructor(vni, noticed = []) {
    this.vni = vni;
    this.#noticed = noticed;
  }
  /** A new address was learned behind `place`. */
  learned(place) {
    this.#learned++;
    this.#place = place;
    this.#note();
  }
  /** An address was not learned: the table, or the share of `place`, is full. */
  refused(place) {
    this.#refused++;
    this.#place = place;
    this.#note();
  }
  /** An address of 48 bits moved. */
  moved(mac, from, to) {
    this.#movers ??= this.#countMoves();
    const slot = (mac ^ mac >>> 8) & 64 - 1;
    if (this.#moves[slot] === 0) this.#movers[slot] = mac;
    else if (this.#movers[slot] !== mac) return;
    this.#moves[slot]++;
    this.#from[slot] = from;
    this.#to[slot] = to;
    this.#moved = true;
    this.#note();
  }
  /**
   * ARP or ND claims that an address unknown to the control plane is at `mac`.
   * @param key The IPv4 address, or 32 bits made of the IPv6 address, unsigned; 0 claims nothing (RFC 5227).
   * @returns the other MAC address that claims it, if there is one; otherwise 0.
   */
  claims(key, mac, now) {
    if (key === 0) return 0;
    this.#keys ??= this.#remember();
    const slot = (key ^ key >>> 9 ^ key >>> 18) & 512 - 1;
    if (this.#keys[slot] !== key) {
      this.#keys[slot] = key;
      this.#macs[slot] = mac;
      this.#before[slot] = 0;
      return 0;
    }
    const last = this.#macs[slot];
    if (last === mac) return 0;
    const back = this.#before[slot] === mac && now - this.#changed[slot] <= 6e4;
    this.#before[slot] = last;
    this.#macs[slot] = mac;
    this.#changed[slot] = now;
    return back ? last : 0;
  }
  /** Two MAC addresses claim the same IP address. */
  duplicate(ip, first, second, place, known) {
    const duplicates = this.#duplicates;
    if (duplicates.length >= 16 || duplicates.some((one) => one.ip === ip)) return;
    duplicates.push({ ip, first, second, place, known });
    this.#note();
  }
  /**
   * Returns the problems since the last call. Call it about once a second.
   * @param name Returns the name of a place.
   */
  findings(name, seconds) {
    const { vni } = this;
    const found = [];
    this.#isNoticed = false;
    if (this.#refused > 0 || this.#learned > 1e3 * seconds)
      found.push({
        kind: "mac-flood",
        vni,
        learned: this.#learned,
        refused: this.#refused,
        place: name(this.#place)
      });
    this.#learned = 0;
    this.#refused = 0;
    if (this.#moved) {
      for (let slot = 0; slot < 64; slot++)
        if (this.#moves[slot] >= 5 * seconds)
          found.push({
            kind: "mac-moves",
            vni,
            mac: macToText(this.#movers[slot]),
            moves: this.#moves[slot],
            places: [name(this.#from[slot]), name(this.#to[slot])]
          });
      this.#moves.fill(0);
      this.#moved = false;
    }
    for (const { ip, first, second, place, known } of this.#duplicates.splice(0))
      found.push({
        kind: "duplicate-address",
        vni,
        ip,
        macs: [macToText(first), macToText(second)],
        place: name(place),
        known
      });
    return found;
  }
  #note() {
    if (this.#isNoticed) return;
    this.#isNoticed = true;
    this.#noticed.push(this);
  }
  #countMoves() {
    this.#moves = new Int32Array(64);
    this.#from = new Int32Array(64);
    this.#to = new Int32Array(64);
    return new Float64Array(64);
  }
  #remember() {
    this.#macs = new Float64Array(512);
    this.#before = new Float64Array(512);
    this.#changed = new Float64Array(512);
    return new Uint32Array(512);
  }
};
const ICMPV6 = 58;
const NEIGHBOR_SOLICITATION = 135;
const NEIGHBOR_ADVERTISEMENT = 136;
const IPV6_NEXT_HEADER = 6;
const IPV6_SOURCE = 8;
const IPV6_HEADER = 40;
const TARGET = 8;
const ADDRESS = 16;
function claimedAddress(bytes, ip, end) {
  const icmp = ip + 40;
  if (end - icmp < 8 + 16 || bytes[ip + 6] !== 58) return -1;
  const type = bytes[icmp];
  if (type === 136) return icmp + 8;
  if (type !== 135) return -1;
  for (let i = ip + 8; i < ip + 8 + 16; i++) if (bytes[i] !== 0) return ip + 8;
  return icmp + 8;
}
function isNeighborSolicitation(bytes, ip, end) {
  const icmp = ip + 40;
  return end - icmp >= 8 + 16 && bytes[ip + 6] === 58 && bytes[icmp] === 135;
}
function isNeighborAdvertisement(bytes, ip, end) {
  const icmp = ip + 40;
  return end - icmp >= 8 + 16 && bytes[ip + 6] === 58 && bytes[icmp] === 136;
}
function keyOfIpv6(bytes, at) {
  let hash = 2166136261;
  for (let i = at; i < at + 16; i++) hash = Math.imul(hash ^ bytes[i], 16777619);
  return hash >>> 0;
}

// ../../work/wt/scale/src/vtep/questions.ts
const LIFETIME = 1e3;
const QUESTIONS = 16;
const MAX_LENGTH3 = 128;
const Questions = class {
  #slot;
  #headroom;
  #asking;
  /** Whether `#asking` has this. */
  #isAsking = false;
  #frames = null;
  #lengths;
  #ports;
  #times;
  /** The IPv4 addresses asked for; 0 for an IPv6 address. */
  #targets;
  /** The number of each question, counted from the first one. */
  #numbers;
  #kept = 0;
  /**
   * @param headroom Bytes to keep free in front of each frame.
   * @param asking A list to which this adds itself with the first question, and again after `expire` left none.
   */
  constructor(headroom, asking = []) {
    this.#headroom = headroom;
    this.#asking = asking;
    this.#slot = headroom + 128;
  }
  /** Number of questions kept so far. */
  get kept() {
    return this.#kept;
  }
  /** Keeps an untagged frame to a group address, if it is a question. */
  keep(port, bytes, offset, end, now) {
    const length = end - offset;
    if (length > 128) return;
    const payload = offset + 14;
    const type = getEtherType2(bytes, offset);
    let target = 0;
    if (type === 2054) {
      if (check5(bytes, payload, end) < 0 || !isEthernetIpv4(bytes, payload)) return;
      if (getOperation(bytes, payload) !== 1) return;
      target = getTargetIp(bytes, payload);
    } else if (type !== 34525 || !isNeighborSolicitation(bytes, payload, end)) return;
    this.#frames ??= this.#allocate();
    if (!this.#isAsking) {
      this.#isAsking = true;
      this.#asking.push(this);
    }
    const i = this.#kept % 16;
    const at = i * this.#slot + this.#headroom;
    for (let k = 0; k < length; k++) this.#frames[at + k] = bytes[offset + k];
    this.#lengths[i] = length;
    this.#ports[i] = port;
    this.#times[i] = now;
    this.#targets[i] = target;
    this.#numbers[i] = this.#kept++;
  }
  /** Whether a host asked for an IPv4 address; up to the last `expire`. */
  asked(ip) {
    if (this.#frames === null) return false;
    for (let i = 0; i < 16; i++) if (this.#lengths[i] !== 0 && this.#targets[i] === ip) return true;
    return false;
  }
  /**
   * Calls `emit` for each question of the last second.
   * @param until How many questions had been kept when the last one of interest was.
   */
  each(now, until, emit) {
    if (this.#frames === null) return;
    for (let i = 0; i < 16; i++) {
      const length = this.#lengths[i];
      if (length === 0 || this.#numbers[i] >= until || now - this.#times[i] >= 1e3) continue;
      const at = i * this.#slot + this.#headroom;
      emit(this.#ports[i], this.#frames, at, at + length);
    }
  }
  /** Forgets the questions that are older than a second. Returns whether there are others. */
  expire(now) {
    this.#isAsking = false;
    if (this.#frames === null) return false;
    for (let i = 0; i < 16; i++)
      if (now - this.#times[i] >= 1e3) this.#lengths[i] = 0;
      else if (this.#lengths[i] !== 0) this.#isAsking = true;
    return this.#isAsking;
  }
  #allocate() {
    this.#lengths = new Uint8Array(16);
    this.#ports = new Int32Array(16);
    this.#times = new Float64Array(16);
    this.#targets = new Uint32Array(16);
    this.#numbers = new Float64Array(16);
    return new Uint8Array(16 * this.#slot);
  }
};

// ../../work/wt/scale/src/vtep/segment.ts
const COUNTS = [
  ["frames-in", "frames received on local ports"],
  ["frame-bytes-in", "their bytes, Ethernet header included"],
  ["frames-out", "frames sent on local ports"],
  ["frame-bytes-out", "their bytes"],
  ["datagrams-in", "VXLAN datagrams received for this segment"],
  ["datagram-bytes-in", "their bytes, VXLAN header included"],
  ["datagrams-out", "VXLAN datagrams sent"],
  ["datagram-bytes-out", "their bytes"],
  ["flooded", "broadcast, unknown unicast and multicast (BUM) frames that were flooded"],
  ["arp-answered", "ARP requests answered by the proxy"],
  ["learned", "MAC addresses learned"],
  ["moved", "MAC addresses that moved from one port or remote to another"],
  ["learn-refused", "MAC addresses not learned, because the table or the share of their port or remote is full"],
  ["contradicted", "frames dropped because their source address is elsewhere according to the control plane"],
  ["duplicate-address", "ARP packets that claim an IP address that the control plane assigns to another MAC address"],
  ["ecn-marked", "packets marked as congested in the underlay (RFC 6040)"],
  ["fragmentation-needed", "ICMP errors sent to senders of packets too big for the path (RFC 1191)"],
  ["checksums-filled", "packets whose TCP or UDP checksum the sender left to a network card"],
  ["packet-too-big", "ICMPv6 errors sent to senders of packets too big for the path (RFC 8201)"],
  ["announced", "ARP announcements and neighbor advertisements sent for endpoints (RFC 5227, RFC 4861)"],
  ["announcements-refused", "announcements not sent, because the queue was full"],
  [
    "asked-again",
    "ARP requests and neighbor solicitations sent again to a peer that was added within a second after them"
  ],
  ["shared-source", "frames of peers and members that passed, although their source address stays behind a local port"]
];
const COUNT = Object.fromEntries(COUNTS.map(([name], index) => [name, index]));
const FIRST_DROP = COUNTS.length;
const COUNTERS = COUNTS.length + DROPS.length;
const UNTAGGED = -1;
const HEADROOM = 16;
const MAX_WITHDRAWN = 4096;
const Common = class {
  seed;
  memory = new FdbMemory();
  rows = new CounterRows(COUNTERS);
  /** Those with a question. */
  asking = [];
  /** Those that may have found something. */
  noticed = [];
  constructor(seed) {
    this.seed = seed;
  }
};
const Segment = class {
  // What most frames read comes first, so that it is in one cache line or two.
  fdb;
  /** An array with the segment's counters from the index `row` on. */
  counters;
  row;
  proxy;
  vni;
  mtu;
  learn;
  flood;
  tagged;
  /** 48 bits. */
  mac;
  watch;
  neighbors = new Neighbors();
  /** The local ports, with the VLAN ids that frames of this segment carry there, or `UNTAGGED`. */
  #members = /* @__PURE__ */ new Map();
  /** The local ports in an array, which is faster to iterate; `null` after a change. */
  #memberList = [];
  /** Ports by the MAC address that the control plane binds to them. */
  #stations = /* @__PURE__ */ new Map();
  /** The flood list. */
  peers = new FloodList();
  /** By the remote's id, how many references the control plane has to it in this segment: as a peer, and for endpoints. */
  named = [];
  refused = new RefusedSenders();
  /** MAC addresses of withdrawn endpoints, by IP address: neighbors may still have them in their ARP caches. */
  withdrawn = /* @__PURE__ */ new Map();
  questions;
  #common;
  constructor(options, common) {
    const mtu = uint("mtu", options.mtu ?? 1450, 65535);
    if (mtu < 68) throw new RangeError(`mtu must be at least 68 (RFC 791), not ${mtu}`);
    const vni = uint("vni", options.vni, 16777215);
    const mac = options.mac === void 0 ? 2705829396480 + vni : parseMac(options.mac);
    requireUnicast("mac", mac);
    const { memory, rows, seed } = common;
    this.fdb = new Fdb({ ...pick(options, "ageing"), ...pick(options, "capacity"), seed, memory });
    const { counters, row } = rows.take();
    this.counters = counters;
    this.row = row;
    this.proxy = options.proxy ?? "endpoint";
    this.vni = vni;
    this.mtu = mtu;
    this.learn = options.learn ?? true;
    this.flood = options.flood ?? true;
    this.tagged = options.tagged ?? false;
    this.mac = mac;
    this.watch = new Watch(vni, common.noticed);
    this.questions = new Questions(16, common.asking);
    this.#common = common;
  }
  /** Gives back what the segment has of `Common`. It must not be used any more. */
  close() {
    this.fdb.close();
    this.#common.rows.give(this.counters, this.row);
  }
  /** Adds to the counter with the index `counter`. */
  count(counter, change) {
    this.counters[this.row + counter] += change;
  }
  addMember(port, vlan5) {
    this.#members.set(port, vlan5);
    this.#memberList = null;
  }
  removeMember(port) {
    if (this.#members.delete(port)) this.#memberList = null;
  }
  hasMember(port) {
    return this.#members.has(port);
  }
  /** The local ports. A change does not affect the array, because a sink may add ports during an iteration. */
  get members() {
    return this.#memberList ??= Array.from(this.#members, ([port, vlan5]) => ({ port, vlan: vlan5 }));
  }
  /** The VLAN id that frames of this segment carry on a port, or `UNTAGGED`. */
  vlanOn(port) {
    return this.#members.get(port) ?? (-1);
  }
  /** Binds a MAC address to a local port: no frame from elsewhere moves it. */
  bindStation(mac, port) {
    this.#stations.set(mac, port);
  }
  /** The destination that a MAC address is bound to by `bindStation`, or `NONE`. */
  stationAt(mac) {
    const port = this.#stations.get(mac);
    return port === void 0 ? (-1) : portDestination(port);
  }
  /** The control plane has withdrawn a local endpoint: if nothing else binds its address, it may appear anywhere. */
  freeStation(mac) {
    if (this.neighbors.byMac(mac) === void 0 && !this.#stations.has(mac)) this.fdb.remove(mac);
  }
  /** Removes the addresses that are learned behind a local port. */
  forgetPort(port) {
    this.fdb.flush(portDestination(port));
  }
  /** Takes back `bindStation`, unless another port has the address meanwhile. */
  unbindStation(mac, port) {
    if (this.#stations.get(mac) === port) this.#stations.delete(mac);
  }
  /** Whether the control plane has a reference to a remote in this segment. */
  names(remote) {
    return (this.named[remote] ?? 0) > 0;
  }
  /** Whether the control plane says that a MAC address is on this host. */
  isLocal(mac) {
    const binding = this.neighbors.byMac(mac);
    return binding === void 0 ? this.#stations.has(mac) : binding.location === (-1);
  }
  /** The MAC address that neighbors know for an IP address, as far as the control plane knows; 0 for none. */
  answeredMac(ip) {
    const binding = this.neighbors.byIp(ip);
    if (binding === void 0) return this.withdrawn.get(ip) ?? 0;
    return this.proxy === "vtep" && binding.location !== (-1) ? this.mac : binding.mac;
  }
  /** Applies the control plane's location of a MAC address to the FDB. */
  applyLocation(mac) {
    const binding = this.neighbors.byMac(mac);
    if (binding !== void 0 && binding.location !== (-1)) return this.fdb.setStatic(mac, binding.location);
    const known = this.fdb.peek(mac);
    if (known !== (-1) && isRemote(known)) this.fdb.remove(mac);
  }
  /** Remembers the MAC address of a withdrawn endpoint; removes the oldest if there are too many. */
  rememberWithdrawn(ip, mac) {
    this.withdrawn.delete(ip);
    this.withdrawn.set(ip, mac);
    if (this.withdrawn.size > 4096) this.withdrawn.delete(this.withdrawn.keys().next().value);
  }
};
function pick(options, key) {
  return options[key] === void 0 ? {} : { [key]: options[key] };
}
function toBinding(endpoint, location) {
  const mac = parseMac(endpoint.mac);
  requireUnicast("endpoint.mac", mac);
  return { ip: parseIpv4(endpoint.ip), mac, location };
}
function requireUnicast(field, mac) {
  const what = isGroupMac(mac) ? "a group address" : mac === 0 ? "all zeros" : void 0;
  if (what !== void 0)
    throw new RangeError(`${field} must be the address of one station; ${macToText(mac)} is ${what}`);
}

// ../../work/wt/scale/src/vtep/quote.ts
const NOT_OURS = -1;
const UNKNOWN_LENGTH = 0;
const VXLAN_LENGTH = 8;
const FIRST_WORD = 134217728;
const IP_LENGTH_READ = 6;
function lengthOfQuote(context, remote, bytes, offset, end, now) {
  if (end - offset < VXLAN_LENGTH) return 0;
  if (getU32(bytes, offset) !== 134217728 || bytes[offset + VXLAN_LENGTH - 1] !== 0) return (-1);
  const segment = context.segments.get(getVni(bytes, offset));
  if (segment === void 0) return (-1);
  const isPeer = segment.peers.has(remote);
  const to = remoteDestination(remote.id);
  if (!isPeer && !segment.names(remote.id) && segment.fdb.behind(to) === 0) return (-1);
  const frame = offset + VXLAN_LENGTH;
  if (end - frame < 14) return 0;
  const from = segment.fdb.lookup(bytes, frame + SOURCE_OFFSET, now);
  if (from === (-1) ? !segment.isLocal(getSource(bytes, frame)) : isRemote(from)) return (-1);
  const place = isToGroup(bytes, frame) ? (-1) : segment.fdb.lookup(bytes, frame, now);
  if (place === (-1) ? !isPeer : place !== to) return (-1);
  const start = behindTags(bytes, frame, end);
  const ip = start + 14;
  if (end - ip < 6) return 0;
  const type = getEtherType2(bytes, start);
  if (type === 2048) return ip - offset + getTotalLength(bytes, ip);
  if (type === 34525) return ip - offset + 40 + getU16(bytes, ip + 4);
  return 0;
}

// ../../work/wt/scale/src/icmp/index.ts
const TYPE3 = 0;
const CODE = 1;
const CHECKSUM2 = 2;
const REST = 4;
const IDENTIFIER = 4;
const SEQUENCE = 6;
const UNUSED = 4;
const POINTER = 4;
const LENGTH = 5;
const NEXT_HOP_MTU = 6;
const UNUSED_TAIL = 6;
const GATEWAY = 4;
const ORIGINATE = 8;
const RECEIVE = 12;
const TRANSMIT = 16;
const MASK = 8;
const HEADER_LENGTH6 = 8;
const MASK_LENGTH = 12;
const TIMESTAMP_LENGTH = 20;
const ECHO_REPLY = 0;
const UNREACHABLE = 3;
const SOURCE_QUENCH = 4;
const REDIRECT = 5;
const ECHO_REQUEST = 8;
const TIME_EXCEEDED = 11;
const PARAMETER_PROBLEM = 12;
const TIMESTAMP_REQUEST = 13;
const TIMESTAMP_REPLY = 14;
const INFORMATION_REQUEST = 15;
const INFORMATION_REPLY = 16;
const MASK_REQUEST = 17;
const MASK_REPLY = 18;
const CODE_FRAGMENTATION_NEEDED = 4;
function headerLength2(type) {
  if (type === 13 || type === 14) return 20;
  if (type === 17 || type === 18) return 12;
  return 8;
}
function getType(bytes, offset) {
  return bytes[offset + 0];
}
function isError(type) {
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}
function fillChecksum2(bytes, offset, end) {
  setU16(bytes, offset + 2, 0);
  setU16(bytes, offset + 2, checksum(bytes, offset, end));
}
function encode6(value) {
  const bytes = new Uint8Array(headerLength2(value.type) + value.payload.length);
  encodeInto6(value, bytes, 0);
  return bytes;
}
function encodeInto6(value, bytes, offset) {
  const length = headerLength2(value.type);
  const end = room("icmp", bytes, offset, length + value.payload.length);
  bytes[offset + 0] = uint("icmp.type", value.type, 255);
  bytes[offset + 1] = uint("icmp.code", value.code, 255);
  switch (value.type) {
    case 0:
    case 8:
    case 15:
    case 16:
    case 13:
    case 14:
    case 17:
    case 18:
      setU16(bytes, offset + 4, uint("icmp.identifier", value.identifier ?? 0, 65535));
      setU16(bytes, offset + 6, uint("icmp.sequence", value.sequence ?? 0, 65535));
      if (length === 12) setU32(bytes, offset + 8, parseIpv4(value.mask ?? "0.0.0.0"));
      if (length === 20) {
        setU32(bytes, offset + 8, uint("icmp.originate", value.originate ?? 0, 4294967295));
        setU32(bytes, offset + 12, uint("icmp.receive", value.receive ?? 0, 4294967295));
        setU32(bytes, offset + 16, uint("icmp.transmit", value.transmit ?? 0, 4294967295));
      }
      break;
    case 3:
    case 11: {
      const toMtu = value.type === 3 && value.code === 4;
      const unused = uint("icmp.unused", value.unused ?? 0, toMtu ? 255 : 16777215);
      bytes[offset + 4] = toMtu ? unused : unused >>> 16;
      bytes[offset + 5] = uint("icmp.length", value.length ?? 0, 255);
      if (toMtu) setU16(bytes, offset + 6, uint("icmp.nextHopMtu", value.nextHopMtu ?? 0, 65535));
      else setU16(bytes, offset + 6, unused);
      break;
    }
    case 12:
      bytes[offset + 4] = uint("icmp.pointer", value.pointer ?? 0, 255);
      bytes[offset + 5] = uint("icmp.length", value.length ?? 0, 255);
      setU16(bytes, offset + 6, uint("icmp.unused", value.unused ?? 0, 65535));
      break;
    case 4:
      setU32(bytes, offset + 4, uint("icmp.unused", value.unused ?? 0, 4294967295));
      break;
    case 5:
      setU32(bytes, offset + 4, parseIpv4(value.gateway ?? "0.0.0.0"));
      break;
    default:
      setU32(bytes, offset + 4, uint("icmp.rest", value.rest ?? 0, 4294967295));
  }
  bytes.set(value.payload, offset + length);
  if (value.checksum === void 0) fillChecksum2(bytes, offset, end);
  else setU16(bytes, offset + 2, uint("icmp.checksum", value.checksum, 65535));
  return end;
}

// ../../work/wt/scale/src/vtep/too-big.ts
const QUOTE = 576 - 20 - 8;
function fragmentationNeeded(bytes, offset, end, mtu) {
  if (getEtherType2(bytes, offset) !== 2048) return null;
  if (isGroupMac(getDestination(bytes, offset))) return null;
  const ip = offset + 14;
  const length = check3(bytes, ip, end);
  if (length < 0 || !getDontFragment(bytes, ip) || getFragmentOffset(bytes, ip) !== 0) return null;
  const source = getSource2(bytes, ip);
  const destination = getDestination2(bytes, ip);
  if (!isHost(source) || !isHost(destination)) return null;
  const inner2 = ip + length;
  if (getProtocol(bytes, ip) === 1 && (inner2 >= end || isError(getType(bytes, inner2))))
    return null;
  const header = decode3(bytes, ip, end);
  const frame = decode2(bytes, offset, end);
  const error = encode6({
    type: 3,
    code: 4,
    nextHopMtu: mtu,
    payload: bytes.subarray(ip, Math.min(ip + header.totalLength, ip + QUOTE))
  });
  return encode2({
    destination: frame.source,
    source: frame.destination,
    etherType: 2048,
    payload: encode3({
      ttl: 64,
      protocol: 1,
      source: header.destination,
      destination: header.source,
      payload: error
    })
  });
}
const IPV6_MIN_MTU = 1280;
const PACKET_TOO_BIG = 2;
const CHECKSUM3 = 2;
const MTU = 4;
const QUOTED = 8;
const FIRST_INFORMATIONAL = 128;
const REDIRECT2 = 137;
function packetTooBig(bytes, offset, end, mtu) {
  if (getEtherType2(bytes, offset) !== 34525) return null;
  if (isGroupMac(getDestination(bytes, offset))) return null;
  const ip = offset + 14;
  if (check4(bytes, ip, end) < 0) return null;
  const stop = Math.min(end, ip + 40 + getPayloadLength(bytes, ip));
  if (stop - ip <= 1280) return null;
  const source = [0, 1, 2, 3].map((i) => getSourceWord2(bytes, ip, i));
  if (!isHost6(source) || getDestinationWord2(bytes, ip, 0) >>> 24 === 255) return null;
  const found = findUpper(bytes, ip, stop);
  if (found < 0) return null;
  if (upperProtocol(found) === 58) {
    const type = bytes[ip + upperOffset(found)];
    if (type === void 0 || type < 128 || type === 137) return null;
  }
  const quote = bytes.subarray(ip, Math.min(stop, ip + 1280 - 40 - 8));
  const error = new Uint8Array(8 + quote.length);
  error[0] = 2;
  setU32(error, 4, Math.max(mtu, 1280));
  error.set(quote, 8);
  const header = decode4(bytes, ip, end);
  const frame = decode2(bytes, offset, end);
  const packet = encode4({
    hopLimit: 64,
    nextHeader: 58,
    source: header.destination,
    destination: header.source,
    payload: error
  });
  const at = 40;
  const pseudo = pseudoHeaderSum3(packet, 0, 58, error.length);
  setU16(packet, at + 2, finish(sum(packet, at, packet.length, pseudo)));
  return encode2({
    destination: frame.source,
    source: frame.destination,
    etherType: 34525,
    payload: packet
  });
}
function isHost6([a, b, c, d]) {
  if (a >>> 24 === 255) return false;
  return a !== 0 || b !== 0 || c !== 0 || d >>> 1 !== 0;
}
function isHost(address) {
  const net = address >>> 24;
  return net !== 0 && net !== 127 && net < 224;
}
function tooBigAnswer(bytes, offset, end, tags, mtu, headroom) {
  const behind = offset + ADDRESSES3 + tags;
  const frame = new Uint8Array(end - offset - tags);
  frame.set(bytes.subarray(offset, offset + ADDRESSES3));
  frame.set(bytes.subarray(behind, end), ADDRESSES3);
  const answer2 = fragmentationNeeded(frame, 0, frame.length, mtu) ?? packetTooBig(frame, 0, frame.length, mtu);
  if (answer2 === null) return null;
  const framed = new Uint8Array(headroom + tags + answer2.length);
  framed.set(answer2.subarray(0, ADDRESSES3), headroom);
  framed.set(bytes.subarray(offset + ADDRESSES3, behind), headroom + ADDRESSES3);
  framed.set(answer2.subarray(ADDRESSES3), headroom + ADDRESSES3 + tags);
  return framed;
}
const ADDRESSES3 = 14 - 2;

// ../../work/wt/scale/src/tcp/index.ts
const CHECKSUM4 = 16;
const MIN_HEADER_LENGTH2 = 20;
function getChecksum(bytes, offset) {
  return getU16(bytes, offset + 16);
}
function setChecksum(bytes, offset, checksum2) {
  setU16(bytes, offset + 16, checksum2);
}

// ../../work/wt/scale/src/udp/index.ts
const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
const LENGTH2 = 4;
const CHECKSUM5 = 6;
const HEADER_LENGTH7 = 8;
const PROTOCOL2 = 17;
function getChecksum2(bytes, offset) {
  return getU16(bytes, offset + 6);
}
function setChecksum2(bytes, offset, checksum2) {
  setU16(bytes, offset + 6, checksum2);
}
function fillChecksum3(bytes, offset, end, pseudoSum) {
  setU16(bytes, offset + 6, 0);
  const checksum2 = finish(sum(bytes, offset, end, pseudoSum));
  setU16(bytes, offset + 6, checksum2 === 0 ? 65535 : checksum2);
}
function encode7(value, addresses) {
  const bytes = new Uint8Array(8 + value.payload.length);
  encodeInto7(value, bytes, 0, addresses);
  return bytes;
}
function encodeInto7(value, bytes, offset, addresses) {
  const end = room("udp", bytes, offset, 8 + value.payload.length);
  const length = uint("udp.length", value.length ?? end - offset, 65535);
  setU16(bytes, offset + 0, uint("udp.sourcePort", value.sourcePort, 65535));
  setU16(bytes, offset + 2, uint("udp.destinationPort", value.destinationPort, 65535));
  setU16(bytes, offset + 4, length);
  setU16(bytes, offset + 6, uint("udp.checksum", value.checksum ?? 0, 65535));
  bytes.set(value.payload, offset + 8);
  if (value.checksum === void 0 && addresses !== void 0)
    fillChecksum3(bytes, offset, end, pseudoHeaderSum(addresses, 17, length));
  return end;
}

// ../../work/wt/scale/src/vtep/checksum-fixup.ts
function fillChecksum4(bytes, offset, end) {
  const type = getEtherType2(bytes, offset);
  const packet = offset + 14;
  if (type === 2048) return fillIpv4(bytes, packet, end);
  if (type === 34525) return fillIpv6(bytes, packet, end);
  if (!isVlanType(type)) return false;
  const start = behindTags(bytes, offset, end);
  return start > offset && fillChecksum4(bytes, start, end);
}
function fillIpv4(bytes, packet, end) {
  const length = check3(bytes, packet, end);
  if (length < 0 || isFragment(bytes, packet)) return false;
  const protocol = getProtocol(bytes, packet);
  const start = packet + length;
  const stop = packet + getTotalLength(bytes, packet);
  const pseudo = fold(pseudoHeaderSum2(bytes, packet, protocol, stop - start));
  return finishField(bytes, start, stop, protocol, pseudo);
}
function fillIpv6(bytes, packet, end) {
  if (check4(bytes, packet, end) < 0) return false;
  const stop = packet + 40 + getPayloadLength(bytes, packet);
  const found = findUpper(bytes, packet, stop);
  if (found < 0) return false;
  const protocol = upperProtocol(found);
  const start = packet + upperOffset(found);
  const pseudo = fold(pseudoHeaderSum3(bytes, packet, protocol, stop - start));
  return finishField(bytes, start, stop, protocol, pseudo);
}
function finishField(bytes, offset, end, protocol, pseudo) {
  const length = end - offset;
  if (protocol === 6)
    return length >= 20 && getChecksum(bytes, offset) === pseudo && finishTcp(bytes, offset, end);
  if (protocol === 17)
    return length >= 8 && getChecksum2(bytes, offset) === pseudo && finishUdp(bytes, offset, end);
  return false;
}
function finishTcp(bytes, offset, end) {
  const before = getChecksum(bytes, offset);
  const checksum2 = finish(sum(bytes, offset, end));
  setChecksum(bytes, offset, checksum2);
  return checksum2 !== before;
}
function finishUdp(bytes, offset, end) {
  const before = getChecksum2(bytes, offset);
  const checksum2 = finish(sum(bytes, offset, end)) || 65535;
  setChecksum2(bytes, offset, checksum2);
  return checksum2 !== before;
}

// ../../work/wt/scale/src/vtep/listings.ts
function* listFdb(segment, context, now) {
  for (const entry of segment.fdb.entries(now)) yield listFdbEntry(entry, context);
}
function listFdbEntry({ mac, static: fixed, age, destination }, { ports, remotes }) {
  return {
    mac,
    static: fixed,
    age,
    port: isRemote(destination) ? null : ports.find(portOf(destination))?.name ?? null,
    vtep: isRemote(destination) ? remotes.get(remoteIdOf(destination))?.address ?? null : null
  };
}
function* listNeighbors(segment, { remotes }) {
  for (const { ip, mac, location, hidden } of segment.neighbors.entries())
    yield { ip, mac, vtep: location === (-1) ? null : remotes.get(remoteIdOf(location))?.address ?? null, hidden };
}
function* listRemotes({ remotes }) {
  for (const { address, port, mtu, undelivered, reason } of remotes.all())
    yield { address, port, mtu: mtu < 65535 ? mtu : null, undelivered, reason };
}
function copyCounts(counters, segments) {
  const size = counters.length;
  const values = new Float64Array((1 + segments.size) * size);
  const vnis = [];
  values.set(counters);
  let to = size;
  for (const { vni, counters: from, row } of segments.values()) {
    vnis.push(vni);
    for (let i = 0; i < size; i++) {
      const value = from[row + i];
      values[to + i] = value;
      values[i] += value;
    }
    to += size;
  }
  return { vnis, values };
}
function namedCounters({ vnis, values }) {
  const size = COUNTERS;
  const at = (i) => values.subarray(i * size, (i + 1) * size);
  return { ...named(at(0)), segments: vnis.map((vni, i) => ({ vni, ...named(at(1 + i)) })) };
}
function named(counters) {
  return {
    counts: Object.fromEntries(COUNTS.map(([name], i) => [name, counters[i]])),
    drops: Object.fromEntries(DROPS.map(([name], i) => [name, counters[FIRST_DROP + i]]))
  };
}

// ../../work/wt/scale/src/vtep/announcement.ts
const ANNOUNCE_COUNT = 2;
const ANNOUNCE_INTERVAL = 2e3;
const QUEUE_LIMIT = 1024;
const MAX_PER_CALL = 128;
const NEIGHBOR_ADVERTISEMENT2 = 136;
const CHECKSUM6 = 2;
const FLAGS2 = 4;
const TARGET2 = 8;
const OPTION = 24;
const ADVERTISEMENT_LENGTH = 32;
const OVERRIDE = 32;
const OPTION_TARGET_LINK_LAYER_ADDRESS = 2;
const ALL_NODES = "ff02::1";
const ALL_NODES_MAC = 56294136348673;
function arpAnnouncement(ip, mac) {
  const frame = new Uint8Array(14 + 28);
  writeHeader2(frame, 0, 281474976710655, mac, 2054);
  writeEthernetIpv4(frame, 14, 1, mac, ip, 0, ip);
  return frame;
}
function unsolicitedAdvertisement(ip, mac) {
  const message = new Uint8Array(32);
  message[0] = 136;
  message[4] = 32;
  message.set(parseIpv6(ip), 8);
  message[24] = 2;
  message[24 + 1] = 1;
  setMac(message, 24 + 2, mac);
  const packet = encode4({
    hopLimit: 255,
    nextHeader: 58,
    source: ip,
    destination: ALL_NODES,
    payload: message
  });
  const start = 40;
  const pseudo = pseudoHeaderSum3(packet, 0, 58, 32);
  setU16(packet, start + 2, finish(sum(packet, start, packet.length, pseudo)));
  const frame = new Uint8Array(14 + packet.length);
  writeHeader2(frame, 0, 56294136348673, mac, 34525);
  frame.set(packet, 14);
  return frame;
}
function announcementFrame(ip, mac) {
  const address = parseMac(mac);
  requireUnicast("endpoint.mac", address);
  const refuse = () => new RangeError(`endpoint.ip must be the address of one endpoint, not ${ip}`);
  if (ip.includes(":")) {
    const bytes = parseIpv6(ip);
    if (bytes[0] === 255 || bytes.every((byte) => byte === 0)) throw refuse();
    return unsolicitedAdvertisement(ip, address);
  }
  const ipv4 = parseIpv4(ip);
  if (ipv4 === 0 || ipv4 >= 3758096384) throw refuse();
  return arpAnnouncement(ipv4, address);
}
const AnnouncementQueue = class {
  #headroom;
  #queue = /* @__PURE__ */ new Map();
  /** When the next one is due, at the earliest; so that a call between does not look at all of them. */
  #due = Infinity;
  /** @param headroom Bytes to keep free in front of each frame. */
  constructor(headroom) {
    this.#headroom = headroom;
  }
  /** Queues `ANNOUNCE_COUNT` frames, the first due at once. Returns false if the queue is full. */
  add(vni, ip, mac, frame, port, everywhere) {
    const key = `${vni} ${ip}`;
    this.#queue.delete(key);
    if (this.#queue.size >= 1024) return false;
    const framed = new Uint8Array(this.#headroom + frame.length);
    framed.set(frame, this.#headroom);
    this.#queue.set(key, { vni, mac, frame: framed, port, everywhere, left: 2, due: -Infinity });
    this.#due = -Infinity;
    return true;
  }
  /** Drops the queued announcement of an address, if it announces `mac`. */
  cancel(vni, ip, mac) {
    const key = `${vni} ${ip}`;
    if (this.#queue.get(key)?.mac === mac) this.#queue.delete(key);
  }
  /** Drops the queued announcements of a segment. */
  cancelSegment(vni) {
    for (const [key, announcement] of this.#queue) if (announcement.vni === vni) this.#queue.delete(key);
  }
  /** Drops the queued announcements of endpoints behind a local port. */
  cancelPort(port) {
    for (const [key, announcement] of this.#queue) if (announcement.port === port) this.#queue.delete(key);
  }
  /**
   * Sends what is due, up to `MAX_PER_CALL`; the rest stays due.
   * @param budget Frames and datagrams after which it sends no further announcement.
   * @param emit Returns how many frames and datagrams the announcement became.
   */
  send(now, budget, emit) {
    if (now < this.#due) return;
    let announcements = 128;
    let left = budget;
    this.#due = Infinity;
    for (const [key, announcement] of this.#queue) {
      if (announcement.due > now) {
        this.#due = Math.min(this.#due, announcement.due);
        continue;
      }
      if (announcements-- === 0 || left <= 0) {
        this.#due = -Infinity;
        return;
      }
      announcement.left--;
      announcement.due = now + 2e3;
      if (announcement.left === 0) this.#queue.delete(key);
      else this.#due = Math.min(this.#due, announcement.due);
      left -= emit(announcement);
    }
  }
};

// ../../work/wt/scale/src/vtep/egress.ts
var { vlan: vlan2 } = ethernet_exports;
const ETHERNET2 = 14;
const ADDRESSES4 = ETHERNET2 - 2;
function deliver(context, segment, port, id, bytes, offset, end, sink) {
  const { tags } = context;
  if (id === (-1) && tags.vlanTagged && context.ports.get(port).vlans !== null)
    return context.drop(segment, DROP["vlan-native"]);
  const { counters, row } = segment;
  counters[row + COUNT["frames-out"]] += context.packets;
  counters[row + COUNT["frame-bytes-out"]] += end - offset + context.moreBytes;
  if (id === (-1)) return sink.deliver(port, bytes, offset, end);
  if (context.trace !== null)
    context.addStep("vlan", `the tag of VLAN ${id} is added for trunk ${context.ports.get(port).name}`);
  if (tags.priorityTagged) {
    const control = getU16(bytes, offset + ETHERNET2);
    const type = getEtherType2(bytes, offset);
    setEtherType2(bytes, offset, 33024);
    setU16(bytes, offset + ETHERNET2, id | tags.priority);
    sink.deliver(port, bytes, offset, end);
    setEtherType2(bytes, offset, type);
    setU16(bytes, offset + ETHERNET2, control);
    return;
  }
  const start = offset - vlan2.HEADER_LENGTH;
  bytes.copyWithin(start, offset, offset + ADDRESSES4);
  setEtherType2(bytes, start, 33024);
  vlan2.writeHeader(bytes, start + ETHERNET2, id | tags.priority, getEtherType2(bytes, offset));
  sink.deliver(port, bytes, start, end);
  bytes.copyWithin(offset, start, start + ADDRESSES4);
}
function encapsulate(context, segment, from, remote, bytes, offset, end, now, sink) {
  const limit = remote.mtu < segment.mtu ? remote.mtu : segment.mtu;
  if (end - offset - context.excess - ETHERNET2 > limit && tooBig(context, segment, from, limit, bytes, offset, end, now, sink))
    return;
  const start = offset - 8;
  writeHeader3(bytes, start, segment.vni);
  const { packets } = context;
  const { counters, row } = segment;
  counters[row + COUNT["datagrams-out"]] += packets;
  counters[row + COUNT["datagram-bytes-out"]] += end - start + context.moreBytes + 8 * (packets - 1);
  sink.transmit(remote, bytes, start, end, sourcePort(flowHash(bytes, offset, end)), context.getEcn(bytes, end));
}
function reply(context, segment, from, bytes, end, sink) {
  const { packets, moreBytes } = context;
  context.packets = 1;
  context.moreBytes = 0;
  const port = portOf(from);
  deliver(context, segment, port, context.ports.vlanOn(port, segment), bytes, 16, end, sink);
  context.packets = packets;
  context.moreBytes = moreBytes;
}
function tooBig(context, segment, from, limit, bytes, offset, end, now, sink) {
  const tags = context.tags.snap ? 0 : context.tags.payload - offset - ETHERNET2;
  const length = end - offset - context.excess - ETHERNET2 - tags;
  if (length <= limit) return false;
  if (context.trace !== null) context.addStep("size", `a packet of ${length} bytes does not fit into ${limit}`);
  const { errors } = context.ports.get(portOf(from));
  if (errors.has(now)) {
    const answer2 = tooBigAnswer(bytes, offset, end, tags, limit, 16);
    if (answer2 !== null) {
      errors.take();
      const four = context.tags.type === 2048;
      if (context.trace !== null)
        context.addStep(
          "size",
          four ? `its sender gets an ICMP error: fragmentation needed, next-hop MTU ${limit}` : `its sender gets an ICMPv6 error: packet too big, MTU ${Math.max(limit, 1280)}`
        );
      segment.count(four ? COUNT["fragmentation-needed"] : COUNT["packet-too-big"], 1);
      reply(context, segment, from, answer2, answer2.length, sink);
    }
  }
  context.drop(segment, DROP["too-big"]);
  return true;
}

// ../../work/wt/scale/src/vtep/learning.ts
const SOURCE4 = SOURCE_OFFSET;
const FREE = 0;
const HELD = 1;
const FIXED = 2;
const SHARED2 = 3;
function admit(context, segment, from, bytes, offset, end, now, sink) {
  if (context.trace !== null) return explainLearning(context, segment, from, bytes, offset, end, now);
  const verdict = judge2(context, segment, from, bytes, offset, end, now);
  if (verdict === 0) {
    if (from !== 1073741823) learn(context, segment, from, bytes, offset, end, now, sink);
    return true;
  }
  if (verdict === 2) segment.count(COUNT["contradicted"], context.packets);
  if (verdict === 3) segment.count(COUNT["shared-source"], context.packets);
  return verdict === 3;
}
function learn(context, segment, from, bytes, offset, end, now, sink) {
  const outcome = segment.fdb.learn(bytes, offset + SOURCE4, from, now);
  if (outcome === 1) {
    segment.count(COUNT["learned"], 1);
    segment.watch.learned(from);
  } else if (outcome === 2) {
    segment.count(COUNT["moved"], 1);
    segment.watch.moved(getSource(bytes, offset), segment.fdb.movedFrom, from);
  } else if (outcome === 5 || outcome === 6) {
    segment.count(COUNT["learn-refused"], 1);
    segment.watch.refused(from);
  }
  if ((outcome === 1 || outcome === 2) && sink.learned !== void 0)
    sink.learned({
      vni: segment.vni,
      mac: getSource(bytes, offset),
      location: context.locationOf(from),
      age: 0,
      ...isRemote(from) && isAnnouncement(context, bytes, offset, end) ? { announced: true } : {}
    });
}
function mayAdopt(context, segment, { mac, announced: announced2 }, to, now) {
  const known = segment.fdb.locate(mac, now);
  const station = segment.stationAt(mac);
  if (station !== (-1) && station !== to) return false;
  if (!isRemote(to)) return known === (-1) || known === to || isRemote(known) || !segment.isLocal(mac);
  if (segment.isLocal(mac)) return false;
  if (known === (-1) || known === to) return true;
  const isKnown = context.knows(segment, context.remotes.get(remoteIdOf(to)));
  return isRemote(known) ? isKnown || !context.knows(segment, context.remotes.get(remoteIdOf(known))) : isKnown && announced2 === true;
}
function judge2(context, segment, from, bytes, offset, end, now) {
  const { fdb } = segment;
  const known = fdb.lookup(bytes, offset + SOURCE4, now);
  if (known === from) return 0;
  const mac = getSource(bytes, offset);
  const isHere = segment.isLocal(mac);
  if (!isRemote(from)) {
    const station = segment.stationAt(mac);
    if (station !== (-1) && station !== from) return 2;
    if (known === (-1)) return 0;
    return isHere && !isRemote(known) || fdb.isStatic(bytes, offset + SOURCE4) ? 2 : 0;
  }
  if (isHere) return 2;
  if (known === (-1)) return 0;
  if (from === 1073741823 && isRemote(known)) return 0;
  if (fdb.isStatic(bytes, offset + SOURCE4)) return 2;
  const isKnown = isKnownSender(context, segment, from);
  if (!isRemote(known)) {
    if (!isKnown) return 1;
    return from !== 1073741823 && isAnnouncement(context, bytes, offset, end) ? 0 : 3;
  }
  return isKnown || !context.knows(segment, context.remotes.get(remoteIdOf(known))) ? 0 : 1;
}
function isKnownSender(context, segment, from) {
  if (from !== 1073741823 && from !== 1073741821)
    return context.knows(segment, context.remotes.get(remoteIdOf(from)));
  const remote = context.remotes.find(context.sender);
  return remote === void 0 ? context.members.has(context.sender) : context.knows(segment, remote);
}
function explainLearning(context, segment, from, bytes, offset, end, now) {
  const verdict = judge2(context, segment, from, bytes, offset, end, now);
  if (from === 1073741823 && verdict === 0) return true;
  const known = segment.fdb.lookup(bytes, offset + SOURCE4, now);
  const source = `source ${formatMac(bytes, offset + SOURCE4)}`;
  const fixed = segment.fdb.isStatic(bytes, offset + SOURCE4) ? " according to the control plane" : "";
  if (verdict === 2 && fixed === "" && isRemote(from))
    context.addStep("fdb", `${source} is an endpoint of this host according to the control plane; that stays`);
  else if (known === from) context.addStep("fdb", `${source} is known behind ${context.nameOf(from)}${fixed}`);
  else {
    const station = segment.stationAt(getSource(bytes, offset));
    const place = known === (-1) ? station : known;
    const before = place === (-1) ? "is new" : `was behind ${context.nameOf(place)}${fixed}`;
    const after = AFTER[verdict] ?? `it would be learned behind ${context.nameOf(from)}`;
    context.addStep("fdb", `${source} ${before}; ${after}`);
  }
  return verdict === 0 || verdict === 3;
}
const AFTER = {
  [1]: "that stays",
  [2]: "that stays",
  [3]: "that stays, and the frame passes, because its sender is a peer or a member"
};
function isAnnouncement({ tags }, bytes, offset, end) {
  if (!isToGroup(bytes, offset) || tags.snap) return false;
  const { type, payload } = tags;
  if (type === 34525) return isNeighborAdvertisement(bytes, payload, end);
  if (type === 32821) return end - payload >= 28 && getU16(bytes, payload) === 1;
  return type === 2054 && check5(bytes, payload, end) >= 0 && isEthernetIpv4(bytes, payload) && getSenderIp(bytes, payload) === getTargetIp(bytes, payload) && getSenderMac(bytes, payload) === getSource(bytes, offset);
}
const TYPE_RARP = 32821;

// ../../work/wt/scale/src/vtep/announcer.ts
const DATAGRAMS_PER_CALL = 1024;
const Announcer = class {
  #context;
  #queue;
  /** Peers added since the last `send`. They have not received the first `asked` questions of their segment. */
  #newPeers = [];
  /** @param announce Whether it sends announcements. */
  constructor(context, announce) {
    this.#context = context;
    this.#queue = announce ? new AnnouncementQueue(16) : null;
  }
  /** Queues the announcement `frame` that says that `ip` is at `mac`. The other parameters are those of `Announcement`. */
  announce(segment, ip, mac, frame, port, everywhere) {
    if (this.#queue === null) return;
    if (!this.#queue.add(segment.vni, ip, mac, frame, port, everywhere))
      segment.count(COUNT["announcements-refused"], 1);
  }
  /**
   * The endpoints with an IPv4 address have changed. Announces the address if its MAC address differs from `before`, or if
   * a local host just asked for it and got no answer.
   * @param before What `segment.answeredMac` was.
   */
  addressChanged(segment, ip, before) {
    const binding = segment.neighbors.byIp(ip);
    if (binding === void 0) return segment.rememberWithdrawn(ip, before);
    const mac = segment.answeredMac(ip);
    segment.withdrawn.delete(ip);
    const isAwaited = binding.location !== (-1) && segment.proxy !== "off" && segment.questions.asked(ip);
    if (!isAwaited && (before === 0 || before === mac)) return;
    this.announce(segment, ipv4ToText(ip), mac, arpAnnouncement(ip, mac), -1, binding.location === (-1));
  }
  /** A peer was added. The next `send` sends it the questions of the last second. */
  addPeer(segment, remote) {
    const asked = segment.questions.kept;
    if (asked > 0) this.#newPeers.push({ segment, remote, asked });
  }
  /** Drops what is queued for an address, if it announces `mac`. */
  cancel(vni, ip, mac) {
    this.#queue?.cancel(vni, ip, mac);
  }
  /** Drops what is queued for endpoints behind a local port. */
  cancelPort(port) {
    this.#queue?.cancelPort(port);
  }
  /** Drops what is queued for a segment. */
  cancelSegment(segment) {
    const others = this.#newPeers.filter((one) => one.segment !== segment);
    this.#newPeers.splice(0, Infinity, ...others);
    this.#queue?.cancelSegment(segment.vni);
  }
  /** Sends the recent questions to new peers, and the announcements that are due. */
  send(now, sink) {
    if (this.#newPeers.length > 0) this.#askNewPeers(now, sink);
    this.#queue?.send(now, 1024, (announcement) => this.#sendAnnouncement(announcement, now, sink));
  }
  #askNewPeers(now, sink) {
    let left = 1024;
    let done = 0;
    while (done < this.#newPeers.length && left > 0) {
      const { segment, remote, asked } = this.#newPeers[done++];
      if (!segment.peers.has(remote)) continue;
      segment.questions.each(now, asked, (port, bytes, offset, end) => {
        this.#context.setOwn(bytes, offset);
        segment.count(COUNT["asked-again"], 1);
        left--;
        encapsulate(this.#context, segment, portDestination(port), remote, bytes, offset, end, now, sink);
      });
    }
    this.#newPeers.splice(0, done);
  }
  /** Returns how many frames and datagrams it became. */
  #sendAnnouncement({ vni, frame, port, everywhere }, now, sink) {
    const segment = this.#context.segment(vni);
    const end = frame.length;
    this.#context.setOwn(frame, 16);
    let from = portDestination(port);
    if (port >= 0) learn(this.#context, segment, from, frame, 16, end, now, sink);
    else from = segment.fdb.lookup(frame, 16 + SOURCE_OFFSET, now);
    segment.count(COUNT["announced"], 1);
    const { members } = segment;
    const peers = everywhere ? segment.peers.all() : [];
    for (const { port: to, vlan: vlan5 } of members)
      if (portDestination(to) !== from) deliver(this.#context, segment, to, vlan5, frame, 16, end, sink);
    for (const peer of peers) encapsulate(this.#context, segment, from, peer, frame, 16, end, now, sink);
    return members.length + peers.length;
  }
};

// ../../work/wt/scale/src/vtep/token-bucket.ts
const TokenBucket = class {
  tokens;
  #perSecond;
  #time = 0;
  constructor(perSecond) {
    this.#perSecond = perSecond;
    this.tokens = perSecond;
  }
  /** Whether an event is allowed at a time in milliseconds. */
  has(now) {
    const gained = (now - this.#time) * this.#perSecond / 1e3;
    if (gained > 0) {
      this.tokens = Math.min(this.#perSecond, this.tokens + gained);
      this.#time = now;
    }
    return this.tokens >= 1;
  }
  take() {
    this.tokens--;
  }
};

// ../../work/wt/scale/src/vtep/port.ts
var { vlan: vlan3 } = ethernet_exports;
const ERRORS_PER_SECOND = 1e3;
function newErrors() {
  return new TokenBucket(1e3);
}
const Ports = class {
  #ports = [];
  /** The segments of untagged frames by port. In an array of their own: a frame then needs not read the `Port`. */
  #natives = [];
  /** By port, 1 for a trunk. */
  #trunks = new Uint8Array(64);
  /** @throws RangeError for a number of no port. */
  get(id) {
    const port = this.#ports[id];
    if (port === void 0 || port === null) throw new RangeError(`there is no port ${id}`);
    return port;
  }
  /** The port with this number, or `undefined`. */
  find(id) {
    return this.#ports[id] ?? void 0;
  }
  /**
   * The segment of the untagged frames of a port, or `null`.
   * @throws RangeError for a number of no port.
   */
  nativeOf(id) {
    return this.#natives[id] ?? this.#noNative(id);
  }
  /** The VLAN id that frames of a segment carry on one of its ports, or `UNTAGGED`. */
  vlanOn(id, segment) {
    return this.#trunks[id] === 0 ? (-1) : segment.vlanOn(id);
  }
  /**
   * Adds a port to its segments and returns its number.
   * @param segmentOf Returns the segment of a VNI, or throws.
   * @throws RangeError for a VLAN id out of 1 to 4094, or a VNI that is mapped twice.
   */
  add(options, segmentOf) {
    const id = this.#ports.length;
    const mac = options.mac === void 0 ? 0 : parseMac(options.mac);
    if (options.mac !== void 0) requireUnicast("mac", mac);
    let native;
    let vlans = null;
    if ("vni" in options) native = segmentOf(options.vni);
    else {
      native = options.native === void 0 ? null : segmentOf(options.native);
      vlans = toSegments(options, native, segmentOf);
    }
    const station = native === null ? 0 : mac;
    this.#ports.push({ id, name: options.name, vlans, station, errors: newErrors() });
    this.#natives.push(native);
    if (id >= this.#trunks.length) {
      const grown = new Uint8Array(this.#trunks.length * 2);
      grown.set(this.#trunks);
      this.#trunks = grown;
    }
    this.#trunks[id] = vlans === null ? 0 : 1;
    native?.addMember(id, (-1));
    if (station !== 0) native.bindStation(station, id);
    if (vlans !== null) for (const [vid, segment] of vlans) segment.addMember(id, vid);
    return id;
  }
  /** Removes a port from its segments. */
  remove(id) {
    this.forget(id);
    for (const segment of this.#segmentsOf(id)) segment.removeMember(id);
    this.#ports[id] = null;
    this.#natives[id] = null;
  }
  /** Removes what is known to be behind a port: learned addresses, and the one that is bound to it. */
  forget(id) {
    const port = this.get(id);
    if (port.station !== 0) this.#natives[id].unbindStation(port.station, id);
    port.station = 0;
    for (const segment of this.#segmentsOf(id)) segment.forgetPort(id);
  }
  /** Takes a segment away from its ports. */
  removeSegment(segment) {
    for (const { port, vlan: id } of segment.members)
      if (id === (-1)) {
        this.#natives[port] = null;
        this.#ports[port].station = 0;
      } else this.#ports[port].vlans.delete(id);
  }
  *#segmentsOf(id) {
    const native = this.#natives[id] ?? null;
    if (native !== null) yield native;
    const { vlans } = this.get(id);
    if (vlans !== null) yield* vlans.values();
  }
  #noNative(id) {
    this.get(id);
    return null;
  }
};
function toSegments({ name, vlans }, native, segmentOf) {
  const segments = /* @__PURE__ */ new Map();
  const seen2 = /* @__PURE__ */ new Set([native]);
  for (const [vid, vni] of vlanPairs(vlans)) {
    if (!Number.isInteger(vid) || vid < 1 || vid > vlan3.MAX_ID)
      throw new RangeError(`VLAN id must be an integer from 1 to ${vlan3.MAX_ID}, not ${vid}`);
    const segment = segmentOf(vni);
    if (seen2.has(segment)) throw new RangeError(`vni ${vni} is mapped twice on port ${name}; map it to one VLAN only`);
    seen2.add(segment);
    segments.set(vid, segment);
  }
  return segments;
}
function vlanPairs(vlans) {
  if (vlans instanceof Map) return vlans;
  return Object.entries(vlans).map(([id, vni]) => [Number(id), vni]);
}

// ../../work/wt/scale/src/vtep/proxy.ts
const MAX_REPLY_TAGS = 32;
const MAX_ARP_REPLY = 14 + 32 + 28;
const ADDRESSES5 = 14 - 2;
function writeArpReply(reply2, to, bytes, offset, packet, mac) {
  writeHeader2(reply2, to, getSource(bytes, offset), mac, 2054);
  for (let i = offset + ADDRESSES5; i < packet; i++) reply2[to + i - offset] = bytes[i];
  const start = to + packet - offset;
  writeEthernetIpv4(
    reply2,
    start,
    2,
    mac,
    getTargetIp(bytes, packet),
    getSenderMac(bytes, packet),
    getSenderIp(bytes, packet)
  );
  return start + 28;
}

// ../../work/wt/scale/src/vtep/context.ts
const Context = class {
  // ---- Tables ----
  /** UDP port of remotes that are given without one. */
  port;
  /** The VTEP's own underlay address, if known. */
  local;
  /** Whether to drop datagrams from addresses that the control plane does not know. */
  peersOnly;
  /** What the segments share. */
  common;
  /** By VNI. */
  segments = /* @__PURE__ */ new Map();
  ports = new Ports();
  remotes;
  /** Addresses of cluster members: their datagrams are accepted even if no peer and no endpoint is there. */
  members = /* @__PURE__ */ new Set();
  /** Drops of datagrams that reached no segment, at `FIRST_DROP` and up. */
  counters = new Float64Array(COUNTERS);
  // ---- The current frame, besides its bytes; reused for all frames, so that a frame allocates nothing ----
  tags = new FrameTags();
  /** Number of packets on the wire that the frame represents. */
  packets = 1;
  /** Their total bytes, minus those of the frame in the buffer. */
  moreBytes = 0;
  /** How many bytes the frame in the buffer is longer than the largest of them. */
  excess = 0;
  /** `HEADROOM` free bytes, and room for an answer of the ARP proxy. */
  arpReply = new Uint8Array(16 + MAX_ARP_REPLY);
  /** The explanation so far while `Vtep.explain` runs, otherwise `null`. Nothing is learned while it is set. */
  trace = null;
  /** The address of the current datagram's sender, if that is `NEW_REMOTE` or `UNLEARNED_REMOTE`. */
  sender = "";
  /**
   * @param learnedRemotes Maximum number of remotes learned from datagrams.
   * @param seed See `FdbOptions.seed`.
   */
  constructor(port, local, peersOnly, learnedRemotes, seed) {
    this.port = port;
    this.local = local;
    this.peersOnly = peersOnly;
    this.remotes = new Remotes(learnedRemotes);
    this.common = new Common(seed);
  }
  /** @throws RangeError for a VNI without a segment. */
  segment(vni) {
    const segment = this.segments.get(vni);
    if (segment === void 0) throw new RangeError(`vni ${vni} has no segment; add it with addSegment`);
    return segment;
  }
  /** Whether the control plane knows a remote: it has a reference to it in the segment, or it is a cluster member. */
  knows(segment, remote) {
    return segment.names(remote.id) || this.members.has(remote.address);
  }
  /** A destination, or the location of an endpoint, for people. Its port or remote may be gone. */
  nameOf(destination) {
    if (destination === (-1)) return "this host";
    if (destination === 1073741823) return "a tunnel";
    if (destination === 1073741821) return `VTEP ${this.sender}`;
    if (isRemote(destination)) return `VTEP ${this.remotes.get(remoteIdOf(destination))?.address ?? "forgotten"}`;
    return `port ${this.ports.find(portOf(destination))?.name ?? "removed"}`;
  }
  /** A destination as other machines know it: the local port, or the underlay address of the remote. */
  locationOf(destination) {
    return isRemote(destination) ? this.remotes.get(remoteIdOf(destination)).address : portOf(destination);
  }
  /** Makes an untagged frame of the machine's own the current one. */
  setOwn(bytes, offset) {
    this.tags.setUntagged(offset, getEtherType2(bytes, offset));
    this.packets = 1;
    this.moreBytes = 0;
    this.excess = 0;
  }
  /** Counts the frame as dropped. */
  drop(segment, reason) {
    if (segment === null) this.counters[FIRST_DROP + reason] += this.packets;
    else segment.count(FIRST_DROP + reason, this.packets);
    if (this.trace === null) return;
    const [name, meaning] = DROPS[reason];
    this.trace.dropped = name;
    this.addStep("drop", `${name}: ${meaning}`);
  }
  /** Adds a step to the explanation. Call it only if `trace` is set, so that other frames do not build the text. */
  addStep(stage, text) {
    this.trace.steps.push({ stage, text });
  }
  /** Whether the frame has a complete IP header. */
  isIp(end) {
    const { type, payload, snap } = this.tags;
    const length = end - payload;
    if (type === 2048) return length >= 20 && !snap;
    return type === 34525 && length >= 40 && !snap;
  }
  /** The ECN field of the frame's IP header; Not-ECT if it has none. */
  getEcn(bytes, end) {
    if (!this.isIp(end)) return 0;
    const { type, payload } = this.tags;
    return type === 2048 ? getEcn(bytes, payload) : getEcn2(bytes, payload);
  }
  /** Sets the ECN field of the frame's IP header, which it must have. */
  setEcn(bytes, ecn) {
    const { type, payload } = this.tags;
    if (type === 2048) setEcn(bytes, payload, ecn);
    else setEcn2(bytes, payload, ecn);
  }
};

// ../../work/wt/scale/src/vtep/explain.ts
const VERDICTS = [
  "",
  "not an ARP request: forwarded as any frame",
  "an announcement, or a request for the sender\u2019s own address: forwarded, so that all neighbors receive it",
  "the control plane knows no endpoint with the target address",
  "the endpoint with the target address is on this host and answers itself"
];
function explaining({ steps, delivered, transmitted }, nameOf) {
  return {
    deliver(port, _bytes, offset, end) {
      delivered.push(nameOf(port));
      steps.push({ stage: "deliver", text: `${end - offset} bytes leave by ${nameOf(port)}` });
    },
    transmit({ address, port, undelivered, reason }, _bytes, offset, end, from, tos) {
      transmitted.push(address);
      const ecn = tos === 0 ? "" : `, ECN ${tos}`;
      steps.push({ stage: "transmit", text: `${end - offset} bytes to ${address}:${port} from port ${from}${ecn}` });
      if (undelivered > 0)
        steps.push({
          stage: "underlay",
          text: `${undelivered} datagram(s) to ${address} were reported undelivered so far, the last with ${reason}`
        });
    }
  };
}

// ../../work/wt/scale/src/vtep/bridge.ts
const ETHERNET3 = 14;
const SOURCE5 = SOURCE_OFFSET;
const GROUP2 = 256;
function forward(context, segment, from, bytes, offset, end, now, sink) {
  const sourceLow = getI32(bytes, offset + SOURCE5 + 2);
  const sourceHigh = getU16(bytes, offset + SOURCE5);
  if ((sourceHigh & 256) !== 0 || (sourceLow | sourceHigh) === 0) return context.drop(segment, DROP["source-group"]);
  const isProxied = segment.proxy === "vtep";
  if (isProxied && getSource(bytes, offset) === segment.mac) return context.drop(segment, DROP["source-own"]);
  if ((context.trace !== null || !segment.fdb.touch(sourceLow, sourceHigh, from, now)) && !admit(context, segment, from, bytes, offset, end, now, sink))
    return context.drop(segment, DROP["source-bound"]);
  const isArp = context.tags.type === 2054;
  if (isArp && takeArp(context, segment, from, bytes, offset, end, now, sink)) return;
  const low = getI32(bytes, offset + 2);
  const high = getU16(bytes, offset);
  if ((high & 256) !== 0) return forwardToGroup(context, segment, from, bytes, offset, end, now, sink);
  if (low === sourceLow && high === sourceHigh) return context.drop(segment, DROP["same-port"]);
  const gateway = isProxied && !isRemote(from) && getDestination(bytes, offset) === segment.mac;
  const to = gateway ? resolve(context, segment, bytes, offset, end, now) : segment.fdb.find(low, high, now);
  if (context.trace !== null) {
    const place = to === (-1) ? "unknown" : `behind ${context.nameOf(to)}`;
    context.addStep("fdb", `${formatMac(bytes, offset)} is ${place}`);
  }
  if (to === (-1)) return forwardToUnknown(context, segment, from, gateway, bytes, offset, end, now, sink);
  if (isRemote(to)) {
    if (isRemote(from)) return context.drop(segment, DROP["split-horizon"]);
    const remote = context.remotes.get(remoteIdOf(to));
    return encapsulate(context, segment, from, remote, bytes, offset, end, now, sink);
  }
  if (to === from) return context.drop(segment, DROP["same-port"]);
  const port = portOf(to);
  deliver(context, segment, port, context.ports.vlanOn(port, segment), bytes, offset, end, sink);
}
function forwardToGroup(context, segment, from, bytes, offset, end, now, sink) {
  if (context.tags.type === 34525) watchNeighborDiscovery(context, segment, from, bytes, offset, end, now);
  if (isToReservedGroup(bytes, offset)) return context.drop(segment, DROP["reserved-group"]);
  if (!isRemote(from)) keepQuestion(context, segment, from, bytes, offset, end, now);
  flood(context, segment, from, bytes, offset, end, now, sink);
}
function forwardToUnknown(context, segment, from, gateway, bytes, offset, end, now, sink) {
  const mac = getDestination(bytes, offset);
  if (segment.isLocal(mac)) return flood(context, segment, from, bytes, offset, end, now, sink, true);
  if (gateway && mac === segment.mac) return context.drop(segment, DROP["no-neighbor"]);
  if (!segment.flood) return context.drop(segment, DROP["unknown-destination"]);
  flood(context, segment, from, bytes, offset, end, now, sink);
}
function watchArp(context, segment, from, bytes, packet, end, now) {
  if (check5(bytes, packet, end) < 0 || !isEthernetIpv4(bytes, packet)) return false;
  const ip = getSenderIp(bytes, packet);
  const mac = getSenderMac(bytes, packet);
  const binding = segment.neighbors.byIp(ip);
  if (binding === void 0) {
    const other = context.trace === null ? segment.watch.claims(ip, mac, now) : 0;
    if (other !== 0) segment.watch.duplicate(ipv4ToText(ip), other, mac, from, false);
    return false;
  }
  if (binding.mac === mac) return false;
  segment.count(COUNT["duplicate-address"], 1);
  if (context.trace === null) segment.watch.duplicate(ipv4ToText(ip), binding.mac, mac, from, true);
  if (isRemote(from) || binding.location !== (-1)) return true;
  const place = segment.fdb.locate(binding.mac, now);
  return place !== (-1) && place !== from;
}
function watchNeighborDiscovery(context, segment, from, bytes, offset, end, now) {
  const at = claimedAddress(bytes, context.tags.payload, end);
  if (at < 0 || context.trace !== null) return;
  const mac = getSource(bytes, offset);
  const other = segment.watch.claims(keyOfIpv6(bytes, at), mac, now);
  if (other !== 0) segment.watch.duplicate(formatIpv6(bytes, at), other, mac, from, false);
}
function takeArp(context, segment, from, bytes, offset, end, now, sink) {
  const packet = context.tags.payload;
  if (hasNoSender(bytes, packet, end)) {
    context.drop(segment, DROP["arp-sender"]);
    return true;
  }
  if (watchArp(context, segment, from, bytes, packet, end, now)) {
    context.drop(segment, DROP["arp-claim"]);
    return true;
  }
  return !isRemote(from) && segment.proxy !== "off" && proxy(context, segment, from, bytes, offset, end, now, sink);
}
function proxy(context, segment, from, bytes, offset, end, now, sink) {
  const packet = context.tags.payload;
  if (context.tags.snap || packet - offset - ETHERNET3 > 32) return false;
  const verdict = judge(segment.neighbors, bytes, packet, end);
  if (context.trace !== null && verdict !== 0) context.addStep("arp", VERDICTS[verdict]);
  if (verdict === 0) {
    const { mac } = segment.neighbors.byIp(getTargetIp(bytes, packet));
    answer(context, segment, from, bytes, offset, segment.proxy === "vtep" ? segment.mac : mac, sink);
    return true;
  }
  if (verdict === 4 && segment.proxy === "vtep" && getDestination(bytes, offset) === segment.mac) {
    const { mac } = segment.neighbors.byIp(getTargetIp(bytes, packet));
    answer(context, segment, from, bytes, offset, mac, sink);
    return true;
  }
  if (verdict === 3 && !segment.flood && isToGroup(bytes, offset)) {
    keepQuestion(context, segment, from, bytes, offset, end, now);
    context.drop(segment, DROP["arp-unknown"]);
    return true;
  }
  return false;
}
function answer(context, segment, from, bytes, offset, mac, sink) {
  const { arpReply } = context;
  const request = context.tags.payload;
  const target = getTargetIp(bytes, request);
  if (context.trace !== null)
    context.addStep("arp", `the proxy answers: ${ipv4ToText(target)} is at ${macToText(mac)}`);
  const end = writeArpReply(arpReply, 16, bytes, offset, request, mac);
  segment.count(COUNT["arp-answered"], 1);
  reply(context, segment, from, arpReply, end, sink);
}
function resolve(context, segment, bytes, offset, end, now) {
  const ip = context.tags.payload;
  if (context.tags.type !== 2048 || context.tags.snap || end - ip < 20) return (-1);
  const binding = segment.neighbors.byIp(getDestination2(bytes, ip));
  if (binding === void 0) return (-1);
  setDestination(bytes, offset, binding.mac);
  if (context.trace !== null) {
    const place = context.nameOf(binding.location);
    context.addStep("neighbor", `the packet is for ${macToText(binding.mac)}, ${place}`);
  }
  return binding.location === (-1) ? segment.fdb.lookup(bytes, offset, now) : binding.location;
}
function flood(context, segment, from, bytes, offset, end, now, sink, here = false) {
  const { members } = segment;
  const peers = segment.peers.all();
  const tunnels = here || isRemote(from) ? 0 : peers.length;
  const others = members.length - (isRemote(from) ? 0 : 1);
  if (context.trace !== null)
    context.addStep(
      "flood",
      `to ${others} other local port(s) and ${tunnels} peer(s)${isRemote(from) ? ", since it came from a tunnel (split horizon)" : ""}`
    );
  if (others + tunnels === 0) return context.drop(segment, DROP["no-receiver"]);
  segment.count(COUNT["flooded"], context.packets);
  for (let i = 0; i < members.length; i++) {
    const { port, vlan: vlan5 } = members[i];
    if (portDestination(port) !== from) deliver(context, segment, port, vlan5, bytes, offset, end, sink);
  }
  if (tunnels * context.packets > 8192) return context.drop(segment, DROP["flood-limit"]);
  for (let i = 0; i < tunnels; i++) encapsulate(context, segment, from, peers[i], bytes, offset, end, now, sink);
}
function keepQuestion(context, segment, from, bytes, offset, end, now) {
  const { type, payload } = context.tags;
  if (type !== 2054 && type !== 34525) return;
  if (context.trace === null && payload - offset === ETHERNET3)
    segment.questions.keep(portOf(from), bytes, offset, end, now);
}

// ../../work/wt/scale/src/vtep/ingress.ts
const ETHERNET4 = 14;
const SOURCE6 = SOURCE_OFFSET;
function receiveFrame(context, port, bytes, offset, end, now, sink, packets, wire, largest) {
  const { tags } = context;
  let segment = context.ports.nativeOf(port);
  context.packets = packets;
  context.moreBytes = wire - (end - offset);
  context.excess = end - offset - largest;
  if (end - offset < ETHERNET4) return context.drop(segment, DROP["frame-truncated"]);
  const type = getEtherType2(bytes, offset);
  if (isUntagged(type)) tags.setUntagged(offset, type);
  else {
    const reason = tags.read(context.ports.get(port), segment, bytes, offset, end, context.trace);
    segment = tags.segment;
    if (reason >= 0) return context.drop(segment, reason);
    context.moreBytes -= (tags.start - offset) * (packets - 1);
  }
  if (segment === null) return context.drop(null, DROP["vlan-unmapped"]);
  const start = tags.start;
  const { counters, row } = segment;
  counters[row + COUNT["frames-in"]] += packets;
  counters[row + COUNT["frame-bytes-in"]] += end - start + context.moreBytes;
  if (context.trace !== null)
    context.addStep(
      "port",
      `${context.ports.get(port).name}, VNI ${segment.vni}: ${end - start} bytes from ${formatMac(bytes, start + SOURCE6)} to ${formatMac(bytes, start)}`
    );
  forward(context, segment, portDestination(port), bytes, start, end, now, sink);
}
function receiveDatagram(context, source, bytes, offset, end, now, ecn, sink, packets, wire) {
  const { tags } = context;
  const { segments, remotes, members, local, peersOnly } = context;
  context.packets = packets;
  const code = check6(bytes, offset, end);
  if (code < 0) return context.drop(null, code === (-1) ? DROP["datagram-truncated"] : DROP["vxlan-flag"]);
  const vni = getVni(bytes, offset);
  const segment = segments.get(vni) ?? null;
  if (context.trace !== null)
    context.addStep("vxlan", `VNI ${vni} from ${typeof source === "string" ? source : source.address}`);
  if (segment === null) return context.drop(null, DROP["unknown-vni"]);
  const known = typeof source === "string" ? remotes.find(source) : source;
  if (source === local || known !== void 0 && known.address === local)
    return context.drop(segment, DROP["own-address"]);
  if (peersOnly && (known === void 0 || !segment.names(known.id)) && !members.has(typeof source === "string" ? source : source.address)) {
    if (context.trace === null) segment.refused.note(known?.address ?? source, packets);
    return context.drop(segment, DROP["unknown-peer"]);
  }
  const { counters, row } = segment;
  counters[row + COUNT["datagrams-in"]] += packets;
  counters[row + COUNT["datagram-bytes-in"]] += wire;
  context.moreBytes = wire - (end - offset) - 8 * (packets - 1);
  context.excess = 0;
  const frame = offset + 8;
  if (end - frame < ETHERNET4) return context.drop(segment, DROP["frame-truncated"]);
  const type = getEtherType2(bytes, frame);
  if (isUntagged(type)) tags.setUntagged(frame, type);
  else {
    const reason = tags.read(null, segment, bytes, frame, end, context.trace);
    if (reason >= 0) return context.drop(segment, reason);
    context.moreBytes -= (tags.start - frame) * (packets - 1);
  }
  const start = tags.start;
  if (ecn !== 0 && !applyEcn(context, segment, bytes, end, ecn)) return context.drop(segment, DROP["ecn"]);
  if (fillChecksum4(bytes, start, end)) {
    segment.count(COUNT["checksums-filled"], packets);
    if (context.trace !== null) context.addStep("underlay", "the sender left the checksum unfinished; it is filled in");
  }
  let from = 1073741823;
  if (segment.learn && !getDontLearn(bytes, offset)) {
    if (known !== void 0) from = remoteDestination(known.id);
    else from = learnRemote(context, segment, source);
  } else context.sender = known?.address ?? source;
  forward(context, segment, from, bytes, start, end, now, sink);
}
function learnRemote(context, segment, source) {
  context.sender = source;
  if (context.trace !== null) return context.remotes.hasRoom ? 1073741821 : 1073741823;
  const remote = context.remotes.learn(source, context.port);
  if (remote !== null) return remoteDestination(remote.id);
  segment.count(COUNT["learn-refused"], 1);
  return 1073741823;
}
function applyEcn(context, segment, bytes, end, outer) {
  const inner2 = context.getEcn(bytes, end);
  const result = combine(inner2, outer);
  if (result === (-1)) return !context.isIp(end);
  if (result === inner2) return true;
  if (context.trace !== null) context.addStep("ecn", `outer ${outer} and inner ${inner2} make ${result} (RFC 6040)`);
  context.setEcn(bytes, result);
  segment.count(COUNT["ecn-marked"], context.packets);
  return true;
}

// ../../work/wt/scale/src/vtep/sweeper.ts
const SLOTS = 1 << 18;
const LOOK = 8;
const Sweeper = class {
  #segments;
  #next;
  /** The table whose sweep has not ended. */
  #table = null;
  constructor(segments) {
    this.#segments = segments;
    this.#next = segments.values();
  }
  sweep(now) {
    let left = SLOTS;
    for (let tables = this.#segments.size; tables > 0; tables--) {
      const table = this.#table ?? this.#nextTable();
      left -= 8 + table.sweepSome(now, left);
      this.#table = left > 0 ? null : table;
      if (left <= 0) return;
    }
  }
  /** The table of the next segment, of which there is one. An iterator of a Map continues after changes. */
  #nextTable() {
    let { value } = this.#next.next();
    if (value === void 0) {
      this.#next = this.#segments.values();
      value = this.#next.next().value;
    }
    return value.fdb;
  }
};

// ../../work/wt/scale/src/vtep/vtep.ts
const Vtep = class {
  port;
  local;
  #context;
  #announcer;
  #sweeper;
  /** Time of the last `findings`. */
  #watched = 0;
  constructor(options = {}) {
    this.port = uint("port", options.port ?? 4789, 65535);
    this.local = options.local ?? null;
    const { peersOnly = false, learnedRemotes = 1024, seed = 0 } = options;
    this.#context = new Context(this.port, this.local, peersOnly, learnedRemotes, seed);
    this.#announcer = new Announcer(this.#context, options.announce ?? true);
    this.#sweeper = new Sweeper(this.#context.segments);
  }
  // ---- Configuration and control plane ----
  /** @throws RangeError for a VNI that already has a segment, or a field out of bounds. */
  addSegment(options) {
    const { segments, common } = this.#context;
    if (segments.has(options.vni)) throw new RangeError(`vni ${options.vni} already has a segment`);
    segments.set(options.vni, new Segment(options, common));
  }
  /** Removes a segment and its state. Trunks drop frames of its VLANs from then on. */
  removeSegment(vni) {
    const { segments, ports, remotes } = this.#context;
    const segment = this.#context.segment(vni);
    segment.named.forEach((references, id) => {
      if (references > 0) remotes.release(id, references);
    });
    segments.delete(vni);
    this.#announcer.cancelSegment(segment);
    ports.removeSegment(segment);
    segment.close();
  }
  hasSegment(vni) {
    return this.#context.segments.has(vni);
  }
  /** The VNIs that have a segment. */
  vnis() {
    return [...this.#context.segments.keys()];
  }
  /**
   * Adds a local port and returns its number.
   * @throws RangeError for a VNI without a segment, or a VLAN id out of 1 to 4094.
   */
  addPort(options) {
    return this.#context.ports.add(options, (vni) => this.#context.segment(vni));
  }
  /** Removes a local port and the addresses learned behind it. Its number is not reused. */
  removePort(port) {
    this.#context.ports.remove(port);
    this.#announcer.cancelPort(port);
  }
  /** Forgets the addresses behind a local port whose device has gone, so that they may appear elsewhere. */
  forgetPort(port) {
    this.#context.ports.forget(port);
  }
  /**
   * Accepts datagrams from an address in every segment, even though no peer and no endpoint names it yet: a member of the
   * cluster sends before its endpoints are known here. Without effect unless `peersOnly` is set.
   */
  addMember(address) {
    this.#context.members.add(canonicalAddress(address));
  }
  /** Takes back `addMember`. */
  removeMember(address) {
    this.#context.members.delete(canonicalAddress(address));
  }
  /**
   * Adds a remote VTEP to a segment's flood list. The next `tick` or `sendAnnouncements` sends it the ARP requests and
   * neighbor solicitations that local hosts sent within the last second.
   * @throws RangeError if the list holds `MAX_PEERS` others.
   */
  addPeer(vni, address, port) {
    const segment = this.#context.segment(vni);
    const known = this.#context.remotes.find(canonicalAddress(address));
    const isPeer = known !== void 0 && segment.peers.has(known);
    if (!isPeer && segment.peers.size >= 4096)
      throw new RangeError(
        `vni ${vni} already has ${4096} peers, the most that a network may have; remove one, or split the network`
      );
    const remote = this.#nameIn(segment, address, port);
    if (isPeer) return this.#releaseIn(segment, remote.id);
    segment.peers.add(remote);
    this.#announcer.addPeer(segment, remote);
  }
  /** Removes a remote from a segment's flood list and returns whether it was there. Addresses learned behind it age out. */
  removePeer(vni, address) {
    const segment = this.#context.segment(vni);
    const remote = this.#context.remotes.find(canonicalAddress(address));
    if (remote === void 0 || !segment.peers.delete(remote)) return false;
    this.#releaseIn(segment, remote.id);
    return true;
  }
  /**
   * Adds an endpoint. If several have the same IP or MAC address, the one added last is in effect until it is removed.
   * @throws RangeError naming the field that is wrong.
   */
  addEndpoint(vni, endpoint) {
    const segment = this.#context.segment(vni);
    const { ip } = toBinding(endpoint, (-1));
    const before = segment.answeredMac(ip);
    let location = (-1);
    if (endpoint.vtep !== void 0) {
      const remote = this.#nameIn(segment, endpoint.vtep, void 0);
      location = remoteDestination(remote.id);
      if (segment.neighbors.remove(toBinding(endpoint, location))) this.#releaseIn(segment, remote.id);
    }
    const binding = toBinding(endpoint, location);
    segment.neighbors.add(binding);
    segment.applyLocation(binding.mac);
    this.#announcer.addressChanged(segment, ip, before);
  }
  /** Withdraws an endpoint and returns whether it was known. */
  removeEndpoint(vni, endpoint) {
    const segment = this.#context.segment(vni);
    let location = (-1);
    if (endpoint.vtep !== void 0) {
      const remote = this.#context.remotes.find(canonicalAddress(endpoint.vtep));
      if (remote === void 0) return false;
      location = remoteDestination(remote.id);
    }
    const binding = toBinding(endpoint, location);
    const before = segment.answeredMac(binding.ip);
    if (!segment.neighbors.remove(binding)) return false;
    segment.applyLocation(binding.mac);
    if (location === (-1)) segment.freeStation(binding.mac);
    else this.#releaseIn(segment, remoteIdOf(location));
    this.#announcer.cancel(vni, ipv4ToText(binding.ip), binding.mac);
    this.#announcer.addressChanged(segment, binding.ip, before);
    return true;
  }
  /**
   * Announces an endpoint of this host to the other local ports and to the flood list, by an ARP announcement (RFC
   * 5227, section 2.3) or an unsolicited neighbor advertisement (RFC 4861, section 7.2.6). The next `tick` or
   * `sendAnnouncements` sends it, and again 2 seconds later. Call it as soon as the endpoint's port can carry frames:
   * an address that returned with another MAC address is unreachable until its neighbors know.
   *
   * If the endpoint's port is given, its MAC address is learned there. A changed MAC address of an endpoint added by
   * `addEndpoint` is announced without a call.
   * @throws RangeError for an address that cannot belong to a single endpoint, or a port that is not in the segment.
   */
  announce(vni, { ip, mac, port }) {
    const segment = this.#context.segment(vni);
    if (port !== void 0 && !segment.hasMember(port))
      throw new RangeError(`port ${port} is not in the segment of vni ${vni}`);
    const frame = announcementFrame(ip, mac);
    const canonical = ip.includes(":") ? formatIpv6(parseIpv6(ip)) : ip;
    this.#announcer.announce(segment, canonical, parseMac(mac), frame, port ?? -1, true);
  }
  /**
   * The remote at an underlay address, or `undefined`. An engine may keep it until the next `tick`, and pass it to
   * `receiveDatagram` instead of the address.
   */
  remote(address) {
    return this.#context.remotes.find(canonicalAddress(address));
  }
  /** All known remotes. */
  remotes() {
    return this.#context.remotes.all();
  }
  // ---- The data path ----
  /**
   * Receives a frame from a local port. The machine may overwrite the frame and the `HEADROOM` bytes in front of it.
   *
   * The frame may be a super-frame. The machine then decides once, and counts the packets that it becomes on the wire.
   * The sink receives it whole; its `bytes` distinguish it from the machine's own frames, such as an answer.
   * @param now Milliseconds of a monotonic clock.
   * @param packets Number of frames after segmentation.
   * @param wire Total bytes of these.
   * @param largest Bytes of the largest of these.
   */
  receiveFrame(port, bytes, offset, end, now, sink, packets = 1, wire = end - offset, largest = end - offset) {
    receiveFrame(this.#context, port, bytes, offset, end, now, sink, packets, wire, largest);
  }
  /**
   * Receives a VXLAN datagram: the UDP payload, which the machine may overwrite.
   *
   * It may be the common headers of several merged datagrams, up to TCP or UDP: the machine reads nothing behind them,
   * and delivers them as received.
   * @param source The sender's underlay address, or the `Remote` with that address.
   * @param ecn The ECN field of the outer header; 0 if the engine does not know it.
   * @param packets Number of datagrams that were merged.
   * @param wire Total bytes of these.
   */
  receiveDatagram(source, bytes, offset, end, now, ecn, sink, packets = 1, wire = end - offset) {
    receiveDatagram(this.#context, source, bytes, offset, end, now, ecn, sink, packets, wire);
  }
  /**
   * The length of the datagram to `remote` that an ICMP error quotes, from its VXLAN header on. The quote is its
   * beginning, `bytes[offset, end)`.
   * @returns `NOT_OURS` if this VTEP has not sent such a datagram; `UNKNOWN_LENGTH` if the quote is too short to say.
   */
  lengthOfQuote(remote, bytes, offset, end, now) {
    return lengthOfQuote(this.#context, remote, bytes, offset, end, now);
  }
  /**
   * Removes expired state and sends the announcements that are due. Call it about once a second.
   *
   * Neither look-ups nor listings find an expired address. A call removes 15,000 of them, or looks at 262,144 slots of the
   * tables, of which there are one to three for an address. Until then, an address uses memory and counts towards the
   * capacity of its segment: for a second more with 100,000 addresses, and for ten with a million.
   */
  tick(now, sink) {
    const { common, remotes } = this.#context;
    const asking = common.asking.splice(0);
    for (const questions of asking) if (questions.expire(now)) common.asking.push(questions);
    this.#sweeper.sweep(now);
    remotes.forget((id) => common.memory.behind(remoteDestination(id)) > 0);
    this.sendAnnouncements(now, sink);
  }
  /**
   * Sends the announcements that are due, and the recent questions to new peers. Call it after every change of peers or
   * endpoints, so that they do not wait for the next `tick`.
   */
  sendAnnouncements(now, sink) {
    this.#announcer.send(now, sink);
  }
  // ---- Several machines in step ----
  /** Learns an address that another machine learned, unless this one saw it later. Does not count it as learned. */
  adopt(learned, now) {
    const { vni, mac, location, age } = learned;
    const { segments, remotes } = this.#context;
    const segment = segments.get(vni);
    if (segment === void 0) return;
    if (typeof location === "number") {
      const to2 = portDestination(location);
      if (segment.hasMember(location) && mayAdopt(this.#context, segment, learned, to2, now))
        segment.fdb.adopt(mac, to2, age, now);
      return;
    }
    const remote = remotes.learn(location, this.port);
    if (remote === null) return;
    const to = remoteDestination(remote.id);
    if (mayAdopt(this.#context, segment, learned, to, now)) segment.fdb.adopt(mac, to, age, now);
  }
  /** The addresses seen within the last `age` milliseconds. Other machines adopt them, so that they do not expire there. */
  fresh(age, now) {
    const found = [];
    for (const { vni, fdb } of this.#context.segments.values())
      for (const entry of fdb.entries(now))
        if (!entry.static && entry.age <= age)
          found.push({
            vni,
            mac: parseMac(entry.mac),
            location: this.#context.locationOf(entry.destination),
            age: entry.age
          });
    return found;
  }
  // ---- Listings and explanations ----
  /** The forwarding database of a segment. */
  fdb(vni, now) {
    return [...this.fdbEntries(vni, now)];
  }
  /** Like `fdb`, one entry at a time; frames may pass in between. */
  fdbEntries(vni, now) {
    return listFdb(this.#context.segment(vni), this.#context, now);
  }
  /** The FDB entry of one MAC address, or `null`. */
  fdbEntry(vni, mac, now) {
    const entry = this.#context.segment(vni).fdb.entry(parseMac(mac), now);
    return entry === null ? null : listFdbEntry(entry, this.#context);
  }
  /** The endpoints of a segment that the control plane announced. */
  neighbors(vni) {
    return [...this.neighborEntries(vni)];
  }
  /** Like `neighbors`, one entry at a time; frames may pass in between. */
  neighborEntries(vni) {
    return listNeighbors(this.#context.segment(vni), this.#context);
  }
  /** The remotes, and the state of the paths to them. */
  remoteListing() {
    return [...this.remoteEntries()];
  }
  /** Like `remoteListing`, one entry at a time; frames may pass in between. */
  remoteEntries() {
    return listRemotes(this.#context);
  }
  /**
   * With `peersOnly`, the senders that a segment refused since the last call, except those that have become known to
   * the control plane meanwhile. A segment remembers 16.
   */
  takeRefusedSenders(vni) {
    const segment = this.#context.segment(vni);
    return segment.refused.take().filter(({ address }) => {
      const known = this.#context.remotes.find(canonicalAddress(address));
      return known === void 0 || !segment.names(known.id);
    });
  }
  /** The flood list of a segment. */
  peers(vni) {
    return this.#context.segment(vni).peers.all().map(({ address, port }) => ({ address, port }));
  }
  /** Suspected problems since the last call. Call it about once a second. */
  findings(now) {
    const seconds = Math.max(1, (now - this.#watched) / 1e3);
    this.#watched = now;
    const name = (location) => this.#context.nameOf(location);
    const { common, segments } = this.#context;
    return common.noticed.splice(0).flatMap((watch2) => segments.get(watch2.vni)?.watch === watch2 ? watch2.findings(name, seconds) : []);
  }
  counters() {
    return namedCounters(this.counts());
  }
  /** The counts behind `counters`, copied at one moment. */
  counts() {
    return copyCounts(this.#context.counters, this.#context.segments);
  }
  /**
   * Explains, step by step, what would happen to a frame from a local port or to a datagram from the underlay, and why.
   * Sends, learns and counts nothing, and does not write the caller's bytes.
   */
  explain(input, now) {
    const { ports, common, counters } = this.#context;
    const explanation = { steps: [], delivered: [], transmitted: [], dropped: null };
    const sink = explaining(explanation, (port) => ports.get(port).name);
    const unrouted = counters.slice();
    const restore = common.rows.save();
    const errors = "frame" in input ? ports.get(input.port).errors : void 0;
    const tokens = errors?.tokens;
    this.#context.trace = explanation;
    try {
      const data = "frame" in input ? input.frame : input.datagram;
      const bytes = new Uint8Array(16 + data.length);
      bytes.set(data, 16);
      if ("frame" in input) this.receiveFrame(input.port, bytes, 16, bytes.length, now, sink);
      else this.receiveDatagram(input.from, bytes, 16, bytes.length, now, input.ecn ?? 0, sink);
      return explanation;
    } finally {
      this.#context.trace = null;
      if (errors !== void 0) errors.tokens = tokens;
      counters.set(unrouted);
      restore();
    }
  }
  /** Adds a reference by the control plane to a remote in a segment; `#releaseIn` removes it. */
  #nameIn(segment, address, port) {
    const remote = this.#context.remotes.name(address, port, this.port);
    segment.named[remote.id] = (segment.named[remote.id] ?? 0) + 1;
    return remote;
  }
  #releaseIn(segment, id) {
    segment.named[id]--;
    this.#context.remotes.release(id);
  }
};

// ../../work/wt/scale/bench/packet.ts
const inner = encode2({
  destination: "02:42:0a:00:00:04",
  source: "02:42:0a:00:00:03",
  etherType: 2048,
  payload: encode3({
    protocol: 1,
    source: "10.0.0.3",
    destination: "10.0.0.4",
    payload: encode6({ type: 8, code: 0, identifier: 1, sequence: 1, payload: new Uint8Array(56) })
  })
});
const INNER = 14 + 20 + 8 + 8;
const PING = encode2({
  destination: "02:00:00:00:00:01",
  source: "02:00:00:00:00:02",
  etherType: 2048,
  payload: encode3({
    protocol: 17,
    source: "172.31.1.5",
    destination: "192.168.1.25",
    payload: encode7(
      { sourcePort: 49152, destinationPort: 4789, payload: encode5({ vni: 4097, payload: inner }) },
      { source: "172.31.1.5", destination: "192.168.1.25" }
    )
  })
});
const seen = new Float64Array(2);

// ../../work/wt/scale/bench/networks.ts
var { vlan: vlan4 } = ethernet_exports;
const FRAME = PING.subarray(INNER);
const Counter = class {
  received = new Float64Array(2);
  get frames() {
    return this.received[0];
  }
  get datagrams() {
    return this.received[1];
  }
  deliver() {
    this.received[0] += 1;
  }
  transmit() {
    this.received[1] += 1;
  }
};
const Frame = class {
  bytes = new Uint8Array(16 + FRAME.length);
  constructor() {
    this.bytes.set(FRAME, 16);
  }
  /** Receives the frame from a port, or from the remote `source`. */
  receive(vtep, from, vni, to, source, now, sink) {
    const { bytes } = this;
    setMac(bytes, 16, to);
    setMac(bytes, 16 + SOURCE_OFFSET, source);
    if (typeof from === "number") return vtep.receiveFrame(from, bytes, 16, bytes.length, now, sink);
    const start = 16 - 8;
    writeHeader3(bytes, start, vni);
    vtep.receiveDatagram(from, bytes, start, bytes.length, now, 0, sink);
  }
};

// ../../work/wt/scale/bench/calls.ts
const SLOW = 0.1;
const Stopwatch = class {
  #clock = threadClock();
  #calls = /* @__PURE__ */ new Map();
  #collections = [];
  #observer = new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries())
      this.#collections.push({ start: startTime, end: startTime + duration });
  });
  constructor() {
    this.#observer.observe({ entryTypes: ["gc"] });
  }
  time(name, call) {
    let known = this.#calls.get(name);
    if (known === void 0) this.#calls.set(name, known = { calls: 0, longest: 0, total: 0, slow: [] });
    const start = performance.now();
    const before = this.#clock();
    const result = call();
    const took = this.#clock() - before;
    known.calls++;
    known.total += took;
    if (took > 0.1) known.slow.push({ took, start, end: performance.now() });
    else if (took > known.longest) known.longest = took;
    return result;
  }
  async results() {
    for (let i = 0; i < 3; i++) await new Promise((resolve2) => setImmediate(resolve2));
    this.#observer.disconnect();
    return [...this.#calls].map(([name, { calls, longest, total, slow }]) => {
      const alone = slow.filter(
        (one) => !this.#collections.some(({ start, end }) => start < one.end && end > one.start)
      );
      return { name, calls, longest: Math.max(longest, ...alone.map(({ took }) => took)), mean: total / calls };
    });
  }
};
function threadClock() {
  const CLOCK = 3;
  const clock = koffi.load("libc.so.6").func("int clock_gettime(int clock, void *time)");
  const time = new BigInt64Array(2);
  const bytes = new Uint8Array(time.buffer);
  return () => {
    clock(CLOCK, bytes);
    return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
  };
}
const MILLION = { networks: 4e3, ports: 1e3, endpoints: 250 };
const REMOTES = 1024;
const TRUNKS = 4;
const LEARNING = 25e4;
const EXPIRED = 32e4;
const SECOND = 1e3;
const PAGE = 256;
const STATIONS = 1e3;
const announced = (i) => ipv4ToText(2886729729 + i % 1024);
const unannounced = (i) => ipv4ToText(2887778305 + i % 1024);
const macOf = (network, kind, i) => 2199023255552 + kind * 4294967296 + network * 65536 + i;
function manyNetworks({ networks, ports, endpoints }, watch2) {
  const vtep = new Vtep({ seed: 12345, learnedRemotes: 1024 });
  const sink = new Counter();
  const frame = new Frame();
  for (let vni = 1; vni <= networks; vni++) watch2.time("addSegment", () => vtep.addSegment({ vni }));
  const vlans = new Map(Array.from({ length: Math.min(networks, 4094) }, (_, i) => [i + 1, i + 1]));
  const trunks = Array.from(
    { length: 4 },
    (_, i) => watch2.time("addPort, a trunk of all networks", () => vtep.addPort({ name: `trunk${i}`, vlans }))
  );
  const access = Array.from({ length: ports - 4 }, (_, i) => {
    const vni = 1 + i % networks;
    return { vni, port: watch2.time("addPort", () => vtep.addPort({ name: `tap${i}`, vni })) };
  });
  const quarter = Math.floor(endpoints / 4);
  for (let i = 0; i < quarter * 2; i++)
    for (let vni = 1; vni <= networks; vni++) {
      const ip = ipv4ToText(167772160 + i);
      const endpoint = { ip, mac: macToText(macOf(vni, 0, i)), vtep: announced(i + vni) };
      watch2.time("addEndpoint", () => vtep.addEndpoint(vni, endpoint));
    }
  for (let i = 0; i < 1024; i++) watch2.time("addPeer", () => vtep.addPeer(1, announced(i)));
  const local = quarter * networks;
  for (let i = 0; i < local; i++) {
    const now2 = i / local * 25e4;
    const { vni, port } = access[i % access.length];
    const own = macOf(vni, 1, Math.floor(i / access.length));
    watch2.time("receiveFrame, new station", () => frame.receive(vtep, port, vni, macOf(vni, 0, 0), own, now2, sink));
    const at = 1 + i % networks;
    const other = macOf(at, 2, Math.floor(i / networks));
    watch2.time(
      "receiveDatagram, new station",
      () => frame.receive(vtep, unannounced(i), at, macOf(at, 0, 0), other, now2, sink)
    );
  }
  let now = 25e4;
  const counted = [...vtep.vnis()].reduce((sum2, vni) => sum2 + vtep.fdb(vni, now).length, 0);
  watch2.time("fdb, first page", () => firstPage(vtep, (vni) => vtep.fdbEntries(vni, now)));
  watch2.time("neighbors, first page", () => firstPage(vtep, (vni) => vtep.neighborEntries(vni)));
  watch2.time("remotes, first page", () => take(vtep.remoteEntries(), 256));
  for (let i = 0; i < 10; i++) {
    watch2.time("counts", () => vtep.counts());
    watch2.time("findings", () => vtep.findings(now));
  }
  watch2.time("counters", () => vtep.counters());
  const tick = (name, until) => {
    for (; now < until; now += 1e3) watch2.time(name, () => vtep.tick(now, sink));
  };
  tick("tick", now + 10 * 1e3);
  for (const { port } of access.slice(0, access.length / 2)) {
    watch2.time("forgetPort", () => vtep.forgetPort(port));
    watch2.time("removePort", () => vtep.removePort(port));
  }
  watch2.time("removePort, a trunk of all networks", () => vtep.removePort(trunks[0]));
  tick("tick, after removals", now + 10 * 1e3);
  for (let vni = networks; vni > networks * 0.9; vni--) watch2.time("removeSegment", () => vtep.removeSegment(vni));
  for (let vni = 1; vni <= networks / 2; vni++) {
    const endpoint = { ip: ipv4ToText(167772160), mac: macToText(macOf(vni, 0, 0)), vtep: announced(vni) };
    watch2.time("removeEndpoint", () => vtep.removeEndpoint(vni, endpoint));
  }
  tick("tick, after removals", now + 10 * 1e3);
  tick("tick, addresses expire", 32e4 + 25e4);
  return counted;
}
function oneNetwork({ networks, ports, endpoints }, watch2) {
  const stations = Math.min(1e3, Math.floor(networks * endpoints / ports));
  const vtep = new Vtep({ seed: 12345 });
  const sink = new Counter();
  const frame = new Frame();
  vtep.addSegment({ vni: 1, capacity: 1 << 22, flood: false });
  for (let i = 0; i < ports; i++) vtep.addPort({ name: `tap${i}`, vni: 1 });
  vtep.addEndpoint(1, { ip: "10.0.0.1", mac: macToText(macOf(1, 0, 0)), vtep: announced(0) });
  for (let i = 0; i < ports * stations; i++)
    watch2.time(
      "one network: receiveFrame, new station",
      () => frame.receive(
        vtep,
        i % ports,
        1,
        macOf(1, 0, 0),
        macOf(1 + i % ports, 1, Math.floor(i / ports)),
        i / 1e3,
        sink
      )
    );
  let now = ports;
  const counted = vtep.fdb(1, now).length - 1;
  const tick = (name, until) => {
    for (; now < until; now += 1e3) watch2.time(name, () => vtep.tick(now, sink));
  };
  tick("one network: tick", now + 10 * 1e3);
  watch2.time("one network: fdb, first page", () => take(vtep.fdbEntries(1, now), 256));
  for (let port = 0; port < ports / 4; port++) watch2.time("one network: removePort", () => vtep.removePort(port));
  tick("one network: tick, after removals", now + 20 * 1e3);
  tick("one network: tick, all addresses expire", 32e4 + 60 * 1e3);
  watch2.time("one network: removeSegment", () => vtep.removeSegment(1));
  return counted;
}
function firstPage(vtep, entries) {
  let left = 256;
  for (const vni of vtep.vnis()) {
    left -= take(entries(vni), left);
    if (left === 0) break;
  }
  return 256 - left;
}
function take(entries, most) {
  let taken = 0;
  for (const _ of entries) if (++taken === most) break;
  return taken;
}

// <stdin>
globalThis.gc?.();
const watch = new Stopwatch();
console.log(manyNetworks(MILLION, watch));
globalThis.gc?.();
console.log(oneNetwork(MILLION, watch));
for (const { name, calls, longest, mean } of await watch.results()) console.log(name.padEnd(45), String(calls).padStart(8), longest.toFixed(3).padStart(9), mean.toFixed(5));
