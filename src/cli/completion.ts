/** `vtep completion`: a script that completes `vtep` command lines in a shell, generated from the commands' manuals. */
import { COMMANDS, manuals } from './commands.js';
import { HELP, noRest, parseFlags, UsageError, type Flag } from './flags.js';
import { flagsOf, type Manual } from './manual.js';
import { print } from './streams.js';
import { closest } from '../schema/index.js';

const SHELLS: Readonly<Record<string, { text: string; script: (list: readonly Manual[]) => string }>> = {
  bash: { text: 'for bash', script: bashScript },
  zsh: { text: 'for zsh', script: zshScript },
  fish: { text: 'for fish', script: fishScript },
};

export const manual: Manual = {
  name: 'completion',
  summary: 'print a script that completes vtep command lines in a shell',
  usage: ['completion SHELL'],
  words: Object.entries(SHELLS).map(([name, { text }]) => ({ name, text })),
  flags: [{ flags: [] }],
  examples: `# bash, for all users or in this shell
vtep completion bash > /usr/share/bash-completion/completions/vtep
source <(vtep completion bash)

# zsh: a directory of $fpath; fish
vtep completion zsh > /usr/local/share/zsh/site-functions/_vtep
vtep completion fish > ~/.config/fish/completions/vtep.fish`,
  exit: { 0: 'done', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, []);
  const [shell, ...rest] = flags.rest;
  const names = Object.keys(SHELLS);
  if (shell === undefined) throw new UsageError(`missing: SHELL, one of ${names.join(', ')}`);
  if (!Object.hasOwn(SHELLS, shell)) {
    const meant = closest(shell, names);
    throw new UsageError(
      `"${shell}" is not one of the shells ${names.join(', ')}${meant === undefined ? '' : `; did you mean "${meant}"?`}`,
    );
  }
  noRest({ ...flags, rest });
  print(
    SHELLS[shell]!.script(await manuals())
      .trimEnd()
      .split('\n'),
  );
  return 0;
}

/** The completions that a shell offers for a flag's value. */
type Values = 'files' | 'namespaces' | 'nothing' | readonly string[];

function valuesOf({ value = '' }: Flag): Values {
  const choices = value.split('|');
  if (choices.length > 1 && choices.every((choice) => /^[a-z]+$/.test(choice))) return choices;
  if (/\bFILE\b|\bPATH\b/.test(value)) return 'files';
  return value === 'NS' ? 'namespaces' : 'nothing';
}

/** All spellings of a flag. */
function spellings({ name, letter, negatable }: Flag): string[] {
  return [...(letter === undefined ? [] : [`-${letter}`]), `--${name}`, ...(negatable ? [`--no-${name}`] : [])];
}

function allFlags(one: Manual): Flag[] {
  return [...flagsOf(one), HELP];
}

/** Whether a command's arguments are files, like those of `read FILE`. */
function takesFiles({ usage }: Manual): boolean {
  return usage.some((line) => /^\w+ .*\bFILE\b/.test(line.replace(/--\w+ FILE/g, '')));
}

const NAMESPACES = 'ls /var/run/netns 2>/dev/null';

export function bashScript(list: readonly Manual[]): string {
  const values = list.flatMap((one) =>
    allFlags(one)
      .filter(({ value }) => value !== undefined)
      .map((flag) => {
        const pattern = spellings({ ...flag, negatable: false })
          .map((spelling) => `'${one.name} ${spelling}'`)
          .join(' | ');
        const kind = valuesOf(flag);
        const offer =
          kind === 'files'
            ? '_vtep_files "$cur"'
            : kind === 'namespaces'
              ? `COMPREPLY=($(compgen -W "$(${NAMESPACES})" -- "$cur"))`
              : kind === 'nothing'
                ? ':'
                : `COMPREPLY=($(compgen -W '${kind.join(' ')}' -- "$cur"))`;
        return `    ${pattern}) ${offer}; return ;;`;
      }),
  );
  const commands = list.map((one) => {
    const flags = allFlags(one).flatMap(spellings).join(' ');
    const words = (one.words ?? []).map(({ name }) => name).join(' ');
    return `    ${one.name}) flags='${flags}' words='${words}'${takesFiles(one) ? ' files=1' : ''} ;;`;
  });
  const names = list.map(({ name }) => name).join(' ');
  return `# bash completion for vtep, made by "vtep completion bash"
_vtep_files() {
  local IFS=$'\\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY=($(compgen -f -- "$1"))
}

_vtep() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command=\${COMP_WORDS[1]}
  local flags='' words='' files='' i
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W '${names} help --help --version' -- "$cur"))
    return
  fi
  # readline splits --flag=value at the sign
  if [[ $cur == '=' ]]; then
    cur=''
  elif [[ $prev == '=' ]]; then
    prev=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case "$command $prev" in
${values.join('\n')}
  esac
  case $command in
${commands.join('\n')}
    help) words='${names}' ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    return
  fi
  for ((i = 2; i < COMP_CWORD; i++)); do
    if [[ " $words " == *" \${COMP_WORDS[i]} "* ]]; then words=''; fi
  done
  if [[ -n $files ]]; then
    _vtep_files "$cur"
  else
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  fi
}

complete -F _vtep vtep
`;
}

export function zshScript(list: readonly Manual[]): string {
  const functions = list.map((one) => {
    const specs = allFlags(one).flatMap((flag) => zshSpecs(flag));
    const words = (one.words ?? []).map(({ name, text }) => quote(`${name}:${text}`)).join(' ');
    const rest = takesFiles(one) ? [`'*:file:_files'`] : [];
    const word = words === '' ? rest : [`'1:what:((${zshWords(one)}))'`];
    return `_vtep_${one.name}() {
  _arguments -s \\
    ${[...specs, ...word].join(' \\\n    ')}
}`;
  });
  const commands = list.map(({ name }) => `    ${quote(`${name}:${COMMANDS[name]!.text}`)}`);
  return `#compdef vtep
# zsh completion for vtep, made by "vtep completion zsh"

_vtep_namespaces() {
  local -a names
  names=(/var/run/netns/*(N:t))
  _describe 'network namespace' names
}

${functions.join('\n\n')}

_vtep() {
  local -a commands
  commands=(
${commands.join('\n')}
    'help:show the help of a command'
  )
  if ((CURRENT == 2)); then
    _describe 'command' commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  if [[ $command == help ]]; then
    _describe 'command' commands
  elif (($+functions[_vtep_$command])); then
    _vtep_$command
  fi
}

if [[ $funcstack[1] == _vtep ]]; then
  _vtep "$@"
else
  compdef _vtep vtep
fi
`;
}

function zshWords({ words = [] }: Manual): string {
  const escape = (text: string): string => text.replace(/[\\:() '"$`]/g, '\\$&');
  return words.map(({ name, text }) => `${name}\\:${escape(text)}`.replace(/'/g, `'\\''`)).join(' ');
}

function zshSpecs(flag: Flag): string[] {
  const { value, many, text } = flag;
  const kind = valuesOf(flag);
  const argument =
    value === undefined
      ? ''
      : `:${value.replace(/:/g, '\\:')}:${kind === 'files' ? '_files' : kind === 'namespaces' ? '_vtep_namespaces' : kind === 'nothing' ? '' : `(${kind.join(' ')})`}`;
  const all = spellings(flag);
  const excluded = many || all.length === 1 ? '' : `(${all.join(' ')})`;
  return all.map((spelling) => {
    const equals = value !== undefined && spelling.startsWith('--') ? '=' : '';
    return quote(
      `${many ? '*' : excluded}${spelling}${equals}[${text.replace(/\\/g, '\\\\').replace(/[[\]]/g, '\\$&')}]${argument}`,
    );
  });
}

export function fishScript(list: readonly Manual[]): string {
  const lines = list.flatMap((one) => {
    const seen = `-n '__fish_seen_subcommand_from ${one.name}'`;
    const flags = allFlags(one).flatMap((flag) => {
      const { name, letter, value, negatable, text } = flag;
      const kind = valuesOf(flag);
      const how =
        value === undefined
          ? ''
          : kind === 'files'
            ? ' -r -F'
            : kind === 'namespaces'
              ? ` -x -a '(${NAMESPACES})'`
              : kind === 'nothing'
                ? ' -x'
                : ` -x -a '${kind.join(' ')}'`;
      const line = (long: string): string =>
        `complete -c vtep ${seen}${letter === undefined ? '' : ` -s ${letter}`} -l ${long}${how} -d ${fishQuote(text)}`;
      return [line(name), ...(negatable ? [line(`no-${name}`)] : [])];
    });
    const words = one.words ?? [];
    const none = `-n '__fish_seen_subcommand_from ${one.name}; and not __fish_seen_subcommand_from ${words.map(({ name }) => name).join(' ')}'`;
    return [
      `complete -c vtep -n __fish_use_subcommand -a ${one.name} -d ${fishQuote(COMMANDS[one.name]!.text)}`,
      ...flags,
      ...words.map(({ name, text }) => `complete -c vtep ${none} -a ${name} -d ${fishQuote(text)}`),
      ...(takesFiles(one) ? [`complete -c vtep ${seen} -F`] : []),
    ];
  });
  return `# fish completion for vtep, made by "vtep completion fish"
complete -c vtep -f
complete -c vtep -n __fish_use_subcommand -a help -d 'show the help of a command'
complete -c vtep -n '__fish_seen_subcommand_from help' -a '${list.map(({ name }) => name).join(' ')}'
${lines.join('\n')}
`;
}

function quote(text: string): string {
  return `'${text.replace(/'/g, `'\\''`)}'`;
}

function fishQuote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
