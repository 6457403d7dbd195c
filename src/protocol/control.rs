//! The JSON bodies of control requests and their answers. `docs/wire-protocol.md`, "Control".
//!
//! Requests refuse fields they do not know, so that a misspelt one is noticed. Answers are read
//! with unknown fields ignored, so that a newer broker may tell more.

mod broker;
mod channel;
mod config;
mod consumer;
mod hello;
mod place;

pub use self::broker::{
    BrokerInfo, BrokerInfoRequest, BrokerScrubRequest, ChannelRefusal, FileFault, Health, Scrub,
};
pub use self::channel::{
    ChannelCreate, ChannelCreated, ChannelDelete, ChannelDeleted, ChannelInfo, ChannelList,
    ChannelPage, ChannelUpdate, DamageRow, EncryptionKey, NamedChannel, OneChannel,
};
pub use self::config::{ChannelConfig, CompressionName, ConfigChange, Encryption};
pub use self::consumer::{
    ConsumerDeleted, ConsumerLagRow, ConsumerReset, ConsumerTarget, Consumers, LagRequest,
};
pub use self::hello::{
    HelloRequest, HelloResponse, KindRow, Limits, PrincipalRow, VersionRange, kind_rows,
};
pub use self::place::{ChannelResolve, Place, Resolved};
