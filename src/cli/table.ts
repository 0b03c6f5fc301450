import { printable } from '../wire/index.js';

type Row = readonly (string | number)[];

/** Widest column, in characters: a longer cell moves the rest of its line, and not of all lines. */
const MAX_WIDTH = 64;

/**
 * Aligns columns, separated by two blanks: numbers right, text left. Cells are escaped first, so that their widths are
 * those that are printed.
 * @returns the lines.
 */
export function table(head: Row, rows: Iterable<Row>): string[] {
  return [...tableLines(head, rows)];
}

/**
 * The lines of a table, one at a time.
 * @param rows Iterated twice; see `rowsOf`.
 */
export function* tableLines(head: Row, rows: Iterable<Row>): Generator<string> {
  const widths = head.map((cell) => String(cell).length);
  const right = head.map(() => true);
  let isEmpty = true;
  for (const row of rows) {
    isEmpty = false;
    for (const [column, cell] of row.entries()) {
      if (typeof cell !== 'number') right[column] = false;
      if (widths[column]! < MAX_WIDTH)
        widths[column] = Math.min(Math.max(widths[column]!, escaped(cell).length), MAX_WIDTH);
    }
  }
  const aligned = (row: Row): string =>
    row
      .map((cell, column) => {
        const width = widths[column]!;
        return right[column] && !isEmpty ? escaped(cell).padStart(width) : escaped(cell).padEnd(width);
      })
      .join('  ')
      .trimEnd();
  yield aligned(head);
  for (const row of rows) yield aligned(row);
}

/** Rows that are made when they are needed: a listing may have a million. */
export function rowsOf<T>(list: readonly T[], row: (entry: T) => Row): Iterable<Row> {
  return {
    *[Symbol.iterator]() {
      for (const entry of list) yield row(entry);
    },
  };
}

function escaped(cell: string | number): string {
  return printable(String(cell));
}
