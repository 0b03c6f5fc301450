/**
 * The frames of the files of a store. A frame is written whole or counts as never written:
 *
 *     | ff 'W' 'S' 01 | CRC-32 (4) | length (4) | length octets of JSON text |
 *
 * Integers are big-endian. The checksum covers the length and the text, so that a run of zeros is no frame. The octet ff
 * occurs in no UTF-8 text, so the mark is found again behind damage. The last octet of the mark is the version.
 */
import { crc32 } from '../../gossip/memberlist/index.js';

const MARK = Buffer.from([0xff, 0x57, 0x53, 0x01]);
const HEADER = 12;
const CHECKSUM = 4;
const LENGTH = 8;

/** The bytes of a frame with this value. */
export function encodeFrame(value: unknown): Buffer {
  const text = JSON.stringify(value);
  const length = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(HEADER + length);
  MARK.copy(frame);
  frame.writeUInt32BE(length, LENGTH);
  frame.write(text, HEADER);
  frame.writeUInt32BE(crc32(frame, LENGTH), CHECKSUM);
  return frame;
}

/** What is in a file: its frames, and where the first bytes are that are none. */
export interface Frames {
  readonly values: { readonly offset: number; readonly value: unknown }[];
  /** The end of the last intact frame before any damage. */
  readonly end: number;
  /** Absent: the file ends with its last frame. */
  readonly damage?: {
    /** Whether intact frames follow. A write that was interrupted leaves none behind it. */
    readonly isFollowed: boolean;
    /** The version that the damaged frame claims, if it begins like one of another version. */
    readonly version?: number;
  };
}

/** Reads the frames of a file. Never throws. */
export function readFrames(file: Buffer): Frames {
  const values: Frames['values'] = [];
  let end = 0;
  while (end < file.length) {
    const frame = frameAt(file, end);
    if (frame === null) {
      const version = file.subarray(end, end + 3).equals(MARK.subarray(0, 3)) ? file[end + 3] : undefined;
      const damage = { isFollowed: isFrameBehind(file, end + 1) };
      return { values, end, damage: version === undefined || version === MARK[3] ? damage : { ...damage, version } };
    }
    values.push({ offset: end, value: frame.value });
    end = frame.end;
  }
  return { values, end };
}

function isFrameBehind(file: Buffer, from: number): boolean {
  for (let at = file.indexOf(MARK, from); at >= 0; at = file.indexOf(MARK, at + 1))
    if (frameAt(file, at) !== null) return true;
  return false;
}

function frameAt(file: Buffer, at: number): { value: unknown; end: number } | null {
  if (at + HEADER > file.length || MARK.compare(file, at, at + MARK.length) !== 0) return null;
  const length = file.readUInt32BE(at + LENGTH);
  const end = at + HEADER + length;
  if (end > file.length || crc32(file, at + LENGTH, end) !== file.readUInt32BE(at + CHECKSUM)) return null;
  try {
    return { value: JSON.parse(file.toString('utf8', at + HEADER, end)), end };
  } catch {
    return null;
  }
}
