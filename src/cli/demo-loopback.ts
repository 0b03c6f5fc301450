/** The demo without privileges: hosts in this process exchange datagrams over UDP on the loopback. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { build, dissect, summarize } from '../packet/index.js';
import { Random, SimHost, Station, type PingResult, type TraceEvent } from '../sim/index.js';
import { Vtep } from '../vtep/index.js';
import { C1, C2, encapsulation, heading, indent, picture, VNI } from './demo-story.js';
import { print } from './streams.js';
import { table } from './table.js';

const LOOPBACK = '127.0.0.1';
const HOSTS = [
  { own: C1, other: C2 },
  { own: C2, other: C1 },
] as const;

/** A host, its container, and the socket that acts as its underlay. */
interface DemoHost {
  socket: Socket;
  host: SimHost;
  station: Station;
}

/** Runs the demo and returns the exit code. */
export async function loopback(count: number): Promise<number> {
  picture();
  const frames: { location: string; text: string; frame: Uint8Array }[] = [];
  const datagrams: { text: string; packet: Uint8Array }[] = [];
  const trace = (event: TraceEvent): void => {
    if (event.kind !== 'frame' || frames.length >= 20) return;
    const arrow = event.event === 'send' ? 'sends   ' : 'receives';
    const text = `${event.location.split('/')[1]} ${arrow} ${summarize(dissect(event.frame).layers)}`;
    frames.push({ location: event.location, text, frame: event.frame });
  };
  const sockets = [await open(), await open()];
  const wire = (from: number, to: number, sourcePort: number, payload: Uint8Array): void => {
    if (datagrams.length >= 20) return;
    const packet = outer(HOSTS[from]!.own.host, HOSTS[to]!.own.host, sourcePort, payload);
    const text = summarize(dissect(packet, { linkType: 101 }).layers);
    datagrams.push({ text, packet });
  };
  const places = HOSTS.map((_, i) => place(i, sockets, trace, wire));
  try {
    heading('Two hosts in this process');
    for (const [i, { socket }] of places.entries())
      print(`   host ${i + 1}, ${HOSTS[i]!.own.host}, is UDP ${LOOPBACK}:${socket.address().port} here`);
    for (const { host } of places) host.start(performance.now());

    const first = await ping(places[0]!.station, 1);
    heading('C1 asks who has 10.0.0.4, and the proxy on its own host answers');
    for (const { text } of frames.filter(({ location }) => location.endsWith(C1.name)).slice(0, 4)) print(`   ${text}`);
    for (const { text } of datagrams.slice(0, 2)) print(`   underlay    ${text}`);

    heading('What host 1 knows');
    const known = places[0]!.host.vtep!.fdb(VNI, performance.now());
    print(
      indent(
        table(
          ['MAC', 'BEHIND', 'TYPE'],
          known.map((entry) => [
            entry.mac,
            entry.vtep === null ? `port ${entry.port}` : `VTEP ${entry.vtep}`,
            entry.static ? 'static' : 'learned',
          ]),
        ),
      ),
    );

    const echo = frames.find(({ location, text }) => location.endsWith(C1.name) && text.includes('echo request'));
    heading('One packet, layer by layer');
    if (echo !== undefined && datagrams[0] !== undefined) encapsulation(echo.frame, datagrams[0].packet);

    heading(`ping ${C2.ip} from C1`);
    const result = await ping(places[0]!.station, count);
    result.rtts.forEach((rtt, i) => print(`   64 bytes from ${C2.ip}: icmp_seq=${i + 1} time=${rtt.toFixed(3)} ms`));
    print(`   ${result.sent} packets transmitted, ${result.received} received`);

    heading('Counters of host 1');
    const counts = Object.entries(places[0]!.host.vtep!.counters().counts).filter(([, value]) => value > 0);
    print(indent(table(['counter', 'count'], counts)));
    return first.lost + result.lost === 0 ? 0 : 1;
  } finally {
    for (const { host, socket } of places) {
      host.stop(performance.now());
      socket.close();
    }
  }
}

async function open(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(0, LOOPBACK);
  await once(socket, 'listening');
  return socket;
}

function place(
  index: number,
  sockets: readonly Socket[],
  trace: (event: TraceEvent) => void,
  wire: (from: number, to: number, sourcePort: number, payload: Uint8Array) => void,
): DemoHost {
  const { own, other } = HOSTS[index]!;
  const [socket, far] = [sockets[index]!, sockets[1 - index]!];
  let timer: NodeJS.Timeout | undefined;
  let due = Infinity;
  const host: SimHost = new SimHost({
    name: `host ${index + 1}`,
    trace,
    makeVtep: () => {
      const vtep = new Vtep({ local: own.host });
      vtep.addSegment({ vni: VNI });
      vtep.addEndpoint(VNI, { ip: own.ip, mac: own.mac });
      vtep.addEndpoint(VNI, { ip: other.ip, mac: other.mac, vtep: other.host });
      return vtep;
    },
    port: {
      send: (_address, _port, sourcePort, bytes, offset, end) => {
        const payload = Buffer.from(bytes.slice(offset, end));
        wire(index, 1 - index, sourcePort, payload);
        socket.send(payload, far.address().port, LOOPBACK);
      },
      wake: (at) => {
        if (at >= due) return;
        clearTimeout(timer);
        due = at;
        timer = setTimeout(
          () => {
            due = Infinity;
            host.wake(performance.now());
          },
          Math.max(0, at - performance.now()),
        ).unref();
      },
    },
  });
  socket.on('message', (bytes, { port }) => {
    if (port === far.address().port) host.receive(other.host, bytes, 0, performance.now());
  });
  const station = new Station({ ...own, ip: `${own.ip}/24`, probe: false, announce: false, random: new Random(index) });
  host.attach(station, VNI, performance.now());
  return { socket, host, station };
}

/** The datagram as it would be on a real underlay. */
function outer(source: string, destination: string, sourcePort: number, payload: Uint8Array): Uint8Array {
  return build([
    { protocol: 'ipv4', protocolNumber: 17, ttl: 64, source, destination },
    { protocol: 'udp', sourcePort, destinationPort: 4789 },
    { protocol: 'payload', bytes: payload },
  ]);
}

function ping(station: Station, count: number): Promise<PingResult> {
  return new Promise((resolve) => station.ping(C2.ip, { count, interval: 200 }, performance.now(), resolve));
}
