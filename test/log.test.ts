import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { journalPrefix, jsonLine, Logger, textLine, type LogRecord } from '../src/host/index.js';

const log = suite('log');

/** A logger with a test clock, and its output. */
function recorded(options: ConstructorParameters<typeof Logger>[1] = {}) {
  const records: LogRecord[] = [];
  const time = { now: 0 };
  const logger = new Logger((record) => void records.push(record), {
    now: () => time.now,
    clock: () => Date.UTC(2026, 10, 26, 13, 46, 28, 7) + time.now,
    ...options,
  });
  return { logger, records, time, messages: () => records.map(({ message }) => message) };
}

log('a line has an RFC 3339 time with milliseconds, a level and a message, as text and as JSON', () => {
  const { logger, records } = recorded();
  logger.warning('tap-lost', 'TAP eth0 is lost: EIO', { tap: 'eth0' });
  assert.is(textLine(records[0]!), '2026-11-26T13:46:28.007Z warning: TAP eth0 is lost: EIO');
  assert.equal(JSON.parse(jsonLine(records[0]!)), {
    time: '2026-11-26T13:46:28.007Z',
    level: 'warning',
    event: 'tap-lost',
    message: 'TAP eth0 is lost: EIO',
    tap: 'eth0',
  });
});

log('a message of several lines stays one line', () => {
  const { logger, records } = recorded();
  logger.error('x', 'one\n  two\r\nthree');
  assert.match(textLine(records[0]!), /error: one; two; three$/);
});

log('lines below the level are omitted', () => {
  const written = (level: 'error' | 'warning' | 'info' | 'debug'): string[] => {
    const { logger, records } = recorded({ level });
    for (const one of ['debug', 'info', 'warning', 'error'] as const) logger[one]('e', one);
    return records.map((record) => record.level);
  };
  assert.equal(written('error'), ['error']);
  assert.equal(written('warning'), ['warning', 'error']);
  assert.equal(written('info'), ['info', 'warning', 'error']);
  assert.equal(written('debug'), ['debug', 'info', 'warning', 'error']);
});

log('a limit passes one line per key and interval, and the next line gives the number omitted', () => {
  const { logger, records, time, messages } = recorded();
  const flood = (key: string): void => logger.warning('mac-flood', `flood at ${key}`, {}, { key, interval: 1000 });
  for (time.now = 0; time.now < 1000; time.now += 100) {
    flood('a');
    if (time.now === 500) flood('b');
  }
  assert.equal(messages(), ['flood at a', 'flood at b']);
  flood('a');
  assert.equal(messages().slice(2), ['flood at a (and 9 more like it since the last line)']);
  assert.is(records[2]!.fields['suppressed'], 9);
  time.now += 1000;
  flood('a');
  assert.is(messages().at(-1), 'flood at a');
});

log('the total number of lines is limited, and the log gives the number omitted', () => {
  const { logger, records, time } = recorded();
  for (let i = 0; i < 1000; i++) logger.warning('e', `line ${i}`);
  assert.is(records.length, 200);
  time.now = 1000;
  logger.warning('e', 'later');
  assert.equal(
    records.slice(200).map(({ event, message, fields }) => [event, message, fields['count']]),
    [
      ['log-limited', '800 log lines were dropped: too many in a short time', 800],
      ['e', 'later', undefined],
    ],
  );
});

log('any number of keys takes bounded memory', () => {
  const { logger, time } = recorded({ level: 'debug' });
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 200_000; i++) {
    time.now = i;
    logger.debug('e', 'm', {}, { key: `key ${i} ${'x'.repeat(200)}`, interval: 1e9 });
  }
  assert.ok(process.memoryUsage().heapUsed - before < 64 << 20);
});

log('the journal prefixes are those of syslog(3)', () => {
  assert.equal((['error', 'warning', 'info', 'debug'] as const).map(journalPrefix), ['<3>', '<4>', '<6>', '<7>']);
});

log.run();

const output = suite('output');
const host = fileURLToPath(new URL('../src/host/index.ts', import.meta.url));

/** Runs a program that writes lines to its standard output by `Output`, and reports on descriptor 3. */
function program(body: string): string[] {
  const text = `
    import { Output } from ${JSON.stringify(host)};
    import { writeSync } from 'node:fs';
    const out = new Output(1, (count, code) => 'lost ' + count + ' ' + code);
    const report = (text) => writeSync(3, text + '\\n');
    ${body}`;
  return ['--import', 'tsx', '--input-type=module', '-e', text];
}

let directory: string;
output.before(() => void (directory = mkdtempSync(join(tmpdir(), 'weft-output-'))));
output.after(() => rmSync(directory, { recursive: true, force: true }));

function into(stdout: number, body: string): { code: number | null; report: string; stderr: string } {
  const path = join(directory, 'report');
  const fd = openSync(path, 'w');
  const { status, stderr } = spawnSync(process.execPath, program(body), {
    stdio: ['ignore', stdout, 'pipe', fd],
    encoding: 'utf8',
    timeout: 60_000,
  });
  closeSync(fd);
  return { code: status, report: readFileSync(path, 'utf8'), stderr };
}

output('a file gets every line', () => {
  const path = join(directory, 'log');
  const fd = openSync(path, 'w');
  into(fd, `for (let i = 0; i < 1000; i++) out.write('line ' + i); report(String(out.lost));`);
  closeSync(fd);
  const lines = readFileSync(path, 'utf8').split('\n');
  assert.equal([lines.length, lines[0], lines[999], lines[1000]], [1001, 'line 0', 'line 999', '']);
});

output('a full disk only loses lines', () => {
  const fd = openSync('/dev/full', 'w');
  const { code, report, stderr } = into(
    fd,
    `out.write('a'); out.write('b'); await out.drain(100); report('lost ' + out.lost);`,
  );
  closeSync(fd);
  assert.equal([code, report, stderr], [0, 'lost 2\n', '']);
});

/** The file whose presence starts the reader of a pipe. */
const go = (): string => join(directory, 'go');

/** The end of a shell command line: the reader of the program's standard output. */
const PIPES = {
  'a pipe': (reader: string, body: string) =>
    spawn('sh', ['-c', `"$0" "$@" | ${reader}`, process.execPath, ...program(body)], {
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    }),
  'a socket': (reader: string, body: string) => {
    // Node gives its children sockets instead of pipes.
    const shell = spawn('sh', ['-c', reader], { stdio: ['pipe', 'pipe', 'inherit'] });
    const child = spawn(process.execPath, program(body), { stdio: ['ignore', 'pipe', 'inherit', 'pipe'] });
    if (reader === 'true') child.stdout!.destroy();
    else {
      child.stdout!.pause();
      const timer = setInterval(() => {
        if (!existsSync(go())) return;
        clearInterval(timer);
        child.stdout!.pipe(shell.stdin!);
      }, 100);
    }
    shell.stdin!.on('error', () => undefined);
    return Object.assign(child, { text: shell.stdout });
  },
};

for (const [kind, open] of Object.entries(PIPES)) {
  const run = async (reader: string, body: string): Promise<{ report: string; text: string }> => {
    const child: ChildProcess & { text?: Readable } = open(reader, body);
    let report = '';
    let text = '';
    const shown = child.text ?? child.stdout!;
    (child.stdio[3] as Readable).on('data', (data: Buffer) => (report += data));
    shown.on('data', (data: Buffer) => (text += data));
    await Promise.all([
      new Promise((resolve) => child.on('close', resolve)),
      ...(reader === 'true' ? [] : [new Promise((resolve) => shown.on('end', resolve))]),
    ]);
    return { report, text };
  };

  output(`${kind} that is closed only loses lines`, async () => {
    const { report } = await run(
      'true',
      `await new Promise((resolve) => setTimeout(resolve, 500));
       for (let i = 0; i < 5; i++) out.write('x');
       await out.drain(100);
       report('lost ' + out.lost);`,
    );
    assert.is(report, 'lost 5\n');
  });

  output(
    `${kind} without a reader neither blocks nor takes memory; later, a line gives the number of lost lines`,
    async () => {
      rmSync(go(), { force: true });
      const { report, text } = await run(
        `(while ! test -e ${go()}; do sleep 0.1; done; cat)`,
        `const start = performance.now();
       for (let i = 0; i < 20000; i++) out.write(String(i).padStart(99));
       report('in time: ' + (performance.now() - start < 30000) + ', lost some: ' + (out.lost > 10000));
       (await import('node:fs')).writeFileSync(${JSON.stringify(go())}, '');
       await out.drain(60000);
       out.write('afterwards');
       await out.drain(60000);
       report('lost ' + out.lost);`,
      );
      assert.match(report, /^in time: true, lost some: true\nlost \d+\n$/);
      const lines = text.trimEnd().split('\n');
      const lost = Number(/lost (\d+)/.exec(report)![1]);
      assert.equal(lines.slice(-2), [`lost ${lost} EAGAIN`, 'afterwards']);
      assert.is(lines.length - 2 + lost, 20_000, 'each line was written or counted');
      const whole = lines.slice(0, -2).every((line, i) => line === String(i).padStart(99));
      assert.ok(whole, 'what was written is whole and in order');
    },
  );
}

output('after a full disk has space again, lines are complete and a line reports the loss', () => {
  // A file limited to 1024 bytes acts as a full disk: `ulimit -f` counts in units of 1024.
  const path = join(directory, 'small');
  writeFileSync(path, '');
  const text = program(
    `
    import { truncateSync } from 'node:fs';
    process.on('SIGXFSZ', () => undefined);
    for (let i = 0; i < 30; i++) out.write(String(i).padStart(99));
    truncateSync(${JSON.stringify(path)}, 0);
    out.write('again');`
      .replace('import { truncateSync } from', 'const { truncateSync } = await import(')
      .replace("'node:fs';", "'node:fs');"),
  );
  const { status, stderr } = spawnSync(
    'sh',
    ['-c', 'ulimit -f 2; exec "$0" "$@" >>"$FILE" 3>/dev/null', process.execPath, ...text],
    {
      encoding: 'utf8',
      env: {
        ...process.env,
        FILE: path,
        TSX_DISABLE_CACHE: '1',
        NODE_V8_COVERAGE: '',
      } /* coverage files exceed the limit too */,
      timeout: 60_000,
    },
  );
  assert.equal([status, stderr], [0, '']);
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '');
  assert.match(lines.at(-2) ?? '', /^lost \d+ EFBIG$/);
  assert.is(lines.at(-1), 'again');
});

output.run();
