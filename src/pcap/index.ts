/** Capture files: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), read in chunks, and written. */
export * from './linktype.js';
export { MAX_CAPTURED } from './format.js';
export {
  CaptureReader,
  readCapture,
  type CapturedPacket,
  type CaptureInterface,
  type CaptureReaderOptions,
  type Direction,
  type Format,
} from './reader.js';
export {
  PcapngWriter,
  PcapWriter,
  type InterfaceToWrite,
  type PacketForInterface,
  type PacketToWrite,
  type PcapngWriterOptions,
  type PcapWriterOptions,
} from './writer.js';
