//! Publishes to channels that live in another region: sent there, answered from there.

use std::sync::Arc;

use super::Regions;
use super::requests::unreachable;
use crate::broker::Residence;
use crate::client::{LinkCall, RequestError};
use crate::protocol::{
    ErrorCode, LinkForwardRequest, LinkForwardResponse, PublishRequest, Request, Response,
    WireError,
};
use crate::server::answer;
use crate::server::dispatch::{Command, Handled};
use crate::server::shared::Shared;
use crate::types::{ChannelName, RegionName};

/// Whether a publish is to be carried out in another region.
pub(in crate::server) fn lives_elsewhere(shared: &Shared, publish: &PublishRequest) -> bool {
    let channel = &publish.target.channel;
    let Some(regions) = &shared.regions else {
        return false;
    };
    match shared.broker().residence(channel) {
        Residence::Home(_) => false,
        Residence::Copy(..) => true,
        Residence::Unknown => regions.known_home(channel).is_some(),
    }
}

/// A publish on its way to the channel's home.
#[derive(Debug)]
pub(in crate::server) struct Forward(PublishRequest);

/// A publish whose answer is awaited.
pub(in crate::server) struct Forwarded {
    home: RegionName,
    call: LinkCall,
    channel: ChannelName,
    regions: Arc<Regions>,
}

impl Forward {
    /// A publish to be forwarded.
    pub fn new(publish: PublishRequest) -> Self {
        Self(publish)
    }

    /// Sends it. It names the channel's identity, so that the home makes no other channel for it.
    ///
    /// # Errors
    /// What to answer where the home can't be reached.
    pub fn send(self, shared: &Shared) -> Result<Forwarded, WireError> {
        let Self(mut publish) = self;
        let residence = shared.broker().residence(&publish.target.channel);
        let found = match (residence, &shared.regions) {
            (Residence::Copy(id, home), Some(_)) => Some((home, id)),
            (_, Some(regions)) => regions.known_home(&publish.target.channel),
            _ => None,
        };
        // It was deleted meanwhile.
        let Some((home, id)) = found else {
            let name = publish.target.channel.to_string();
            let error = crate::broker::BrokerError::NoSuchChannel { name };
            return Err(answer::refused(&error));
        };
        let channel = publish.target.channel.clone();
        publish.target.incarnation.get_or_insert(id);
        let regions = shared.regions.clone().ok_or_else(|| unreachable(&home))?;
        let link = regions.peer(&home).and_then(|peer| peer.link());
        let link = link.ok_or_else(|| unreachable(&home))?;
        let by = regions.name.clone();
        let request = LinkForwardRequest { by, publish };
        let call = link.send(&Request::LinkForward(Box::new(request)));
        Ok(Forwarded {
            home,
            call,
            channel,
            regions,
        })
    }
}

impl Forwarded {
    /// What to answer.
    pub async fn answer(mut self) -> Response {
        match self.call.answer().await {
            Ok(Response::LinkForward(answer)) => Response::Publish(answer.published),
            Err(RequestError::Server(error)) => {
                let is_gone = [
                    ErrorCode::ChannelNotFound,
                    ErrorCode::ChannelRecreated,
                    ErrorCode::NotHome,
                ];
                if error.known().is_some_and(|code| is_gone.contains(&code)) {
                    self.regions.forget_home(&self.channel);
                }
                Response::Error(*error)
            }
            // Nobody knows whether it was carried out; a retry with the same sequence finds out.
            Ok(_) | Err(_) => Response::Error(unreachable(&self.home)),
        }
    }
}

/// Says where a publish was carried out, to the region that has forwarded it.
pub(in crate::server) fn told_where(shared: &Shared, handled: Handled) -> Handled {
    match handled {
        Handled::Busy(command) => Handled::Busy(Command::Forwarded(Box::new(command))),
        Handled::Answer(response, wait) => {
            let response = match (*response, &shared.regions) {
                (Response::Publish(published), Some(regions)) => {
                    let region = regions.name.clone();
                    let answer = LinkForwardResponse { region, published };
                    Response::LinkForward(Box::new(answer))
                }
                (other, _) => other,
            };
            Handled::Answer(Box::new(response), wait)
        }
        other => other,
    }
}
