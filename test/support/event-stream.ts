/** A client like curl that follows the events of a VTEP, and the description that they must fit. */
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as assert from 'uvu/assert';
import { waitFor, type Lab, type Running } from './lab.js';
import { shellBlocks } from './readme.js';

/** The command lines of docs/api.md: all events, and those of one type and one segment. */
export const [[ALL, PEERS]] = shellBlocks('docs/api.md', 'Events').map((block) => block.split('\n')) as [
  [string, string],
];

export interface Line {
  event: string;
  type?: string;
  [field: string]: unknown;
}

export class EventStream {
  readonly #curl: Running;

  /** @param line The command line; `vtep.sock` stands for the socket. */
  constructor(lab: Lab, path: string, line: string = ALL) {
    const command = line.replace('vtep.sock', path).replace('curl', 'exec curl --silent');
    this.#curl = lab.spawn(['sh', '-c', command]);
  }

  get lines(): Line[] {
    return this.#curl.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  }

  get types(): string[] {
    return this.lines.flatMap(({ event, type }) => (event === 'notice' ? [type!] : []));
  }

  async begun(): Promise<this> {
    await waitFor('the stream', () => this.lines.length > 0);
    return this;
  }

  /** Waits for an event of a type with these fields. */
  async has(type: string, fields: object = {}): Promise<Line> {
    const wanted = Object.entries(fields).map(([name, value]) => [name, JSON.stringify(value)]);
    const found = (): Line | undefined =>
      this.lines.find(
        (line) => line.type === type && wanted.every(([name, value]) => JSON.stringify(line[name!]) === value),
      );
    return waitFor(`${type} ${JSON.stringify(fields)}`, found).catch((error: Error) => {
      throw new Error(`${error.message}; the stream ends with ${this.#curl.stdout.slice(-2000)}`);
    });
  }

  async ended(): Promise<Line> {
    assert.is((await this.#curl.ended).code, 0);
    return this.lines.at(-1)!;
  }
}

/** Fails if a line does not fit the description that the VTEP serves. */
export function requireDescribed(description: string, lines: readonly Line[]): void {
  const { paths, components } = JSON.parse(description) as {
    paths: Record<string, { get: { responses: { 200: { content: Record<string, { schema: object }> } } } }>;
    components: object;
  };
  const [{ schema }] = Object.values(paths['/v1/events']!.get.responses[200].content) as [{ schema: object }];
  const ajv = new Ajv2020({ strict: true, strictRequired: false });
  ajv.addVocabulary(['components']);
  const check = ajv.compile({ ...schema, components });
  for (const line of lines) assert.ok(check(line), `${JSON.stringify(line)} ${JSON.stringify(check.errors)}`);
}
