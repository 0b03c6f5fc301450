/** `vtep agent`: the daemon of a node of a cluster, or a VTEP that exchanges endpoints with other hosts by gossip. */
import { GOSSIP, readAgentPlan } from './agent-config.js';
import { parseFlags } from './flags.js';
import { type Manual } from './manual.js';
import { isDaemon, NODE, serveNode } from './node-daemon.js';
import { ENGINES, readsFile, RUN, serve } from './up.js';
import { COMMON, SINGLE } from './up-config.js';

export const manual: Manual = {
  name: 'agent',
  summary: 'attach containers to VXLAN networks, and learn the remote endpoints by gossip',
  usage: [
    'agent [--state DIR] [--socket PATH] [--port N] [--engine ENGINE] [--workers N]',
    'agent --network ID:VNI:SUBNET --join HOST --tap NAME [flags]',
    'agent --config FILE [flags]',
  ],
  description: `Without flags of a VTEP, the agent is the daemon of a node: it does what the managers of a cluster assign to this host,
and answers the requests of clients at its socket. Without a cluster it waits until "init" or "join" arrives there.

With them, it has a configuration and no manager. The agent joins one member of a cluster and learns all other members from it. It announces the endpoints of this host:
the addresses of the TAP, each --endpoint whose VTEP is --local, and endpoints added over the control socket. It adds
the endpoints that other members announce to the FDB, the neighbor table and the flood lists. It takes part in a network
only while this host has an endpoint there. The wire format is that of Docker's NetworkDB on memberlist, over UDP and
TCP. Endpoints with IPv6 addresses have a table of their own, which Docker passes on and ignores.

Networks and TAPs may also come while the agent runs: see "vtep network" and "vtep attach". With --control, --network
may be absent.`,
  flags: [
    { title: 'of a node', flags: NODE },
    { title: 'with a configuration', flags: GOSSIP },
    { title: 'the same as in "vtep up"', flags: SINGLE },
    { title: 'with or without --config', flags: [...COMMON, ...RUN] },
  ],
  sections: [
    {
      title: 'node',
      text: `The daemon prints "ready" when its socket answers. It takes --port, --engine, --workers, --json and --log-level, too;
--port is the TCP port at which a manager listens for nodes (default 2377). SIGINT or SIGTERM ends it, as does a kill, and
sandboxes, devices and commands stay: the next daemon with the same --state goes on with them. One process at a time
can use a state directory. docs/api.md has the requests.`,
    },
    {
      title: 'addresses',
      text: `Without --local, the address of the VTEP is the advertised address if this host has it; otherwise the address of
--bind; otherwise the source address towards the first host of --join. If this host does not have the advertised
address, the agent treats it as the outer address of a NAT, and announces it to other members as the address of its
VTEP.

Without --join, the agent waits until others join it. If no member answers, it tries again after 1 s, 2 s, 4 s and so
on, and then every 30 s.`,
    },
    {
      title: 'conflicts',
      text: `If two hosts announce the same IP or MAC address, or different VNIs or subnets for the same network, the older
attachment wins on every host. The newer one is withdrawn, with a warning on both hosts, and announced again when the
older one is gone. An endpoint that a second host attaches, with the same IP and MAC address, has moved there; it is back
when that host detaches it. "vtep show networks" lists the conflicts, the same on every host.`,
    },
    {
      title: 'keys',
      text: `A file of keys has one key in base64 on each line, 16, 24 or 32 bytes of it; lines that begin with # are ignored. vtep
warns of a file with keys that other users can read, be it the configuration file, and refuses one that they can change,
own, or replace in a directory that every user may write to. If they can change a configuration without keys, it warns.

A key itself is accepted in place of a file, with a warning: other users can read it in the list of processes until vtep
has started, and all the time where another program, such as sudo or npx, has it as an argument.

Errors never show a key, and --dry-run prints *** in place of each that is not in a file: replace *** by a file of keys
before you use the output as a configuration.`,
    },
    {
      title: 'configuration file',
      text: `In addition to the fields of "vtep up"; segments and taps are optional:

  "gossip": { "join": ["172.31.1.5"], "keys": ["/etc/vtep.key"],
              "networks": [{ "id": "net1", "vni": 4097, "subnet": "10.0.0.0/24" },
                           { "id": "prod-net", "subnets": [{ "prefix": "10.1.1.0/24", "vni": 4098 },
                                                           { "prefix": "fd01::/64", "vni": 4098 },
                                                           { "prefix": "11.1.1.0/24", "vni": 4099 }] }] }

The subnets of a network may be IPv4 or IPv6. One of each may share a VNI.`,
    },
    ENGINES,
    {
      title: 'output and signals',
      text: `The agent prints "ready" when it forwards frames, "joined" when it has joined the cluster, and a line for each member
that joins, fails or leaves. SIGINT or SIGTERM stops it: it withdraws its endpoints, leaves the cluster, and removes
everything that it created. SIGHUP reads the file of --config again, as for "vtep up".`,
    },
  ],
  examples: `# on 172.31.1.5, the first of a cluster, with a key that all share
vtep gossip keygen -o /etc/vtep.key
vtep agent --local 172.31.1.5 --key /etc/vtep.key --network net1:4097:10.0.0.0/24 \\
           --tap eth0 --netns c1 --address 10.0.0.3/24 --control /run/vtep.sock

# on 192.168.1.25, with the same file
vtep agent --join 172.31.1.5 --key /etc/vtep.key --network net1:4097:10.0.0.0/24 \\
           --tap eth0 --netns c1 --address 10.0.0.4/24 --control /run/vtep.sock`,
  exit: { 0: 'stopped', 1: 'something failed', 2: 'wrong flags or configuration' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, [...NODE, ...GOSSIP, ...SINGLE, ...COMMON, ...RUN]);
  if (isDaemon(flags)) return serveNode(flags);
  return serve(await readAgentPlan(flags), flags, readsFile(flags) ? () => readAgentPlan(flags) : undefined);
}
