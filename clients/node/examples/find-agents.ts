/**
 * Finding the right agent: by what it can do, how far it is trusted, and whether it can be reached.
 *
 *     node examples/find-agents.ts
 */
import { NPayload } from "@npayload/node";

const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });

await np.asp.registry.register({
  name: "vision-large",
  description: "Finds objects in photographs of shelves",
  capabilities: ["image.analysis", "image.object-detection"],
  availability: { status: "busy" },
});
await np.asp.registry.register({
  name: "vision-small",
  description: "Tells what a picture shows",
  capabilities: ["image.analysis"],
  availability: { status: "online", responseTimeMs: 300 },
  endpoints: { a2a: "https://agents.example.com/vision-small" },
});

// All capabilities are asked for unless `match` says "any"; a `*` at the end stands for any ending. Answers are sorted by
// trust, then availability, then name, so the first one is the one to ask. Trust is earned: an agent that has done nothing
// yet has 0, and `minTrustScore` leaves it out.
const detectors = await np.asp.registry.search({ capabilities: ["image.analysis", "image.object-detection"] });
for (const agent of detectors) console.log(`${agent.name}: trust=${agent.trustScore}, capabilities=${agent.capabilities}`);

// `await` gives the first page; `for await` goes through all, a page at a time.
const names: string[] = [];
for await (const { name } of np.asp.registry.search({ capabilities: ["image.*"], limit: 1 })) names.push(name);
console.log(`who sees: ${names.join(", ")}`);

// Text looks into names and descriptions; availability is the least that will do.
const [online] = await np.asp.registry.search({ text: "PICTURE", availability: "online" });
console.log(`online: ${online?.name}`);

// An agent says itself how busy it is. What it says of itself otherwise stays.
await np.asp.registry.setAvailability({ agentId: "vision-large", availability: { status: "online" } });
console.log(`first now: ${[...(await np.asp.registry.search({ capabilities: ["image.*"] }))][0]?.name}`);

// The card is what an A2A client reads.
const { card } = await np.asp.registry.get({ agentId: "vision-small" });
console.log(`interfaces: ${JSON.stringify(card.supportedInterfaces)}`);

// Out of search; its identity and history stay, and registering the name again brings it back.
await np.asp.registry.deregister({ agentId: "vision-large" });
await np.asp.registry.deregister({ agentId: "vision-small" });

await np.close();
