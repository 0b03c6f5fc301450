/** The frames that scapy wrote with discovery-frames.py, in hexadecimal. */
import { readFileSync } from 'node:fs';

type Named<T = string> = Readonly<Record<string, T>>;

export const DISCOVERY = JSON.parse(
  readFileSync(new URL('discovery-frames.json', import.meta.url), 'utf8'),
) as Readonly<
  Record<'answered' | 'vtep', Named<[asked: string, answer: string]>> &
    Record<'invalid' | 'claims' | 'announced', Named> & { moved: [asked: string, answer: string] } & Record<
      'unknown' | 'own probe' | 'local' | 'announcement' | 'no address' | 'virtual' | 'packet' | 'packet to nobody',
      string
    >
>;
