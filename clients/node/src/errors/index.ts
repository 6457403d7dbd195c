export * from "./base.js";
export * from "./broker.js";
export * from "./client.js";
