/** `vtep agent`: a VTEP that learns of other hosts' endpoints by gossip, and tells them of its own. */
import { GOSSIP, readAgentPlan } from './agent-config.js';
import { flagHelp, parseFlags } from './flags.js';
import { RUN, serve } from './up.js';
import { COMMON, SINGLE } from './up-config.js';

export const help = `vtep agent: join containers to VXLAN networks, with no list of peers

usage: vtep agent --network ID:VNI:SUBNET --join HOST --tap NAME [flags]
       vtep agent --config FILE [flags]

The agent joins one other and hears of all the rest. It tells them of the endpoints of this host: the TAP's own, those of
--endpoint with --local, those added over the control socket. What it hears of others programs FDB, neighbours and flood
lists. It takes part in a network's tables only while an endpoint of that network is here. The wire is that of Docker's
NetworkDB on memberlist, UDP and TCP.

${flagHelp(GOSSIP)}

as for "vtep up":
${flagHelp(SINGLE)}

for both:
${flagHelp([...COMMON, ...RUN])}

--local need not be given: it is the advertised address, where this host has it; else the one bound to; else the one from
which the first host of --join is reached. An advertised address that this host does not have is taken for a
translator's: others are told that one, and the VTEP uses the one bound to.

Without --join the agent waits to be joined. Where nobody answers it tries again, after 1 s, 2 s and so on to 30 s.

examples:
  # on 172.31.1.5, the first of a cluster, with a key that all share
  vtep gossip keygen > /etc/vtep.key
  vtep agent --local 172.31.1.5 --key /etc/vtep.key --network net1:4097:10.0.0.0/24 \\
             --tap eth0 --netns c1 --address 10.0.0.3/24 --control /run/vtep.sock

  # on 192.168.1.25, with the same file
  vtep agent --join 172.31.1.5 --key /etc/vtep.key --network net1:4097:10.0.0.0/24 \\
             --tap eth0 --netns c1 --address 10.0.0.4/24 --control /run/vtep.sock

in the file, beside the fields of "vtep up" (segments and taps may be left out):
  "gossip": { "join": ["172.31.1.5"], "keys": ["/etc/vtep.key"],
              "networks": [{ "id": "net1", "vni": 4097, "subnet": "10.0.0.0/24" }] }

It prints "ready" when frames flow, "joined" when a member has answered, and members as they come and go. SIGINT or
SIGTERM stops it: it withdraws its endpoints, says farewell, and leaves nothing behind.
Exit code: 0 stopped, 1 something failed, 2 wrong flags or configuration.
`;

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, [...GOSSIP, ...SINGLE, ...COMMON, ...RUN]);
  return serve(await readAgentPlan(flags), flags);
}
