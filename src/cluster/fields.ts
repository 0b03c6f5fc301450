/** Checks of fields that commands and stored records have in common. */
import { parseIp, ipToText } from '../address/index.js';
import { parsePrefix, prefixToText } from '../ipam/index.js';
import { invalid, list, text, texts, word, type Check } from './check.js';
import { LIMITS } from './limits.js';
import { type KeyLength } from './records.js';
import { Refused } from './refusal.js';

/** A person and a script have each name at most once. */
export const unique =
  (check: Check<readonly string[]>): Check<readonly string[]> =>
  (value, at) => {
    const names = check(value, at);
    const twice = names.find((one, i) => names.some((other, k) => k < i && other.toLowerCase() === one.toLowerCase()));
    if (twice !== undefined) throw new Refused('invalid', `${at}: ${twice} is there twice`, at);
    return names;
  };

/** An IP address, in canonical text. */
export const address: Check<string> = (value, at) => {
  try {
    if (typeof value === 'string' && value.length <= 45) return ipToText(parseIp(value));
  } catch {
    // The message below says what is expected.
  }
  throw invalid(at, 'an IP address', value);
};

/** The prefix of a route. */
export const routePrefix: Check<string> = (value, at) => {
  try {
    if (typeof value === 'string' && value.length <= 50) return prefixToText(parsePrefix(value, 'subnet'));
  } catch {
    // The message below says what is expected.
  }
  throw invalid(at, 'a prefix such as 10.0.0.0/24', value);
};

/** Bits of a key of a network. */
export const keyLength: Check<KeyLength> = (value, at) => {
  if (value !== 128 && value !== 256) throw invalid(at, '128 or 256, the bits of a key', value);
  return value;
};
export const fingerprint: Check<string> = (value, at) => {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value))
    throw invalid(at, 'a SHA-256 digest of 64 hexadecimal digits', value);
  return value;
};
export const labels = texts(/^\S+$/, {
  count: LIMITS.labels,
  name: LIMITS.labelName,
  value: text(LIMITS.labelValue, 0),
});
export const words: Check<readonly string[]> = (value, at) => {
  const command = list(word(LIMITS.commandLength), LIMITS.words, 1)(value, at);
  const length = command.reduce((sum, one) => sum + one.length, 0);
  if (length > LIMITS.commandLength) throw invalid(at, `at most ${LIMITS.commandLength} characters in all`, length);
  if (command[0] === '') throw invalid(`${at}[0]`, 'the name of a program', '');
  return command;
};
/** Text that a program wrote. What a terminal would obey stays in it, because it is escaped when it is printed. The end is cut. */
export const cut =
  (most: number): Check<string> =>
  (value, at) => {
    if (typeof value !== 'string') throw invalid(at, 'a text', value);
    return value.slice(0, most);
  };
/** The variables of an environment. */
export const environment = texts(/^[^=]+$/, {
  count: LIMITS.variables,
  name: LIMITS.labelName,
  value: word(LIMITS.environmentLength),
  total: LIMITS.environmentLength,
});
