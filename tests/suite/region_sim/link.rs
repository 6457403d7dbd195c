//! A link of a run: the connection between a puller and its source, and the line it runs over.

use npayload::region::ChannelPattern;
use npayload::region::link::{Link as Machine, LinkEvent, LinkState};

use super::copying::{Home, Pulling, Stops};
use super::region::Region;
use super::source::{Reply, Request, Serving, Way};
use crate::sim::chance::Chance;
use crate::sim::trace::{Trace, anomaly};

/// Requests for what is new that stand at once.
const STANDING: u32 = 3;

/// What is on its way, and which ways are blocked.
#[derive(Default)]
pub struct Line {
    pub there: Way<Request>,
    pub back: Way<Reply>,
    pub is_silent_there: bool,
    pub is_silent_back: bool,
    /// Nobody can connect.
    pub is_cut: bool,
    /// Steps that everything takes at least.
    pub delay: u64,
}

pub struct Link {
    /// Its number among the regions.
    pub puller: usize,
    pub source: usize,
    pub line: Line,
    pub stops: Stops,
    machine: Machine,
    pulling: Option<Pulling>,
    serving: Option<Serving>,
    /// An answer was lost or came out of order: whatever comes next ends the link.
    is_broken: bool,
}

/// The two ends of a link, out of all regions.
pub fn ends(regions: &mut [Region], puller: usize, source: usize) -> (&mut Region, &mut Region) {
    let (low, high) = regions.split_at_mut(puller.max(source));
    match puller < source {
        true => (&mut low[puller], &mut high[0]),
        false => (&mut high[0], &mut low[source]),
    }
}

impl Link {
    pub fn new(puller: usize, source: usize) -> Self {
        Self {
            puller,
            source,
            line: Line::default(),
            stops: Stops::new(),
            machine: Machine::default(),
            pulling: None,
            serving: None,
            is_broken: false,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.machine.state(), LinkState::Open { .. })
    }

    fn event(&mut self, event: LinkEvent, region: &Region, chance: &mut Chance) {
        #[expect(clippy::cast_precision_loss, reason = "below 1,001")]
        let jitter = chance.below(1_001) as f64 / 1_000.0;
        if let Err(illegal) = self.machine.handle(event, region.time(), jitter) {
            anomaly!("link", "{}: {illegal}", region.name);
        }
    }

    /// The connection ends, with all that is on its way.
    pub fn lose(&mut self, puller: &Region, chance: &mut Chance) {
        self.line.there.clear();
        self.line.back.clear();
        (self.pulling, self.serving) = (None, None);
        self.is_broken = false;
        if self.is_open() {
            self.event(LinkEvent::Lost, puller, chance);
        }
    }

    /// The process that pulls has died, and with it all that it knew of the link.
    pub fn forget(&mut self) {
        self.line.there.clear();
        self.line.back.clear();
        (self.pulling, self.serving) = (None, None);
        self.is_broken = false;
        self.machine = Machine::default();
        self.stops.clear();
    }

    fn send(&mut self, request: Request, step: u64, chance: &mut Chance) {
        let due = step + self.line.delay + chance.below(6);
        let due = self
            .line
            .there
            .back()
            .map_or(due, |(last, _)| due.max(*last));
        self.line.there.push_back((due, request));
    }

    fn reply(&mut self, reply: Reply, step: u64, chance: &mut Chance) {
        let due = step + self.line.delay + chance.below(6);
        let due = self
            .line
            .back
            .back()
            .map_or(due, |(last, _)| due.max(*last));
        self.line.back.push_back((due, reply));
    }

    /// The puller does the next of what it has to do.
    pub fn pull(&mut self, regions: &mut [Region], step: u64, chance: &mut Chance) {
        let (puller, source) = ends(regions, self.puller, self.source);
        if puller.broker.is_none() {
            return;
        }
        match self.machine.state() {
            LinkState::Idle => return self.event(LinkEvent::Dial, puller, chance),
            LinkState::Waiting { .. } => {
                if self.machine.due().is_some_and(|due| due <= puller.time()) {
                    self.event(LinkEvent::WaitOver, puller, chance);
                }
                return;
            }
            LinkState::Dialling => {
                let line = &self.line;
                let is_silent = line.is_silent_there || line.is_silent_back;
                if line.is_cut || source.broker.is_none() {
                    return self.event(LinkEvent::Lost, puller, chance);
                }
                if !is_silent {
                    self.event(LinkEvent::Opened, puller, chance);
                    (self.pulling, self.serving) =
                        (Some(Pulling::default()), Some(Serving::default()));
                    puller.trace.count("event: link opened");
                }
                return;
            }
            _ => {}
        }
        let Some(mut pulling) = self.pulling.take() else {
            return;
        };
        if pulling.has_work() {
            let home = Home { region: source };
            let left = pulling.work(puller, &mut self.stops, &home);
            let is_well = left.is_empty();
            for handle in left {
                self.send(Request::Unfollow(handle), step, chance);
            }
            if is_well && matches!(self.machine.state(), LinkState::Open { .. }) {
                self.event(LinkEvent::Brought, puller, chance);
            }
            self.pulling = Some(pulling);
            return;
        }
        let (patterns, left) = pulling.change_wishes(puller);
        for handle in left {
            self.send(Request::Unfollow(handle), step, chance);
        }
        self.ask(&mut pulling, puller, &patterns, step, chance);
        self.pulling = Some(pulling);
    }

    fn ask(
        &mut self,
        pulling: &mut Pulling,
        puller: &mut Region,
        patterns: &[ChannelPattern],
        step: u64,
        chance: &mut Chance,
    ) {
        if !pulling.asks_logs && !patterns.is_empty() && chance.one_in(3) {
            pulling.asks_logs = true;
            self.send(Request::Logs(patterns.to_vec()), step, chance);
        }
        if pulling.is_copying() && pulling.standing < STANDING {
            pulling.standing += 1;
            self.send(Request::Fetch, step, chance);
        }
        if !pulling.asks_follow {
            let asks = pulling.plan(puller, &mut self.stops);
            if !asks.is_empty() {
                self.send(Request::Follow(asks), step, chance);
            }
        }
    }

    /// The source takes what has arrived, or answers what stands.
    pub fn serve(&mut self, regions: &mut [Region], step: u64, chance: &mut Chance) {
        let (_, source) = ends(regions, self.puller, self.source);
        let Some(serving) = self.serving.as_mut() else {
            return;
        };
        let is_there = self.line.there.front().is_some_and(|(due, _)| *due <= step);
        let reply = if is_there && !self.line.is_silent_there {
            let (_, request) = self.line.there.pop_front().expect("it is there");
            serving.take(source, request)
        } else {
            let max_bytes = chance.within(2_000..12_000);
            let is_due = chance.one_in(12);
            serving.answer(source, max_bytes, is_due)
        };
        if let Some(reply) = reply {
            self.reply(reply, step, chance);
        }
    }

    /// The puller takes what has arrived.
    pub fn deliver(&mut self, regions: &mut [Region], step: u64, chance: &mut Chance) {
        let (puller, source) = ends(regions, self.puller, self.source);
        let is_there = self.line.back.front().is_some_and(|(due, _)| *due <= step);
        if !is_there || self.line.is_silent_back {
            return;
        }
        let Some(pulling) = self.pulling.as_mut() else {
            return;
        };
        // As over a connection: what comes is looked at once the last is stored.
        if pulling.has_work() {
            return;
        }
        let (_, reply) = self.line.back.pop_front().expect("it is there");
        match reply {
            Reply::Logs(logs) => pulling.learn(logs),
            Reply::Followed(followed) => {
                pulling.asks_follow = false;
                let mut left = Vec::new();
                for (ask, begun) in followed {
                    let home = Home { region: source };
                    left.extend(pulling.begin(puller, &mut self.stops, &home, ask, begun));
                }
                for handle in left {
                    self.send(Request::Unfollow(handle), step, chance);
                }
            }
            Reply::Items { number, items } => {
                let is_next = pulling.take(number, items);
                if is_next && self.is_broken {
                    anomaly!("hole", "an answer was left out, and {number} was taken");
                }
                if !is_next {
                    puller.trace.count("event: a missing answer ended the link");
                    self.lose(puller, chance);
                }
            }
        }
    }

    /// One of several answers on their way is lost, or two change places; false where there are
    /// none.
    pub fn disturb(&mut self, trace: &Trace, chance: &mut Chance) -> bool {
        if self.is_broken {
            return false;
        }
        let back = &mut self.line.back;
        let is_items = |at: &usize| matches!(back[*at].1, Reply::Items { .. });
        let answers: Vec<usize> = (0..back.len()).filter(is_items).collect();
        match answers[..] {
            [_, .., last] if chance.one_in(2) => {
                back.swap(answers[0], last);
                trace.count("fault: answers change places");
            }
            // The one behind it tells.
            [first, _, ..] => {
                back.remove(first);
                trace.count("fault: an answer is lost");
            }
            _ => return false,
        }
        self.is_broken = true;
        true
    }
}
