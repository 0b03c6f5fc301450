/** DNS messages for tests, written from RFC 1035 without the code under test: questions, and a reader of whole messages. */

export const TYPES = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  OPT: 41,
  ANY: 255,
};

export interface QuestionOptions {
  id?: number;
  /** Of the header: RD by default. */
  flags?: number;
  class?: number;
  /** EDNS with this size of an answer, and its version and flags. */
  edns?: number;
  version?: number;
  dnssec?: boolean;
}

const two = (value: number): number[] => [(value >> 8) & 0xff, value & 0xff];

export function nameBytes(name: string): number[] {
  const labels = name === '' ? [] : name.split('.');
  return [...labels.flatMap((label) => [label.length, ...Buffer.from(label, 'latin1')]), 0];
}

export function question(name: string, type: number, options: QuestionOptions = {}): Uint8Array {
  const { id = 0x1234, flags = 0x0100, edns, version = 0, dnssec = false } = options;
  const head = [id, flags, 1, 0, 0, edns === undefined ? 0 : 1].flatMap(two);
  const opt = edns === undefined ? [] : [0, ...two(41), ...two(edns), 0, version, ...two(dnssec ? 0x8000 : 0), 0, 0];
  return Uint8Array.from([...head, ...nameBytes(name), ...two(type), ...two(options.class ?? 1), ...opt]);
}

export interface DnsRecord {
  name: string;
  type: number;
  class: number;
  ttl: number;
  /** An address or a name as text, otherwise hexadecimal digits. */
  data: string;
}

export interface DnsMessage {
  id: number;
  flags: number;
  rcode: number;
  truncated: boolean;
  question: { name: string; type: number; class: number }[];
  answers: DnsRecord[];
  authority: DnsRecord[];
  additional: DnsRecord[];
}

/** Reads a whole message. @throws Error if anything in it is wrong, also octets behind it. */
export function readMessage(bytes: Uint8Array): DnsMessage {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 12;
  const name = (start: number): [text: string, end: number] => {
    const labels: string[] = [];
    let end = -1;
    for (let i = start, hops = 0; ;) {
      const length = view.getUint8(i);
      if (length >= 0xc0) {
        if (++hops > 20) throw new Error('pointers without an end');
        if (end < 0) end = i + 2;
        i = view.getUint16(i) & 0x3fff;
      } else if (length > 63) throw new Error(`a label of ${length} octets`);
      else if (length === 0) return [labels.join('.'), end < 0 ? i + 1 : end];
      else {
        labels.push(Buffer.from(bytes.subarray(i + 1, i + 1 + length)).toString('latin1'));
        i += 1 + length;
      }
    }
  };
  const records = (count: number): DnsRecord[] =>
    Array.from({ length: count }, () => {
      const [owner, end] = name(at);
      const [type, kind, ttl, length] = [
        view.getUint16(end),
        view.getUint16(end + 2),
        view.getUint32(end + 4),
        view.getUint16(end + 8),
      ];
      at = end + 10 + length;
      if (at > bytes.length) throw new Error('a record beyond the end');
      const data = bytes.subarray(end + 10, at);
      const text =
        type === TYPES.A
          ? data.join('.')
          : type === TYPES.AAAA
            ? (Buffer.from(data).toString('hex').match(/.{4}/g) ?? []).join(':')
            : type === TYPES.PTR || type === TYPES.CNAME
              ? name(end + 10)[0]
              : Buffer.from(data).toString('hex');
      return { name: owner, type, class: kind, ttl, data: text };
    });
  const flags = view.getUint16(2);
  const questions = Array.from({ length: view.getUint16(4) }, () => {
    const [text, end] = name(at);
    at = end + 4;
    return { name: text, type: view.getUint16(end), class: view.getUint16(end + 2) };
  });
  const message = {
    ...{ id: view.getUint16(0), flags, rcode: flags & 15, truncated: (flags & 0x0200) !== 0, question: questions },
    answers: records(view.getUint16(6)),
    authority: records(view.getUint16(8)),
    additional: records(view.getUint16(10)),
  };
  if (at !== bytes.length) throw new Error(`${bytes.length - at} octets behind the message`);
  return message;
}

/** A response to a question, as a name server writes it. */
export function answerTo(
  query: Uint8Array,
  records: readonly Uint8Array[],
  more: { rcode?: number; tc?: boolean } = {},
): Uint8Array {
  let end = 12;
  while (query[end]! !== 0) end += 1 + query[end]!;
  end += 5;
  const { rcode = 0, tc = false } = more;
  const head = [...query.subarray(0, 2), 0x81 | (tc ? 2 : 0), 0x80 | rcode, 0, 1, ...two(records.length), 0, 0, 0, 0];
  return Uint8Array.from([...head, ...query.subarray(12, end), ...records.flatMap((record) => [...record])]);
}

/** A record of the name in the question. */
export function recordOf(type: number, data: readonly number[], ttl = 300): Uint8Array {
  return Uint8Array.from([0xc0, 12, ...two(type), 0, 1, 0, 0, ...two(ttl), ...two(data.length), ...data]);
}
