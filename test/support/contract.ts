/**
 * The codec contract as assertions about one byte string, for property tests with fast-check and for fuzz targets.
 * Imports neither fast-check nor uvu, so that a fuzz target's bundle is small and fast.
 */
import { WireError, type WireProblem } from '../../src/wire/index.js';

/** The functions that every codec exports. */
export interface Codec<V, D extends V = V> {
  check(bytes: Uint8Array, offset: number, end: number): number;
  diagnose(bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null;
  decode(bytes: Uint8Array, offset?: number, end?: number): D;
  decodeLax(bytes: Uint8Array, offset: number, end: number): D | null;
  encode(value: V): Uint8Array;
  encodeInto(value: V, bytes: Uint8Array, offset: number): number;
}

/** Checks everything that the contract promises for any bytes. @throws Error that names the broken promise. */
export function holds<V, D extends V>(codec: Codec<V, D>, input: Uint8Array): void {
  const before = input.length % 4;
  agree(codec, input, before, 3);
  stayInside(codec, input, before);
  roundTrip(codec, input);
}

/** `check`, `decode`, `diagnose` and `decodeLax` agree, and throw only WireErrors. */
export function agree<V, D extends V>(codec: Codec<V, D>, input: Uint8Array, before = 0, after = 0): void {
  const framed = frame(input, before, after, 0xa5);
  const end = before + input.length;
  const code = codec.check(framed, before, end);
  const lax = codec.decodeLax(framed, before, end);
  const [value, error] = attempt(() => codec.decode(framed, before, end));
  equal(framed, frame(input, before, after, 0xa5), 'the input after reading, which must not change it');
  if (code >= 0) {
    if (error !== undefined) throw new Error(`check returned ${code}, but decode threw: ${describe(error)}`);
    ensure(code <= input.length, `check returned ${code} for ${input.length} bytes`);
    equal(lax, value, 'decodeLax, compared with decode');
    equal(codec.diagnose(framed, before, end), null, 'the result of diagnose for bytes that check accepts');
    return;
  }
  const reason = REASONS[-code];
  ensure(reason !== undefined, `check returned ${code}, which is no error code`);
  ensure(error !== undefined, `check returned ${code}, but decode accepted`);
  const wire = wireError(error);
  ensure(wire.reason === reason, `check reports ${reason}, decode ${wire.reason}`);
  ensure(
    wire.offset >= before && wire.offset <= end,
    `the error's offset is ${wire.offset}, outside ${before}..${end}`,
  );
  if (wire.reason === 'truncated')
    ensure(
      wire.needed > wire.available && wire.available >= 0,
      `truncated: needs ${wire.needed}, has ${wire.available}`,
    );
  const problem = codec.diagnose(framed, before, end);
  ensure(!(problem instanceof Error), 'diagnose returns an Error, which takes 20 times as long as a plain object');
  equal(problem, problemOf(wire), 'diagnose, compared with decode');
  const limitedBy = reason === 'truncated' ? 'the snap length' : '';
  const limited = codec.diagnose(framed, before, end, 'the snap length')!;
  equal(limited.limitedBy, limitedBy, 'the limit that diagnose names');
  ensure(limited.detail.includes(limitedBy), `the detail does not name the limit: ${limited.detail}`);
}

/** The fields of a WireError. */
function problemOf({ protocol, reason, offset, needed, available, limitedBy, detail }: WireError): WireProblem {
  return { protocol, reason, offset, needed, available, limitedBy, detail };
}

const REASONS = [undefined, 'truncated', 'malformed', 'unsupported'];

/** The bytes around `[offset, end)` do not affect the result. */
export function stayInside<V, D extends V>(codec: Codec<V, D>, input: Uint8Array, before = 0): void {
  const end = before + input.length;
  const seen = (fill: number): unknown[] => {
    const framed = frame(input, before, 70, fill);
    const code = codec.check(framed, before, end);
    const result = code < 0 ? codec.diagnose(framed, before, end) : codec.decode(framed, before, end);
    return [code, result, codec.decodeLax(framed, before, end)];
  };
  equal(seen(0x00), seen(0xff), 'the result between zeros, compared with between ones');
}

/** `encode` and `encodeInto` restore the bytes that `decode` consumed. */
export function roundTrip<V, D extends V>(codec: Codec<V, D>, input: Uint8Array): void {
  if (codec.check(input, 0, input.length) < 0) return;
  const value = codec.decode(input);
  const again = codec.encode(value);
  ensure(again.length <= input.length, `encode returns ${again.length} bytes for ${input.length}`);
  equal(again, input.subarray(0, again.length), 'encode(decode(b)), compared with b');
  const dirty = frame(new Uint8Array(again.length).fill(0xa5), 5, 6, 0xa5);
  ensure(codec.encodeInto(value, dirty, 5) === 5 + again.length, 'the end that encodeInto returns is wrong');
  equal(dirty, frame(again, 5, 6, 0xa5), 'the bytes that encodeInto wrote, compared with encode');
}

/**
 * The accessors of a header that `check` accepts: getters read nothing outside it, and setting the value of the getter
 * changes nothing.
 * @param except setters that do more than their getter: `setGroup` also sets a flag.
 */
export function accessorsHold(codec: object, input: Uint8Array, length: number, except: readonly string[] = []): void {
  const functions = codec as Record<string, (bytes: Uint8Array, offset: number, value?: unknown) => unknown>;
  const low = frame(input.subarray(0, length), 3, 9, 0x00);
  const high = frame(input.subarray(0, length), 3, 9, 0xff);
  for (const name of Object.keys(functions)) {
    const get = functions[name]!;
    if (!/^(get|is)[A-Z]/.test(name) || get.length !== 2) continue;
    const value = get(low, 3);
    ensure(Object.is(value, get(high, 3)), `${name} reads outside the header`);
    const setter = name.replace(/^get/, 'set');
    const set = functions[setter];
    if (setter === name || set === undefined || except.includes(setter)) continue;
    set(low, 3, value);
    equal(low, frame(input.subarray(0, length), 3, 9, 0x00), `${setter} with the value of ${name}`);
  }
}

/** `input` with octets of `fill` before and after it. */
function frame(input: Uint8Array, before: number, after: number, fill: number): Uint8Array {
  const framed = new Uint8Array(before + input.length + after).fill(fill);
  framed.set(input, before);
  return framed;
}

/** The result of a function, or the error that it throws. */
export function attempt<T>(run: () => T): [value: T | undefined, error: unknown] {
  try {
    return [run(), undefined];
  } catch (error) {
    return [undefined, error ?? new Error('it threw undefined or null')];
  }
}

/** Returns the error as a WireError. @throws Error if it is another one. */
export function wireError(error: unknown): WireError {
  if (error instanceof WireError) return error;
  throw new Error(`not a WireError: ${describe(error)}`);
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

export function ensure(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(message);
}

/** Throws if two values differ, and names the path. */
export function equal(actual: unknown, expected: unknown, what: string): void {
  const difference = differ(actual, expected, '');
  if (difference !== null) throw new Error(`${what}: ${difference}`);
}

function differ(a: unknown, b: unknown, path: string): string | null {
  if (Object.is(a, b)) return null;
  if (a instanceof Uint8Array && b instanceof Uint8Array) {
    if (a.length !== b.length) return `${path} has ${a.length} bytes, not ${b.length}`;
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return `${path}[${i}] is ${a[i]}, not ${b[i]}`;
    return null;
  }
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null)
    return `${path} is ${String(a)}, not ${String(b)}`;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return `${path} has another prototype`;
  const left = Object.keys(a);
  const right = Object.keys(b);
  if (left.length !== right.length) return `${path} has the fields ${left.join()}, not ${right.join()}`;
  for (const key of right) {
    if (!Object.hasOwn(a, key)) return `${path}.${key} is missing`;
    const inner = differ((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key], `${path}.${key}`);
    if (inner !== null) return inner;
  }
  return null;
}
