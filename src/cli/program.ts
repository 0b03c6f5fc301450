/** Runs the command that a command line names, and turns errors into a message and an exit code. */
import { closest, SchemaError } from '../schema/index.js';
import { CommandError, HostError, version } from '../host/index.js';
import { COMMANDS, GROUPS } from './commands.js';
import { withFlags } from './flag-names.js';
import { UsageError } from './flags.js';
import { withoutSecrets } from './hide-keys.js';
import { helpText } from './manual.js';
import { guardStreams, print, printError } from './streams.js';

const help = `vtep: a VXLAN overlay network in TypeScript

usage: vtep COMMAND [flags]

${GROUPS.map(
  ({ title, commands }) =>
    `${title}:\n${Object.entries(commands)
      .map(([name, { text }]) => `  ${name.padEnd(12)}${text}`)
      .join('\n')}`,
).join('\n\n')}

  vtep COMMAND --help   flags and examples
  vtep --version        the version

examples:
  vtep init --advertise-addr 172.31.1.5
  vtep run --network uber-net --name c1 -- sh
  vtep up --vni 4097 --local 172.31.1.5 --peer 192.168.1.25 --tap eth0 --netns c1 --address 10.0.0.3/24
  vtep show fdb --control /run/vtep.sock
  vtep read capture.pcap

Exit code: 0 done; 1 something failed; 2 wrong flags or configuration.`.split('\n');

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined) {
    printError(help);
    return 2;
  }
  if (name === '--version' || name === '-V' || name === 'version') {
    print(`vtep ${version()}`);
    return 0;
  }
  if (name === '--help' || name === '-h' || (name === 'help' && rest.length === 0)) {
    print(help);
    return 0;
  }
  const word = name === 'help' ? rest[0]! : name;
  if (name === 'help' && rest.length > 1)
    throw new UsageError(`"${rest[1]}" is not expected here; usage: vtep help COMMAND`);
  const entry = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
  if (entry === undefined) {
    const meant = closest(word, Object.keys(COMMANDS));
    const hint = meant === undefined ? 'see vtep --help' : `did you mean "${meant}"?`;
    throw new UsageError(
      word.startsWith('-') ? `unknown flag ${word}; see vtep --help` : `unknown command "${word}"; ${hint}`,
    );
  }
  const command = await entry.load();
  const end = rest.includes('--') ? rest.indexOf('--') : rest.length;
  if (name === 'help' || rest.slice(0, end).some((arg) => arg === '--help' || arg === '-h')) {
    print(helpText(command.manual).trimEnd().split('\n'));
    return 0;
  }
  return command.run(rest);
}

/**
 * Runs a command line.
 * @param remedyFor Returns the remedy for a system error, if one is known.
 * @returns the exit code.
 */
export async function program(args: string[], remedyFor: (text: string) => string | undefined): Promise<number> {
  guardStreams(args[0] !== undefined && Object.hasOwn(COMMANDS, args[0]) ? `vtep ${args[0]}` : 'vtep');
  try {
    return await main(args);
  } catch (error) {
    const command = args[0] !== undefined && Object.hasOwn(COMMANDS, args[0]) ? ` ${args[0]}` : '';
    const named = (line: string): string => `vtep${command}: ${withoutSecrets(withFlags(line), args)}`;
    if (error instanceof UsageError || error instanceof SchemaError) {
      printError([...error.lines.map(named), ...(command === '' ? [] : [`See vtep${command} --help`])]);
      return 2;
    }
    if (!(error instanceof HostError)) throw error;
    const remedy = remedyFor(error.message);
    printError([...error.lines, ...(remedy === undefined ? [] : [remedy])].map(named));
    return error instanceof CommandError ? error.exitCode : 1;
  }
}
