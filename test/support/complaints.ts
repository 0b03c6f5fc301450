import * as assert from 'uvu/assert';
import { plan, SchemaError } from '../../src/schema/index.js';

/** The lines of the error message for a configuration; none if it is valid. */
export function complaints(config: unknown): string[] {
  try {
    plan(config);
  } catch (error) {
    assert.instance(error, SchemaError);
    return (error as Error).message.split('\n');
  }
  return [];
}
