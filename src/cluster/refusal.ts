/** Why a command is not carried out. */
import { IpamError } from '../ipam/index.js';
import { LIMITS } from './limits.js';

/**
 * `invalid`: a field is wrong. `conflict`: something else has the name, address or VNI. `not-found`: what a field names does not
 * exist. `exhausted`: nothing is free. `in-use`: others depend on it. `forbidden`: the actor may not do this.
 */
export type RefusalCode = 'conflict' | 'not-found' | 'exhausted' | 'invalid' | 'in-use' | 'forbidden';

export interface Refusal {
  readonly code: RefusalCode;
  /** What is wrong, and how to fix it. Names fields as `fields` does. */
  readonly message: string;
  /** The fields of the command that it is about: `name`, `subnets[0].gateway`. */
  readonly fields: readonly string[];
}

/** Carries a refusal out of the functions that plan a command; `plan` returns it and throws nothing. */
export class Refused extends Error {
  readonly refusal: Refusal;
  constructor(code: RefusalCode, message: string, ...fields: string[]) {
    super(message);
    this.refusal = { code, message, fields };
  }
}

export function isRefused(error: unknown): error is Refused {
  return error instanceof Refused;
}

/** Runs a step that uses the room `ipam`. Its errors become refusals; `fields` has the name of each of its fields here. */
export function refusing<T>(fields: Readonly<Partial<Record<IpamError['field'], string>>>, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (!(error instanceof IpamError)) throw error;
    const field = fields[error.field] ?? error.field;
    throw new Refused(error.code, `${field}: ${error.message}`, field);
  }
}

/** Names some of many: `a, b and 3 more`. */
export function some(names: readonly string[]): string {
  const first = names.slice(0, LIMITS.listed).join(', ');
  return names.length > LIMITS.listed ? `${first} and ${names.length - LIMITS.listed} more` : first;
}
