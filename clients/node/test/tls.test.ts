import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConnectError, NPayload, TlsRequiredError, TlsUnavailableError } from "../src/index.js";
import { startBroker, type TestBroker } from "../src/testing/index.js";

describe("TLS", () => {
  let folder: string;
  let broker: TestBroker;
  let ca: Buffer;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "npayload-tls-"));
    execFileSync(process.env.NPAYLOAD_BIN as string, ["cert", "dev", folder, "--client", "trainer"]);
    const [cert, key] = [join(folder, "server.pem"), join(folder, "server-key.pem")];
    broker = await startBroker({ args: ["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", join(folder, "ca.pem"), "--tls-client-certs", "optional"] });
    ca = await readFile(join(folder, "ca.pem"));
  });
  afterAll(async () => {
    await broker?.stop();
    await rm(folder, { recursive: true });
  });

  test("publishes and reads, by address and by name", async () => {
    expect(broker.url).toMatch(/^npayload\+tls:/);
    for (const url of [broker.url, broker.url.replace("127.0.0.1", "localhost")]) {
      await using np = new NPayload({ url, tls: { ca } });
      await np.messages.publish({ channelId: "a", payload: "x".repeat(500_000) });
      expect((await np.streams.consume<string>({ streamId: "a" })).messages[0]?.payload.length).toBe(500_000);
    }
  });

  test("shows a certificate of the client", async () => {
    const [cert, key] = await Promise.all([readFile(join(folder, "client-trainer.pem")), readFile(join(folder, "client-trainer-key.pem"))]);
    await using np = new NPayload({ url: broker.url, tls: { ca, cert, key } });
    expect((await np.broker.info()).health.ok).toBe(true);
  });

  test("a certificate that nobody vouches for, or of another name, is refused and not tried again", async () => {
    for (const tls of [{}, { ca, serverName: "other.example" }]) {
      await using np = new NPayload({ url: broker.url, tls });
      const failed = np.broker.info();
      await expect(failed).rejects.toThrow(ConnectError);
      await expect(failed).rejects.toMatchObject({ retryable: false });
    }
  });

  test("a port that speaks the other is named as that", async () => {
    await using plain = new NPayload({ url: broker.url.replace("+tls", "") });
    await expect(plain.broker.info()).rejects.toThrow(TlsRequiredError);
    const other = await startBroker();
    await using tls = new NPayload({ url: other.url.replace("npayload:", "npayload+tls:"), tls: { ca } });
    await expect(tls.broker.info()).rejects.toThrow(TlsUnavailableError);
    await other.stop();
  });
});
