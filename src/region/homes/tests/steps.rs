//! The steps of a move, and which batches belong to a log.

use super::*;

fn step<'a>(me: &'a RegionName, made_in: &'a RegionName, log: &'a LogName) -> Move<'a> {
    Move {
        log,
        incarnation: LOG,
        made_in,
        me,
        at: Timestamp(5),
    }
}

/// What a step of `me` gives in the state after some events.
fn try_step<T>(
    homes: &Homes,
    me: &str,
    take: impl FnOnce(&Homes, Move<'_>) -> Result<T, MoveError>,
) -> Result<T, MoveError> {
    let (me, made_in, log) = (region(me), region("us"), log());
    take(homes, step(&me, &made_in, &log))
}

fn held(end: u64, runs: &[Run]) -> Held<'_> {
    Held {
        end: Offset(end),
        runs,
    }
}

#[test]
fn a_planned_move_is_fenced_drained_and_taken() {
    let mut homes = Homes::default();
    let (us, eu) = (region("us"), region("eu"));
    assert!(homes.may_append(LOG, &us, &us));
    assert!(!homes.may_append(LOG, &us, &eu));
    let fence = try_step(&homes, "us", |homes, step| {
        homes.fence(step, &eu, Offset(10))
    });
    homes.apply(&us, &fence.unwrap().unwrap()).unwrap();
    assert!(
        !homes.may_append(LOG, &us, &us),
        "nobody appends in between"
    );
    assert!(!homes.may_append(LOG, &us, &eu));
    let again = try_step(&homes, "us", |homes, step| {
        homes.fence(step, &eu, Offset(10))
    });
    assert_eq!(again, Ok(None), "asked twice, recorded once");

    let runs = [run("us", 0, 0, 10)];
    let early = try_step(&homes, "eu", |homes, step| homes.take(step, held(9, &runs)));
    let (held_to, end) = (Offset(9), Offset(10));
    assert_eq!(early, Err(MoveError::NotDrained { held: held_to, end }));
    let event = try_step(&homes, "eu", |homes, step| {
        homes.take(step, held(10, &runs))
    })
    .unwrap();
    let HomeEvent::Taken(claim) = &event else {
        unreachable!()
    };
    assert_eq!(
        (claim.term, claim.start, claim.after),
        (1, Offset(10), epoch("us", 0))
    );
    assert_eq!((claim.forced, claim.missing), (false, None));
    homes.apply(&eu, &event).unwrap();
    assert!(homes.may_append(LOG, &us, &eu));
    assert!(!homes.may_append(LOG, &us, &us));
}

#[test]
fn a_step_out_of_turn_says_why_not() {
    let eu = region("eu");
    let settled = Homes::default();
    let moving = after(&[("us", fenced(0, "eu", 1))]);
    let not_home = try_step(&settled, "eu", |homes, step| {
        homes.fence(step, &eu, Offset(1))
    });
    assert!(matches!(not_home, Err(MoveError::NotHome { .. })));
    let us = region("us");
    let is_home = try_step(&settled, "us", |homes, step| {
        homes.fence(step, &us, Offset(1))
    });
    assert!(matches!(is_home, Err(MoveError::IsHome { .. })));
    let ap = region("ap");
    let other = try_step(&moving, "us", |homes, step| {
        homes.fence(step, &ap, Offset(1))
    });
    assert_eq!(other, Err(MoveError::Moving { to: eu.clone() }));
    let runs = [run("us", 0, 0, 10)];
    for homes in [&settled, &after(&[("us", fenced(0, "ap", 1))])] {
        let take = try_step(homes, "eu", |homes, step| homes.take(step, held(10, &runs)));
        assert!(matches!(take, Err(MoveError::NotFenced { .. })));
        let decline = try_step(homes, "eu", |homes, step| homes.decline(step));
        assert!(matches!(decline, Err(MoveError::NotFenced { .. })));
    }
    let force = try_step(&settled, "us", |homes, step| {
        homes.take_by_force(step, held(10, &runs), None)
    });
    assert!(matches!(force, Err(MoveError::IsHome { .. })));
    let worn = after(&[("eu", declined(MAX_TERM))]);
    let no_term = try_step(&worn, "us", |homes, step| homes.fence(step, &eu, Offset(1)));
    assert_eq!(no_term, Err(MoveError::NoTerm));
}

#[test]
fn who_declines_frees_the_home() {
    let mut homes = after(&[("us", fenced(0, "eu", 1))]);
    let event = try_step(&homes, "eu", |homes, step| homes.decline(step)).unwrap();
    homes.apply(&region("eu"), &event).unwrap();
    assert!(homes.may_append(LOG, &region("us"), &region("us")));
    let eu = region("eu");
    let fence = try_step(&homes, "us", |homes, step| {
        homes.fence(step, &eu, Offset(12))
    });
    let Ok(Some(HomeEvent::Fenced(fence))) = fence else {
        unreachable!()
    };
    assert_eq!(fence.next, 2, "the declined term is never used");
}

#[test]
fn a_forced_move_names_what_may_be_missing() {
    let homes = after(&[("us", fenced(0, "ap", 7))]);
    let runs = [run("us", 0, 0, 10)];
    for (seen, to) in [
        (None, None),
        (Some(Offset(25)), Some(Offset(25))),
        (Some(Offset(3)), Some(Offset(10))),
    ] {
        let event = try_step(&homes, "eu", |homes, step| {
            homes.take_by_force(step, held(10, &runs), seen)
        });
        let HomeEvent::Taken(claim) = event.unwrap() else {
            unreachable!()
        };
        let from = Offset(10);
        assert_eq!(claim.missing, Some(Missing { from, to }));
        assert_eq!(
            (claim.term, claim.forced),
            (8, true),
            "above what ap may take"
        );
    }
}

#[test]
fn batches_outside_of_the_lineage_are_cut() {
    let claim = |term: u32, start: u64, after: LogEpoch| {
        let HomeEvent::Taken(claim) = taken(term) else {
            unreachable!()
        };
        HomeEvent::Taken(Taken {
            start: Offset(start),
            after,
            ..claim
        })
    };
    // us wrote 0..10; eu took over by force with 8 and wrote on, to be followed by ap at 20;
    // us took its log back in a split, with 10, and lost.
    let all = [
        ("eu", claim(1, 8, epoch("us", 0))),
        ("us", claim(1, 10, epoch("us", 0))),
        ("ap", claim(2, 20, epoch("eu", 1))),
    ];
    let lineage = after(&all).lineage(LOG);
    assert_eq!(lineage.newest().map(|(_, start)| start), Some(Offset(20)));
    for (runs, verdict) in [
        (vec![], Verdict::Belongs),
        (vec![run("us", 0, 0, 8)], Verdict::Belongs),
        (vec![run("us", 0, 0, 10)], Verdict::Cut(Offset(8))),
        (vec![run("us", 0, 9, 10)], Verdict::Cut(Offset(9))),
        (
            vec![run("us", 0, 0, 8), run("eu", 1, 8, 20)],
            Verdict::Belongs,
        ),
        (
            vec![run("us", 0, 0, 8), run("eu", 1, 8, 23)],
            Verdict::Cut(Offset(20)),
        ),
        (
            vec![run("eu", 1, 8, 20), run("ap", 2, 20, 90)],
            Verdict::Belongs,
        ),
        (
            vec![run("us", 0, 0, 10), run("us", 1, 10, 12)],
            Verdict::Cut(Offset(8)),
        ),
        (vec![run("us", 1, 10, 12)], Verdict::Cut(Offset(10))),
    ] {
        assert_eq!(lineage.judge(&runs), verdict, "{runs:?}");
    }
    // Without eu's claim nobody knows what ap's stands on.
    let some = after(&all[1..]).lineage(LOG);
    assert_eq!(some.judge(&[run("us", 0, 0, 10)]), Verdict::Unknown);
    assert_eq!(some.judge(&[run("ap", 2, 20, 90)]), Verdict::Belongs);
    // A batch of a claim that is still on its way is nobody's loss.
    let early = after(&all[..1]).lineage(LOG);
    assert_eq!(
        early.judge(&[run("eu", 1, 8, 20), run("ap", 2, 20, 90)]),
        Verdict::Unknown
    );
    let none = Homes::default().lineage(LOG);
    assert_eq!(none.judge(&[run("eu", 1, 8, 9)]), Verdict::Unknown);
    assert_eq!(none.judge(&[run("us", 0, 0, 10)]), Verdict::Belongs);
    let me = try_step(&after(&all), "us", |homes, step| {
        homes.take_by_force(step, held(12, &[run("us", 1, 10, 12)]), None)
    });
    assert_eq!(me, Err(MoveError::OtherLineage { from: Offset(10) }));
}
