import fc from 'fast-check';
import { type Option, optionsLength } from '../../src/wire/index.js';

const data = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });

/**
 * Lists of options as `decode` returns them: whole words of at most 40 octets, where an end-of-list or a malformed
 * option covers the rest.
 */
export const optionLists: fc.Arbitrary<Option[]> = fc
  .tuple(
    fc.array(
      fc.oneof(
        fc.constant<Option>({ kind: 1, data: new Uint8Array(0) }),
        fc.record({ kind: fc.integer({ min: 2, max: 255 }), data: data(8) }, { noNullPrototype: true }),
      ),
      { maxLength: 4 },
    ),
    fc.constantFrom('nop', 'end', 'malformed'),
    fc.integer({ min: 2, max: 255 }),
    data(40),
  )
  .map(([list, tail, kind, filler]) => {
    const options: Option[] = [];
    let length = 0;
    for (const option of list) {
      const more = option.kind === 1 ? 1 : 2 + option.data.length;
      if (length + more > 40) break;
      options.push(option);
      length += more;
    }
    const rest = (4 - (length & 3)) & 3;
    if (rest === 0) return options;
    if (tail === 'nop') for (let i = 0; i < rest; i++) options.push({ kind: 1, data: new Uint8Array(0) });
    else {
      const left = new Uint8Array(rest - 1);
      left.set(filler.subarray(0, rest - 1));
      if (tail === 'end') options.push({ kind: 0, data: left });
      else {
        if (left.length > 0) left[0] = kind & 1; // a length below 2
        options.push({ kind, data: left, malformed: true });
      }
    }
    if (optionsLength(options) !== length + rest) throw new Error('the length of the list is not a multiple of 4');
    return options;
  });
