//! Whether a copy is what its home is, range by range: asked where the copy is, it is compared with the
//! home; asked at the home, every copy that another region holds is compared with what is here.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Regions;
use super::digest::digest;
use super::requests::unreachable;
use crate::broker::{BrokerError, Residence, Travelling};
use crate::client::RequestError;
use crate::protocol::region::{LinkDigest, RangeDigest, RegionVerify, Verified, VerifiedCopy};
use crate::protocol::{ErrorCode, RegionRequest, RegionResponse, WireError};
use crate::server::answer;
use crate::server::shared::Shared;
use crate::types::{ChannelName, Incarnation, Offset, RegionName};

/// Offsets that are compared at once.
const RANGE: u64 = 1 << 20;
/// How long a digest of one range may take.
const DIGEST: Duration = Duration::from_secs(60);

/// Compares a copy with its home, or all copies with this one.
pub(super) async fn verify(
    shared: &Arc<Shared>,
    asked: &RegionVerify,
) -> Result<Verified, WireError> {
    let refused = |error: BrokerError| answer::refused(&error);
    let regions = shared.regions.clone();
    let regions = regions.ok_or_else(|| refused(BrokerError::NotARegion))?;
    let name = &asked.name;
    let (id, home, all) = {
        let broker = shared.broker();
        let (id, home) = match broker.residence(name) {
            Residence::Copy(id, home) => (id, Some(home)),
            Residence::Home(id) => (id, None),
            Residence::Unknown => return Err(refused(broker.no_such_log(name))),
        };
        let log = broker.storage().log(id);
        let log = log.ok_or_else(|| WireError::new(ErrorCode::Internal, "no log"))?;
        (id, home, log.log_start()..log.flushed())
    };
    let log = Log {
        shared,
        regions: &regions,
        name,
        id,
    };
    let Some(home) = home else {
        return Ok(log.all_copies(all).await);
    };
    // Where the home is out of reach, the region that the copy is pulled from has the same.
    let is_linked = |region| regions.peer(region).is_some_and(|it| it.link().is_some());
    let source = regions.routes().source(id).cloned();
    let home = match source.filter(|_| !is_linked(&home)) {
        Some(source) => source,
        None => home,
    };
    let there = Side::There(&home, name.clone());
    let compared = log.compare(all, &Side::Here, &there).await?;
    Ok(Verified {
        name: name.clone(),
        home,
        from: compared.range.start,
        to: compared.range.end,
        batches: compared.batches,
        equal: compared.differs.is_none(),
        differs: compared.differs,
        copies: None,
    })
}

/// Where a log is read for a comparison.
enum Side<'a> {
    Here,
    /// In another region, under the name that it has there.
    There(&'a RegionName, ChannelName),
}

/// What a comparison of a copy with its home has shown.
struct Compared {
    range: Range<Offset>,
    batches: u64,
    differs: Option<(Offset, Offset)>,
}

/// The log that is compared.
struct Log<'a> {
    shared: &'a Arc<Shared>,
    regions: &'a Regions,
    name: &'a ChannelName,
    id: Incarnation,
}

impl Log<'_> {
    /// Compares every copy: those of regions that say they hold the log, and those that a linked region
    /// has although it does not pull it now, as one that was stopped. Nothing is compared with itself,
    /// so where there is no copy there is nothing to be told of.
    async fn all_copies(&self, all: Range<Offset>) -> Verified {
        let own = &self.regions.name;
        let mut verified = Verified {
            name: self.name.clone(),
            home: own.clone(),
            from: all.start,
            to: all.start,
            batches: 0,
            equal: true,
            differs: None,
            copies: None,
        };
        let topic = Travelling::of(self.name);
        let there = topic.map_or_else(|| self.name.clone(), |topic| topic.name_from(own));
        let mut copies = Vec::new();
        let held = self.regions.held.of(self.id).into_iter();
        let holders: BTreeSet<RegionName> = held.map(|(region, _)| region).collect();
        let peers = self.regions.peers().into_iter();
        let linked = peers.filter(|peer| peer.link().is_some());
        let mut asked: BTreeSet<RegionName> = linked.map(|peer| peer.name.clone()).collect();
        asked.extend(holders.iter().cloned());
        for region in asked {
            let side = Side::There(&region, there.clone());
            let compared = self.compare(all.clone(), &side, &Side::Here).await;
            let has_none = |error: &WireError| error.known() == Some(ErrorCode::ChannelNotFound);
            if !holders.contains(&region) && compared.as_ref().is_err_and(has_none) {
                continue;
            }
            let mut copy = VerifiedCopy {
                region: region.clone(),
                from: all.start,
                to: all.start,
                batches: 0,
                differs: None,
                error: None,
            };
            match compared {
                Ok(compared) => {
                    (copy.from, copy.to) = (compared.range.start, compared.range.end);
                    (copy.batches, copy.differs) = (compared.batches, compared.differs);
                }
                Err(error) => copy.error = Some(format!("{}: {}", error.name, error.message)),
            }
            verified.to = verified.to.max(copy.to);
            verified.batches += copy.batches;
            verified.equal &= copy.differs.is_none() && copy.error.is_none();
            verified.differs = verified.differs.or(copy.differs);
            copies.push(copy);
        }
        verified.copies = Some(copies);
        verified
    }

    async fn compare(
        &self,
        all: Range<Offset>,
        copy: &Side<'_>,
        home: &Side<'_>,
    ) -> Result<Compared, WireError> {
        let mut compared = Compared {
            range: all.start..all.start,
            batches: 0,
            differs: None,
        };
        let mut at = all.start;
        while at < all.end {
            let end = Offset(at.0.saturating_add(RANGE)).min(all.end);
            let mut of_copy = match self.digest(copy, at..end).await {
                // The copy ends before that, as it is behind.
                Err(error) if error.known() == Some(ErrorCode::OffsetOutOfRange) => break,
                of_copy => of_copy?,
            };
            if of_copy.batches == 0 {
                at = end;
                continue;
            }
            let of_home = self.digest(home, of_copy.from..of_copy.to).await?;
            // Retention at home may have removed what the copy still has.
            if of_home.from > of_copy.from {
                let both = of_home.from..of_copy.to;
                of_copy = self.digest(copy, both).await?;
            }
            compared.batches += of_copy.batches;
            if of_home != of_copy {
                compared.differs = Some((of_copy.from, of_copy.to));
                break;
            }
            at = of_copy.to.max(Offset(at.0 + 1));
            compared.range.end = of_copy.to;
        }
        Ok(compared)
    }

    async fn digest(
        &self,
        side: &Side<'_>,
        range: Range<Offset>,
    ) -> Result<RangeDigest, WireError> {
        let (region, name) = match side {
            Side::Here => {
                let digest = digest(self.shared, self.name, self.id, range).await;
                return digest.map_err(|error| answer::refused(&error));
            }
            Side::There(region, name) => (*region, name),
        };
        let link = self.regions.peer(region).and_then(|peer| peer.link());
        let link = link.ok_or_else(|| unreachable(region))?;
        let request = RegionRequest::LinkDigest(LinkDigest {
            name: name.clone(),
            incarnation: self.id,
            from: range.start,
            to: range.end,
        });
        match link.ask(request, DIGEST).await {
            Ok(RegionResponse::LinkDigest(digest)) => Ok(digest),
            Err(RequestError::Server(error)) => Err(*error),
            Ok(_) | Err(_) => Err(unreachable(region)),
        }
    }
}
