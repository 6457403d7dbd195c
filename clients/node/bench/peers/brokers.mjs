import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Starts a Kafka broker as its documentation has it for one node: acknowledged once it is in the page cache. */
export async function startKafka(jars) {
  const folder = mkdtempSync(join(tmpdir(), "npayload-kafka-"));
  const [port, controllerPort] = [await freePort(), await freePort()];
  const file = join(folder, "server.properties");
  const settings = {
    "process.roles": "broker,controller",
    "node.id": 1,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    "advertised.listeners": `PLAINTEXT://127.0.0.1:${port}`,
    "controller.listener.names": "CONTROLLER",
    "controller.quorum.bootstrap.servers": `127.0.0.1:${controllerPort}`,
    "log.dirs": join(folder, "data"),
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
  };
  writeFileSync(file, Object.entries(settings).map(([name, value]) => `${name}=${value}\n`).join(""));
  const java = ["-Xms1g", "-Xmx1g", "-cp", `${jars}/*`];
  execFileSync("java", [...java, "kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw", "-c", file, "--standalone"], { stdio: "ignore" });
  return started(spawn("java", [...java, "kafka.Kafka", file], { stdio: "ignore" }), port, folder);
}

/** Starts a NATS server with JetStream on files, which it syncs every two minutes unless told otherwise. */
export async function startNats(binary) {
  const folder = mkdtempSync(join(tmpdir(), "npayload-nats-"));
  const port = await freePort();
  return started(spawn(binary, ["-a", "127.0.0.1", "-p", String(port), "-js", "-sd", folder], { stdio: "ignore" }), port, folder);
}

async function started(child, port, folder) {
  process.once("exit", () => child.kill("SIGKILL"));
  for (let tries = 0; ; tries += 1) {
    if (await answers(port)) break;
    if (child.exitCode !== null || tries > 600) throw new Error(`${child.spawnfile} does not listen`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return {
    port,
    async stop() {
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
