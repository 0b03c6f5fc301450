import { createCipheriv, createDecipheriv, type CipherGCMTypes } from 'node:crypto';
import type { Aead } from '../gossip/memberlist/index.js';

const TAG = 16;

/** AES-GCM from OpenSSL, for the gossip. */
export const aesGcm: Aead = {
  seal(key, nonce, plaintext, aad) {
    const cipher = createCipheriv(algorithm(key), key, nonce);
    cipher.setAAD(aad);
    return plainArray(Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]));
  },
  open(key, nonce, sealed, aad) {
    if (sealed.length < TAG) return null;
    const end = sealed.length - TAG;
    const decipher = createDecipheriv(algorithm(key), key, nonce, { authTagLength: TAG });
    decipher.setAAD(aad);
    decipher.setAuthTag(sealed.subarray(end));
    const plain = decipher.update(sealed.subarray(0, end));
    try {
      return plainArray(Buffer.concat([plain, decipher.final()]));
    } catch {
      return null; // authentication failed
    }
  },
};

function algorithm(key: Uint8Array): CipherGCMTypes {
  return `aes-${(key.length * 8) as 128 | 192 | 256}-gcm`;
}

/** Converts to a plain `Uint8Array`: `slice` of a `Buffer` does not copy. */
function plainArray(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}
