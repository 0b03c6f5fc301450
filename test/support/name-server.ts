/** A DNS server on loopback, over UDP and TCP, whose answers a test gives. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { createServer, type Server } from 'node:net';

export interface Asked {
  bytes: Uint8Array;
  from: RemoteInfo;
  tcp: boolean;
}

/** Returns what to send back; several messages by UDP; nothing for silence. */
export type Answering = (asked: Asked) => Uint8Array | Uint8Array[] | undefined;

export class NameServer {
  readonly address: string;
  readonly asked: Asked[] = [];
  answering: Answering;
  readonly #udp: Socket;
  readonly #tcp: Server;

  private constructor(address: string, answering: Answering, udp: Socket, tcp: Server) {
    this.address = address;
    this.answering = answering;
    this.#udp = udp;
    this.#tcp = tcp;
    udp.on('message', (bytes, from) => {
      for (const answer of this.#answer({ bytes, from, tcp: false })) udp.send(answer, from.port, from.address);
    });
    tcp.on('connection', (socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (data) => {
        const from = { address: socket.remoteAddress!, family: 'IPv4' as const, port: socket.remotePort!, size: 0 };
        for (const answer of this.#answer({ bytes: data.subarray(2), from, tcp: true })) {
          // In two parts: the length, and the message.
          socket.write(Uint8Array.from([answer.length >> 8, answer.length & 255]));
          setTimeout(() => socket.write(answer), 5);
        }
      });
    });
  }

  #answer(asked: Asked): Uint8Array[] {
    this.asked.push(asked);
    const answer = this.answering(asked);
    return answer === undefined ? [] : Array.isArray(answer) ? answer : [answer];
  }

  get port(): number {
    return this.#udp.address().port;
  }

  /** @param port 0 for any. */
  static async start(address: string, port: number, answering: Answering): Promise<NameServer> {
    for (;;) {
      const udp = createSocket('udp4');
      await new Promise<void>((resolve) => udp.bind(port, address, resolve));
      const tcp = createServer();
      const error = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
        tcp.once('error', resolve);
        tcp.listen(udp.address().port, address, () => resolve(undefined));
      });
      if (error === undefined) return new NameServer(address, answering, udp, tcp);
      udp.close();
      // Another program has the port of UDP for TCP.
      if (port !== 0 || error.code !== 'EADDRINUSE') throw error;
    }
  }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
  }
}
