// @ts-check
/**
 * The rooms of `src/` and their allowed imports: the table of CONTRIBUTING.md as code. `npm run check` and
 * `test/layers.test.ts` use it.
 *
 *     node scripts/layers.mjs            prints the violations
 *     node scripts/layers.mjs --write    updates `exports` in package.json from the rooms
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';

/** A room's layer, and the rooms and packages that it may import. */
/** @typedef {{ layer: 0 | 1 | 2 | 3 | 4, rooms: readonly string[], packages: readonly string[] }} Room */
/** @typedef {{ path: string, text: string }} Source a file of `src/`, its path with forward slashes */
/**
 * @typedef {{ specifier: string | null, line: number, lazy: boolean, typeOnly: boolean }} Import `lazy`: an `import()`
 */

const GROUND = ['wire', 'address'];
const CODECS = ['ethernet', 'arp', 'ipv4', 'ipv6', 'icmp', 'icmpv6', 'udp', 'tcp', 'vxlan', 'esp', 'virtio', 'pcap'];
const GOSSIP = ['gossip/memberlist', 'gossip/networkdb'];
const MACHINES = [
  'model',
  'state',
  'fdb',
  'neighbor',
  'router',
  'offload',
  'vtep',
  'keying',
  'ipam',
  'cluster',
  ...GOSSIP,
  'sim',
];
const BUNDLED = ['ipaddr.js', '@sinclair/typebox'];
/** What makes certificates, and the only file that imports it: most processes never need these 400 KB. */
const CERTIFICATES = ['@peculiar/x509', 'reflect-metadata'];
const CERTIFICATES_FILE = 'src/host/cluster/x509';

/** @type {(carried?: readonly string[]) => Room} */
const codec = (carried = []) => ({ layer: 1, rooms: [...GROUND, ...carried], packages: [] });
/** @type {(parts?: readonly string[]) => Room} */
const machine = (parts = []) => ({ layer: 2, rooms: [...GROUND, ...CODECS, 'packet', ...parts], packages: [] });

/**
 * Every room, in the order of `exports` in package.json. Rooms that are not listed here are rejected.
 * @type {Readonly<Record<string, Room>>}
 */
export const ROOMS = {
  wire: { layer: 0, rooms: [], packages: [] },
  address: { layer: 0, rooms: [], packages: [] },
  ethernet: codec(),
  arp: codec(),
  ipv4: codec(),
  ipv6: codec(),
  icmp: codec(['ipv4']), // errors quote packets
  icmpv6: codec(['ipv4', 'ipv6']),
  udp: codec(),
  tcp: codec(),
  vxlan: codec(),
  esp: codec(),
  virtio: codec(),
  pcap: codec(),
  packet: codec(CODECS),
  model: machine(),
  state: machine(['model']),
  fdb: machine(),
  neighbor: machine(),
  router: machine(),
  offload: machine(),
  vtep: machine(['model', 'fdb', 'neighbor', 'router', 'offload']),
  keying: machine(['model']),
  ipam: machine(['state']), // its heap
  cluster: machine(['model', 'ipam']),
  'gossip/memberlist': machine(),
  'gossip/networkdb': machine(['state', 'gossip/memberlist']),
  sim: machine(['model', 'fdb', 'neighbor', 'router', 'vtep']),
  host: {
    layer: 3,
    rooms: [...GROUND, ...CODECS, 'packet', ...MACHINES, 'schema'],
    packages: [...BUNDLED, ...CERTIFICATES, 'koffi'],
  },
  schema: { layer: 3, rooms: [...GROUND, ...CODECS, 'packet', ...MACHINES], packages: BUNDLED },
  cli: {
    layer: 4,
    rooms: [...GROUND, ...CODECS, 'packet', ...MACHINES, 'host', 'schema'],
    packages: BUNDLED,
  },
};

/**
 * The room of a file: the folder below `src`, or a nested one such as `gossip/memberlist`.
 * @param {string} path begins with `src/`
 */
export function roomOf(path) {
  const [, first = '', second = ''] = path.split('/');
  return `${first}/${second}` in ROOMS ? `${first}/${second}` : first;
}

/** The rooms that exist: folders with an `index.ts`, one or two levels below `src`, in the order of {@link ROOMS}. */
export function existingRooms(root = 'src') {
  const known = Object.keys(ROOMS);
  /** @type {(folder: string) => string[]} */
  const folders = (folder) =>
    readdirSync(join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => posix.join(folder, entry.name));
  return folders('.')
    .flatMap((folder) => [folder, ...folders(folder)])
    .filter((folder) => existsSync(join(root, folder, 'index.ts')))
    .sort((a, b) => known.indexOf(a) - known.indexOf(b));
}

/**
 * The `exports` of package.json: one entry per room, except for the program's.
 * @param {readonly string[]} rooms
 * @returns {Record<string, string | { types: string, default: string }>}
 */
export function exportsOf(rooms) {
  const doors = rooms
    .filter((room) => room !== 'cli')
    .map((room) => [`./${room}`, { types: `./dist/${room}/index.d.ts`, default: `./dist/${room}/index.js` }]);
  const root = { types: './dist/index.d.ts', default: './dist/index.js' };
  return { '.': root, ...Object.fromEntries(doors), './package.json': './package.json' };
}

/** The package's main entry, which re-exports rooms as namespaces; it belongs to none of them. */
export const MAIN = 'src/index.ts';

/**
 * The rooms that the main entry exports: those without I/O and bundled libraries, so that it also loads in a browser.
 * @param {readonly string[]} rooms
 */
export function mainRooms(rooms) {
  return rooms.filter((room) => (ROOMS[room]?.layer ?? 4) <= 2);
}

/** All TypeScript sources below `root`. @returns {Source[]} */
export function readSources(root = 'src') {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => join(root, name))
    .map((path) => ({ path: path.replaceAll('\\', '/'), text: readFileSync(path, 'utf8') }));
}

/**
 * All imports of a source, whatever their syntax.
 * @param {Source} source
 * @returns {Import[]}
 */
export function importsOf({ path, text }) {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  /** @type {Import[]} */
  const found = [];
  /** @type {(at: ts.Node, specifier: ts.Node | undefined, lazy: boolean, typeOnly: boolean) => void} */
  const add = (at, specifier, lazy, typeOnly) => {
    const line = file.getLineAndCharacterOfPosition(at.getStart(file)).line + 1;
    const named = specifier !== undefined && ts.isStringLiteralLike(specifier);
    found.push({ specifier: named ? specifier.text : null, line, lazy, typeOnly });
  };
  /** @type {(node: ts.Node) => void} */
  const visit = (node) => {
    if (ts.isImportDeclaration(node))
      add(node, node.moduleSpecifier, false, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined)
      add(node, node.moduleSpecifier, false, node.isTypeOnly);
    else if (ts.isImportEqualsDeclaration(node) && ts.isExternalModuleReference(node.moduleReference))
      add(node, node.moduleReference.expression, false, node.isTypeOnly);
    else if (ts.isImportTypeNode(node))
      add(node, ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, false, true);
    else if (ts.isCallExpression(node)) {
      if (node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node, node.arguments[0], true, false);
      else if (ts.isIdentifier(node.expression) && node.expression.text === 'require')
        add(node, node.arguments[0], false, false);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/**
 * The only files that may write to standard output and standard error: they escape what a terminal would obey. The last
 * one must work when modules cannot be loaded.
 */
const OUTPUTS = ['src/host/output.ts', 'src/cli/streams.ts', 'src/cli/last-resort.ts'];

/**
 * The places where a source names `process.stdout`, `process.stderr` or `console`, not counting strings.
 * @param {Source} source
 * @returns {{ line: number, name: string }[]}
 */
function outputsOf({ path, text }) {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  /** @type {{ line: number, name: string }[]} */
  const found = [];
  /** @type {(node: ts.Node) => void} */
  const visit = (node) => {
    if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
      const { text: object } = node.expression;
      const { text: name } = node.name;
      if (object === 'console' || (object === 'process' && /^std(out|err)$/.test(name)))
        found.push({
          line: file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1,
          name: `${object}.${name}`,
        });
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/**
 * Violations of the rules, one line each: the place, the import and the rule.
 * @param {readonly Source[]} sources paths begin with `src/`
 * @returns {string[]}
 */
export function findings(sources) {
  /** @type {string[]} */
  const out = [];
  const paths = new Set(sources.map((source) => source.path));
  for (const source of sources) {
    if (source.path === MAIN) {
      for (const { specifier, line } of importsOf(source))
        if (!mainRooms(Object.keys(ROOMS)).some((room) => specifier === `./${room}/index.js`))
          out.push(`${MAIN}:${line}: imports ${specifier}: the main entry may only re-export rooms of layers 0 to 2`);
      continue;
    }
    const name = roomOf(source.path);
    const room = ROOMS[name];
    if (room === undefined) {
      out.push(`${source.path}: ${name} is not a room: give it a layer and its imports in scripts/layers.mjs`);
      continue;
    }
    for (const one of importsOf(source)) {
      const broken = verdict(source.path, name, room, one, paths);
      if (broken !== null)
        out.push(`${source.path}:${one.line}: imports ${one.specifier ?? 'a computed name'}: ${broken}`);
    }
    if (OUTPUTS.includes(source.path)) continue;
    for (const { line, name: output } of outputsOf(source))
      out.push(`${source.path}:${line}: uses ${output}: print with src/cli/streams.ts or Output of host, which escape`);
  }
  return out;
}

/**
 * The groups of files that import each other, directly or through others; imports of types count, lazy ones do not.
 * @param {readonly Source[]} sources
 * @returns {string[][]}
 */
export function importCycles(sources) {
  const paths = new Set(sources.map(({ path }) => path));
  const imports = new Map(
    sources.map((source) => [
      source.path,
      importsOf(source)
        .filter(({ specifier, lazy }) => specifier?.startsWith('.') && !lazy)
        .map(({ specifier }) => posix.join(posix.dirname(source.path), specifier ?? '').replace(/\.js$/, '.ts'))
        .filter((path) => paths.has(path)),
    ]),
  );
  /** @type {(from: string) => Set<string>} */
  const reachable = (from) => {
    const found = new Set(imports.get(from));
    for (const path of found) for (const next of imports.get(path) ?? []) found.add(next); // a Set visits added items
    return found;
  };
  const all = new Map([...paths].map((path) => [path, reachable(path)]));
  /** @type {string[][]} */
  const cycles = [];
  const left = new Set([...paths].filter((path) => all.get(path)?.has(path)));
  for (const path of left) {
    const cycle = [...left].filter((other) => all.get(path)?.has(other) && all.get(other)?.has(path));
    for (const other of cycle) left.delete(other);
    cycles.push(cycle);
  }
  return cycles;
}

/**
 * The rule that an import violates, or `null`.
 * @param {string} path
 * @param {string} name
 * @param {Room} room
 * @param {Import} one
 * @param {ReadonlySet<string>} paths
 * @returns {string | null}
 */
function verdict(path, name, room, one, paths) {
  const { specifier } = one;
  if (specifier === null) return 'write the name of the module as a string literal';
  if (specifier.startsWith('node:'))
    return room.layer >= 3 ? null : `${name} is layer ${room.layer}, and only layers 3 and 4 may import node:*`;
  if (!specifier.startsWith('.')) {
    const owner = room.packages.find((known) => specifier === known || specifier.startsWith(`${known}/`));
    if (owner === undefined) {
      const may = Object.keys(ROOMS).filter((other) => ROOMS[other]?.packages.includes(specifier));
      return may.length > 0
        ? `only ${may.join(', ')} may import it`
        : 'no package is allowed here; write the prefix node: for a module of Node';
    }
    if (CERTIFICATES.includes(owner) && path !== `${CERTIFICATES_FILE}.ts`)
      return `import ${CERTIFICATES_FILE}.ts instead, with await import()`;
    if (owner === 'koffi' && !one.lazy && !one.typeOnly) return 'koffi is optional: load it with await import()';
    return null;
  }
  const target = posix.join(posix.dirname(path), specifier);
  if (!/\.js(on)?$/.test(specifier))
    return `end it in .js: Node resolves no other ending, and the published types keep these paths`;
  if (!target.startsWith('src/')) return 'it is outside src';
  if (target === `${CERTIFICATES_FILE}.js` && !one.lazy && !one.typeOnly) return 'load it with await import()';
  const other = roomOf(target);
  if (other === name) return null;
  const theirs = ROOMS[other];
  if (theirs === undefined) return `${other} is not a room of scripts/layers.mjs`;
  if (theirs.layer > room.layer)
    return `no room may import a higher layer: ${name} is layer ${room.layer}, ${other} layer ${theirs.layer}`;
  if (!room.rooms.includes(other))
    return room.rooms.length === 0
      ? `${name} may not import other rooms`
      : `${name} may import only ${room.rooms.join(', ')}`;
  if (target !== `src/${other}/index.js`)
    return `import the room's index.ts: ${posix.relative(posix.dirname(path), `src/${other}/index.js`)}`;
  if (!paths.has(`src/${other}/index.ts`)) return 'no such file';
  return null;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes('--write')) {
    const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
    manifest.exports = exportsOf(existingRooms());
    writeFileSync('package.json', `${JSON.stringify(manifest, null, 2)}\n`);
  }
  const broken = findings(readSources());
  for (const cycle of importCycles([...readSources(), ...readSources('bench')]))
    broken.push(`${cycle.join(', ')}: these files import each other; move what they share into a file of its own`);
  for (const line of broken) console.error(line);
  process.exitCode = broken.length === 0 ? 0 : 1;
}
