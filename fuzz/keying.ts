/**
 * The agreement on keys: messages of strangers, and of a host with the keys. The first octet of a message names its sender; bit 7:
 * with the right authentication code, so that what is behind the check is reached.
 */
import { createHmac, hkdfSync } from 'node:crypto';
import { Keying, message } from '../src/keying/index.js';

const LOCAL = '192.0.2.1';
const PEERS = ['192.0.2.2', '192.0.2.3'];
const KEY = Buffer.alloc(16, 7).toString('base64');

const crypto = {
  hkdf: (key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number) =>
    new Uint8Array(hkdfSync('sha256', key, salt, info, length)),
  hmac: (key: Uint8Array, text: Uint8Array) => new Uint8Array(createHmac('sha256', key).update(text).digest()),
};

export function fuzz(data: Uint8Array): void {
  let counter = 0;
  const random = (length: number): Uint8Array => {
    counter++;
    return new Uint8Array(createHmac('sha512', 'fuzz').update(`${counter}`).digest()).slice(0, length);
  };
  const accepted = new Set<number>();
  let sent = 0;
  const keying = new Keying(
    {
      ...{ local: LOCAL, senders: 2, crypto: { ...crypto, random } },
      decodeKey: (text) => new Uint8Array(Buffer.from(text, 'base64')),
    },
    {
      send: () => void sent++,
      report: () => undefined,
      change(change) {
        if (change.do === 'accept')
          for (const { spi, key, salt } of change.keys) {
            ensure(spi >= 256 && spi <= 0xffff_ffff && !accepted.has(spi), `SPI ${spi}`);
            ensure(key.length === 16 && salt.length === 4, 'a key of another length');
            accepted.add(spi);
          }
        else if (change.do === 'forget') for (const spi of change.spis) ensure(accepted.delete(spi), `forgets ${spi}`);
        else if (change.do === 'send') ensure(change.keys.length === 2, `${change.keys.length} keys to send by`);
      },
    },
  );
  keying.setKeys('net', [{ number: 1, key: KEY }], 0);
  keying.want('net', PEERS[0]!, 0);
  const other = new Uint8Array(hkdfSync('sha256', Buffer.from(KEY, 'base64'), '', 'weft code\0net\0', 32));
  let now = 0;
  for (let at = 0; at + 2 <= data.length;) {
    const kind = data[at]!;
    const length = Math.min(data[at + 1]!, data.length - at - 2);
    const bytes = data.slice(at + 2, at + 2 + length);
    at += 2 + length;
    const from = PEERS[kind & 1]!;
    if ((kind & 0x80) !== 0 && bytes.length === message.MESSAGE_LENGTH) {
      const code = crypto.hmac(
        other,
        Uint8Array.from([...message.protectedPart(bytes), ...mapped(from), ...mapped(LOCAL)]),
      );
      bytes.set(code.subarray(0, message.CODE_LENGTH), message.MESSAGE_LENGTH - message.CODE_LENGTH);
    }
    const before = sent;
    keying.receive(from, bytes, now);
    ensure(sent - before <= 2, `${sent - before} messages for one`);
    if ((kind & 0x40) !== 0) for (const spi of accepted) keying.used(spi, now);
    now += 100 * (1 + (kind & 0x3e));
    keying.tick(now);
  }
  // Two hosts with a few associations each, however many requests there were: two unused ones, and those that end soon.
  ensure([...keying.listing()].length <= 2, 'ways pile up');
  for (let i = 0; i < 100; i++) keying.tick((now += 1000));
  keying.removeGroup('net');
  ensure(accepted.size === 0, `${accepted.size} associations are left`);
}

function mapped(address: string): number[] {
  return [...new Array<number>(10).fill(0), 0xff, 0xff, ...address.split('.').map(Number)];
}

function ensure(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}
