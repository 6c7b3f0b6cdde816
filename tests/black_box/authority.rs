//! The server's own authority: what a client has to trust, and by what people compare it.

use crate::harness::{Client, Site, text};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// SHA-256 of the certificate in a PEM file, as people compare it.
fn fingerprint(pem: &str) -> String {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    let pairs = digest.as_ref().iter().map(|byte| format!("{byte:02X}"));
    pairs.collect::<Vec<_>>().join(":")
}

#[test]
fn whoever_has_the_authority_alone_comes_in() {
    let site = Site::new();
    let server = site.start();
    let told = site.command_json(&["certificate", "authority"], "");
    let pem = text(&site.command(&["certificate", "authority", "--pem"], "").stdout);
    assert_eq!(told["pem"].as_str().unwrap().trim(), pem.trim());
    assert_eq!(told["fingerprint"], fingerprint(&pem));
    assert_eq!(told["is_used"], true);
    let years_ms = told["not_after_ms"].as_u64().unwrap() - told["not_before_ms"].as_u64().unwrap();
    assert_eq!(years_ms, 3650 * 86_400_000);
    assert!(server.greeting.contains(&fingerprint(&pem)), "{}", server.greeting);
    // What people read: the same digits in groups, beside a picture.
    let shown = text(&site.command(&["certificate", "authority"], "").stdout);
    let digits = fingerprint(&pem).replace(':', "");
    let groups = digits.as_bytes().chunks(4).map(text).collect::<Vec<_>>();
    for line in groups.chunks(4) {
        assert!(shown.contains(&line.join(" ")), "{shown}");
    }
    assert!(
        shown.contains('\u{2588}') && shown.lines().all(|line| line.chars().count() < 80),
        "{shown}"
    );

    // A client machine fetches it from whoever answers, compares, and then trusts it and nobody else.
    let mut stranger = server.plain_client();
    let fetched = stranger.get("/_lamchat/v1/ca.pem");
    assert_eq!(
        (fetched.status, fetched.header("content-type")),
        (200, Some("application/x-x509-ca-cert"))
    );
    assert_eq!(fetched.header("cache-control"), Some("public, max-age=300"));
    let fetched = text(&fetched.body);
    assert_eq!(fingerprint(&fetched), told["fingerprint"]);
    let mut client = Client::new(&server.urls[0], Some(&fetched));
    client.get("/_matrix/client/versions").ok();
    server.stop();
}

#[test]
fn a_server_without_an_authority_of_its_own_says_so() {
    let config = crate::harness::CONFIG.replace("tls_local_authority = true\n", "");
    let site = Site::with(&config);
    let server = site.start();
    let refused = site.command(&["certificate", "authority"], "");
    let error = text(&refused.stderr);
    assert!(
        !refused.status.success() && error.contains("an authority of the server's own"),
        "{error}"
    );
    let public = server.plain_client().get("/_lamchat/v1/ca.pem").refusal();
    assert_eq!(public, (404, "M_NOT_FOUND".to_owned()));
    server.stop();
}
