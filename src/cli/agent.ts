/** `vtep agent`: a VTEP that exchanges endpoints with other hosts by gossip. */
import { GOSSIP, readAgentPlan } from './agent-config.js';
import { parseFlags } from './flags.js';
import { type Manual } from './manual.js';
import { readsFile, RUN, serve } from './up.js';
import { COMMON, SINGLE } from './up-config.js';

export const manual: Manual = {
  name: 'agent',
  summary: 'attach containers to VXLAN networks, and learn the remote endpoints by gossip',
  usage: ['agent --network ID:VNI:SUBNET --join HOST --tap NAME [flags]', 'agent --config FILE [flags]'],
  description: `The agent joins one member of a cluster and learns of all the others. It announces the endpoints of this host: the
TAP's own, those of --endpoint with --local, those added over the control socket. What other members announce programs
FDB, neighbors and flood lists. It takes part in a network's tables only while an endpoint of that network is here. The
wire format is that of Docker's NetworkDB on memberlist, over UDP and TCP.`,
  flags: [
    { flags: GOSSIP },
    { title: 'as for "vtep up"', flags: SINGLE },
    { title: 'with --config too', flags: [...COMMON, ...RUN] },
  ],
  sections: [
    {
      title: 'addresses',
      text: `Without --local, the agent takes the advertised address if this host has it; else the one of --bind; else the one from
which it reaches the first host of --join. If this host does not have the advertised address, it is a translator's: the
agent announces that address, and its VTEP uses the one of --bind.

Without --join the agent waits for others to join it. If no member answers, it tries again after 1 s, 2 s and so on up to
30 s.`,
    },
    {
      title: 'conflicts',
      text: `If two hosts announce the same IP or MAC address, or have another VNI or subnet for the same network, the older
attachment holds at every host. The newer one is withdrawn, with a warning at both hosts, and announced again when the
older one is gone. "vtep show networks" lists the conflicts, at every host the same.`,
    },
    {
      title: 'configuration file',
      text: `Beside the fields of "vtep up", of which segments and taps may be left out:

  "gossip": { "join": ["172.31.1.5"], "keys": ["/etc/vtep.key"],
              "networks": [{ "id": "net1", "vni": 4097, "subnet": "10.0.0.0/24" }] }`,
    },
    {
      title: 'output and signals',
      text: `It prints "ready" when frames flow, "joined" when a member has answered, and members as they come and go. SIGINT or
SIGTERM stops it: it withdraws its endpoints, leaves the cluster, and leaves nothing behind.`,
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
  const flags = parseFlags(args, [...GOSSIP, ...SINGLE, ...COMMON, ...RUN]);
  return serve(await readAgentPlan(flags), flags, readsFile(flags) ? () => readAgentPlan(flags) : undefined);
}
