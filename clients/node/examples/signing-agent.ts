/**
 * An agent that signs what it says: nobody else can say it in its name, not even whoever runs the broker.
 *
 *     node examples/signing-agent.ts
 */
import { createAgentKeys, InvalidSignatureError, NPayload, SignatureRequiredError } from "@npayload/node";

const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });

// The private key stays here. A real agent makes its keys once and keeps them; registering never touches a key that is there,
// so this example takes a name of its own for each run.
const { publicKey, privateKey } = createAgentKeys();
const name = `signing-agent-${Date.now()}`;
const agent = await np.asp.registry.register({ name, publicKey });

const { id: sessionId } = await np.asp.sessions.create({
  topic: "A quote that can be held against us",
  participants: [
    { agentId: name, role: "coordinator" },
    { agentId: "buyer-agent", role: "specialist" },
  ],
});

// The signature covers the message, its session, its recipient and the digest of its payload.
const message = { sessionId, from: name, to: "buyer-agent", type: "quote", payload: { item: "A-17", price: 1290, currency: "EUR" } };
await np.asp.messages.send({ ...message, signingKey: privateKey });

// Once an agent has a public key, it must sign all it says.
await np.asp.messages.send(message).catch((error: unknown) => {
  if (!(error instanceof SignatureRequiredError)) throw error;
  console.log("unsigned: refused");
});
await np.asp.messages.send({ ...message, signingKey: createAgentKeys().privateKey }).catch((error: unknown) => {
  if (!(error instanceof InvalidSignatureError)) throw error;
  console.log("signed by somebody else: refused");
});

// Signature and key stand in the record, so that anybody can check them later: `npayload session verify` does.
const { records } = await np.asp.messages.history({ sessionId });
for (const { record } of records) {
  if (record.type === "session.messageSent") console.log(`kept with its signature: ${record.signature?.startsWith("ed25519:")}, key: ${record.key === publicKey}`);
}

// A new key; the old one is never taken again, and what it signed stays signed.
const next = createAgentKeys();
await np.asp.registry.setKey({ agentId: agent.id, publicKey: next.publicKey });
const { senderSequence } = await np.asp.messages.send({ ...message, signingKey: next.privateKey });
console.log(`said with the new key: message ${senderSequence}`);

await np.close();
