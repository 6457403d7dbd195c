/** Numbers of the request kinds that this client knows by itself. Others are taken from the broker's hello. */
export const KINDS: Readonly<Record<string, number>> = {
  hello: 1,
  ping: 2,
  publish: 16,
  publish_atomic: 17,
  fetch: 18,
  commit: 19,
  "channel.create": 32,
  "channel.list": 33,
  "channel.info": 34,
  "channel.update": 35,
  "channel.delete": 36,
  "channel.resolve": 37,
  "consumer.list": 48,
  "consumer.position": 49,
  "consumer.reset": 50,
  "consumer.lag": 51,
  "consumer.delete": 52,
  "broker.info": 64,
  "broker.scrub": 65,
  "channel.rotateKey": 66,
  "org.create": 80,
  "org.list": 81,
  "org.limit": 82,
  "key.create": 83,
  "key.list": 84,
  "key.rotate": 85,
  "key.revoke": 86,
  "grant.propose": 87,
  "grant.list": 88,
  "grant.accept": 89,
  "grant.revoke": 90,
};

export const PING = 2;
export const PUBLISH = 16;
export const PUBLISH_ATOMIC = 17;
export const FETCH = 18;
export const COMMIT = 19;
export const FETCH_BEYOND = 219;

/** Set in the kind of an answer. */
export const ANSWER_BIT = 0x8000;
/** Kind of an error answer. */
export const ERROR_KIND = 0xffff;
/** The only version of every kind so far. */
export const KIND_VERSION = 1;
