/** What the table of commands has for each command. */
import { Type, type TObject, type TSchema } from '@sinclair/typebox';
import { type Problem } from './problem.js';
import { type Command, type ControlRequest, type JsonSchema } from './types.js';

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** What a command answers: one value, a list, or a stream of events until one side ends it. */
export type Kind = 'value' | 'list' | 'events';

export interface CommandEntry {
  method: Method;
  /** `/v1/fdb`. A segment in braces is a field: `/v1/taps/{name}`. */
  path: string;
  /** What it does, as a sentence without its full stop. */
  summary: string;
  kind: Kind;
  /**
   * The fields, without those that are absent from the request's own type. Those that the path does not have are in the
   * query of a GET and a DELETE, and in the body of a POST and a PUT.
   */
  request: JsonSchema;
  /** The result: the value, each entry of the list, or each event. */
  result: JsonSchema;
  /** What else must hold for the fields, once they fit the schema. */
  rule?: (fields: Readonly<Record<string, unknown>>) => Problem | undefined;
}

/**
 * An entry whose schema of the request the compiler checks against the type of the request.
 * @internal
 */
export type Entry<C extends Command> = Omit<CommandEntry, 'request'> & {
  request: TSchema & { static: Omit<Extract<ControlRequest, { command: C }>, 'command'> };
};

/**
 * The schema of an object with these fields, and no others.
 * @internal
 */
export function fields<T extends Record<string, TSchema>>(properties: T, more: object = {}): TObject<T> {
  return Type.Object(properties, { additionalProperties: false, ...more });
}
