//! Which logs of the peer are followed, from where on, and the copies that are made for them.

use std::collections::HashMap;

use tokio::time::{Instant, timeout};

use super::lists::List;
use super::{ANSWER, Copying, Ended, Session, ended, place};
use crate::broker::asp::CopiedTopic;
use crate::broker::config::ChannelConfig;
use crate::broker::{NewCopy, Residence};
use crate::client::LinkCall;
use crate::protocol::region::{
    FollowFrom, FollowLog, FollowedLog, LinkFollow, LinkLog, LinkLogsPage, LinkUnfollow, MAX_LOGS,
};
use crate::protocol::{MAX_CONTROL_FRAME_BYTES, RegionRequest, RegionResponse, Response};
use crate::region::copies::{Before, Cursor};
use crate::region::interest::{Since, Wish};
use crate::region::routes::{Refusal, Turn};
use crate::server::clock;
use crate::server::region::{following, travel};
use crate::types::{ChannelName, Incarnation, Offset, RegionName};

/// Bytes of the logs that one request asks for, in JSON: a frame holds twice as many.
const FOLLOW_BYTES: usize = MAX_CONTROL_FRAME_BYTES as usize / 2;

impl Session<'_> {
    /// Takes what this region wants now; true where the peer is to be asked anew.
    pub(super) async fn change_wishes(&mut self) -> Result<bool, Ended> {
        let lists = self.wanted_lists();
        let mut left = Vec::new();
        for (handle, copying) in &self.copying {
            let wish = self.wish(&copying.name);
            if wish.is_none_or(|wish| self.types(copying.id, &wish) != copying.types) {
                left.push(*handle);
                following::note_withdrawn(self.shared, self.regions, &copying.name);
            }
        }
        self.leave(left).await?;
        self.forget_unwanted();
        // What somebody wants to be tried again is due now.
        let retries: Vec<Incarnation> = self.regions.retries().iter().copied().collect();
        for id in retries {
            let name = self.shared.broker().name_of(id).cloned();
            if let Some((at, _)) = name.and_then(|name| self.stopped.get_mut(&name)) {
                *at = at.map(|_| Instant::from_std(clock::instant()));
            }
        }
        if lists == self.lists {
            self.follow_wanted().await?;
            return Ok(false);
        }
        self.lists = lists;
        self.version = None;
        self.known.clear();
        Ok(true)
    }

    /// A topic of agents that was refused, and that nobody wants any more, is tried at once when it is
    /// wanted again: it may have been purged for that.
    fn forget_unwanted(&mut self) {
        let broker = self.shared.broker();
        let now = Instant::from_std(clock::instant());
        for (name, (at, times)) in &mut self.stopped {
            if CopiedTopic::of(name).is_some() && following::wish(&broker, name).is_none() {
                *at = at.map(|_| now);
                *times = 0;
            }
        }
    }

    pub(super) fn wish(&self, name: &ChannelName) -> Option<Wish> {
        following::wish(&self.shared.broker(), name)
    }

    pub(super) async fn leave(&mut self, handles: Vec<u32>) -> Result<(), Ended> {
        if handles.is_empty() {
            return Ok(());
        }
        for handle in &handles {
            let copying = self.copying.remove(handle);
            if let Some(beside) = copying.as_ref().filter(|one| one.is_beside) {
                // The peer forgets what was said of the log.
                let rest = self.copying.iter().filter(|(_, one)| one.id == beside.id);
                rest.for_each(|(handle, _)| self.holding.again(*handle));
            } else if let Some(copying) = copying {
                self.regions
                    .copy_state(copying.id, |state| state.is_followed = false);
                self.holding.left(*handle);
                self.idle.remove(handle);
                self.regions.routes().left(&self.peer.name, copying.id);
            }
        }
        self.regions.tell_routed();
        let request = RegionRequest::LinkUnfollow(LinkUnfollow { handles });
        self.link.ask(request, ANSWER).await?;
        Ok(())
    }

    /// Takes what the peer has of the first list, and asks for the others: all pages of each.
    pub(super) async fn learn(&mut self, answer: Response) -> Result<(), Ended> {
        let page = logs_page(answer)?;
        // The wait has ended, and nothing has changed.
        if page.logs.is_empty() && self.version == Some(page.version) {
            return Ok(());
        }
        // What changes from here on changes the version too, which is asked for next.
        self.version = Some(page.version);
        self.known.clear();
        let mut first = Some(page);
        for list in self.lists.clone() {
            let page = match first.take() {
                Some(page) => page,
                None => self.page_of(self.ask_logs(&list, None, None)).await?,
            };
            self.take_list(&list, page).await?;
        }
        self.tell_list();
        self.follow_wanted().await
    }

    /// Takes all that the peer has of a list, from its first page on.
    async fn take_list(&mut self, list: &List, mut page: LinkLogsPage) -> Result<(), Ended> {
        loop {
            let next = page.next.take();
            for log in page.logs {
                let log = travel::named_here(log, &self.peer.name);
                self.known.insert(log.name.clone(), log);
            }
            let Some(cursor) = next else { break };
            page = self
                .page_of(self.ask_logs(list, None, Some(cursor)))
                .await?;
        }
        let is_offered = |name: &ChannelName| self.known.contains_key(name);
        (self.shared.broker()).note_offered(&self.peer.name, &list.topics, is_offered);
        Ok(())
    }

    async fn page_of(&self, mut call: LinkCall) -> Result<LinkLogsPage, Ended> {
        match timeout(ANSWER, call.answer()).await {
            Ok(answer) => logs_page(answer?),
            Err(_) => Err(ended("the list of logs did not come in time")),
        }
    }

    /// Follows every log of the peer that is wanted and not followed.
    pub(super) async fn follow_wanted(&mut self) -> Result<(), Ended> {
        self.forgive_due();
        let mut asked: Vec<(FollowLog, (LinkLog, Wish))> = Vec::new();
        let mut left = Vec::new();
        let handles = self.copying.iter().filter(|(_, one)| !one.is_beside);
        let handles: HashMap<Incarnation, u32> = handles.map(|(at, one)| (one.id, *at)).collect();
        for log in self.known.values().cloned().collect::<Vec<_>>() {
            let Some(wish) = self.wish(&log.name) else {
                continue;
            };
            let handle = handles.get(&log.incarnation).copied();
            match self.turn(&log, handle) {
                Turn::Follow => {
                    if let Some(follow) = self.plan(&log, &wish).await {
                        asked.push((follow, (log, wish)));
                    }
                }
                Turn::Leave => left.extend(handle),
                Turn::Stay | Turn::Wait => {}
            }
        }
        self.leave(left).await?;
        self.plan_look();
        while !asked.is_empty() {
            let rest = asked.split_off(that_fit(&asked));
            for (followed, (log, wish)) in self.ask_to_follow(asked).await? {
                self.begin(followed, &log, &wish).await?;
            }
            asked = rest;
        }
        self.follow_wider().await
    }

    /// Asks the peer for logs, at most [`MAX_LOGS`]; what became of each, with what belongs to it.
    pub(super) async fn ask_to_follow<T>(
        &self,
        asked: Vec<(FollowLog, T)>,
    ) -> Result<Vec<(FollowedLog, T)>, Ended> {
        let (logs, belonging): (Vec<FollowLog>, Vec<T>) = asked.into_iter().unzip();
        let request = RegionRequest::LinkFollow(LinkFollow { logs });
        let answer = match self.link.ask(request, ANSWER).await? {
            RegionResponse::LinkFollow(answer) => answer,
            _ => return Err(ended("the peer gave another answer to link.follow")),
        };
        if answer.logs.len() != belonging.len() {
            return Err(ended(
                "the peer answered for other logs than were asked for",
            ));
        }
        Ok(answer.logs.into_iter().zip(belonging).collect())
    }

    /// How a log is to be followed; none where it can't be, which is noted.
    async fn plan(&mut self, log: &LinkLog, wish: &Wish) -> Option<FollowLog> {
        if let Err(text) = self.bring_anew(log).await {
            let here = self.shared.broker().identity_of(&log.name);
            let shown = here.unwrap_or(log.incarnation);
            self.hold(log, shown, &text, Refusal::Passing);
            return None;
        }
        let handle = self.next_handle;
        let residence = self.shared.broker().residence(&log.name);
        let types = self.types(log.incarnation, wish);
        // What was here and was purged says nothing of a copy that is to be begun.
        let begins_at = match residence {
            Residence::Copy(id, _) => self.shared.broker().begins_at(id),
            _ => None,
        };
        let follow = |from, before| {
            let (last, last_epoch) = match before {
                Before::Nothing => (None, None),
                Before::Batch(mark) => (Some(mark), None),
                Before::OwnGap(epoch) => (None, Some(epoch)),
            };
            FollowLog {
                handle,
                name: travel::named_there(&log.name),
                incarnation: Some(log.incarnation),
                from,
                last,
                last_epoch,
                begins_at,
                types,
                orgs: self.shared.broker().askers(&log.name),
            }
        };
        let planned = match residence {
            Residence::Unknown => follow(FollowFrom::Since(wish.from), Before::Nothing),
            Residence::Home(_) => {
                let text = "a channel of this name lives here too, and is another one";
                self.hold(log, log.incarnation, text, Refusal::Differs);
                return None;
            }
            // A topic of the broker's own that was made again, with its data directory, has no place
            // beside the old one.
            Residence::Copy(id, _) if id != log.incarnation && log.name.is_internal() => {
                let may_go = self.shared.broker().check_begin_anew(&log.name);
                if let Err(text) = may_go {
                    self.hold(log, id, &text, Refusal::Differs);
                    return None;
                }
                follow(FollowFrom::Since(Since::Start), Before::Nothing)
            }
            // Another life of the channel: it is begun from its start, beside what is here of the old.
            Residence::Copy(id, home) if id != log.incarnation => {
                let is_its_home = home == self.peer.name || self.is_named_anew(log, id, &home);
                if !is_its_home || log.home != self.peer.name {
                    let text = "the channel was deleted and created again; this copy is of the old \
                                one, whose home has not said so";
                    self.hold(log, id, text, Refusal::Differs);
                    return None;
                }
                follow(FollowFrom::Since(Since::Start), Before::Nothing)
            }
            Residence::Copy(id, _) => {
                let (next, before) = match place::end_of(self.shared, &log.name, id).await {
                    Ok(place) => place,
                    Err(error) => {
                        self.hold(log, id, &error.to_string(), Refusal::Differs);
                        return None;
                    }
                };
                follow(FollowFrom::Offset(next), before)
            }
        };
        self.next_handle = self.next_handle.wrapping_add(1);
        Some(planned)
    }

    /// Whether the directory names this log in the place of a copy whose channel is over. Its home, where
    /// that is linked, does not have that any more either.
    fn is_named_anew(&self, log: &LinkLog, old: Incarnation, home: &RegionName) -> bool {
        let is_named = (self.shared.broker()).is_made_again(&log.name, log.incarnation);
        is_named && !self.regions.routes().is_offered(home, old)
    }

    /// Takes what became of a log that was to be followed.
    async fn begin(
        &mut self,
        followed: FollowedLog,
        log: &LinkLog,
        wish: &Wish,
    ) -> Result<(), Ended> {
        let (handle, id, from) = match followed {
            FollowedLog::Followed {
                handle,
                incarnation,
                from,
            } => (handle, incarnation, from),
            FollowedLog::Refused { error, .. } => {
                self.refused(log, log.incarnation, &error);
                return Ok(());
            }
        };
        if id != log.incarnation {
            return Err(ended("the peer follows another log than was asked for"));
        }
        if let Err(text) = self.make(log, wish, from) {
            self.hold(log, id, &text, Refusal::Differs);
            return self.leave(vec![handle]).await;
        }
        let Some(place) = self.shared.broker().copy_place(id) else {
            return Err(ended("a copy is gone"));
        };
        if place.next != from {
            let text = format!("the peer goes on at {from}, the copy at {}", place.next);
            self.hold(log, id, &text, Refusal::Passing);
            return self.leave(vec![handle]).await;
        }
        if log.home == self.peer.name && log.name.is_internal() {
            let mut broker = self.shared.broker();
            broker.topic_goes_to(&log.name, log.flushed, clock::now());
        }
        self.stopped.remove(&log.name);
        following::resume(self.shared, self.regions, id, &self.peer.name);
        let peer = self.peer.name.clone();
        self.regions.copy_state(id, |state| {
            state.source = Some(peer);
            state.is_followed = true;
            state.error = None;
        });
        let types = self.types(id, wish);
        let (epoch, time) = (place.last_epoch, place.last_time);
        let copying = Copying {
            name: log.name.clone(),
            id,
            cursor: Cursor::new(id, from, epoch, time, types.is_some()),
            is_home: log.home == self.peer.name,
            types,
            is_beside: false,
            tenure: self.shared.broker().home_of(id).map(|home| home.tenure),
        };
        self.copying.insert(handle, copying);
        self.holding.grown(handle);
        Ok(())
    }

    /// Makes the copy, where there is none.
    fn make(&self, log: &LinkLog, wish: &Wish, from: Offset) -> Result<(), String> {
        let mut broker = self.shared.broker();
        let is_again = match broker.residence(&log.name) {
            Residence::Unknown => false,
            Residence::Copy(id, _) if id != log.incarnation => true,
            _ => return Ok(()),
        };
        // Both are the same names in JSON.
        let config = serde_json::to_value(&log.config).and_then(serde_json::from_value);
        let mut config: ChannelConfig = config.map_err(|error| error.to_string())?;
        if wish.retention_days.is_some() {
            config.retention_days = wish.retention_days;
        }
        let new = NewCopy {
            name: log.name.clone(),
            incarnation: log.incarnation,
            config,
            home: log.home.clone(),
            begins_at: from,
            from_start: (is_again || wish.from == Since::Start) && log.whole,
            types: wish.types.clone(),
        };
        let is_internal = new.name.is_internal();
        let made = match (is_internal, is_again) {
            (true, false) => broker.create_travelled(new, clock::now()),
            (true, true) => broker.create_travelled_anew(new, clock::now()),
            (false, true) => broker.create_recreated(new, clock::now()),
            (false, false) => broker.create_copy(new, clock::now()),
        };
        if made.is_ok() {
            self.regions.settle_new(&broker, log.incarnation);
            if is_internal && is_again {
                // What the region has said before of keys counts no more.
                self.shared.tell_access_changed();
            }
            if is_internal {
                broker.begun_copied(log.incarnation, log.flushed);
            }
        }
        drop(broker);
        self.shared.wake_committer();
        made.map(drop).map_err(|refusal| refusal.error.to_string())
    }
}

/// How many of the first of some logs one request asks for: each may be of many record types.
pub(super) fn that_fit<T>(asked: &[(FollowLog, T)]) -> usize {
    let mut bytes = 0;
    let is_in_frame = |(log, _): &&(FollowLog, T)| {
        bytes += serde_json::to_vec(log).map_or(0, |text| text.len() + 1);
        bytes <= FOLLOW_BYTES
    };
    let fit = asked.iter().take(MAX_LOGS).take_while(is_in_frame).count();
    fit.max(1)
}

fn logs_page(answer: Response) -> Result<LinkLogsPage, Ended> {
    match answer {
        Response::Region(answer) => match *answer {
            RegionResponse::LinkLogs(page) => Ok(page),
            _ => Err(ended("the peer gave another answer to link.logs")),
        },
        _ => Err(ended("the peer gave another answer to link.logs")),
    }
}
