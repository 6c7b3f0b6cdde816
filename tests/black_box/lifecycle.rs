//! Signals, certificates, and who else wants the data folder.

use crate::harness::{CONFIG, Site, text};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn sigterm_ends_well_while_a_client_waits() {
    let site = Site::new();
    let mut server = site.start();
    let mut alice = server.account("alice");
    let since = alice.get("/_matrix/client/v3/sync").ok()["next_batch"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut waiting = alice.another();
    let poll = std::thread::spawn(move || {
        waiting.send(
            "GET",
            &format!("/_matrix/client/v3/sync?since={since}&timeout=30000"),
            &[],
            b"",
        )
    });
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    server.signal("TERM");
    let status = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "a waiting client does not hold up the end: {:?}",
        begin.elapsed()
    );
    let reply = poll.join().unwrap().expect("the waiting client gets an answer");
    assert_eq!(reply.status, 200, "{}", text(&reply.body));
    assert!(!site.path("data/admin.sock").exists());

    let mut server = site.start();
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_second_process_is_refused() {
    let site = Site::new();
    let server = site.start();
    let output = site.command(&["serve"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("in use"), "{}", text(&output.stderr));
    // The first one is unharmed, and its socket is still there.
    assert_eq!(server.client().get("/_matrix/client/versions").status, 200);
    assert_eq!(site.command_json(&["health"], "")["server_name"], "localhost");
    server.stop();
}

#[test]
fn a_data_folder_keeps_its_server_name() {
    let site = Site::new();
    site.start().stop();
    site.configure(&CONFIG.replace("server_name = \"localhost\"", "server_name = \"example.org\""));
    let output = site.command(&["serve"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("belongs to the server localhost"),
        "{}",
        text(&output.stderr)
    );
}

fn write_certificate(site: &Site) -> String {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(site.path("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(site.path("key.pem"), key.serialize_pem()).unwrap();
    certificate.pem()
}

#[test]
fn sighup_reads_certificates_and_configuration_again() {
    let config = CONFIG.replace(
        "tls_local_authority = true",
        "tls_certificate = \"cert.pem\"\ntls_private_key = \"key.pem\"",
    );
    let site = Site::with(&config);
    let first = write_certificate(&site);
    let server = site.start();
    let url = server.urls[0].clone();
    let client = crate::harness::Client::new(&url, Some(&first));
    let shown = client.server_certificate();
    let mut open = crate::harness::Client::new(&url, Some(&first));
    assert_eq!(open.get("/_matrix/client/versions").status, 200);

    let second = write_certificate(&site);
    site.configure(
        &config
            .replace("mode = \"token\"", "mode = \"open\"")
            .replace("server_name = \"localhost\"", "server_name = \"other\""),
    );
    server.signal("HUP");
    let line = server.wait_for_log("was reloaded");
    assert!(
        line.contains("registration.mode") && line.contains("server_name"),
        "{line}"
    );
    let after = crate::harness::Client::new(&url, Some(&second)).server_certificate();
    assert_ne!(shown, after);
    let log = site.command_json(&["audit", "show"], "").to_string();
    assert!(log.contains("certificate.reload") && log.contains("cert.pem"), "{log}");
    assert_eq!(open.get("/_matrix/client/versions").status, 200, "connections stay");
    let flows = open
        .post(
            "/_matrix/client/v3/register",
            &json!({"username": "x", "password": "y"}),
        )
        .json();
    assert!(flows["flows"].to_string().contains("m.login.dummy"), "{flows}");

    // Mistakes leave everything as it was.
    std::fs::write(site.path("cert.pem"), "nonsense").unwrap();
    site.configure("nonsense = 1");
    server.signal("HUP");
    server.wait_for_log("old certificate stays");
    server.wait_for_log("not reloaded");
    assert_eq!(
        crate::harness::Client::new(&url, Some(&second)).server_certificate(),
        after
    );
    server.stop();
}

#[test]
fn the_service_manager_is_told() {
    let site = Site::new();
    let path = site.path("notify.sock");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let mut child = std::process::Command::new(crate::harness::program())
        .args(["--config", "lamchat.toml"])
        .current_dir(site.path(""))
        .env("NOTIFY_SOCKET", &path)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut buffer = [0u8; 256];
    let mut next = || {
        let length = manager.recv(&mut buffer).unwrap();
        text(&buffer[..length])
    };
    assert_eq!(next(), "READY=1");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let kill = |signal| nix::sys::signal::kill(pid, signal).unwrap();
    kill(nix::sys::signal::Signal::SIGHUP);
    assert!(next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(next(), "READY=1");
    kill(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(next(), "STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn registration_by_shared_secret_needs_nonce_and_secret() {
    let site = Site::new();
    let server = site.start();
    server.account("alice");
    let mut client = server.plain_client();
    let path = "/_synapse/admin/v1/register";
    let nonce = client.get(path).ok()["nonce"].as_str().unwrap().to_owned();
    let mac = |secret: &[u8], nonce: &str, name: &str, role: &str| -> String {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
        let message = format!("{nonce}\0{name}\0secret word\0{role}");
        aws_lc_rs::hmac::sign(&key, message.as_bytes())
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let body = |nonce: &str, name: &str, admin: bool, mac: String| json!({"nonce": nonce, "username": name, "password": "secret word", "admin": admin, "mac": mac});
    let wrong = body(&nonce, "bob", false, mac(b"guessed", &nonce, "bob", "notadmin"));
    assert_eq!(client.post(path, &wrong).refusal(), (403, "M_FORBIDDEN".to_owned()));
    let raised = body(&nonce, "bob", true, mac(b"test secret", &nonce, "bob", "notadmin"));
    assert_eq!(
        client.post(path, &raised).status,
        403,
        "the role is part of what is signed"
    );
    let right = body(&nonce, "bob", true, mac(b"test secret", &nonce, "bob", "admin"));
    assert_eq!(client.post(path, &right).ok()["user_id"], "@bob:localhost");
    let again = body(&nonce, "carol", false, mac(b"test secret", &nonce, "carol", "notadmin"));
    assert_eq!(client.post(path, &again).status, 400, "a nonce is good once");
    // The other listener does not offer the resource.
    assert_eq!(server.client().get(path).refusal(), (404, "M_UNRECOGNIZED".to_owned()));
    assert_eq!(server.client().get("/metrics").status, 404);
    assert!(text(&client.get("/metrics").body).contains("http_requests"));
    let users = site.command_json(&["user", "list"], "");
    assert_eq!(users["users"][1]["admin"], true);
}
