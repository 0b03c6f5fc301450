/**
 * The basis of every codec: byte access in network order, the Internet checksum, options, UTF-8, text that may be
 * printed, and the decoding error.
 */
export { getI32, getU16, getU24, getU32, setU16, setU24, setU32 } from './bytes.js';
export { checksum, finish, fold, sum, update } from './checksum.js';
export {
  MALFORMED,
  malformed,
  problemAt,
  room,
  TRUNCATED,
  truncated,
  truncatedProblem,
  uint,
  UNSUPPORTED,
  unsupported,
  WireError,
  type Reason,
  type WireProblem,
} from './error.js';
export { OPTION_END, OPTION_NOP, optionsLength, readOptions, writeOptions, type Option } from './options.js';
export { isPrintable, nameTrouble, printable, unprintable } from './printable.js';
export { decodeText, encodeText, ESCAPE } from './text.js';
export { areEqual128, areZero128, hash128, hashPair, hashWords } from './words.js';
