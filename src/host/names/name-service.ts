/**
 * Answers the questions of endpoints: names and addresses of their networks, and everything else with what the host's name
 * servers say.
 */
import { randomInt } from 'node:crypto';
import { formatIpv6, ipv4ToText, isIpv6Text, parseIpv4, parseIpv6 } from '../../address/index.js';
import { prefixContains } from '../../model/index.js';
import { type Forwarder } from './forwarder.js';
import {
  HINFO_DATA,
  nameData,
  NOERROR,
  NXDOMAIN,
  passOn,
  readQuery,
  REFUSED,
  respond,
  SERVFAIL,
  TYPE_A,
  TYPE_AAAA,
  TYPE_ANY,
  TYPE_HINFO,
  TYPE_PTR,
  type Answer,
  type Query,
} from './message.js';

/** A network as a client sees it. */
export interface NamedNetwork {
  readonly name: string;
  /** Its subnets. */
  readonly prefixes: readonly string[];
  /** Whether nothing is passed on for its endpoints. */
  readonly internal: boolean;
  /** The addresses that a name stands for. */
  addressesOf(name: string): readonly string[];
  /** The names of an address, without the network's. */
  namesOf(ip: string): readonly string[];
}

export interface NameServiceOptions {
  readonly forwarder: Pick<Forwarder, 'ask'>;
  /** A random number from 0 up to but not including `below`. */
  random?(below: number): number;
}

export class NameService {
  readonly #forwarder: Pick<Forwarder, 'ask'>;
  readonly #random: (below: number) => number;

  constructor({ forwarder, random = randomInt }: NameServiceOptions) {
    this.#forwarder = forwarder;
    this.#random = random;
  }

  /**
   * Answers a question, whatever its bytes are.
   * @param networks Those that the client is in, first the one whose gateway it asks.
   * @param client The address of the client, by which the limits of the forwarder count.
   * @param room The most octets that an answer may have.
   * @returns `undefined` for what gets no answer.
   */
  async answer(
    bytes: Uint8Array,
    networks: readonly NamedNetwork[],
    client: string,
    room: number,
  ): Promise<Uint8Array | undefined> {
    const query = readQuery(bytes);
    if (query === undefined) return undefined;
    if ('refusal' in query) return query.refusal;
    const found = this.#own(query, networks);
    if (found !== undefined) return respond(query, found.rcode, found.answers, room);
    // Resolvers take it as a failure at once. A server failure would be tried again by some.
    if (networks.every(({ internal }) => internal)) return respond(query, REFUSED, [], room);
    const response = await this.#forwarder.ask(query, client);
    return response === undefined ? respond(query, SERVFAIL, [], room) : passOn(response, query, room);
  }

  /** The answer out of the networks; `undefined` if the name is not theirs. */
  #own(query: Query, networks: readonly NamedNetwork[]): Found | undefined {
    const { type } = query;
    const name = query.name.toLowerCase();
    const ip = addressIn(name);
    if (ip !== undefined) {
      const network = networks.find(({ prefixes }) => prefixes.some((prefix) => prefixContains(prefix, ip)));
      return network === undefined ? undefined : this.#pointers(type, ip, network);
    }
    const addresses = addressesIn(networks, name);
    if (addresses.length > 0) {
      const answers = addresses.flatMap((address): Answer[] => {
        if (isIpv6Text(address)) return type === TYPE_AAAA ? [{ type, data: parseIpv6(address) }] : [];
        return type === TYPE_A ? [{ type, data: octetsOf(parseIpv4(address)) }] : [];
      });
      return { rcode: NOERROR, answers: type === TYPE_ANY ? MINIMAL : this.#rotated(answers) };
    }
    const top = name.slice(name.lastIndexOf('.') + 1);
    // Names of hosts, which no name server knows: of one label, or with a number at the end, as replicas that are gone.
    if ((name !== '' && top === name) || /^\d+$/.test(top)) return { rcode: NXDOMAIN, answers: [] };
    return undefined;
  }

  #pointers(type: number, ip: string, network: NamedNetwork): Found {
    const names = network.namesOf(ip);
    if (names.length === 0) return { rcode: NXDOMAIN, answers: [] };
    if (type === TYPE_ANY) return { rcode: NOERROR, answers: MINIMAL };
    if (type !== TYPE_PTR) return { rcode: NOERROR, answers: [] };
    return { rcode: NOERROR, answers: names.map((name) => ({ type, data: nameData(qualified(name, network)) })) };
  }

  /**
   * Begins at a random address, and goes on in order: clients mostly use the first. A random start needs no
   * memory of earlier answers, and clients that ask in turns do not always get the same ones.
   */
  #rotated(answers: readonly Answer[]): readonly Answer[] {
    if (answers.length < 2) return answers;
    const first = this.#random(answers.length);
    return [...answers.slice(first), ...answers.slice(0, first)];
  }
}

/** Characters of a name. */
const MAX_NAME = 253;

interface Found {
  readonly rcode: number;
  readonly answers: readonly Answer[];
}

/** A name with the network's behind it, as Docker gives it, if that is not too long for a name (RFC 1035, section 2.3.4). */
function qualified(name: string, network: NamedNetwork): string {
  return name.length + network.name.length < MAX_NAME ? `${name}.${network.name}` : name;
}

/** The answer to a question of type ANY (RFC 8482, section 4.2). */
const MINIMAL: readonly Answer[] = [{ type: TYPE_HINFO, data: HINFO_DATA }];

/** The addresses of a name, with or without the network's behind it: those of the first network that knows it. */
function addressesIn(networks: readonly NamedNetwork[], name: string): readonly string[] {
  for (const network of networks) {
    const found = network.addressesOf(name);
    if (found.length > 0) return found;
  }
  for (const network of networks) {
    const suffix = `.${network.name.toLowerCase()}`;
    const found = name.endsWith(suffix) ? network.addressesOf(name.slice(0, -suffix.length)) : [];
    if (found.length > 0) return found;
  }
  return [];
}

/** The address whose name a question asks for: `3.0.0.10.in-addr.arpa` (RFC 1035, 3.5), `…ip6.arpa` (RFC 3596, 2.5). */
function addressIn(name: string): string | undefined {
  const four = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name);
  if (four !== null) {
    const octets = four[1]!.slice(0, -1).split('.').reverse().map(Number);
    return octets.every((octet) => octet < 256) ? octets.join('.') : undefined;
  }
  const six = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name);
  if (six === null) return undefined;
  const digits = six[1]!.replaceAll('.', '');
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => parseInt(digits[31 - 2 * i]! + digits[30 - 2 * i]!, 16));
  return formatIpv6(bytes);
}

function octetsOf(address: number): Uint8Array {
  return Uint8Array.from(ipv4ToText(address).split('.').map(Number));
}
