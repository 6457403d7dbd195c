/**
 * Client of npayload, a durable append-only log broker.
 *
 * @packageDocumentation
 */
export { NPayload } from "./client.js";
export type { CallOptions, ClientOptions, Place } from "./options.js";
export type { TlsOptions } from "./connection/transport.js";
export type { Status } from "./connection/link.js";
export type { OffsetInput, OffsetMode, OffsetOf, OffsetType } from "./offset.js";
export { Message } from "./message.js";
export type { BytesOrText } from "./batch/builder.js";
export type { CompressionName } from "./batch/compression.js";
export { Page, Paged } from "./paging.js";
export * from "./errors/index.js";

export type { NewMessage } from "./producer/record.js";
export type { BatchAck, PublishAck } from "./producer/ack.js";
export type { DurabilityLevel } from "./wire/messages.js";
export { ConsumeResult, type ConsumeRequest } from "./reading/consume.js";
export { Tail, type TailPosition, type TailRequest } from "./reading/tail.js";
export type { BeginOptions, ReadOptions } from "./reading/fetch.js";
export type { OnLost } from "./reading/cursor.js";
export { Merged, type MergedMessage, type MergedRequest, type RegionVector } from "./reading/merged.js";

export type { ChannelConfig, ChannelInfo, Damage, FullChannelConfig } from "./namespaces/channel-types.js";
export { Channels, type ChannelRequest, type CreateChannelRequest, type ListChannelsRequest } from "./namespaces/channels.js";
export { type OffsetAt, type StreamRequest, Streams } from "./namespaces/streams.js";
export {
  Messages,
  type PublishBatchRequest,
  type PublishConditions,
  type PublishRequest,
  type TransactionAck,
  type TransactionalCommit,
  type TransactionRequest,
} from "./namespaces/messages.js";
export {
  type CommitRequest,
  type ConsumerPosition,
  type ConsumerRequest,
  Consumers,
  type SubscribeRequest,
  Subscription,
} from "./namespaces/consumers.js";
export * from "./namespaces/access.js";
export { type MoveChannelRequest, Regions } from "./namespaces/regions.js";
export type {
  ChannelLog,
  ChannelLogs,
  LinkState,
  RegionCopy,
  RegionLink,
  RegionList,
  RegionMoved,
  RegionStatus,
  RegionVerified,
  RegionVerifiedCopy,
} from "./namespaces/region-types.js";
export { type AddInterestRequest, type Interest, type InterestFrom, Interests } from "./namespaces/interest.js";
export { Asp } from "./namespaces/asp/index.js";
export {
  type AsOf,
  CopiedPage,
  type CopyPart,
  type FromCopies,
  type FromCopy,
  type InAnyRegion,
  type InRegion,
  type KnownUpTo,
} from "./namespaces/asp/copies.js";
export {
  type Agent,
  type AgentProfile,
  type AgentRequest,
  type Availability,
  type DescribedAgent,
  type RegisterAgentRequest,
  Registry,
  type SearchAgentsRequest,
} from "./namespaces/asp/registry.js";
export {
  type CreateSessionRequest,
  type ListSessionsRequest,
  type Participant,
  type Session,
  type SessionLimits,
  type SessionRequest,
  type SessionRole,
  Sessions,
} from "./namespaces/asp/sessions.js";
export {
  type EventRecord,
  type InboxEntry,
  type InboxRequest,
  type MessageRecord,
  type Performative,
  type SaidMessage,
  type SendMessageRequest,
  type SentMessage,
  type SessionHistory,
  type SessionHistoryRequest,
  SessionMessages,
  type SessionRecord,
} from "./namespaces/asp/messages.js";
export { type AgentKeys, createAgentKeys } from "./namespaces/asp/signing.js";
export {
  type ListToolCallsRequest,
  type StartToolCallRequest,
  type ToolCall,
  Tools,
  type ToolStats,
  type WrapToolOptions,
} from "./namespaces/asp/tools.js";
export type {
  Commitment,
  CommitmentState,
  Delivery,
  Money,
  Obligation,
  Penalties,
} from "./namespaces/asp/commitment-types.js";
export {
  type CommitmentRequest,
  Commitments,
  type CreateCommitmentRequest,
  type DeliverCommitmentRequest,
  type ListCommitmentsRequest,
} from "./namespaces/asp/commitments.js";
export {
  type AnswerDisputeRequest,
  type Arbitrator,
  type CreateDisputeRequest,
  type Dispute,
  type DisputeRequest,
  Disputes,
  type DisputeState,
  type DisputeType,
  type ListDisputesRequest,
  type RuleDisputeRequest,
  type Verdict,
  type VoteDisputeRequest,
} from "./namespaces/asp/disputes.js";
export {
  type AccountPart,
  type AccountRequest,
  Escrow,
  type EscrowAccount,
  type EscrowEntry,
  type EscrowLedgerRequest,
  type PaymentRequest,
} from "./namespaces/asp/escrow.js";
export type { ChannelPlace, Evidence, EvidencePlace, Party, SessionPlace } from "./namespaces/asp/evidence.js";
export type { Instant } from "./namespaces/asp/instant.js";
export {
  type ApproveSubscriptionRequest,
  type CreateListingRequest,
  type ListingChange,
  type ListingRequest,
  type ListSubscriptionsRequest,
  Market,
  type MarketSubscriptionRequest,
  type MarketUsageRequest,
  type RateListingRequest,
  type ReviewListingRequest,
  type SearchListingsRequest,
  type SubscribeListingRequest,
  type SubscriptionChange,
  type UpdateListingRequest,
} from "./namespaces/asp/market.js";
export type {
  Listing,
  ListingContent,
  ListingState,
  MarketSubscription,
  MarketUsage,
  Metered,
  Pricing,
  SubscriptionState,
} from "./namespaces/asp/market-types.js";
export { Receipt, type ReceiptContent, type ReceiptParty, type VerifiedReceipt } from "./namespaces/asp/receipt.js";
export {
  type AgentRating,
  type EndorseAgentRequest,
  type Endorsement,
  type Endorser,
  type ExplainTrustRequest,
  type RateAgentRequest,
  type ScopedTrust,
  Trust,
  type TrustEvidence,
  type TrustExplanation,
  type TrustPair,
  type TrustRemark,
  type TrustScore,
} from "./namespaces/asp/trust.js";
export { Broker, type BrokerHealth, type BrokerInfo, type ScrubStatus } from "./namespaces/broker.js";

export { type EventSchemas, type NewEvent, type TypedEvent, TypedEvents } from "./events.js";
export type { InputOf, OutputOf, StandardIssue, StandardResult, StandardSchemaV1 } from "./standard-schema.js";
export { type UnwrapOptions, type WebhookEvent, type WebhookHeaders, Webhooks } from "./webhooks.js";
