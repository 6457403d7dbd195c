//! The requests of a link with a JSON body, each answered here or by a task of its own.

use super::follow::MAX_FOLLOWED;
use super::listing::list;
use super::{Ask, Source, link_required};
use crate::broker::BrokerError;
use crate::protocol::region::{
    FollowedLog, LinkFollowed, LinkOpen, LinkOpened, LinkUnfollowed, MAX_LOGS,
};
use crate::protocol::{ErrorCode, RegionRequest, RegionResponse, Response, WireError};
use crate::region::RegionNumber;
use crate::server::access::Caller;
use crate::server::region::digest::digest;
use crate::server::region::{Regions, create, directory, leaving, matters, moving, seen};
use crate::server::{answer, clock};

impl Source {
    pub(super) async fn take(&mut self, correlation: u64, ask: Ask) {
        let request = match ask {
            Ask::Json(request) => *request,
            Ask::Fetch(fetch) => return self.fetch(correlation, fetch),
        };
        let Some(regions) = self.shared.regions.clone() else {
            return self.say(correlation, Err(not_a_region()));
        };
        if let RegionRequest::LinkOpen(open) = request {
            let opened = self.open(&regions, &open).map(RegionResponse::LinkOpen);
            return self.say(correlation, opened);
        }
        if !self.is_open {
            return self.say(correlation, Err(link_required()));
        }
        match request {
            RegionRequest::LinkFollow(follow) => {
                let mut logs = Vec::with_capacity(follow.logs.len());
                if follow.logs.len() > MAX_LOGS {
                    let text = format!("{} logs, the limit is {MAX_LOGS}", follow.logs.len());
                    let error = WireError::new(ErrorCode::InvalidRequest, text);
                    return self.say(correlation, Err(error));
                }
                for log in follow.logs {
                    let handle = log.handle;
                    logs.push(match self.follow(&regions, log).await {
                        Ok(followed) => followed,
                        Err(error) => FollowedLog::Refused { handle, error },
                    });
                }
                let answer = RegionResponse::LinkFollow(LinkFollowed { logs });
                self.say(correlation, Ok(answer));
            }
            RegionRequest::LinkUnfollow(unfollow) => {
                for handle in unfollow.handles {
                    self.unfollow_for_good(handle, &regions);
                }
                let answer = RegionResponse::LinkUnfollow(LinkUnfollowed {});
                self.say(correlation, Ok(answer));
            }
            RegionRequest::LinkDirectory(ask) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                let by = self.puller.clone().unwrap_or_else(|| regions.name.clone());
                tokio::spawn(async move {
                    let response = match directory::serve(&shared, &regions, &by, ask).await {
                        Ok(told) => Response::Region(Box::new(RegionResponse::LinkDirectory(told))),
                        Err(error) => Response::Error(error),
                    };
                    answers(correlation, response);
                });
            }
            RegionRequest::LinkFind(asked) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                tokio::spawn(async move {
                    let response = match matters::serve(&shared, asked).await {
                        Ok(found) => Response::Region(Box::new(RegionResponse::LinkFind(found))),
                        Err(error) => Response::Error(error),
                    };
                    answers(correlation, response);
                });
            }
            RegionRequest::LinkCreate(asked) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                tokio::spawn(async move {
                    let (caller, by) = (Caller::LOCAL, Some(&asked.by));
                    let response = match create(&shared, &caller, asked.create, by).await {
                        Response::ChannelCreate(created) => {
                            Response::Region(Box::new(RegionResponse::LinkCreate(created)))
                        }
                        other => other,
                    };
                    answers(correlation, response);
                });
            }
            // These hold up nothing else.
            RegionRequest::LinkLogs(logs) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                let puller = self.puller.clone();
                tokio::spawn(async move {
                    let response = match list(&shared, &regions, puller.as_ref(), logs).await {
                        Ok(page) => Response::Region(Box::new(RegionResponse::LinkLogs(page))),
                        Err(error) => Response::Error(error),
                    };
                    answers(correlation, response);
                });
            }
            RegionRequest::LinkSeen(asked) => {
                let saw = seen::told(&self.shared, &regions, &asked);
                self.say(correlation, Ok(RegionResponse::LinkSeen(saw)));
            }
            RegionRequest::LinkDigest(asked) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                tokio::spawn(async move {
                    let range = asked.from..asked.to;
                    let digest = digest(&shared, &asked.name, asked.incarnation, range).await;
                    let response = match digest {
                        Ok(digest) => {
                            Response::Region(Box::new(RegionResponse::LinkDigest(digest)))
                        }
                        Err(error) => Response::Error(answer::refused(&error)),
                    };
                    answers(correlation, response);
                });
            }
            // Nor do these, which wait for disks and other regions.
            request @ (RegionRequest::HomeFence(_)
            | RegionRequest::HomeDecline(_)
            | RegionRequest::HomeTake(_)) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                let answer = moving::answer_link(shared, self.puller.clone(), request);
                tokio::spawn(async move {
                    let response = match answer.await {
                        Ok(response) => Response::Region(Box::new(response)),
                        Err(error) => Response::Error(error),
                    };
                    answers(correlation, response);
                });
            }
            other => {
                let text = format!("{} is no request of a link", other.kind().name());
                let error = WireError::new(ErrorCode::InvalidRequest, text);
                self.say(correlation, Err(error));
            }
        }
    }

    fn open(&mut self, regions: &Regions, open: &LinkOpen) -> Result<LinkOpened, WireError> {
        let mismatch = |text: String| {
            WireError::new(ErrorCode::RegionMismatch, text)
                .with("expected", open.expect.as_str())
                .with("region", regions.name.as_str())
        };
        if self.is_open {
            let text = "the connection is a link already";
            return Err(WireError::new(ErrorCode::InvalidRequest, text));
        }
        if open.expect != regions.name {
            let text = format!(
                "region `{}` is meant, this is `{}`",
                open.expect, regions.name
            );
            return Err(mismatch(text));
        }
        if open.directory_id == self.shared.directory_id || open.region == regions.name {
            return Err(mismatch("a region links to itself".to_owned()));
        }
        if RegionNumber::of(&open.region) == RegionNumber::of(&regions.name) {
            let text = format!(
                "regions `{}` and `{}` have the same number: one of them needs another name",
                open.region, regions.name
            );
            return Err(mismatch(text));
        }
        if leaving::is_out(&self.shared.broker(), regions, &open.region) {
            return Err(leaving::has_left(&open.region));
        }
        self.is_open = true;
        self.puller = Some(open.region.clone());
        self.packs = open.pack;
        Ok(LinkOpened {
            region: regions.name.clone(),
            directory_id: self.shared.directory_id,
            epoch: self.shared.epoch,
            now: clock::now(),
            max_followed: u32::try_from(MAX_FOLLOWED).unwrap_or(u32::MAX),
        })
    }
}

fn not_a_region() -> WireError {
    answer::refused(&BrokerError::NotARegion)
}
