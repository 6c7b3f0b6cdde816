//! What an administrator looks after: certificates of an authority outside, the last backup, health and metrics.

use crate::harness::{Site, text};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;

/// An authority outside, which signs what it is asked for; its answer, the server's certificate first.
fn signed(request: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "An authority outside");
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&authority.pem(), key).unwrap();
    let mut asked = CertificateSigningRequestParams::from_pem(request).unwrap();
    asked.params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    asked.params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let leaf = asked.signed_by(&issuer).unwrap();
    format!("{}{}", leaf.pem(), authority.pem())
}

#[test]
fn a_certificate_of_an_authority_outside_is_shown_until_it_is_removed() {
    let site = Site::new();
    let server = site.start();
    let own = server.client().server_certificate();
    let asked = site.command_json(&["certificate", "request"], "");
    let request = asked["request"].as_str().unwrap();
    assert!(!request.contains("PRIVATE"), "{request}");
    std::fs::write(site.path("chain.pem"), signed(request)).unwrap();
    // Another request's answer is refused, and nothing changes.
    let stranger = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let foreign = params.serialize_request(&stranger).unwrap().pem().unwrap();
    std::fs::write(site.path("foreign.pem"), signed(&foreign)).unwrap();
    let output = site.command(&["certificate", "install", "foreign.pem"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("key"), "{}", text(&output.stderr));
    assert_eq!(server.client().server_certificate(), own);

    let installed = site.command_json(&["certificate", "install", "chain.pem"], "");
    assert_eq!(installed["names"], serde_json::json!(["localhost"]));
    let health = site.command_json(&["health"], "");
    assert_eq!(health["certificates"][0]["from"], "an authority outside");
    assert!(health["certificates"][0]["days_left"].as_u64().unwrap() > 10_000);
    let authority = server.authority();
    // The own authority stays what it is, for the day when the other certificate ends, and says that it is not used.
    let told = site.command_json(&["certificate", "authority"], "");
    assert_eq!(
        (told["pem"].as_str(), &told["is_used"]),
        (Some(authority.as_str()), &false.into())
    );
    let shown = text(&site.command(&["certificate", "authority"], "").stdout);
    assert!(shown.contains("NOT USED NOW"), "{shown}");
    let chain = std::fs::read_to_string(site.path("chain.pem")).unwrap();
    let at = chain.rfind("-----BEGIN").unwrap();
    let chain = chain.split_at(at).1;
    let outside = crate::harness::Client::new(&server.urls[0], Some(chain)).server_certificate();
    assert_ne!(outside, own);

    // It stays over a restart, and the server's own comes back.
    server.stop();
    let server = site.start();
    let again = crate::harness::Client::new(&server.urls[0], Some(chain)).server_certificate();
    assert_eq!(again, outside);
    site.command_json(&["certificate", "remove"], "");
    assert_eq!(server.authority(), authority);
    assert_eq!(server.client().server_certificate(), own);

    let audit = site.command_json(&["audit", "show"], "");
    let acts: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["act"].as_str())
        .filter(|act| act.starts_with("certificate."))
        .collect();
    let twice = |act: &'static str| [act, act];
    let expected = [
        twice("certificate.request"),
        twice("certificate.install"),
        twice("certificate.install"),
        twice("certificate.remove"),
    ];
    assert_eq!(acts, expected.concat());
}

#[test]
fn the_last_backup_is_known_to_health_and_metrics() {
    let site = Site::new();
    let server = site.start();
    site.command(&["seal", "add-recovery"], "");
    let health = site.command_json(&["health"], "");
    assert_eq!(health["backup"], Value::Null);
    assert_eq!(health["peers"]["count"], 0);
    assert_eq!(health["release"]["on_trial"], false);
    let plain = text(&site.command(&["health"], "").stdout);
    assert!(
        plain.contains("last backup: none yet") && plain.contains("peers: none"),
        "{plain}"
    );

    site.command_json(&["backup", "create", "first"], "");
    let health = site.command_json(&["health"], "");
    assert!(health["backup"]["bytes"].as_u64().unwrap() > 0, "{health}");
    assert!(
        health["backup"]["actor"].as_str().unwrap().starts_with("uid "),
        "{health}"
    );
    let metrics = text(&server.plain_client().get("/metrics").body);
    let value = |name: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("lamchat_{name} ")))
            .unwrap();
        line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(
        value("backup_last_seconds"),
        health["backup"]["at_ms"].as_u64().unwrap() / 1000
    );
    assert_eq!(value("release_on_trial"), 0);
    assert!(metrics.contains("alarm_state{what=\"backup\"} 0"), "{metrics}");
}
