/** Collects the problems that the rules of a configuration find. */
import { type Problem } from './problem.js';

/** Reports that the value at `path` is not the one expected. */
export type Report = (path: string, expected: string, given: unknown, ...related: string[]) => void;
/** Reports a problem with the value at `path`, in words that follow the path. */
export type ReportReason = (path: string, reason: string, given: unknown, ...related: string[]) => void;

export interface Findings {
  problems: Problem[];
  report: Report;
  reportReason: ReportReason;
}

export function findings(): Findings {
  const problems: Problem[] = [];
  return {
    problems,
    report: (path, expected, given, ...related) => void problems.push({ path, expected, given, ...about(related) }),
    reportReason: (path, reason, given, ...related) => void problems.push({ path, reason, given, ...about(related) }),
  };
}

function about(related: readonly string[]): { related?: readonly string[] } {
  return related.length === 0 ? {} : { related };
}

const TWICE = 'is given twice (before as {0})';

/** The reason of a problem with a value that another field has, which is related. */
export function givenTwice(given: unknown): string {
  return `${String(given)} ${TWICE}`;
}

/** The same reason where the other field is not of this request, but of what a VTEP has. */
export function inUse(reason: string): string {
  return reason.endsWith(TWICE) ? reason.replace(TWICE, 'is in use already ({0})') : reason;
}

/** Reports each repeated key of a kind, and names the first occurrence. */
export function unique(
  reportReason: ReportReason,
): (path: string, kind: string, key: string | number, given: unknown) => void {
  const first = new Map<string, string>();
  return (path, kind, key, given) => {
    const before = first.get(`${kind} ${key}`);
    if (before === undefined) first.set(`${kind} ${key}`, path);
    else if (before !== path) reportReason(path, givenTwice(given), given, before);
  };
}
