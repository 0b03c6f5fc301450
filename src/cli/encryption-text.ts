import { type Results } from '../host/index.js';

type Encryption = NonNullable<Results['remotes'][number]['encryption']>[number];

/** With which keys frames to and from a host are encrypted: `key 2 since 2026-01-31T12:00:00.000Z`. */
export function encryptionText({ out, in: into, unanswered }: Pick<Encryption, 'out' | 'in' | 'unanswered'>): string {
  if (out === null) return `no key${unanswered === null ? '' : `, no answer since ${unanswered}`}`;
  const other = into === null ? ', nothing received' : into.key === out.key ? '' : `, received with key ${into.key}`;
  return `key ${out.key} since ${out.since}${other}`;
}
