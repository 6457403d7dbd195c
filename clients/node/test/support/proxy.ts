import * as net from "node:net";

/** A proxy on the loopback address that can lose what the broker answers. */
export interface Proxy {
  readonly url: string;
  /** How many answers it has swallowed so far. */
  readonly cuts: number;
  /** Chooses the answers to publishes, or to what else it was made for, that are lost with their connection; undefined: none. */
  cutAt: (() => boolean) | undefined;
  close(): void;
}

const PUBLISH_ANSWERS = [16 | 0x8000, 17 | 0x8000];

/** Passes everything to the broker and back, but for the answers that `cutAt` chooses: at those it cuts the connection. */
export async function startProxy(port: number, answers: readonly number[] = PUBLISH_ANSWERS): Promise<Proxy> {
  let cuts = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((client) => {
    const broker = net.connect(port, "127.0.0.1");
    for (const socket of [client, broker]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        broker.destroy();
      });
    }
    client.pipe(broker);
    let pending = Buffer.alloc(0);
    broker.on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 8) {
        const end = 4 + pending.readUInt32LE(0);
        if (pending.length < end) return;
        const kind = pending.readUInt16LE(4);
        if (answers.includes(kind) && proxy.cutAt?.()) {
          cuts += 1;
          client.destroy();
          broker.destroy();
          return;
        }
        client.write(pending.subarray(0, end));
        pending = pending.subarray(end);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: own } = server.address() as net.AddressInfo;
  const proxy: Proxy = {
    url: `npayload://127.0.0.1:${own}`,
    get cuts() {
      return cuts;
    },
    cutAt: undefined,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  return proxy;
}
