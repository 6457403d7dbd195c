//! What the log rules by itself.

use super::*;

#[test]
fn a_missed_deadline_is_upheld_at_once_with_the_severity_of_the_log() {
    let mut topic = Topic::breached();
    let mut missed = file(1, 2);
    missed.severity = Some(5);
    topic.file(missed, at(DAY));
    let dispute = topic.dispute(id(1));
    assert_eq!(dispute.state, DisputeState::Resolved);
    assert_eq!(dispute.filed.dispute_type, DisputeType::TimeoutBreach);
    let ruling = dispute.ruling.unwrap();
    assert_eq!(
        (ruling.verdict, ruling.mechanism, ruling.severity),
        (Verdict::Upheld, Mechanism::Automated, 1)
    );
    assert_eq!(topic.commitment(), State::Resolved);
}

#[test]
fn the_log_decides_what_it_can_and_nothing_else() {
    let facts = |hash_holds, escrow_holds| LogFacts {
        hash_holds,
        escrow_holds,
    };
    let none = facts(None, None);
    use DisputeType::{
        EscrowViolation, NonDelivery, SpecificationMismatch, TimeoutBreach,
        UnauthorizedModification,
    };
    use Verdict::{Dismissed, Upheld};
    for (breached, given, facts, dispute_type, ruling) in [
        (true, None, none, TimeoutBreach, Some(Upheld)),
        (true, Some(NonDelivery), none, NonDelivery, Some(Upheld)),
        (
            true,
            Some(SpecificationMismatch),
            none,
            SpecificationMismatch,
            None,
        ),
        (false, None, none, SpecificationMismatch, None),
        (false, Some(NonDelivery), none, NonDelivery, None),
        (
            false,
            Some(TimeoutBreach),
            none,
            TimeoutBreach,
            Some(Dismissed),
        ),
        (
            false,
            None,
            facts(Some(false), None),
            UnauthorizedModification,
            Some(Upheld),
        ),
        (
            false,
            Some(UnauthorizedModification),
            facts(Some(true), None),
            UnauthorizedModification,
            Some(Dismissed),
        ),
        (
            false,
            Some(UnauthorizedModification),
            none,
            UnauthorizedModification,
            None,
        ),
        (
            false,
            None,
            facts(None, Some(false)),
            EscrowViolation,
            Some(Upheld),
        ),
        (
            false,
            Some(EscrowViolation),
            facts(None, Some(true)),
            EscrowViolation,
            Some(Dismissed),
        ),
        (false, Some(EscrowViolation), none, EscrowViolation, None),
    ] {
        let (mut topic, now) = if breached {
            (Topic::breached(), at(DAY))
        } else {
            (Topic::delivered(), START)
        };
        let mut filed = file(1, 2);
        (filed.dispute_type, filed.facts) = (given, facts);
        topic.file(filed, now);
        let dispute = topic.dispute(id(1));
        let case = format!("{breached} {given:?} {facts:?}");
        assert_eq!(dispute.filed.dispute_type, dispute_type, "{case}");
        assert_eq!(dispute.filed.severity, dispute_type.severity(), "{case}");
        assert_eq!(dispute.ruling.map(|one| one.verdict), ruling, "{case}");
        // A dismissed one leaves the commitment as it was.
        let expected = match ruling {
            None => State::Disputed,
            Some(Upheld | Verdict::Partial) => State::Resolved,
            Some(Dismissed) => State::Delivered,
        };
        assert_eq!(topic.commitment(), expected, "{case}");
    }
}
