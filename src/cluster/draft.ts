/** The transaction of a command, while it is planned. */
import { type State } from './state.js';
import { type Transaction, type Write } from './store.js';

export class Draft {
  readonly #state: State;
  readonly #conditions = new Map<string, number>();
  readonly #writes = new Map<string, Write>();

  constructor(state: State) {
    this.#state = state;
  }

  /** Number of its writes. */
  get size(): number {
    return this.#writes.size;
  }

  /** What the command has read must not have changed. */
  expect(key: string): void {
    this.#conditions.set(key, this.#state.modified(key));
  }

  /** Writes a key that nobody else may have changed, or created. */
  put(key: string, value: unknown): void {
    this.expect(key);
    this.touch(key, value);
  }

  /** Writes a key without a condition: another change of it is overwritten. */
  touch(key: string, value: unknown): void {
    this.#writes.set(key, { put: key, value: JSON.stringify(value) });
  }

  delete(key: string): void {
    this.expect(key);
    this.#writes.set(key, { delete: key });
  }

  /** Whether it writes a key. */
  writes(key: string): boolean {
    return this.#writes.has(key);
  }

  get transaction(): Transaction {
    return {
      conditions: [...this.#conditions].map(([key, modified]) => ({ key, modified })),
      writes: [...this.#writes.values()],
    };
  }
}
