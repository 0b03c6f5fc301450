/** The JSON reader of configuration files: compared with JSON.parse, and its messages. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { JsonError, parseJson } from '../src/cli/json.js';

test('reads what JSON.parse reads', () => {
  fc.assert(
    fc.property(fc.json(), fc.boolean(), (text, spread) => {
      const written = spread ? JSON.stringify(JSON.parse(text), null, 2) : text;
      // fast-check may repeat a key in an object, which JSON.parse accepts and a configuration must not have.
      try {
        assert.equal(parseJson(written), JSON.parse(written));
      } catch (error) {
        assert.match((error as Error).message, /given twice/);
      }
    }),
  );
});

test('rejects what JSON.parse rejects', () => {
  fc.assert(
    fc.property(
      fc.json({ maxDepth: 2 }),
      fc.nat(),
      fc.constantFrom('', ',', '}', ']', '"', '0', 'x', '\\', '\n'),
      (text, at, piece) => {
        const place = at % (text.length + 1);
        const broken = text.slice(0, place) + piece + text.slice(place + 1);
        let accepted = true;
        try {
          JSON.parse(broken);
        } catch {
          accepted = false;
        }
        try {
          parseJson(broken);
          assert.ok(accepted, broken);
        } catch (error) {
          if (!(error instanceof JsonError)) throw error;
          if (accepted) assert.match(error.message, /given twice/);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

const WRONG: [text: string, message: string][] = [
  ['', '1:1 expected a value, found the end of the file'],
  ['{', "1:2 expected a field's name in quotation marks, found the end of the file"],
  ['{"a": 1,}', '1:8 a comma before the closing brace'],
  ['{"a": [1,\n2,\n]}', '2:2 a comma before the closing bracket'],
  ['{"a": 1 "b": 2}', '1:9 expected "," or "}", found """'],
  ["{'a': 1}", '1:2 expected a field\'s name in quotation marks, found "\'"'],
  ['{"a": \'x\'}', '1:7 strings must be in double quotation marks'],
  ['{\n  // here\n}', '2:3 JSON has no comments'],
  ['{"port": 1,\n "port": 2}', '2:2 the field "port" is given twice'],
  ['{"a": "x\n"}', '1:7 this string has no closing quotation mark'],
  ['{"a": "C:\\temp\\x"}', '1:15 unknown escape sequence; write a backslash as \\\\'],
  ['{"a": tru}', '1:7 expected a value, found "t"'],
  ['{} {}', '1:4 expected the end of the file, found "{"'],
  ['{"a": 010}', '1:8 expected "," or "}", found "1"'],
  [`${'['.repeat(100_000)}`, '1:66 lists and objects are nested too deeply'],
];
for (const [text, message] of WRONG)
  test(`says where ${JSON.stringify(text.slice(0, 20))} is wrong`, () => {
    try {
      parseJson(text);
    } catch (error) {
      assert.instance(error, JsonError);
      const { line, column, message: why } = error as JsonError;
      return assert.is(`${line}:${column} ${why}`, message);
    }
    assert.unreachable();
  });

test('a key such as __proto__ is a key like any other', () => {
  const value = parseJson('{"__proto__": {"a": 1}, "constructor": 2}') as object;
  assert.equal(Object.keys(value), ['__proto__', 'constructor']);
  assert.is(Object.getPrototypeOf(value), Object.prototype);
});

test('accepts a byte order mark', () =>
  assert.equal(parseJson('\ufeff{"a": [true, null, -1.5e3]}'), { a: [true, null, -1500] }));

test.run();
