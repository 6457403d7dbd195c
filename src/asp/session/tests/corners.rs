//! What somebody who means harm would try.

use super::*;

/// A coordinator and a specialist who talk, and one from another organisation who is invited.
fn with_invited() -> Driver {
    let mut driver = Driver::new(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(WORKER, HOME, Role::Specialist),
        invitee(GUEST, ABROAD, Role::Specialist),
        invitee(AgentId(5), ABROAD, Role::Specialist),
    ]);
    driver.say(LEAD, Performative::Propose, None).unwrap();
    driver.say(AgentId(5), Performative::Accept, None).unwrap();
    driver.say(LEAD, Performative::Inform, None).unwrap();
    assert_eq!(driver.state(), State::Conversing);
    driver
}

#[test]
fn who_was_never_invited_has_no_part_in_what_ended() {
    let mut driver = Driver::new(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(GUEST, ABROAD, Role::Specialist),
    ]);
    driver.say(LEAD, Performative::Close, None).unwrap();
    assert!(driver.sessions.ended_of_agent(LEAD).is_some());
    assert_eq!(driver.sessions.ended_of_agent(GUEST), None);
    let mut refused = Driver::invited();
    refused.say(GUEST, Performative::Reject, None).unwrap();
    assert!(refused.sessions.ended_of_agent(GUEST).is_some());
}
