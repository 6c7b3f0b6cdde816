//! Which images a machine may start: the operator says it, and on a box process 1 looks.

use super::{Site, site};
use serde_json::{Value, json};
use std::sync::Arc;

async fn raise(site: &Site, body: Value) -> String {
    let (status, answer) = site.socket("POST", "seal/floor", body).await;
    assert_eq!(status, 400, "{answer}");
    answer["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_box_takes_nobodys_word_for_what_it_may_start() {
    let mut site = site();
    let told = raise(&site, json!({"floor": 2})).await;
    assert!(told.contains("--bootable"), "{told}");
    // There is no TPM, which is looked at only then.
    let told = raise(&site, json!({"floor": 2, "bootable": vec![2; 1000]})).await;
    assert!(told.contains("not so many"), "{told}");
    let admin = Arc::get_mut(&mut site.admin).unwrap();
    admin.box_socket = Some(site.folder.path().join("box.sock"));
    let told = raise(&site, json!({"floor": 2, "bootable": [2]})).await;
    assert!(told.contains("looks itself"), "{told}");
}

#[tokio::test]
async fn what_was_done_without_the_exchange_has_its_own_time_and_says_so() {
    let site = site();
    let acts = [
        json!({"act": "usb-update", "terminal": "ttyS0", "version": "0.2.0", "at_ms": 5}),
        json!({"act": "network", "terminal": "tty1"}),
    ];
    // Root's alone, and this test runs as anybody.
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(site.folder.path()).unwrap());
    let expected = if uid == 0 { 200 } else { 403 };
    for act in &acts {
        assert_eq!(site.socket("POST", "box/acts", act.clone()).await.0, expected, "{act}");
    }
    // By a release that was left again; nobody does so now.
    let left = json!({"act": "door-open", "terminal": "tty1", "at_ms": 6, "reason": "x"});
    assert_eq!(site.socket("POST", "box/acts", left).await.0, expected);
    for strange in [
        json!({"act": "door-open", "terminal": "tty1"}),
        json!({"act": "door.open", "terminal": "tty1", "at_ms": 6}),
    ] {
        assert_ne!(site.socket("POST", "box/acts", strange).await.0, 200);
    }
    let long = json!({"act": "usb-update", "terminal": "ttyS0", "version": "9".repeat(33)});
    assert_ne!(site.socket("POST", "box/acts", long).await.0, 200);
    let entries = lamchat_audit::log::entries(&site.admin.store.read(), 0, 10).unwrap();
    let entries: Vec<_> = entries.iter().map(|(_, entry)| entry).collect();
    if expected == 403 {
        return assert!(entries.is_empty());
    }
    let now = site.admin.now_ms();
    assert_eq!(entries.len(), 3, "{entries:?}");
    assert_eq!(entries[2].act, "box.door-open");
    let (late, present) = (entries[0], entries[1]);
    let fact = |name: &str, value: String| (name.to_owned(), value);
    assert_eq!((late.act.as_str(), late.time_ms), ("box.usb-update", 5));
    assert_eq!(
        late.facts,
        [
            fact("noted_late_ms", now.to_string()),
            fact("terminal", "ttyS0".to_owned()),
            fact("version", "0.2.0".to_owned()),
        ]
    );
    assert_eq!((present.act.as_str(), present.time_ms), ("box.network", now));
    assert_eq!(present.facts, [fact("terminal", "tty1".to_owned())]);
}
