//! Parsers of what clients send: JSON, tokens, names, queries, keys; and of the configuration.

use super::fuzz;
use lamchat_rooms::event::EventRow;
use lamchat_rooms::filter::Pattern;
use lamchat_rooms::timeline::Point;
use lamchat_rules::{Draft, SigningKey, Version, canonical};
use lamchat_store::{Epoch, Key, KeyReader};
use ruma::{DeviceId, UserId};
use serde_json::value::RawValue;

const CONTENT: &[u8] = br#"{"msgtype":"m.text","body":"h\u00e9llo \ud83d\ude00","n":-9007199254740991,"list":[1,{"a":null}],"m.relates_to":{"rel_type":"m.thread","event_id":"$e","is_falling_back":true}}"#;
/// A key that signed none of it.
const SIGNING_KEY: &str = "VzJIYXQ85u19z2ZpEeLLVu8hUKTCE0VXYUn4IY4iFcA";
const SIGNED_KEYS: &[u8] = br#"{"user_id":"@alice:example.org","device_id":"DEV","usage":["master"],"algorithms":["m.olm.v1.curve25519-aes-sha2"],"keys":{"ed25519:DEV":"VzJIYXQ85u19z2ZpEeLLVu8hUKTCE0VXYUn4IY4iFcA","curve25519:DEV":"VzJIYXQ85u19z2ZpEeLLVu8hUKTCE0VXYUn4IY4iFcA"},"key":"x","signatures":{"@alice:example.org":{"ed25519:DEV":"VzJIYXQ85u19z2ZpEeLLVu8hUKTCE0VXYUn4IY4iFcAVzJIYXQ85u19z2ZpEeLLVu8hUKTCE0VXYUn4IY4iFcA"}}}"#;

fn raw(input: &[u8]) -> Option<Box<RawValue>> {
    // What no handler sees: the API refuses it first.
    lamchat_api_client::wire::check_json(input).ok()?;
    serde_json::from_slice(input).ok()
}

#[test]
fn json_is_accepted_exactly_when_it_is_json() {
    fuzz("check_json", &[CONTENT, SIGNED_KEYS, b"[[[[]]]]"], |input| {
        let depth = lamchat_base::limits::JSON_DEPTH_MAX;
        if lamchat_api_client::wire::check_json(input).is_ok() {
            assert!(serde_json::from_slice::<serde_json::Value>(input).is_ok_and(|value| levels(&value) <= depth));
        } else if let Ok(value) = serde_json::from_slice::<serde_json::Value>(input) {
            assert!(levels(&value) > depth, "good JSON was refused");
        }
    });
}

fn levels(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(list) => 1 + list.iter().map(levels).max().unwrap_or(0),
        serde_json::Value::Object(map) => 1 + map.values().map(levels).max().unwrap_or(0),
        _ => 0,
    }
}

#[test]
fn canonical_json_is_its_own_canonical_form() {
    fuzz("canonical", &[CONTENT, br#"{"b":1,"a":{"d":[],"c":""}}"#], |input| {
        if let Ok(object) = canonical::parse_object(input) {
            let text = canonical::to_string(&object);
            assert_eq!(canonical::parse_object(text.as_bytes()).as_ref(), Ok(&object));
            assert!(!text.contains('\n'));
        }
    });
}

#[test]
fn events_of_any_content_are_json_with_the_hash_that_their_id_says() {
    fuzz("pdu", &[CONTENT, b"{}", br#"{"membership":"join"}"#], |input| {
        let Ok(content) = canonical::parse_object(input) else {
            return;
        };
        let key = SigningKey::from_seed(&[7; 32], "1").unwrap();
        for version in ["6", "9", "11", "12"] {
            let draft = Draft {
                version: Version::find(version).unwrap(),
                room_id: Some("!room:example.org"),
                sender: "@alice:example.org",
                event_type: "m.room.member",
                state_key: Some("@alice:example.org"),
                content: &content,
                redacts: None,
                prev_events: &[],
                auth_events: &[],
                depth: 1,
                origin_server_ts: 1,
            };
            let Ok(pdu) = lamchat_rules::pdu::build(&draft, "example.org", &key) else {
                continue;
            };
            assert_eq!(canonical::parse_object(pdu.content.as_bytes()).as_ref(), Ok(&content));
            assert!(pdu.event_id.starts_with('$') && pdu.event_id.len() == 44);
            assert_eq!(lamchat_rules::pdu::build(&draft, "example.org", &key).unwrap(), pdu);
            let redacted = lamchat_rules::redact::redacted_json(draft.version, draft.event_type, &pdu.content).unwrap();
            let again = lamchat_rules::redact::redacted_json(draft.version, draft.event_type, &redacted);
            assert_eq!(
                again.as_deref(),
                Ok(redacted.as_str()),
                "redacting twice is redacting once"
            );
        }
    });
}

#[test]
fn rows_of_events_come_back_as_they_were() {
    let row = EventRow::decode(&[]).err();
    assert!(row.is_some());
    let mut good = vec![1u8, 0];
    good.resize(70, 0);
    fuzz("event row", &[&good, &[1; 300], &[0; 200]], |input| {
        if let Ok(row) = EventRow::decode(input) {
            let bytes = row.encode().unwrap();
            let again = EventRow::decode(&bytes).unwrap();
            assert_eq!(
                (again.event_id, again.content, again.rest),
                (row.event_id, row.content, row.rest)
            );
            assert_eq!(
                (again.sender, again.state_key, again.redacts),
                (row.sender, row.state_key, row.redacts)
            );
        }
    });
}

#[test]
fn relations_name_a_parent() {
    fuzz(
        "relation",
        &[CONTENT, br#"{"m.relates_to":{"rel_type":"m.replace","event_id":"$a"}}"#],
        |input| {
            if lamchat_api_client::wire::check_json(input).is_ok()
                && let Ok(text) = std::str::from_utf8(input)
                && let Some((kind, parent)) = lamchat_rooms::relation::of_content(text)
            {
                let value: serde_json::Value = serde_json::from_str(text).unwrap();
                assert_eq!(value["m.relates_to"]["rel_type"], kind);
                assert_eq!(value["m.relates_to"]["event_id"], parent);
            }
        },
    );
}

#[test]
fn tokens_print_as_what_they_were_parsed_from() {
    fuzz(
        "tokens",
        &[b"s1_42_1767225600000", b"s1_42_7_9", b"t1_4611686018427387912"],
        |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            if let Ok(token) = lamchat_sync::Token::parse(text) {
                assert_eq!(lamchat_sync::Token::parse(&token.to_string()), Ok(token));
            }
            if let Ok(point) = Point::parse(text, Epoch(1)) {
                assert_eq!(Point::parse(&point.token(Epoch(1)), Epoch(1)), Ok(point));
            }
        },
    );
}

#[test]
fn filters_and_patterns_answer() {
    let filter = br#"{"event_fields":["content.body"],"room":{"rooms":["!a*"],"timeline":{"limit":5,"types":["m.*","*.b*c"],"not_types":["x"],"lazy_load_members":true}}}"#;
    fuzz("filter", &[filter, b"{}"], |input| {
        if let Ok(filter) = lamchat_sync::SyncFilter::parse(input) {
            assert!(filter.timeline_limit() <= 100_000 || filter.timeline_limit() > 0);
        }
        if let Ok(text) = std::str::from_utf8(input) {
            let (pattern, subject) = text.split_at(text.floor_char_boundary(text.len() / 2));
            let pattern = Pattern::new(pattern);
            let _ = pattern.matches(subject);
            assert!(
                Pattern::new("*").matches(subject)
                    && Pattern::new(&subject.replace('*', "")).matches(&subject.replace('*', ""))
            );
        }
    });
}

#[test]
fn keys_of_composite_parts_come_back() {
    fuzz(
        "store keys",
        &[b"m.room.member\0@a:b", b"\xff\x00\x01\x02", b""],
        |input| {
            let mut reader = KeyReader::new(input);
            while reader.str().is_some() {}
            let text = String::from_utf8_lossy(input);
            let key = Key::new().u32(7).str(&text).u64(9);
            let mut reader = KeyReader::new(&key);
            assert_eq!(
                (reader.u32(), reader.str().as_deref(), reader.u64()),
                (Some(7), Some(&*text), Some(9))
            );
        },
    );
}

#[test]
fn queries_and_names_are_decoded_or_refused() {
    fuzz(
        "query and name",
        &[
            b"from=t1_2&dir=b&filter=%7B%22limit%22%3A5%7D&x=%C3%A9+1",
            b"alice.b=c/d",
        ],
        |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            for name in ["from", "filter", "x", ""] {
                let _ = lamchat_http::query_value(text, name);
            }
            let server = ruma::server_name!("example.org");
            if let Ok(id) = lamchat_identity::localpart::user_id(text, server) {
                assert_eq!(id.server_name(), server);
                assert!(
                    id.validate_strict().is_ok(),
                    "{id} is not an id that new users may have"
                );
            }
        },
    );
}

#[test]
fn keys_of_devices_are_verified_or_refused() {
    fuzz("keys", &[SIGNED_KEYS], |input| {
        let Some(json) = raw(input) else { return };
        let (user, device) = (
            <&UserId>::try_from("@alice:example.org").unwrap(),
            <&DeviceId>::from("DEV"),
        );
        assert!(
            lamchat_keys::device_keys::verify(user, device, &json).is_err(),
            "a signature was made up"
        );
        let _ = lamchat_keys::cross_signing::ParsedKeys::parse(user, Some(&json), Some(&json), Some(&json));
        let one = std::collections::BTreeMap::from([(format!("signed_curve25519:{}", input.len()), json.clone())]);
        let _ = lamchat_keys::one_time::verify(user, device, Some(SIGNING_KEY), &one, &one);
        let _ = lamchat_keys::backup_session::SessionKey::parse("!r:example.org", "s", &json);
        if json.get().starts_with('{')
            && let Ok(event) = lamchat_keys::to_device::event("m.room.encrypted", user, &json)
        {
            assert!(serde_json::from_slice::<serde_json::Value>(&event).unwrap()["content"].is_object());
        }
    });
}

#[test]
fn configurations_are_read_or_explained() {
    let example = lamchat_config::example();
    fuzz(
        "configuration",
        &[example.as_bytes(), b"server_name = \"a.b\"\n[[listeners]]\nport = 1\n"],
        |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            if let Err(error) = lamchat_config::parse(text, std::path::Path::new("lamchat.toml")) {
                assert!(!error.to_string().is_empty());
            }
        },
    );
}

#[test]
fn tokens_of_searches_and_spaces_come_back() {
    const EPOCH: Epoch = Epoch(3);
    fuzz(
        "page tokens",
        &[b"f3_4611686018427387905_20_r7", b"f3_1_2_s9", b"h12_20_1_40"],
        |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            if let Ok(token) = lamchat_rooms::search::Token::parse(text, EPOCH) {
                assert_eq!(
                    lamchat_rooms::search::Token::parse(&token.text(EPOCH), EPOCH),
                    Ok(token)
                );
            }
            if let Some(token) = lamchat_api_client::hierarchy::Token::parse(text) {
                assert_eq!(lamchat_api_client::hierarchy::Token::parse(&token.text()), Some(token));
            }
        },
    );
}

#[test]
fn searches_of_any_words_in_any_text_end() {
    const TEXTS: [&str; 3] = ["martians and men", "\u{130}\u{df}\u{1f600} \u{301}x", ""];
    fuzz(
        "search",
        &[b"martians MEN", "\u{130}\u{df} \u{130}".as_bytes()],
        |input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let words = lamchat_rooms::search::Words::new(text);
            assert!(words.as_slice().len() <= lamchat_rooms::search::WORDS_MAX);
            for text in TEXTS.into_iter().chain([text]) {
                if let Some(rank) = words.rank(text) {
                    assert!(rank.is_finite() && rank > 0.0);
                }
            }
            // What was typed is found in itself.
            assert_eq!(words.rank(text).is_some(), !words.as_slice().is_empty());
        },
    );
}
