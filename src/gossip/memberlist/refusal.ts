import { WireError } from '../../wire/index.js';
import { UNREADABLE } from './seal.js';

/**
 * Why traffic from an address is refused:
 *
 * - `label`: it carries another cluster's label, or none where this member has one
 * - `key`: no key of the ring decrypts it
 * - `encrypted`: it is encrypted, and this member has no key
 * - `plain`: it is not encrypted, and this member has keys
 * - `version`: its members use versions of the protocol or the application that this member does not support
 * - `malformed`: anything else
 */
export type Refusal = 'label' | 'key' | 'encrypted' | 'plain' | 'version' | 'malformed';

/** Classifies an error thrown by reading a packet or a stream. */
export function refusalOf({ reason, detail }: WireError): Refusal {
  if (detail === UNREADABLE.label) return 'label';
  if (detail === UNREADABLE.otherKey) return 'key';
  if (detail === UNREADABLE.encrypted) return 'encrypted';
  if (detail === UNREADABLE.plain || detail.startsWith('encryption version')) return 'plain';
  return reason === 'unsupported' ? 'version' : 'malformed';
}
