//! How far the word of an organisation counts. It flows from those that an operator verified: to
//! whom those are served well by, and from there one step further, divided among all that it is
//! handed on to. So organisations that only know each other have none, however many they are.
//!
//! Only successes make credibility, so that no breach changes what others' evidence weighs.

use super::decay::Moment;
use super::owner::Owner;
use super::settings::{
    CREDIBLE, EARNED_CREDIBILITY, HALF_CREDIBLE, HALF_SPITEFUL, HANDED_ON, MUTUAL, ONE, SATURATION,
};

/// What is left of the successes of one organisation for another, of [`MUTUAL`], when the other
/// side returned so many: those who trade praise vouch for each other less, and in the end not at
/// all.
pub(super) fn unreciprocated(forward: u64, backward: u64) -> u64 {
    MUTUAL - forward.min(backward).min(MUTUAL)
}

/// A weight that approaches [`SATURATION`].
pub(super) fn saturated(weight: u64) -> u64 {
    SATURATION * weight / (SATURATION + weight)
}

/// What unfounded disputes leave of credibility, of [`ONE`].
pub(super) fn candour(owner: &Owner, now: Moment) -> u64 {
    let dismissed = owner.dismissed.at(now);
    let unfounded = dismissed.saturating_sub(owner.upheld.at(now));
    ONE * HALF_SPITEFUL / (HALF_SPITEFUL + unfounded)
}

fn earned(custom: u64) -> u64 {
    EARNED_CREDIBILITY * custom / (HALF_CREDIBLE + custom)
}

/// The credibility of every organisation, by its place.
pub(super) fn credibilities<'a>(
    owners: impl ExactSizeIterator<Item = &'a Owner> + Clone,
    now: Moment,
) -> Vec<u64> {
    let list: Vec<&Owner> = owners.collect();
    let candour: Vec<u64> = (list.iter()).map(|owner| candour(owner, now)).collect();
    // All that each has said of others, and what each pair comes to.
    let mut said = vec![0_u64; list.len()];
    let mut pairs = Vec::new();
    let mut direct = vec![0_u64; list.len()];
    for (place, owner) in list.iter().enumerate() {
        for &(of, weight) in &owner.custom {
            let forward = weight.at(now);
            let customer = list[of as usize];
            said[of as usize] += forward;
            if forward == 0 || owner.is_verified {
                continue;
            }
            if customer.is_verified {
                direct[place] += saturated(forward) * candour[of as usize] / ONE;
            } else {
                let here = u32::try_from(place).unwrap_or(u32::MAX);
                let backward = customer.custom_of(here, now);
                let weight = saturated(forward * unreciprocated(forward, backward) / MUTUAL);
                pairs.push((place, of as usize, weight));
            }
        }
    }
    let first: Vec<u64> = (direct.iter().zip(&candour))
        .map(|(direct, candour)| earned(*direct) * candour / ONE)
        .collect();
    let mut all = direct;
    for (place, of, weight) in pairs {
        let share = HANDED_ON.min(said[of]);
        if share > 0 {
            all[place] += weight * first[of] / ONE * share / said[of];
        }
    }
    (list.iter().zip(all).zip(candour))
        .map(|((owner, custom), candour)| {
            let own = if owner.is_verified {
                ONE
            } else {
                earned(custom)
            };
            let credibility = own * candour / ONE;
            if credibility < CREDIBLE {
                0
            } else {
                credibility
            }
        })
        .collect()
}
