/**
 * The part of DNS messages (RFC 1035, section 4) that a resolver for hosts needs: it reads a question and EDNS (RFC 6891), writes
 * answers, and finds the ends of records. The rest of a message passes as octets.
 *
 *     header    id | QR opcode AA TC RD | RA Z AD CD rcode | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT     12 octets
 *     question  name | type | class
 *     record    name | type | class | TTL (4) | length (2) | data
 *
 * A name is a sequence of labels, each after its length, and ends with an empty one, or with a pointer: 0xc0 and more, and
 * an offset in the message.
 */
import { getU16, getU32, setU16, setU32 } from '../../wire/index.js';

export const TYPE_A = 1;
export const TYPE_PTR = 12;
export const TYPE_HINFO = 13;
export const TYPE_AAAA = 28;
const TYPE_OPT = 41;
/** The first type of those that are no type of a record: transfers of zones and the like. */
const TYPE_TRANSFER = 251;
export const TYPE_ANY = 255;
const CLASS_IN = 1;

export const NOERROR = 0;
export const FORMERR = 1;
export const SERVFAIL = 2;
export const NXDOMAIN = 3;
export const NOTIMP = 4;
export const REFUSED = 5;
const BADVERS = 16;

const HEADER = 12;
const QR = 0x8000;
const AA = 0x0400;
const TC = 0x0200;
const RD = 0x0100;
const RA = 0x0080;
/** The most octets of a name, with the lengths of its labels. */
const MAX_NAME = 255;
/** Octets of an answer to a client without EDNS (RFC 1035, section 4.2.1). */
const PLAIN_SIZE = 512;
/** Octets that this resolver takes by UDP: what fits the smallest MTU of IPv6. */
const OWN_SIZE = 1232;
/** Octets of the longest question that is read: a client sends its name, EDNS, and perhaps a signature. */
const MAX_QUERY = 4096;
const MAX_ADDITIONAL = 4;
const OPT_LENGTH = 11;
/** A pointer to the name of the question. */
const TO_QUESTION = 0xc000 | HEADER;
/** Octets of a record before its data, whose name is a pointer. */
const RECORD_HEAD = 12;

/**
 * How long clients may remember an answer, in seconds. An endpoint may be gone, or elsewhere, at any moment, and the
 * answer costs no more than the question's way to this host; so just the questions of one burst are spared.
 */
export const TTL = 5;

/** A question that can be answered. */
export interface Query {
  readonly bytes: Uint8Array;
  /** The name without the dot at its end, empty for the root. A dot within a label is written `\.`. */
  readonly name: string;
  readonly type: number;
  /** Where the question ends. */
  readonly end: number;
  /** The most octets of an answer. */
  readonly size: number;
  /** Whether the client uses EDNS, and its flag DO. */
  readonly edns: { readonly dnssec: boolean } | undefined;
}

/** A record of an answer; its name is that of the question. */
export interface Answer {
  readonly type: number;
  readonly data: Uint8Array;
}

/**
 * Reads a question.
 * @returns the answer to one that is refused for what it is; `undefined` for what must not be answered: a response, which
 * could come back for ever, and what is no message at all.
 */
export function readQuery(bytes: Uint8Array): Query | { readonly refusal: Uint8Array } | undefined {
  if (bytes.length < HEADER || bytes.length > MAX_QUERY) return undefined;
  const flags = getU16(bytes, 2);
  if ((flags & QR) !== 0) return undefined;
  const refusal = (rcode: number, end = HEADER): { refusal: Uint8Array } => ({
    refusal: response({ bytes, end, edns: undefined }, rcode, [], PLAIN_SIZE, 0),
  });
  if (((flags >> 11) & 15) !== 0) return refusal(NOTIMP);
  // A question has no answers. Those of zone transfers may have an authority, and are refused anyway.
  if (getU16(bytes, 4) !== 1 || getU16(bytes, 6) !== 0 || getU16(bytes, 10) > MAX_ADDITIONAL) return refusal(FORMERR);
  const found = readName(bytes, HEADER);
  if (found === undefined || found.end + 4 > bytes.length) return refusal(FORMERR);
  const { name } = found;
  const type = getU16(bytes, found.end);
  const end = found.end + 4;
  if (getU16(bytes, found.end + 2) !== CLASS_IN || (type >= TYPE_TRANSFER && type < TYPE_ANY))
    return refusal(REFUSED, end);
  if (getU16(bytes, 8) !== 0) return refusal(FORMERR, end);
  let opt = -1;
  let at = end;
  for (let left = getU16(bytes, 10); left > 0; left--) {
    const start = skipName(bytes, at);
    const next = skipRecord(bytes, at);
    if (next < 0) return refusal(FORMERR, end);
    if (getU16(bytes, start) === TYPE_OPT) {
      if (opt >= 0 || start !== at + 1) return refusal(FORMERR, end);
      opt = at;
    }
    at = next;
  }
  if (opt < 0) return { bytes, name, type, end, size: PLAIN_SIZE, edns: undefined };
  const extended = getU32(bytes, opt + 5);
  const edns = { dnssec: (extended & 0x8000) !== 0 };
  if (((extended >>> 16) & 0xff) !== 0) return { refusal: response({ bytes, end, edns }, BADVERS, [], PLAIN_SIZE, 0) };
  return { bytes, name, type, end, size: Math.max(PLAIN_SIZE, getU16(bytes, opt + 3)), edns };
}

/**
 * Reads a name without pointers: before the first name of a message there is none to point to.
 * @returns `undefined` if it is malformed.
 */
function readName(bytes: Uint8Array, start: number): { name: string; end: number } | undefined {
  const labels: string[] = [];
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > 63 || at + 1 + length > bytes.length) return undefined;
    at += 1 + length;
    if (at - start > MAX_NAME) return undefined;
    if (length === 0) return { name: labels.join('.'), end: at };
    labels.push(String.fromCharCode(...bytes.subarray(at - length, at)).replaceAll('.', '\\.'));
  }
}

/** Where a name ends; beyond the message, or -1, if it is malformed. */
function skipName(bytes: Uint8Array, start: number): number {
  for (let at = start; at < bytes.length;) {
    const length = bytes[at]!;
    if (length >= 0xc0) return at + 2;
    if (length > 63) return -1;
    at += 1 + length;
    if (length === 0) return at;
  }
  return -1;
}

/** Where a record ends; -1 if it is malformed or not complete. */
function skipRecord(bytes: Uint8Array, start: number): number {
  const at = skipName(bytes, start);
  if (at < 0 || at + 10 > bytes.length) return -1;
  const end = at + 10 + getU16(bytes, at + 8);
  return end > bytes.length ? -1 : end;
}

/**
 * Writes an answer to a question. Of the records, as many as fit, without the flag TC as long as there is one: a client would ask
 * again by TCP, which the gateway does not serve, and every record stands for itself.
 * @param room The most octets that the network takes.
 */
export function respond(query: Query, rcode: number, answers: readonly Answer[], room: number): Uint8Array {
  return response(query, rcode, answers, Math.min(room, query.size), rcode === NOERROR || rcode === NXDOMAIN ? AA : 0);
}

function response(
  { bytes, end, edns }: Pick<Query, 'bytes' | 'end' | 'edns'>,
  rcode: number,
  answers: readonly Answer[],
  limit: number,
  flags: number,
): Uint8Array {
  let length = end + (edns === undefined ? 0 : OPT_LENGTH);
  let count = 0;
  for (const { data } of answers) {
    if (length + RECORD_HEAD + data.length > limit) break;
    length += RECORD_HEAD + data.length;
    count++;
  }
  const out = new Uint8Array(length);
  out.set(bytes.subarray(0, end));
  const truncated = count === 0 && answers.length > 0 ? TC : 0;
  const asked = getU16(bytes, 2) & (0x7800 | RD); // the operation code, and RD
  setU16(out, 2, QR | asked | flags | truncated | RA | (rcode & 15));
  setU16(out, 4, end > HEADER ? 1 : 0);
  setU16(out, 6, count);
  setU16(out, 8, 0);
  setU16(out, 10, edns === undefined ? 0 : 1);
  let at = end;
  for (const { type, data } of answers.slice(0, count)) {
    setU16(out, at, TO_QUESTION);
    setU16(out, at + 2, type);
    setU16(out, at + 4, CLASS_IN);
    setU32(out, at + 6, TTL);
    setU16(out, at + 10, data.length);
    out.set(data, at + RECORD_HEAD);
    at += RECORD_HEAD + data.length;
  }
  if (edns !== undefined) writeOpt(out, at, rcode, edns.dnssec);
  return out;
}

function writeOpt(out: Uint8Array, at: number, rcode: number, dnssec: boolean): void {
  out[at] = 0; // the root
  setU16(out, at + 1, TYPE_OPT);
  setU16(out, at + 3, OWN_SIZE);
  setU32(out, at + 5, (((rcode >> 4) << 24) | (dnssec ? 0x8000 : 0)) >>> 0);
  setU16(out, at + 9, 0);
}

/** The octets of a name of endpoints, whose labels are ASCII. */
export function nameData(name: string): Uint8Array {
  return Uint8Array.from([...name.split('.').flatMap((label) => [label.length, ...Buffer.from(label, 'latin1')]), 0]);
}

/** The data of a HINFO record (RFC 8482, section 4.2). */
export const HINFO_DATA = Uint8Array.from([7, ...Buffer.from('RFC8482', 'latin1'), 0]);

// ---- What is passed on ----

/** The same question with another id. */
export function withId(query: Uint8Array, id: number): Uint8Array {
  const copy = query.slice();
  setU16(copy, 0, id);
  return copy;
}

/** Whether a message is the response to a question: its id, and its question, in any case of letters. */
export function isResponseTo(message: Uint8Array, { bytes, end }: Pick<Query, 'bytes' | 'end'>): boolean {
  if (message.length < end || getU16(message, 0) !== getU16(bytes, 0)) return false;
  if ((getU16(message, 2) & (QR | 0x7800)) !== QR || getU16(message, 4) !== 1) return false;
  // The lengths of labels are not letters.
  for (let at = HEADER; at < end - 4; at++) if (lower(message[at]!) !== lower(bytes[at]!)) return false;
  return getU32(message, end - 4) === getU32(bytes, end - 4);
}

function lower(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet + 32 : octet;
}

export function isTruncated(message: Uint8Array): boolean {
  return (getU16(message, 2) & TC) !== 0;
}

export function rcodeOf(message: Uint8Array): number {
  return getU16(message, 2) & 15;
}

/**
 * Makes the response of another server one to the question: with its id and the letters of its name. If it is too long, it
 * loses what follows the answers, and then answers from the end. It has the flag TC only if answers are missing and none
 * of the type that was asked for is left.
 * @param message As `isResponseTo` accepts it.
 */
export function passOn(message: Uint8Array, query: Query, room: number): Uint8Array {
  const { bytes, end, type, edns } = query;
  const limit = Math.min(room, query.size);
  const whole = message.slice();
  whole.set(bytes.subarray(0, 2));
  whole.set(bytes.subarray(HEADER, end), HEADER);
  const fits = whole.length <= limit;
  const most = fits ? whole.length : limit - (edns === undefined ? 0 : OPT_LENGTH);
  const total = getU16(whole, 6);
  let [at, count, useful] = [end, 0, false];
  while (count < total) {
    const next = skipRecord(whole, at);
    if (next < 0 || next > most) break;
    const found = getU16(whole, skipName(whole, at));
    useful ||= found === type || type === TYPE_ANY;
    [at, count] = [next, count + 1];
  }
  const missing = count < total || isTruncated(message);
  const flags = (getU16(whole, 2) & ~TC) | (missing && !useful ? TC : 0);
  if (fits) {
    setU16(whole, 2, flags);
    return whole;
  }
  const out = new Uint8Array(at + (edns === undefined ? 0 : OPT_LENGTH));
  out.set(whole.subarray(0, at));
  setU16(out, 2, flags);
  setU16(out, 6, count);
  setU16(out, 8, 0);
  setU16(out, 10, edns === undefined ? 0 : 1);
  if (edns !== undefined) writeOpt(out, at, 0, edns.dnssec);
  return out;
}
