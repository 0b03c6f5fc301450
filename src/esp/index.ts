/**
 * ESP, RFC 4303, with AES-GCM, RFC 4106: the header, and associations that seal and open packets. They own no keys of a
 * library and no buffer: the caller injects an `Aead`.
 */
export {
  check,
  decode,
  decodeLax,
  diagnose,
  encode,
  encodeInto,
  getSequence,
  getSpi,
  HEADER_LENGTH,
  IV_LENGTH,
  MIN_SPI,
  PORT,
  PROTOCOL,
  setIv,
  setSequence,
  setSpi,
  type Esp,
} from './header.js';
export { checkKeyParameters, NONCE_LENGTH, PacketList, type Aead, type AeadKey, type KeyParameters } from './aead.js';
export { backOf, FRONT, Outbound } from './outbound.js';
export { Inbound, NO_NEXT_HEADER, REPLAYED, TOO_SHORT, type InboundSink, type InboundTest } from './inbound.js';
export { IMPOSSIBLE, ReplayWindow, WINDOW } from './replay-window.js';
export { BAD_PADDING, longestPayload, paddingOf, payloadEnd, TRAILER_LENGTH, writeTrailer } from './trailer.js';
