//! A record as one line of JSON.
//!
//! | field | value |
//! | --- | --- |
//! | `offset` | number in the channel |
//! | `appendTime`, `eventTime` | milliseconds since 1970 in UTC; `eventTime` may be null |
//! | `type` | text, may be empty |
//! | `key` or `keyBase64` | text, null when absent; base64 when it is not UTF-8 |
//! | `headers` | object of texts; a name that occurs more than once has an array of them |
//! | `headersBase64` | the same for values that are not UTF-8; left out when there are none |
//! | `payload`, `payloadText` or `payloadBase64` | the JSON value, else the text, else base64 |
//! | `tombstone` | true when there is no payload at all: `payload` is null then; left out else |
//!
//! Or byte by byte, for whoever computes a digest: `offset`, `appendTime`, `eventTime` and `type` as
//! above, `keyBase64` and `payloadBase64`, null when absent, and `headerPairs`, an array of
//! [name, base64 of the value].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::format::{Record, Text};

/// Appends the record and a newline.
pub fn write_record(record: &Record, out: &mut Vec<u8>) {
    head(record, out);
    match &record.key {
        None => out.extend_from_slice(b",\"key\":null"),
        Some(key) => match std::str::from_utf8(key) {
            Ok(key) => {
                out.extend_from_slice(b",\"key\":");
                text(key, out);
            }
            Err(_) => {
                out.extend_from_slice(b",\"keyBase64\":");
                base64(key, out);
            }
        },
    }
    headers(&record.headers, out);
    payload(record.payload.as_deref(), out);
    out.extend_from_slice(b"}\n");
}

/// Appends the record byte by byte, and a newline.
pub fn write_exactly(record: &Record, out: &mut Vec<u8>) {
    head(record, out);
    out.extend_from_slice(b",\"keyBase64\":");
    base64_or_null(record.key.as_deref(), out);
    out.extend_from_slice(b",\"headerPairs\":[");
    for (at, (name, value)) in record.headers.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        text(name, out);
        out.push(b',');
        base64(value, out);
        out.push(b']');
    }
    out.extend_from_slice(b"],\"payloadBase64\":");
    base64_or_null(record.payload.as_deref(), out);
    out.extend_from_slice(b"}\n");
}

/// What both forms begin with, up to the record's type.
fn head(record: &Record, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"offset\":");
    number(record.offset.0, out);
    out.extend_from_slice(b",\"appendTime\":");
    number(record.append_time.0, out);
    out.extend_from_slice(b",\"eventTime\":");
    match record.event_time {
        Some(time) => number(time.0, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"type\":");
    text(&record.record_type, out);
}

fn base64_or_null(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => base64(bytes, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn payload(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(bytes) = bytes else {
        out.extend_from_slice(b",\"payload\":null,\"tombstone\":true");
        return;
    };
    // The value is checked and passed on as it was written: a number that went through a float or
    // an integer of this program could come out as another.
    if let Ok(value) = serde_json::from_slice::<&RawValue>(bytes) {
        out.extend_from_slice(b",\"payload\":");
        one_line(value.get(), out);
    } else if let Ok(value) = std::str::from_utf8(bytes) {
        out.extend_from_slice(b",\"payloadText\":");
        text(value, out);
    } else {
        out.extend_from_slice(b",\"payloadBase64\":");
        base64(bytes, out);
    }
}

/// Copies valid JSON. When it spans lines, the white space between its tokens is left out; within
/// a string there is no line break in valid JSON.
fn one_line(json: &str, out: &mut Vec<u8>) {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_none() {
        out.extend_from_slice(json.as_bytes());
        return;
    }
    let (mut in_string, mut is_escaped) = (false, false);
    for &byte in json.as_bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_string = !in_string,
            b' ' | b'\t' | b'\n' | b'\r' if !in_string => continue,
            _ => {}
        }
        out.push(byte);
    }
}

fn headers(headers: &[(Text, Bytes)], out: &mut Vec<u8>) {
    let (plain, binary): (Vec<_>, Vec<_>) = headers
        .iter()
        .map(|(name, value)| (name.as_str(), &value[..]))
        .partition(|(_, value)| std::str::from_utf8(value).is_ok());
    out.extend_from_slice(b",\"headers\":");
    object(&plain, out, |value, out| {
        text(&String::from_utf8_lossy(value), out);
    });
    if !binary.is_empty() {
        out.extend_from_slice(b",\"headersBase64\":");
        object(&binary, out, base64);
    }
}

/// An object with an array where a name occurs more than once.
fn object(fields: &[(&str, &[u8])], out: &mut Vec<u8>, write: impl Fn(&[u8], &mut Vec<u8>)) {
    out.push(b'{');
    let mut is_first = true;
    for (at, (name, value)) in fields.iter().enumerate() {
        if fields[..at].iter().any(|(before, _)| before == name) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        text(name, out);
        out.push(b':');
        let mut others = fields[at + 1..]
            .iter()
            .filter(|(other, _)| other == name)
            .peekable();
        if others.peek().is_none() {
            write(value, out);
            continue;
        }
        out.push(b'[');
        write(value, out);
        for (_, value) in others {
            out.push(b',');
            write(value, out);
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a text is JSON, and a vector takes all bytes");
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

fn number(number: impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &number).expect("a whole number is JSON");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Offset, Timestamp};

    fn record(payload: Option<&'static [u8]>) -> Record {
        Record {
            offset: Offset(7),
            append_time: Timestamp(1000),
            event_time: None,
            record_type: Text::from("t"),
            key: None,
            headers: Vec::new(),
            payload: payload.map(Bytes::from_static),
        }
    }

    fn line(record: &Record) -> String {
        let mut out = Vec::new();
        write_record(record, &mut out);
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
        line.trim_end().to_owned()
    }

    fn payload_of(payload: &'static [u8]) -> String {
        let line = line(&record(Some(payload)));
        let start =
            r#"{"offset":7,"appendTime":1000,"eventTime":null,"type":"t","key":null,"headers":{},"#;
        let rest = line.strip_prefix(start).unwrap();
        rest.strip_suffix('}').unwrap().to_owned()
    }

    #[test]
    fn a_json_payload_is_the_value_with_its_numbers_as_they_were_written() {
        for value in [
            "1",
            "1.0",
            "-0",
            "1E400",
            "123456789012345678901234567890.1234567890",
            "null",
            r#""text""#,
            r#"{"b":1e2,"a":[1.10, 0.1]}"#,
            r#"{"a":1,"a":2}"#,
        ] {
            let leaked: &'static str = String::leak(value.to_owned());
            let mut out = Vec::new();
            payload(Some(leaked.as_bytes()), &mut out);
            assert_eq!(out, format!(r#","payload":{value}"#).as_bytes());
        }
        assert_eq!(payload_of(b" 1.50 "), r#""payload":1.50"#);
    }

    #[test]
    fn json_over_several_lines_becomes_one_line() {
        let value = b"{\n  \"a b\": [1.0,\r\n\t2],\n \"c\\\" \\\\\" : \" x\\n\"\n}\n";
        assert_eq!(
            payload_of(value),
            r#""payload":{"a b":[1.0,2],"c\" \\":" x\n"}"#
        );
    }

    #[test]
    fn what_is_not_json_is_text_and_what_is_not_text_is_base64() {
        assert_eq!(payload_of(b"hello"), r#""payloadText":"hello""#);
        assert_eq!(payload_of(b""), r#""payloadText":"""#);
        assert_eq!(payload_of(b"01"), r#""payloadText":"01""#);
        assert_eq!(payload_of(b"{} {}"), r#""payloadText":"{} {}""#);
        assert_eq!(payload_of(b"a\tb\r"), r#""payloadText":"a\tb\r""#);
        assert_eq!(payload_of(b"\xff\x00"), r#""payloadBase64":"/wA=""#);
        assert_eq!(payload_of(b"\"\xff\""), r#""payloadBase64":"Iv8i""#);
    }

    #[test]
    fn a_tombstone_is_told_from_the_value_null() {
        assert_eq!(payload_of(b"null"), r#""payload":null"#);
        assert!(line(&record(None)).ends_with(r#""payload":null,"tombstone":true}"#));
    }

    #[test]
    fn keys_headers_and_times_are_complete() {
        let header = |name: &str, value: &'static [u8]| (Text::from(name), Bytes::from(value));
        let mut record = record(Some(b"1"));
        record.event_time = Some(Timestamp(-5));
        record.key = Some(Bytes::from_static(b"k\"1"));
        record.headers = vec![
            header("a", b"1"),
            header("b", b"x"),
            header("bin", b"\xff"),
            header("a", b"2"),
            header("bin", b"\xfe"),
        ];
        assert_eq!(
            line(&record),
            r#"{"offset":7,"appendTime":1000,"eventTime":-5,"type":"t","key":"k\"1","headers":{"a":["1","2"],"b":"x"},"headersBase64":{"bin":["/w==","/g=="]},"payload":1}"#
        );
        let mut exact = Vec::new();
        write_exactly(&record, &mut exact);
        assert_eq!(
            String::from_utf8(exact).unwrap(),
            "{\"offset\":7,\"appendTime\":1000,\"eventTime\":-5,\"type\":\"t\",\"keyBase64\":\"ayIx\",\
             \"headerPairs\":[[\"a\",\"MQ==\"],[\"b\",\"eA==\"],[\"bin\",\"/w==\"],[\"a\",\"Mg==\"],\
             [\"bin\",\"/g==\"]],\"payloadBase64\":\"MQ==\"}\n"
        );
        record.key = Some(Bytes::from_static(b"\xff"));
        assert!(line(&record).contains(r#","keyBase64":"/w==","#));
        record.key = Some(Bytes::new());
        assert!(line(&record).contains(r#","key":"","#));
    }
}
