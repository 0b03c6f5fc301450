import { printable } from '../wire/index.js';

/**
 * Aligns columns, separated by two blanks: numbers right, text left. Cells are escaped first, so that their widths are
 * those that are printed.
 * @returns the lines.
 */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const cells = [head, ...rows].map((row) => row.map((cell) => printable(String(cell))));
  // Not `Math.max(...all)`, whose arguments may overflow the stack.
  const widths = head.map((_, column) => cells.reduce((most, row) => Math.max(most, row[column]!.length), 0));
  const right = head.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'));
  return cells.map((row) =>
    row
      .map((cell, column) => (right[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}
