//! How many tasks were given, which is counted for those who are paid by them.

use super::*;

fn task(driver: &mut Driver, from: AgentId, to: Option<AgentId>) -> Result<MessageId, SendError> {
    task_as(driver, Performative::Propose, from, to)
}

fn task_as(
    driver: &mut Driver,
    said: Performative,
    from: AgentId,
    to: Option<AgentId>,
) -> Result<MessageId, SendError> {
    driver.number += 1;
    let mut message = supplied(driver.number, from, said);
    message.message_type = Some(TASK_ASSIGN.to_owned());
    message.recipient = to;
    driver.send(send(message))
}

#[test]
fn tasks_that_were_given_are_counted_whatever_becomes_of_them() {
    let mut driver = Driver::home();
    let first = task(&mut driver, LEAD, Some(WORKER)).unwrap();
    task(&mut driver, LEAD, Some(WORKER)).unwrap();
    task(&mut driver, LEAD, None).unwrap();
    task(&mut driver, WORKER, Some(LEAD)).unwrap();
    // No task: another type, and one that is refused.
    driver.say(LEAD, Performative::Propose, None).unwrap();
    task(&mut driver, LEAD, Some(GUEST)).unwrap_err();
    driver
        .say(WORKER, Performative::Accept, Some(first))
        .unwrap();
    let given = |driver: &Driver| {
        let session = driver.session();
        [
            session.tasks_given(LEAD, &[WORKER]),
            session.tasks_given(LEAD, &[]),
            session.tasks_given(LEAD, &[WATCHER, WORKER, GUEST]),
            session.tasks_given(WORKER, &[LEAD]),
            session.tasks_given(WATCHER, &[LEAD]),
        ]
    };
    assert_eq!(given(&driver), [3, 1, 3, 1, 0]);
    assert_eq!(driver.replayed(), driver.sessions);
    assert_eq!(driver.unfolded(500), driver.sessions);
    driver.say(LEAD, Performative::Close, None).unwrap();
    assert_eq!(given(&driver), [3, 1, 3, 1, 0], "also once it has ended");
    assert_eq!(driver.unfolded(500), driver.sessions);
}

#[test]
fn a_task_beyond_those_that_wait_for_an_answer_is_not_counted() {
    let mut driver = Driver::home();
    for _ in 0..=MAX_TASKS {
        // As no offer: of those there may be no more than that.
        task_as(&mut driver, Performative::Inform, LEAD, Some(WORKER)).unwrap();
    }
    let given = driver.session().tasks_given(LEAD, &[WORKER]);
    assert_eq!(given, MAX_TASKS as u64);
}

#[test]
fn the_records_of_an_end_tell_the_session_as_it_will_be() {
    let mut driver = Driver::home();
    task(&mut driver, LEAD, Some(WORKER)).unwrap();
    for (said, ends) in [(Performative::Inform, false), (Performative::Close, true)] {
        driver.number += 1;
        let message = send(supplied(driver.number, LEAD, said));
        let checked = driver
            .sessions
            .check_send(&message, &NeutralTrust, driver.now);
        let Ok(Sent::New(event)) = checked else {
            panic!("it is new");
        };
        let offset = driver.next_offset();
        let records = driver.sessions.link(event, offset).unwrap();
        let told = driver.sessions.ended_by(&records, offset);
        for record in records {
            driver.apply(record).unwrap();
        }
        let told = told.map(|told| (told.state, told.participants, told.given));
        let is = driver.session();
        let is = ends.then(|| (is.state, is.participants.clone(), is.given.clone()));
        assert_eq!(told, is);
    }
}
