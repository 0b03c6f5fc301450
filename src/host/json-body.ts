/** Reads the body of a request. */
import { RequestError } from './error.js';

/** @throws RequestError if the octets are not JSON in UTF-8. */
export function jsonBody(body: Uint8Array): unknown {
  return parseJson(utf8(body));
}

/** @throws RequestError: a replacement character would make another name of a wrong one. */
function utf8(body: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw new RequestError('invalid-request', 'the body must be JSON in UTF-8, and has octets that are none');
  }
}

/** @throws RequestError */
function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    // Without the part of the request that V8 quotes: it may have a key.
    const why = (error as Error).message.replace(/, (?:\.\.\.)?".*$/s, '');
    throw new RequestError('invalid-request', `the body must be a JSON object: ${why}`);
  }
}
