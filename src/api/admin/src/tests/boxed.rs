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
