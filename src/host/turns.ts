/** Runs steps one after the other, in the order of the calls. A step that fails does not keep the next one from running. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(step: () => T | Promise<T>): Promise<T> {
    const turn = this.#last.then(step);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
