//! What is built here must be what ruma verifies.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use ruma::signatures::{Verified, reference_hash, verify_event};
use ruma::{CanonicalJsonValue, serde::Base64};
use std::collections::BTreeMap;

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32], "a_1").unwrap()
}

fn whole(draft: &Draft<'_>, pdu: &Pdu) -> Object {
    let mut event: Object = serde_json::from_str(&pdu.rest).unwrap();
    event.insert(
        "content".into(),
        serde_json::from_str::<CanonicalJsonValue>(&pdu.content).unwrap(),
    );
    event.insert("depth".into(), ruma::UInt::new(draft.depth).unwrap().into());
    event.insert(
        "origin_server_ts".into(),
        ruma::UInt::new(draft.origin_server_ts).unwrap().into(),
    );
    let texts = [
        ("room_id", draft.room_id),
        ("sender", Some(draft.sender)),
        ("type", Some(draft.event_type)),
        ("state_key", draft.state_key),
        ("redacts", draft.redacts),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            event.insert(name.into(), text.into());
        }
    }
    event
}

fn draft<'a>(version: &'static Version, content: &'a Object, event_type: &'a str) -> Draft<'a> {
    Draft {
        version,
        room_id: Some("!room:example.org"),
        sender: "@ali\"ce:example.org",
        event_type,
        state_key: None,
        content,
        redacts: None,
        prev_events: &[],
        auth_events: &[],
        depth: 12,
        origin_server_ts: 1_700_000_000_000,
    }
}

#[test]
fn every_version_and_type_verifies_with_ruma() {
    let key = key();
    let keys = BTreeMap::from([(
        "example.org".to_owned(),
        BTreeMap::from([(key.id().to_owned(), Base64::parse(key.public_base64()).unwrap())]),
    )]);
    let content = canonical::parse_object(
        br#"{"membership":"join","creator":"@a:b","body":"h\u0001\u00e9llo\n","join_rule":"public","allow":[],"users":{"@a:b":100},
        "invite":1,"history_visibility":"shared","redacts":"$x","third_party_invite":{"signed":{"a":1},"b":2},
        "join_authorised_via_users_server":"@x:example.org","z":[1,{"y":null,"x":true}]}"#,
    )
    .unwrap();
    let ids = [
        "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        "$BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
    ];
    for version in Version::all() {
        for event_type in [
            "m.room.message",
            "m.room.member",
            "m.room.create",
            "m.room.join_rules",
            "m.room.power_levels",
            "m.room.history_visibility",
            "m.room.redaction",
            "m.room.aliases",
            "m.room.server_acl",
            "org.example.\u{1F600}",
        ] {
            for state_key in [None, Some(""), Some("@ali\"ce:example.org")] {
                let redacts = (event_type == "m.room.redaction" && !version.has_redacts_in_content()).then_some("$y");
                let mut draft = draft(version, &content, event_type);
                draft.state_key = state_key;
                draft.redacts = redacts;
                draft.prev_events = &ids;
                draft.auth_events = &ids[..1];
                let pdu = build(&draft, "example.org", &key).unwrap();
                let event = whole(&draft, &pdu);
                assert_eq!(canonical::to_string(event["content"].as_object().unwrap()), pdu.content);
                assert_eq!(
                    pdu.event_id,
                    format!("${}", reference_hash(&event, version.rules()).unwrap())
                );
                assert!(
                    matches!(verify_event(&keys, &event, version.rules()).unwrap(), Verified::All),
                    "{event_type}"
                );
            }
        }
    }
}

#[test]
fn sizes_are_limited() {
    let version = Version::find("12").unwrap();
    let with_body = |length: usize| Object::from([("body".to_owned(), "x".repeat(length).into())]);
    let size = |length: usize| {
        let content = with_body(length);
        let draft = draft(version, &content, "m.room.message");
        build(&draft, "example.org", &key()).map(|pdu| canonical::to_string(&whole(&draft, &pdu)).len())
    };
    let overhead = size(0).unwrap();
    assert_eq!(size(65_535 - overhead).unwrap(), 65_535);
    assert_eq!(size(65_536 - overhead), Err(BuildError::TooLarge("event")));
    let content = Object::new();
    let long = "x".repeat(256);
    let mut state = draft(version, &content, "m.x");
    state.state_key = Some(&long);
    assert_eq!(
        build(&state, "example.org", &key()),
        Err(BuildError::TooLarge("state_key"))
    );
    state.state_key = Some(&long[1..]);
    assert!(build(&state, "example.org", &key()).is_ok());
}

/// Not an assertion: `cargo test -p lamchat-rules --release -- --nocapture time_of` prints it.
#[test]
fn time_of_one_message() {
    let key = key();
    let content = Object::from([
        ("body".to_owned(), "x".repeat(1000).into()),
        ("msgtype".to_owned(), "m.text".into()),
    ]);
    let ids = [
        "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        "$BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
    ];
    let mut draft = draft(Version::find("12").unwrap(), &content, "m.room.message");
    draft.prev_events = &ids[..1];
    draft.auth_events = &ids;
    let rounds = 200;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        build(&draft, "example.org", &key).unwrap();
    }
    println!("{:?} a message", start.elapsed() / rounds);
}
