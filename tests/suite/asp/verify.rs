//! Every stored byte of a session changed in turn: the verifier names the record that it is in.

use npayload::asp::session::{ChainFault, Misfit, Performative, SessionEvent, Verifier};
use npayload::types::Offset;

use super::{LEAD, SILENCE, TALK, topic};

/// What may stand in a byte's place: each of its bits turned, and what means something in JSON.
fn replacements(byte: u8) -> impl Iterator<Item = u8> {
    let flips = (0..8).map(move |bit| byte ^ 1 << bit);
    let others = b"\"\\0 ".iter().copied().chain([255]);
    flips.chain(others.filter(move |other| *other != byte))
}

#[test]
fn any_byte_of_any_record_that_is_changed_is_named() {
    let topic = topic();
    for session in [TALK, SILENCE] {
        for with_offsets in [true, false] {
            let mut verifier = Verifier::default();
            for (sequence, (offset, record)) in (0..).zip(topic.of(session)) {
                let offset = with_offsets.then_some(offset);
                let (record_type, mut bytes) = (record.record_type(), record.encode());
                // Without offsets nothing is judged that is not judged with them.
                let is_changed = with_offsets && session == TALK;
                let changed = if is_changed { bytes.len() } else { 0 };
                for at in 0..changed {
                    let right = bytes[at];
                    for wrong in replacements(right) {
                        bytes[at] = wrong;
                        let fault = verifier.clone().record(offset, record_type, &bytes);
                        let fault = fault.expect_err("a change that does not show");
                        assert_eq!(fault.sequence, sequence, "byte {at}: {fault}");
                    }
                    bytes[at] = right;
                }
                verifier.record(offset, record_type, &bytes).unwrap();
            }
            assert_eq!(verifier.session(), Some(session));
            assert!(verifier.state().unwrap().is_terminal());
            assert_eq!(verifier.erased(), [0; 0]);
        }
    }
}

#[test]
fn an_erased_payload_is_told_and_leaves_the_chain_whole() {
    let topic = topic();
    let mut verifier = Verifier::default();
    let mut erased = Vec::new();
    for (sequence, (offset, record)) in (0..).zip(topic.of(TALK)) {
        let mut record = record.clone();
        if let SessionEvent::MessageSent(sent) = &mut record.event
            && sent.message.sender != LEAD
        {
            sent.payload = None;
            erased.push(sequence);
        }
        verifier
            .record(Some(offset), record.record_type(), &record.encode())
            .unwrap();
    }
    assert_eq!(verifier.erased(), erased);
    assert_eq!(
        (verifier.messages(), verifier.signed(), erased.len()),
        (6, 3, 3)
    );
    assert_eq!(
        Some(verifier.hash()),
        topic.of(TALK).last().unwrap().1.hash()
    );
}

/// Judges the records as they are given.
fn judge<'a>(
    records: impl IntoIterator<Item = (Offset, &'a str, Vec<u8>)>,
) -> Result<(), ChainFault> {
    let mut verifier = Verifier::default();
    let mut records = records.into_iter();
    records.try_for_each(|(offset, record_type, bytes)| {
        verifier.record(Some(offset), record_type, &bytes)
    })
}

#[test]
fn a_record_that_is_gone_moved_or_from_elsewhere_is_named() {
    let topic = topic();
    let raw = |session| -> Vec<_> {
        let records = topic.of(session).into_iter();
        records
            .map(|(offset, r)| (offset, r.record_type(), r.encode()))
            .collect()
    };
    let (talk, silence) = (raw(TALK), raw(SILENCE));
    judge(talk.clone()).unwrap();
    for at in 0..talk.len() - 1 {
        let mut gone = talk.clone();
        gone.remove(at);
        assert_eq!(judge(gone).unwrap_err().sequence, at as u64);
        let mut swapped = talk.clone();
        swapped.swap(at, at + 1);
        assert_eq!(judge(swapped).unwrap_err().sequence, at as u64);
        let mut elsewhere = talk.clone();
        elsewhere[at].0 = Offset(7);
        let fault = judge(elsewhere).unwrap_err();
        assert_eq!(
            (fault.sequence, *fault.what),
            (at as u64 + 1, Misfit::Links)
        );
    }
    let mut foreign = talk.clone();
    foreign[2] = silence[2].clone();
    let fault = judge(foreign).unwrap_err();
    assert_eq!(
        (fault.sequence, *fault.what),
        (2, Misfit::Session { found: SILENCE })
    );
    let mut renamed = talk.clone();
    renamed[1].1 = "session.expired";
    assert_eq!(judge(renamed).unwrap_err().sequence, 1);
}

#[test]
fn a_fault_names_the_message_and_what_does_not_fit() {
    let topic = topic();
    let mut records: Vec<_> = topic.of(TALK).into_iter().collect();
    let at = records.iter().position(|(_, record)| {
        matches!(&record.event, SessionEvent::MessageSent(sent)
            if sent.message.performative == Performative::Close)
    });
    let (offset, close) = records.split_off(at.unwrap())[0];
    let mut verifier = Verifier::default();
    for (offset, record) in records {
        verifier
            .record(Some(offset), record.record_type(), &record.encode())
            .unwrap();
    }
    let SessionEvent::MessageSent(sent) = &close.event else {
        panic!("{close:?}");
    };
    let text = String::from_utf8(close.encode()).unwrap();
    let judge = |text: String| {
        let fault = verifier
            .clone()
            .record(Some(offset), close.record_type(), text.as_bytes());
        let fault = fault.unwrap_err();
        assert_eq!(fault.message, Some(sent.message.id));
        *fault.what
    };
    let payload = judge(text.replace(r#""reason":"done""#, r#""reason":"gone""#));
    assert!(matches!(payload, Misfit::Payload { .. }), "{payload}");
    let hash = judge(text.replace(r#""senderSequence":"#, r#""senderSequence":1"#));
    assert!(matches!(hash, Misfit::Hash { .. }), "{hash}");
    let spelling = judge(text.replace(r#""v":1"#, r#""v": 1"#));
    assert_eq!(spelling, Misfit::Spelling);
}
