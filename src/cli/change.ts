/** Commands that change a running VTEP over its control socket. */
import { HostError, type Question, type Results } from '../host/index.js';
import { parseRequest, SchemaError, type ControlRequest, type Place } from '../schema/index.js';
import { call, withPlaces } from './call.js';
import { requireControl } from './control-flags.js';
import { noRest, UsageError, type Flag, type Parsed } from './flags.js';
import { jsonLines, print } from './streams.js';

export const JSON_FLAG: Flag = { name: 'json', text: 'print the result as JSON' };

/** The network of a peer or an endpoint. */
export const VNI: Flag = { name: 'vni', value: 'N', text: 'the network' };

/** @throws UsageError if the flag is missing. */
export function requireVni(flags: Parsed): number {
  const vni = numberOf(flags.value('vni'));
  if (vni === undefined) throw new UsageError('missing: --vni N, the network');
  return vni;
}

/** The namespace of a TAP, for a line about it. */
export function inNamespace(preposition: 'in' | 'from', netns: string | null | undefined): string {
  return netns === null || netns === undefined ? '' : ` ${preposition} namespace ${netns}`;
}

/**
 * Takes the one argument of a command.
 * @param what What it is, for the error: `the TAP to attach`.
 * @throws UsageError if it is missing, or if there are more.
 */
export function oneArgument(flags: Parsed, name: string, what: string): string {
  const [text, ...more] = flags.rest;
  if (text === undefined) throw new UsageError(`missing: ${name}, ${what}`);
  noRest({ ...flags, rest: more });
  return text;
}

/**
 * Sends a request to the VTEP of --control, and prints its result.
 * @param place Returns the flag or the argument that a field of the request came from.
 * @param line The line that tells people what was done. If it throws, nothing is printed.
 * @throws UsageError if a field does not fit; HostError if the VTEP refuses the request.
 */
export async function change<Q extends Question>(
  flags: Parsed,
  request: ControlRequest & { command: Q },
  place: Place,
  line: (result: Results[Q]) => string,
): Promise<number> {
  const control = requireControl(flags);
  requireFields(request, place);
  const result = await call<Q>(control, request, {}, place);
  const text = line(result);
  print(flags.on('json') === true ? [...jsonLines(result)] : text);
  return 0;
}

/** @throws UsageError if a field of a request does not fit. */
export function requireFields(request: ControlRequest, place: Place): void {
  try {
    parseRequest(request);
  } catch (error) {
    const lines = error instanceof SchemaError ? withPlaces(error.problems, place) : [];
    throw lines.length > 0 ? new UsageError(lines) : error;
  }
}

/**
 * The line about a peer or an endpoint that was removed.
 * @param what The entry, with its network.
 * @throws HostError if it was not there.
 */
export function removedLine(what: string, { removed, wantedBy = [] }: Results['remove-peer']): string {
  if (!removed) throw new HostError(`there is no ${what}`);
  return `removed ${what}${wantedBy.length === 0 ? '' : `; it stays, wanted by: ${wantedBy.join(', ')}`}`;
}

/** The text of a whole number as one; any other text as it is, which the schema of the request refuses with a reason. */
export function numberOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  return (/^\d{1,15}$/.test(text) ? Number(text) : text) as number;
}

/** Drops the fields of a request that are undefined. */
export function given<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
