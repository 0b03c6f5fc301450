/** Most names to remember: others choose them. */
const MOST = 4096;

/** Remembers the members that have failed. */
export class FailedMembers {
  readonly #names = new Set<string>();

  /** @returns what a member has done, by its state. */
  follow(name: string, state: 'alive' | 'left' | 'failed'): 'joined' | 'back' | 'left' | 'failed' {
    const had = this.#names.delete(name);
    if (state === 'alive') return had ? 'back' : 'joined';
    if (state === 'left') return 'left';
    if (this.#names.size >= MOST) this.#names.delete(this.#names.keys().next().value!);
    this.#names.add(name);
    return 'failed';
  }
}
