/**
 * Test cases 1 and 3 of draft-mcgrew-gcm-test-01, "Test Cases for the use of GCM and GMAC in IPsec ESP". An implementation
 * that gets them wrong is not used: a library may have other constants, or a defect on this processor.
 */
import { FRONT, PacketList, type Aead, type KeyParameters } from '../../esp/index.js';

interface Case extends KeyParameters {
  high: number;
  /** ESP header, IV and plaintext. */
  plain: Uint8Array;
  /** Ciphertext and ICV. */
  sealed: Uint8Array;
}

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'));

const CASES: readonly Case[] = [
  {
    key: bytes('4c80cdefbb5d10da906ac73c3613a634'),
    salt: bytes('2e443b68'),
    icv: 16,
    extended: true,
    high: 0x8765_4321 | 0,
    plain: bytes(
      '00004321000000004956ed7e3b244cfe' +
        '45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000' +
        '00000000045f736970045f756470037369700963796265726369747902646b00' +
        '0021000101020201',
    ),
    sealed: bytes(
      'fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34' +
        'cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce' +
        '61bc17d768fd9732459018148f6cbe722fd04796562dfdb4',
    ),
  },
  {
    key: bytes('abbccddef00112233445566778899aababbccddef00112233445566778899aab'),
    salt: bytes('11223344'),
    icv: 8, // the first half of the 16 octets that the draft has
    extended: false,
    high: 0,
    plain: bytes(
      '4a2cbfe3000000020102030405060708' +
        '4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000' +
        '7002400020bf0000020405b40101040201020201',
    ),
    sealed: bytes(
      'ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763' +
        '748a637985771d347f0545659f14e99def842d8eb335f4eecfdbf831',
    ),
  },
];

/** Bytes of a buffer for the test. */
export const SELF_TEST_ROOM = 256;

/**
 * Whether an implementation seals and opens the packets of the draft, and refuses them after a change.
 * @param packets The buffer that it is bound to, of `SELF_TEST_ROOM` bytes. They are overwritten.
 */
export function passesSelfTest(aead: Aead, packets: Uint8Array): boolean {
  return CASES.every((one) => {
    const key = aead.key(one);
    const list = new PacketList(1);
    const end = one.plain.length + one.icv;
    list.count = 1;
    list.length[0] = one.plain.length - FRONT;
    list.high[0] = one.high;
    packets.fill(0);
    packets.set(one.plain);
    key.seal(list);
    const sealed = Buffer.compare(packets.subarray(FRONT, end), one.sealed) === 0;
    key.open(list);
    const opened = list.authentic[0] === 1 && Buffer.compare(packets.subarray(0, one.plain.length), one.plain) === 0;
    packets.set(one.sealed, FRONT);
    packets[end - 1]! ^= 1;
    key.open(list);
    const refused = list.authentic[0] === 0;
    key.free();
    return sealed && opened && refused;
  });
}
