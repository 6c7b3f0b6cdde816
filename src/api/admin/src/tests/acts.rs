//! What changes something is in the audit log.

use super::moderation::keep_report;
use super::{challenge, intermediate, site};
use crate::socket_routes;
use lamchat_holder::{Reply, Typed};
use serde_json::{Value, json};

/// A new route that changes something fails here until it has a case, and the case until it has an entry.
#[tokio::test]
async fn every_route_that_changes_something_is_in_the_audit_log() {
    let site = site();
    let checkpoint = site.admin.audit.sign().unwrap().to_string();
    keep_report(&site);
    let (alice, bob) = (site.user("alice").await, site.user("bob").await);
    let (media, _) = (site.upload(bob, 10).await, site.upload(alice, 10).await);
    let one_upload = format!("media/{media}");
    // Root's alone, and this test runs as anybody.
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(site.folder.path()).unwrap());
    let box_act = if uid == 0 { (200, "box.log") } else { (403, "") };
    let cases = [
        ("POST /users", "users", json!({"user": "alice"}), 200, "user.add"),
        (
            "POST /users/{user}/password",
            "users/alice/password",
            json!({"password": "secret word"}),
            200,
            "user.password",
        ),
        (
            "POST /users/{user}/admin",
            "users/alice/admin",
            json!({"admin": true}),
            200,
            "user.admin",
        ),
        (
            "POST /users/{user}/suspended",
            "users/alice/suspended",
            json!({"suspended": true}),
            200,
            "user.suspend",
        ),
        (
            "POST /users/{user}/locked",
            "users/alice/locked",
            json!({"locked": true}),
            200,
            "user.lock",
        ),
        (
            "POST /users/{user}/deactivate",
            "users/alice/deactivate",
            json!({}),
            200,
            "user.deactivate",
        ),
        (
            "POST /users/{user}/reactivate",
            "users/alice/reactivate",
            json!({}),
            200,
            "user.reactivate",
        ),
        (
            "DELETE /media/{media}",
            one_upload.as_str(),
            Value::Null,
            200,
            "media.delete",
        ),
        (
            "DELETE /users/{user}/media",
            "users/alice/media",
            Value::Null,
            200,
            "media.delete",
        ),
        (
            "DELETE /reports/{report}",
            "reports/1",
            Value::Null,
            200,
            "report.close",
        ),
        ("POST /tokens", "tokens", json!({"token": "door"}), 200, "token.create"),
        (
            "DELETE /tokens/{token}",
            "tokens/door",
            Value::Null,
            200,
            "token.revoke",
        ),
        ("POST /backup", "backup", Value::Null, 403, "backup.create"),
        (
            "DELETE /keyring/slots/{slot}",
            "keyring/slots/2",
            Value::Null,
            200,
            "keyring.remove-slot",
        ),
        (
            "POST /signing-key/rotate",
            "signing-key/rotate",
            Value::Null,
            500,
            "key.rotate",
        ),
        (
            "POST /credentials",
            "credentials",
            json!({"name": "alice"}),
            200,
            "credential.create",
        ),
        (
            "DELETE /credentials/{name}",
            "credentials/alice",
            Value::Null,
            200,
            "credential.revoke",
        ),
        // Not a box.
        ("POST /update/bundle", "update/bundle", Value::Null, 404, ""),
        ("POST /update/apply", "update/apply", json!({"id": ""}), 404, ""),
        ("POST /box/mirror", "box/mirror", json!({"disk": "sdb"}), 404, ""),
        ("POST /box/site", "box/site", json!({"version": 1}), 404, ""),
        ("POST /box/site/confirm", "box/site/confirm", json!({}), 404, ""),
        (
            "POST /box/clock",
            "box/clock",
            json!({"ms": 1_795_771_800_000_u64}),
            404,
            "",
        ),
        ("POST /box/end", "box/end", json!({"restart": true}), 404, ""),
        // Without a TPM nothing is done.
        ("POST /seal/init", "seal/init", json!({}), 400, ""),
        ("POST /seal/file", "seal/file", json!({}), 400, "keyring.add-slot"),
        (
            "POST /seal/floor",
            "seal/floor",
            json!({"floor": 2, "bootable": [2]}),
            400,
            "",
        ),
        (
            "POST /seal/slots/{slot}/rebind",
            "seal/slots/1/rebind",
            Value::Null,
            400,
            "",
        ),
        // The TPM of this test opens no challenge.
        (
            "POST /attestation/enrolment",
            "attestation/enrolment",
            json!({"challenge": challenge()}),
            400,
            "attestation.activate",
        ),
        (
            "POST /attestation/ek-certificates",
            "attestation/ek-certificates",
            json!({"pem": intermediate()}),
            200,
            "attestation.ek-certificates",
        ),
        (
            "POST /box/acts",
            "box/acts",
            json!({"act": "log", "terminal": "ttyS0"}),
            box_act.0,
            box_act.1,
        ),
        (
            "POST /box/good",
            "box/good",
            json!({"slot": "a", "state": "done"}),
            box_act.0,
            if uid == 0 { "update.good" } else { "" },
        ),
        (
            "POST /tls/request",
            "tls/request",
            json!({}),
            200,
            "certificate.request",
        ),
        (
            "POST /tls/certificate",
            "tls/certificate",
            json!({"chain": ""}),
            400,
            "certificate.install",
        ),
        (
            "DELETE /tls/certificate",
            "tls/certificate",
            Value::Null,
            200,
            "certificate.remove",
        ),
        // It changes nothing: a reading is no act.
        (
            "POST /box/readings",
            "box/readings",
            json!({"readings": [{"part": "disk", "name": "sda", "value": null, "limit": null, "state": "well", "sentence": ""}]}),
            box_act.0,
            "",
        ),
        // Nobody has signed this checkpoint: refused, and nothing is done.
        (
            "POST /audit/witness",
            "audit/witness",
            json!({"checkpoint": checkpoint}),
            400,
            "",
        ),
    ];
    let mut known: Vec<String> = cases.iter().map(|case| case.0.to_owned()).collect();
    let routes = socket_routes(&site.admin)
        .into_iter()
        .filter(|route| route.method != "GET");
    let mut real: Vec<String> = routes
        .map(|route| format!("{} {}", route.method, route.path.replace("/_lamchat/admin/v1", "")))
        .collect();
    known.sort();
    real.sort();
    assert_eq!(known, real);

    for (route, target, body, status, act) in cases {
        if act == "keyring.remove-slot" {
            // So that it is not the last one.
            let added = site.typed(&Typed::AddRecovery).unwrap();
            assert!(matches!(added, Reply::Recovery(..)));
        }
        let (_, before) = site.socket("GET", "audit?limit=0", Value::Null).await;
        let method = route.split(' ').next().unwrap();
        let (got, answer) = site.socket(method, target, body).await;
        assert_eq!(got, status, "{route}: {answer}");
        let (_, after) = site
            .socket("GET", &format!("audit?since={}", before["size"]), Value::Null)
            .await;
        let entries = after["entries"].as_array().unwrap();
        assert_eq!(entries.is_empty(), act.is_empty(), "{route}: {after}");
        for entry in entries {
            assert_eq!(entry["act"], act, "{route}");
            assert!(entry["actor"].as_str().unwrap().starts_with("uid "), "{entry}");
            assert!(
                !entry.to_string().contains("secret word") && !entry.to_string().contains("door"),
                "{entry}"
            );
        }
    }
    // What is refused changes nothing, and is not there.
    let (_, before) = site.socket("GET", "audit?limit=0", Value::Null).await;
    assert_eq!(site.socket("POST", "users", json!({"user": "alice"})).await.0, 400);
    assert_eq!(site.socket("DELETE", "tokens/none", Value::Null).await.0, 404);
    assert_eq!(
        site.socket("GET", "audit?limit=0", Value::Null).await.1["size"],
        before["size"]
    );
}
