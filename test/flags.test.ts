/** Short flags, as in POSIX getopt (IEEE 1003.1, section 12.2). */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { flagHelp, parseFlags, UsageError, type Flag } from '../src/cli/flags.js';

const flags: Flag[] = [
  { name: 'count', letter: 'c', value: 'N', text: 'a number' },
  { name: 'hex', letter: 'x', text: 'bytes' },
  { name: 'tree', letter: 'v', text: 'fields' },
  { name: 'peer', letter: 'p', value: 'IP', many: true, text: 'peers' },
  { name: 'json', text: 'as JSON' },
];

function read(...args: string[]): unknown[] {
  const parsed = parseFlags(args, flags);
  return [parsed.value('count'), parsed.on('hex'), parsed.on('tree'), parsed.rest];
}

test('letters: a value attached, behind, and after switches', () => {
  assert.equal(read('-c', '5', 'f'), ['5', undefined, undefined, ['f']]);
  assert.equal(read('f', '-c5'), ['5', undefined, undefined, ['f']]);
  assert.equal(read('-c=5'), ['5', undefined, undefined, []]);
  assert.equal(read('-xv', 'f'), [undefined, true, true, ['f']]);
  assert.equal(read('-xvc5', 'f'), ['5', true, true, ['f']]);
  assert.equal(read('-xvc', '5', 'f'), ['5', true, true, ['f']]);
  assert.equal(read('-cx'), ['x', undefined, undefined, []]);
  assert.equal(read('-', '--', '-x'), [undefined, undefined, undefined, ['-', '-x']]);
});

test('letters: many values, and the two forms are one flag', () => {
  const parsed = parseFlags(['-p', 'a', 'b', '--peer', 'c', '-pd'], flags);
  assert.equal(parsed.values('peer'), ['a', 'b', 'c', 'd']);
  assert.equal([...parsed.given], ['peer']);
  assert.is(parseFlags(['-h'], flags).on('help'), true);
});

test('letters: errors name what was typed', () => {
  const refused = (...args: string[]): string => {
    try {
      parseFlags(args, flags);
    } catch (error) {
      assert.instance(error, UsageError);
      return (error as Error).message;
    }
    return '';
  };
  assert.is(refused('-q'), 'unknown flag -q');
  assert.is(refused('-xq'), 'unknown flag -q');
  assert.is(refused('-c'), '-c takes a value: -c N');
  assert.is(refused('-c', '-x'), '-c takes a value: -c N');
  assert.is(refused('-c1', '--count', '2'), '--count was given twice: 1, 2');
  assert.is(refused('-count', '5'), 'unknown flag -count; did you mean --count?');
  assert.is(refused('-count=5'), 'unknown flag -count; did you mean --count?');
  assert.is(refused('-tree'), 'unknown flag -tree; did you mean --tree?');
  assert.is(parseFlags(['-c', '5'], flags).typed('count'), '-c');
  assert.is(parseFlags(['--count=5'], flags).typed('count'), '--count');
});

test('letters: help lists them before the names', () => {
  assert.is(
    flagHelp(flags),
    [
      '  -c, --count N    a number',
      '  -x, --hex        bytes',
      '  -v, --tree       fields',
      '  -p, --peer IP …  peers',
      '      --json       as JSON',
      '  -h, --help       this help',
    ].join('\n'),
  );
});

test.run();
