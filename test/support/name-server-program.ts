/** A DNS server as a program: `name-server-program.ts ADDRESS`. It knows the addresses of two names, and no other name. */
import { answerTo, readMessage, recordOf, TYPES } from './dns.js';
import { NameServer } from './name-server.js';

const NAMES: Record<string, number[]> = {
  'www.example.org': [192, 0, 2, 80],
  'short.corp.example': [192, 0, 2, 81],
};

await NameServer.start(process.argv[2]!, 53, ({ bytes }) => {
  const { name, type } = readMessage(bytes).question[0]!;
  const address = NAMES[name.toLowerCase()];
  process.stdout.write(`asked ${name}\n`);
  if (address === undefined) return answerTo(bytes, [], { rcode: 3 });
  return answerTo(bytes, type === TYPES.A ? [recordOf(TYPES.A, address)] : []);
});
process.stdout.write('ready\n');
