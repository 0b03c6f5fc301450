/**
 * Join tokens: `WEFT-1-<digest>-<secret>`. The digest is the SHA-256 of the CA's certificate, 50 digits of base 36: with
 * it, a node knows the cluster before it says anything. The secret, 25 digits, admits it to one role.
 *
 * No error repeats any part of a token.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { HostError } from '../error.js';

const PREFIX = 'WEFT-1-';
/** Digits of base 36 for 256 and for 128 bits. */
const DIGEST = 50;
const SECRET = 25;
const REMEDY = 'print it again on a manager, with "vtep token worker" or "vtep token manager", and copy it whole';

export interface JoinToken {
  readonly digest: string;
  readonly secret: string;
}

/** @param random Returns as many random octets. */
export function newSecret(random: (octets: number) => Uint8Array = randomBytes): string {
  return base36(random(16), SECRET);
}

/** The digest of a certificate in DER. */
export function digestOf(der: Uint8Array): string {
  return base36(createHash('sha256').update(der).digest(), DIGEST);
}

export function printToken({ digest, secret }: JoinToken): string {
  return `${PREFIX}${digest}-${secret}`;
}

/** @throws HostError */
export function parseToken(text: string): JoinToken {
  const given = text.trim();
  const [weft, version, digest = '', secret = '', ...more] = given.split('-');
  if (given === '') throw wrong('is empty');
  if (/^SWMTKN-/i.test(given)) throw wrong("is one of Docker's swarm");
  if (weft !== 'WEFT') throw wrong(`does not begin with ${PREFIX}`);
  if (version !== '1')
    throw new HostError('the token is of another version of this program; use the same version on all hosts');
  if (more.length > 0) throw wrong('has more than four parts');
  for (const [name, part, length] of [
    ['third', digest, DIGEST],
    ['fourth', secret, SECRET],
  ] as const) {
    if (part.length !== length) throw wrong(`has ${part.length} characters in its ${name} part instead of ${length}`);
    if (!/^[0-9a-z]*$/.test(part)) throw wrong(`has a character in its ${name} part that is neither a-z nor 0-9`);
  }
  return { digest, secret };
}

/** Whether two secrets are equal, in a time that does not depend on them. */
export function sameSecret(a: string, b: string): boolean {
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}

function wrong(what: string): HostError {
  return new HostError(`the token ${what}; ${REMEDY}`);
}

function base36(bytes: Uint8Array, digits: number): string {
  return BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
    .toString(36)
    .padStart(digits, '0');
}
