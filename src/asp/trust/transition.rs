//! What each record makes of the state.

use std::sync::Arc;

use super::agent::{Added, AgentTrust, Now, Totals};
use super::credibility::credibilities;
use super::rated::GivenRating;
use super::record::{
    ClockRead, CommitmentEnded, Confirmation, DisputeRuled, Mechanism, OrgVerified, Party, Rated,
    Ruling, TaskSettled, TrustRecord,
};
use super::settings::{EDGES_A_CHANGE, MAX_HALF_LIFE_HOURS, ONE, RATING, SEVERITY, STALE_HOURS};
use super::state::{HOUR_MS, TrustState};
use crate::asp::Links;
use crate::folding::{self, BETWEEN_PARTS};
use crate::types::{AgentId, Offset, OrgId};

impl TrustState {
    pub(super) fn transition(
        &mut self,
        record: &TrustRecord,
        offset: Offset,
    ) -> Result<(), &'static str> {
        if let TrustRecord::Folded(part) = record {
            let state = folding::join(&mut self.assembly, &part.folded, Self::from_rows)?;
            if let Some(state) = state {
                *self = state;
            }
            return Ok(());
        }
        if self.assembly.is_some() {
            return Err(BETWEEN_PARTS);
        }
        if offset < self.clock.next {
            return Err("its offset is not above that of the record before it");
        }
        if self.clock.at.is_none() && !matches!(record, TrustRecord::Clock(_)) {
            return Err("no clock record stands before it");
        }
        match record {
            TrustRecord::Clock(clock) => self.read_clock(clock)?,
            TrustRecord::Commitment(ended) => self.end_commitment(ended, offset)?,
            TrustRecord::Dispute(ruled) => self.rule(ruled, offset)?,
            TrustRecord::Endorsement(endorsed) => self.endorse(endorsed, offset)?,
            TrustRecord::Org(verified) => self.verify(verified),
            TrustRecord::Rating(rated) => self.rate(rated, offset)?,
            TrustRecord::Task(settled) => self.settle(settled, offset)?,
            TrustRecord::Folded(_) | TrustRecord::Unknown { .. } => {}
        }
        self.clock.next = Offset(offset.0.saturating_add(1));
        Ok(())
    }

    fn read_clock(&mut self, read: &ClockRead) -> Result<(), &'static str> {
        if !(1..=MAX_HALF_LIFE_HOURS).contains(&read.half_life_hours) {
            return Err("its half-life is outside 1..=87600 hours");
        }
        if self.clock.at.is_some_and(|at| read.at < at) {
            return Err("its time is before that of the last clock record");
        }
        let hour = u32::try_from(read.at.0.div_euclid(HOUR_MS));
        let hour = hour.map_err(|_| "its time is before 1970, or in an hour beyond 2^32")?;
        let new = Now::new(hour, read.half_life_hours);
        if self.clock.half_life_hours != read.half_life_hours {
            self.recount(hour, &new);
        }
        self.now = new;
        let clock = &mut self.clock;
        clock.half_life_hours = read.half_life_hours;
        (clock.at, clock.hour) = (Some(read.at), hour);
        let is_stale = hour - clock.computed.min(hour) >= STALE_HOURS;
        let has_changed = clock.changes > 0 && clock.changes * EDGES_A_CHANGE >= clock.edges;
        if clock.is_due || is_stale || has_changed {
            (clock.computed, clock.is_due, clock.changes) = (hour, false, 0);
            self.compute_credibility();
        }
        Ok(())
    }

    /// Takes all counters over into those of another half-life.
    fn recount(&mut self, hour: u32, new: &Now) {
        let old = Now::new(hour, self.clock.half_life_hours);
        for owner in &mut self.owners {
            Arc::make_mut(owner).recount(old.all, new.all);
        }
        for agent in self.agents.values_mut() {
            let agent = Arc::make_mut(agent);
            agent.recent.recount(old.recent, new.recent);
            for (_, weights) in &mut agent.pairs {
                weights.recount(old.all, new.all);
            }
        }
    }

    fn compute_credibility(&mut self) {
        let owners = self.owners.iter().map(|owner| &**owner);
        let all = credibilities(owners, self.now.all);
        for (owner, credibility) in self.owners.iter_mut().zip(all) {
            if owner.credibility != credibility {
                Arc::make_mut(owner).credibility = credibility;
            }
        }
    }

    /// Checks that the evidence about an agent fits behind that before it, and is of the
    /// organisation that all of it was.
    pub(super) fn check(&self, party: &Party, links: &Links) -> Result<(), &'static str> {
        let Some(agent) = self.agents.get(&party.agent) else {
            let is_first = *links == Links::default();
            return is_first.then_some(()).ok_or(MISLINKED);
        };
        if agent.own_org != party.org {
            return Err("the agent is of another organisation");
        }
        (agent.thread.links() == *links)
            .then_some(())
            .ok_or(MISLINKED)
    }

    /// The agent, with one more piece of evidence in its thread.
    pub(super) fn agent(&mut self, party: &Party, offset: Offset) -> &mut AgentTrust {
        let home = self.place(party.org);
        let agent = self.agents.entry(party.agent);
        let agent = agent.or_insert_with(|| Arc::new(AgentTrust::new(home, party.org)));
        let agent = Arc::make_mut(agent);
        agent.thread.push(offset);
        agent.totals.evidence += 1;
        agent
    }

    /// The counters of an agent of which there is evidence.
    fn totals(&mut self, agent: AgentId) -> &mut Totals {
        let agent = self.agents.get_mut(&agent).map(Arc::make_mut);
        &mut agent.expect("evidence was just added").totals
    }

    /// Adds what an organisation's evidence says of an agent.
    fn add(&mut self, about: &Party, of: OrgId, more: Added, offset: Offset) {
        let (home, place) = (self.place(about.org), self.place(of));
        let now = self.now;
        let credibility = self.owners[place as usize].credibility;
        self.agent(about, offset)
            .add(place, credibility, more, &now);
        if home == place {
            return;
        }
        let custom = more.good + more.praise + more.answered / 4;
        let owner = self.owner(home);
        owner.good.add(custom * credibility / ONE, now.all);
        let bad = more.bad + more.missed / 2;
        owner.bad.add(bad * credibility / ONE, now.all);
        if custom > 0 {
            let is_new = owner.add_custom(place, custom, now.all);
            self.clock.edges += u64::from(is_new);
            self.clock.changes += 1;
        }
    }

    fn end_commitment(&mut self, of: &CommitmentEnded, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.obligor, &of.links)?;
        let obligor = of.obligor;
        let mut more = Added::default();
        match (of.confirmation, of.severity) {
            (Some(confirmation), None) => more.good = fulfilled(of, confirmation),
            (None, Some(severity)) => more.bad = weight(severity)?,
            _ => return Err("it is either confirmed or breached"),
        }
        let by = of.counterparty.map_or(obligor.org, |party| party.org);
        self.add(&obligor, by, more, offset);
        let totals = self.totals(obligor.agent);
        // A promise that nobody but the obligor knows of says nothing when it is kept.
        if more.good > 0 || more.bad > 0 {
            let is_kept = u64::from(more.good > 0);
            totals.commitments += 1;
            totals.fulfilled += is_kept;
            totals.signed += is_kept * u64::from(of.signed);
            totals.escrow += u64::from(of.escrow);
            totals.escrow_kept += is_kept * u64::from(of.escrow);
        }
        Ok(())
    }

    fn settle(&mut self, of: &TaskSettled, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.agent, &of.links)?;
        if of.agent.agent == of.by.agent {
            return Err("an agent gives a task to itself");
        }
        let mut more = Added::default();
        match of.response_ms {
            Some(_) => more.answered = ONE,
            None => more.missed = ONE,
        }
        self.add(&of.agent, of.by.org, more, offset);
        let totals = self.totals(of.agent.agent);
        totals.tasks += 1;
        if let Some(ms) = of.response_ms {
            totals.answered += 1;
            totals.response_ms = totals.response_ms.saturating_add(ms);
            totals.signed += u64::from(of.signed);
        }
        Ok(())
    }

    fn rate(&mut self, of: &Rated, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.agent, &of.links)?;
        if of.rating > 1_000 {
            return Err("a rating is 0 to 1,000 thousandths");
        }
        if of.agent.agent == of.by.agent {
            return Err("an agent rates itself");
        }
        let (agent, by) = (of.agent.agent, of.by.agent);
        if self.rating(agent, by, of.session).is_some() {
            return Err("that agent has rated it in this session");
        }
        let mut more = Added::default();
        more.praise = RATING * u64::from(of.rating) / 1_000;
        more.blame = RATING - more.praise;
        self.add(&of.agent, of.by.org, more, offset);
        if let Some(known) = self.agents.get_mut(&agent) {
            let given = GivenRating {
                session: of.session,
                by,
                offset,
                rating: of.rating,
            };
            Arc::make_mut(known).rated.insert(given, of.at);
        }
        Ok(())
    }

    fn rule(&mut self, of: &DisputeRuled, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.against, &of.links)?;
        self.check(&of.filer, &of.filer_links)?;
        if of.filer.agent == of.against.agent {
            return Err("an agent disputes with itself");
        }
        let severity = weight(of.severity)?;
        let counted = if of.counted == 0 {
            0
        } else {
            weight(of.counted)?
        };
        let weight = match of.ruling {
            Ruling::Upheld => severity,
            Ruling::Partial => severity / 2,
            Ruling::Dismissed => 0,
        };
        let more = weight.saturating_sub(counted);
        let more = match of.mechanism {
            Mechanism::Arbitrated => Added {
                blame: more,
                ..Added::default()
            },
            Mechanism::Automated | Mechanism::Human => Added {
                bad: more,
                ..Added::default()
            },
        };
        self.add(&of.against, of.filer.org, more, offset);
        self.agent(&of.filer, offset);
        self.totals(of.against.agent).upheld += u64::from(weight > 0);
        if of.filer.org != of.against.org {
            let now = self.now;
            let place = self.place(of.filer.org);
            let filer = self.owner(place);
            match of.ruling {
                Ruling::Dismissed => filer.dismissed.add(ONE, now.all),
                Ruling::Upheld | Ruling::Partial => filer.upheld.add(ONE, now.all),
            }
            self.clock.is_due = true;
        }
        Ok(())
    }

    fn verify(&mut self, of: &OrgVerified) {
        let place = self.place(of.org);
        self.owner(place).is_verified = of.verified;
        self.clock.is_due = true;
    }
}

const MISLINKED: &str = "it does not follow the last evidence about its agent";

fn weight(severity: u8) -> Result<u64, &'static str> {
    let place = usize::from(severity).checked_sub(1);
    let weight = place.and_then(|place| SEVERITY.get(place).copied());
    weight.ok_or("a severity is 1 to 5")
}

/// What a commitment that was fulfilled counts.
fn fulfilled(of: &CommitmentEnded, confirmation: Confirmation) -> u64 {
    let Some(counterparty) = of.counterparty else {
        return 0;
    };
    let is_other = counterparty.agent != of.obligor.agent;
    let teams = [of.obligor.team, counterparty.team];
    let is_apart = counterparty.org != of.obligor.org
        || matches!(teams, [Some(one), Some(other)] if one != other);
    let counts = match confirmation {
        Confirmation::Explicit => is_other && (is_apart || !of.one_sided),
        Confirmation::Silence => is_other && !of.one_sided,
        Confirmation::Itself => false,
    };
    if counts { ONE } else { 0 }
}
