//! Publishes to channels that live in another region: sent there, answered from there.

use super::requests::unreachable;
use crate::broker::Residence;
use crate::client::{LinkCall, RequestError};
use crate::protocol::{
    LinkForwardRequest, LinkForwardResponse, PublishRequest, Request, Response, WireError,
};
use crate::server::answer;
use crate::server::dispatch::{Command, Handled};
use crate::server::shared::Shared;
use crate::types::RegionName;

/// Whether a publish is to be carried out in another region.
pub(in crate::server) fn lives_elsewhere(shared: &Shared, publish: &PublishRequest) -> bool {
    let channel = &publish.target.channel;
    shared.regions.is_some() && matches!(shared.broker().residence(channel), Residence::Copy(..))
}

/// A publish on its way to the channel's home.
#[derive(Debug)]
pub(in crate::server) struct Forward(PublishRequest);

/// A publish whose answer is awaited.
pub(in crate::server) struct Forwarded {
    home: RegionName,
    call: LinkCall,
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
        let (id, home) = match (residence, &shared.regions) {
            (Residence::Copy(id, home), Some(_)) => (id, home),
            // It was deleted here meanwhile.
            _ => {
                let name = publish.target.channel.to_string();
                let error = crate::broker::BrokerError::NoSuchChannel { name };
                return Err(answer::refused(&error));
            }
        };
        publish.target.incarnation.get_or_insert(id);
        let regions = shared.regions.as_ref();
        let link = regions.and_then(|regions| regions.peer(&home)?.link());
        let by = regions.map(|regions| regions.name.clone());
        let (Some(link), Some(by)) = (link, by) else {
            return Err(unreachable(&home));
        };
        let request = LinkForwardRequest { by, publish };
        let call = link.send(&Request::LinkForward(Box::new(request)));
        Ok(Forwarded { home, call })
    }
}

impl Forwarded {
    /// What to answer.
    pub async fn answer(mut self) -> Response {
        match self.call.answer().await {
            Ok(Response::LinkForward(answer)) => Response::Publish(answer.published),
            Err(RequestError::Server(error)) => Response::Error(*error),
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
