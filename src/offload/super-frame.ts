import * as virtio from '../virtio/index.js';

/** What the virtio header of a super-frame says: how the frame becomes packets. One instance is reused for all frames. */
export class SuperFrame {
  gsoType = virtio.GSO_NONE;
  /** Bytes of data per segment. */
  gsoSize = 0;
  /** Offset of the frame when it was read; the following fields count from there. */
  start = 0;
  headerLength = 0;
  checksumStart = 0;
  checksumOffset = 0;

  /**
   * @param header Offset of the virtio header.
   * @param start Offset of the frame.
   */
  read(bytes: Uint8Array, header: number, start: number): void {
    this.gsoType = virtio.getGsoType(bytes, header);
    this.gsoSize = virtio.getGsoSize(bytes, header);
    this.start = start;
    this.headerLength = virtio.getHeaderLength(bytes, header);
    this.checksumStart = virtio.getChecksumStart(bytes, header);
    this.checksumOffset = virtio.getChecksumOffset(bytes, header);
  }

  /**
   * Writes the virtio header.
   * @param header Where to write it.
   * @param start Offset of the frame now: it has moved if a VLAN tag was added or removed.
   */
  writeVirtio(bytes: Uint8Array, header: number, start: number): void {
    const { gsoType, gsoSize, headerLength, checksumStart, checksumOffset } = this;
    const shift = this.start - start;
    virtio.writeHeader(bytes, header, gsoType, headerLength + shift, gsoSize, checksumStart + shift, checksumOffset);
  }
}
