import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL(".", import.meta.url));
const NATS_SERVER = "github.com/nats-io/nats-server/v2@v2.15.2";

/** Installs the clients and their brokers once, as far as there are npm, Maven and Go; returns where they are. */
export function installPeers() {
  const kafkaJars = `${folder}installed/kafka`;
  const natsServer = `${folder}installed/bin/nats-server`;
  attempt("the clients", `${folder}node_modules/kafkajs`, "npm", ["ci", "--ignore-scripts"]);
  const hasKafka = attempt("Kafka", `${kafkaJars}/kafka_2.13-4.4.0.jar`, "mvn", ["-q", "-B", "dependency:copy-dependencies", `-DoutputDirectory=${kafkaJars}`]);
  const hasNats = attempt("nats-server", natsServer, "go", ["install", NATS_SERVER], { GOBIN: `${folder}installed/bin` });
  return { kafkaJars: hasKafka ? kafkaJars : undefined, natsServer: hasNats ? natsServer : undefined, natsVersion: NATS_SERVER.split("@")[1], kafkaVersion: "4.4.0" };
}

function attempt(what, result, command, args, env = {}) {
  if (existsSync(result)) return true;
  try {
    execFileSync(command, args, { cwd: folder, stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, ...env } });
    return existsSync(result);
  } catch (error) {
    console.log(`${what} cannot be installed here: ${error.message}`);
    return false;
  }
}
