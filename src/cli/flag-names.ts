/**
 * The flags of fields of the configuration. Messages of the library, which go to the clients of the control socket, too,
 * name fields in backquotes: `peersOnly: false`. The program prints the flag for it: --no-peers-only.
 */

/** Names of flags that differ from the name of the field. */
const FLAG_NAMES = new Map(
  Object.entries({
    name: 'tap',
    fd: 'tap-fd',
    native: 'vni',
    peers: 'peer',
    espPort: 'esp-port',
    keyFile: 'key-file',
    sourcePorts: 'source-ports',
    peersOnly: 'peers-only',
    keepTaps: 'keep-taps',
    busyPoll: 'busy-poll',
    udpChecksum: 'udp-checksum',
    zeroChecksum: 'zero-checksum',
    'gossip.name': 'name',
    'gossip.networks': 'network',
    'gossip.keys': 'key',
  }),
);

/** The name of the flag for a path of a configuration, without dashes. */
export function flagName(path: string): string {
  const plain = path.replace(/\[[^\]]*\]/g, '');
  const field = plain.slice(plain.lastIndexOf('.') + 1);
  return FLAG_NAMES.get(plain) ?? FLAG_NAMES.get(field) ?? field;
}

/** The fields that messages name. Another text in backquotes may come from elsewhere. */
const NAMED: readonly string[] = [
  ...['fd', 'local', 'netns', 'engine', 'peers', 'peersOnly', 'keepTaps'],
  ...['gossip.name', 'gossip.bind', 'gossip.join', 'gossip.keys', 'gossip.networks'],
];

/** A message of the library with the flags of `vtep` in place of the fields that it names. */
export function withFlags(message: string): string {
  return message
    .replace(/(?<= exists; overwrite it)(?=, or choose another file$)/, ' with --force')
    .replace(/`([a-zA-Z.]+)(?:: (\w+))?`/g, (all, path: string, value: string | undefined) => {
      if (!NAMED.includes(path)) return all;
      if (value === 'false') return `--no-${flagName(path)}`;
      return `--${flagName(path)}${value === undefined ? '' : ` ${value}`}`;
    })
    .replace(KEPT, (_, text: string, name: string, netns?: string) => {
      const place = netns === undefined ? '' : ` --netns ${netns}`;
      return `${text}remove it ("vtep detach ${name}${place}")`;
    });
}

/** A TAP that an earlier process kept is in the way. */
const KEPT = /(TAP "([^"]+)"(?: in namespace (\S+))? (?:was kept when|has one queue).*, or )remove it first$/;
