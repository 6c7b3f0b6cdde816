//! Administration against an exchange in a temporary folder, through the real router without a network.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod acts;
mod boxed;
mod distance;
mod evidence;
mod moderation;

use crate::certificate::{Authority, CertificateFailure, Installed, Shown};
use crate::{
    Admin, Attest, AttestFailure, Attestation, Endpoint, Exchange, Nonces, listener_routes, listener_table,
    socket_routes,
};
use aws_lc_rs::hmac;
use lamchat_accounts::device::RemovedDevice;
use lamchat_attester::{Made, Nonce};
use lamchat_audit::AuditLog;
use lamchat_base::{Clock, Entropy, ManualClock, SecretBytes, UserNum};
use lamchat_holder::{Client, Holder, Notices, Opened, Reply, Setup, Tpm, Typed};
use lamchat_http::{BoxFuture, Limits, Rate, Route, Router};
use lamchat_identity::Passwords;
use lamchat_identity::password::Cost;
use lamchat_media::Media;
use lamchat_seal::{DataKeys, PassphraseCost};
use lamchat_store::{ReadError, Store, WriteTxn};
use ruma::OwnedUserId;
use serde_json::{Value, json};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

#[derive(Default)]
struct Counting(AtomicU64);
impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let number = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(17);
            chunk
                .iter_mut()
                .zip(number.to_le_bytes())
                .for_each(|(to, from)| *to = from);
        }
    }
}

/// When these tests happen.
const NOW_MS: u64 = 1_767_225_600_000;

struct Alone;
impl crate::SigningKeys for Alone {
    fn current(&self) -> (String, String) {
        ("ed25519:1".to_owned(), "AAAA".to_owned())
    }

    fn old(&self) -> Result<Vec<lamchat_rules::OldKey>, String> {
        Ok(Vec::new())
    }

    fn rotate(&self) -> Result<(), String> {
        Err("the disk is gone".to_owned())
    }
}

impl crate::Certificates for Alone {
    fn shown(&self) -> Vec<Shown> {
        vec![Shown {
            from: "the server's own authority".to_owned(),
            not_after_ms: NOW_MS + 100 * 86_400_000,
            pin: "sha256:00".to_owned(),
        }]
    }

    fn authority(&self) -> Result<Option<Authority>, CertificateFailure> {
        Ok(None)
    }

    fn request(&self) -> Result<String, CertificateFailure> {
        Ok("a request".to_owned())
    }

    fn install(&self, _: &str) -> Result<Installed, CertificateFailure> {
        Err(CertificateFailure::Invalid("this is no chain".to_owned()))
    }

    fn remove(&self) -> Result<(), CertificateFailure> {
        Ok(())
    }
}

impl Exchange for Alone {
    fn forget_devices(&self, _: &mut WriteTxn<'_>, _: UserNum, _: &[RemovedDevice]) -> Result<(), ReadError> {
        Ok(())
    }
    fn pending_registrations(&self, _token: &str) -> u32 {
        0
    }
    fn leave_rooms(&self, _user: UserNum, _user_id: OwnedUserId) -> BoxFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

/// A TPM that quotes a nonce, unless it is all zeros.
#[derive(Default)]
struct Mute(parking_lot::Mutex<Vec<Vec<u8>>>);
impl Attest for Mute {
    fn evidence(&self, nonce: &Nonce) -> Result<Made, AttestFailure> {
        if nonce.bytes().iter().all(|byte| *byte == 0) {
            return Err(AttestFailure::Unavailable(
                "there is no TPM at tcp:127.0.0.1:1".to_owned(),
            ));
        }
        let file = json!({"eat_nonce": nonce.bytes()}).to_string().into_bytes();
        let missing = vec!["the evidence has no event log".to_owned()];
        Ok(Made { file, missing })
    }
    fn request(&self) -> Result<Made, AttestFailure> {
        Err(AttestFailure::Unavailable("the TPM has no certificate".to_owned()))
    }
    fn activate(&self, _challenge: &[u8]) -> Result<Made, AttestFailure> {
        Err(AttestFailure::Invalid("the challenge is for another TPM".to_owned()))
    }
    fn complete(&self, certificates: Vec<Vec<u8>>) -> Result<(), AttestFailure> {
        *self.0.lock() = certificates;
        Ok(())
    }
}

/// A certificate of some maker of TPMs, in PEM.
fn intermediate() -> String {
    use lamchat_attestation::simulation::{SoftwareBox, pem};
    pem("CERTIFICATE", &SoftwareBox::honest().tpm.ek_certificates[1])
}

/// An auditor's challenge for some box.
fn challenge() -> String {
    use lamchat_attestation::simulation::{Fixed, SoftwareBox, TIME};
    use lamchat_attestation::{Challenge, Request};
    let made = SoftwareBox::honest();
    let request = Request {
        ek_certificates: made.tpm.ek_certificates.clone(),
        ek_public: made.tpm.ek_public.clone(),
        ak_public: made.tpm.ak_public.clone(),
    };
    let challenge = Challenge::new(&request, "box 1", &made.trust, TIME, &Fixed(1), &made.auditor).unwrap();
    String::from_utf8(challenge.to_bytes()).unwrap()
}

fn endpoint(enabled: bool) -> Endpoint {
    let rate = |burst| Rate { per_second: 0.1, burst };
    Endpoint {
        enabled,
        rate_by_address: rate(2),
        rate: rate(10),
    }
}

struct Site {
    admin: Arc<Admin>,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
}

/// A key holder on threads of this process, with a new keyring in `dir`, and the exchange's way to it.
fn holder(
    dir: &Path,
    clock: Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
    store: &Store,
) -> (Arc<Client>, Arc<DataKeys>) {
    let ((ours, theirs), (notices, told)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let setup = Setup {
        disk: lamchat_disk::RealDisk::shared(),
        on_box: false,
        dir: dir.to_owned(),
        passphrase: None,
        tpm: Tpm::none("this is a test", &[7], None),
        attester: Err("this is a test".to_owned()),
        exchange_dir: dir.to_owned(),
        cost: PassphraseCost::MINIMUM,
        clock,
        entropy: Arc::clone(entropy),
    };
    let (notices, acks) = Notices::new(notices).unwrap();
    let holder = Arc::new(Holder::new(setup, notices, "on threads of a test".to_owned()));
    // Another process than this one, which types.
    let init = nix::unistd::Pid::from_raw(1);
    let typed = UnixListener::bind(dir.join(lamchat_holder::SOCKET)).unwrap();
    let shared = Arc::clone(&holder);
    std::thread::spawn(move || lamchat_holder::serve(theirs, &shared, &AtomicBool::new(false)));
    std::thread::spawn(move || lamchat_holder::serve_typed(&typed, &holder, lamchat_holder::Network::Open, Some(init)));
    std::thread::spawn(move || acks.run());
    let store = store.clone();
    std::thread::spawn(move || {
        lamchat_holder::listen(told, |notice| {
            let entry = crate::audit::entry_of(notice);
            let appended = store.write_blocking(move |txn| lamchat_audit::append(txn, &entry));
            appended.map(drop).map_err(|error| format!("{error:?}"))
        })
    });
    let client = Arc::new(Client::new(ours).unwrap());
    let Opened::Keys { keys, .. } = client.open(true).unwrap() else {
        unreachable!("a new keyring is open")
    };
    client.ready().unwrap();
    let keys = DataKeys::new(lamchat_disk::RealDisk::shared(), dir, Arc::clone(entropy), keys);
    (client, Arc::new(keys))
}

fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let tables = [
        lamchat_accounts::TABLES,
        lamchat_identity::TABLES,
        lamchat_keys::TABLES,
        lamchat_rooms::TABLES,
        lamchat_media::TABLES,
        lamchat_audit::TABLES,
        crate::TABLES,
    ]
    .concat();
    let store = Store::in_memory(&tables).unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let entropy: Arc<dyn Entropy> = Arc::new(Counting::default());
    let (holder, keys) = holder(folder.path(), Arc::clone(&clock) as Arc<dyn Clock>, &entropy, &store);
    let media = Media::open(
        lamchat_media::Options::new(folder.path().join("media")),
        store.clone(),
        Arc::clone(&keys),
        Arc::clone(&clock) as Arc<dyn Clock>,
        Arc::clone(&entropy),
    );
    let audit = AuditLog::open(
        store.clone(),
        Arc::clone(&holder) as Arc<dyn lamchat_audit::notary::HeadSigner>,
        "example.org",
        Arc::clone(&clock) as Arc<dyn Clock>,
        &*entropy,
    );
    let admin = Admin {
        store,
        audit: Arc::new(audit.unwrap()),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        hardware: Arc::default(),
        told: Default::default(),
        told_news: Default::default(),
        nonces: Nonces::new(&*entropy),
        entropy,
        server_name: "example.org".try_into().unwrap(),
        version: "test".to_owned(),
        passwords: Passwords::new(Cost::Minimum, 2),
        keys,
        holder,
        federation: Arc::new(lamchat_connections::FederationGate::new(true, true, &[])),
        media: media.unwrap(),
        anchoring: Arc::default(),
        signing_keys: Arc::new(Alone),
        attestation: Attestation::new(Arc::new(Mute::default()), endpoint(false)),
        exchange: Arc::new(Alone),
        shared_secret: arc_swap::ArcSwapOption::from_pointee(SecretBytes::new(b"shared".to_vec())),
        metrics: OnceLock::new(),
        distance: crate::Distance::default(),
        certificates: Arc::new(Alone),
        backup_days: 14,
        standing: crate::Standing::new(false, false),
        updates: None,
        box_socket: None,
        offer: Default::default(),
    };
    Site {
        admin: Arc::new(admin),
        clock,
        folder,
    }
}

async fn answer(routes: Vec<Route>, method: &str, target: &str, body: Value) -> (u16, Value) {
    let router = Router::new(routes, Limits::default()).unwrap();
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let request = http::Request::builder()
        .method(method)
        .uri(target)
        .body(body.into())
        .unwrap();
    let response = router.answer(request).await;
    (
        response.status().as_u16(),
        serde_json::from_slice(response.body()).unwrap_or(Value::Null),
    )
}

impl Site {
    async fn socket(&self, method: &str, target: &str, body: Value) -> (u16, Value) {
        answer(
            socket_routes(&self.admin),
            method,
            &format!("/_lamchat/admin/v1/{target}"),
            body,
        )
        .await
    }

    /// Asks the key holder itself, as the command line does.
    fn typed(&self, request: &Typed) -> Result<Reply, lamchat_holder::AskError> {
        lamchat_holder::ask_typed(&self.folder.path().join(lamchat_holder::SOCKET), request)
    }

    async fn register(&self, method: &str, body: Value) -> (u16, Value) {
        answer(
            listener_routes(&self.admin),
            method,
            "/_synapse/admin/v1/register",
            body,
        )
        .await
    }

    /// The number of a user, who need not have an account.
    async fn user(&self, name: &str) -> UserNum {
        let id: OwnedUserId = format!("@{name}:example.org").try_into().unwrap();
        let insert = move |txn: &mut WriteTxn<'_>| lamchat_accounts::user::num_or_insert(txn, &id);
        self.admin.store.write(insert).await.unwrap()
    }

    /// Uploads so many bytes and answers their media id.
    async fn upload(&self, uploader: UserNum, size: usize) -> String {
        let mut upload = self.admin.media.begin(uploader, None, 1 << 20).unwrap();
        upload.write(&vec![7; size]).await.unwrap();
        upload.finish(None, None).await.unwrap()
    }

    async fn nonce(&self) -> String {
        self.register("GET", Value::Null).await.1["nonce"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

fn signed(nonce: &str, name: &str, role: &str, kind: Option<&str>) -> Value {
    let mut message = format!("{nonce}\0{name}\0secret word\0{role}");
    if let Some(kind) = kind {
        message.push_str(&format!("\0{kind}"));
    }
    let mac = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"shared"),
        message.as_bytes(),
    );
    let mac: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut body =
        json!({"nonce": nonce, "username": name, "password": "secret word", "admin": role == "admin", "mac": mac});
    if let Some(kind) = kind {
        body["user_type"] = kind.into();
    }
    body
}

#[test]
fn the_table_lists_the_routes() {
    let mut listed: Vec<String> = listener_table()
        .iter()
        .map(|(method, path, auth)| format!("{method} {path} {auth:?}"))
        .collect();
    let mut real: Vec<String> = listener_routes(&site().admin)
        .iter()
        .map(|route| format!("{} {} {:?}", route.method, route.path, route.auth))
        .collect();
    listed.sort();
    real.sort();
    assert_eq!(listed, real);
}

#[tokio::test]
async fn shared_secret_registration_is_exact() {
    let site = site();
    let (status, made) = site
        .register("POST", signed(&site.nonce().await, "bob", "admin", None))
        .await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(
        (&made["user_id"], &made["home_server"]),
        (&json!("@bob:example.org"), &json!("example.org"))
    );
    assert!(made["access_token"].is_string() && made["device_id"].is_string());

    // The name is taken: the nonce comes back, so that the script can try another one.
    let nonce = site.nonce().await;
    let (status, error) = site.register("POST", signed(&nonce, "bob", "notadmin", None)).await;
    assert_eq!((status, &error["errcode"]), (400, &json!("M_USER_IN_USE")));
    assert_eq!(
        site.register("POST", signed(&nonce, "carol", "notadmin", None)).await.0,
        200
    );
    assert_eq!(
        site.register("POST", signed(&nonce, "dave", "notadmin", None)).await.0,
        400,
        "used up"
    );

    let nonce = site.nonce().await;
    site.clock.advance_ms(60_000);
    assert_eq!(
        site.register("POST", signed(&nonce, "dave", "notadmin", None)).await.0,
        400,
        "expired"
    );

    let nonce = site.nonce().await;
    let mut raised = signed(&nonce, "dave", "notadmin", None);
    raised["admin"] = true.into();
    assert_eq!(site.register("POST", raised).await.0, 403);
    assert_eq!(
        site.register("POST", signed(&nonce, "dave", "notadmin", Some("bot")))
            .await
            .0,
        400,
        "no user types"
    );
    // "a\0b" with password "c" must not pass for "a" with password "b\0c".
    let mut shifted = signed(&nonce, "dave", "notadmin", None);
    shifted["username"] = "dave\0secret word".into();
    shifted["password"] = "notadmin".into();
    assert_eq!(site.register("POST", shifted).await.0, 400);

    site.admin.shared_secret.store(None);
    assert_eq!(site.register("GET", Value::Null).await.0, 400);
    assert_eq!(
        site.register("POST", signed(&nonce, "dave", "notadmin", None)).await.0,
        400
    );
}

#[tokio::test]
async fn accounts_live_and_end() {
    let site = site();
    let add = |name: &str| json!({"user": name, "password": "secret word"});
    assert_eq!(
        site.socket("POST", "users", add("alice")).await.1,
        json!({"user_id": "@alice:example.org", "admin": false})
    );
    assert_eq!(site.socket("POST", "users", add("alice")).await.0, 400);
    assert_eq!(
        site.socket("POST", "users", add("a b")).await.1["errcode"],
        "M_INVALID_USERNAME"
    );
    assert_eq!(site.socket("POST", "users", add("@x:elsewhere.org")).await.0, 400);
    assert_eq!(
        site.socket("POST", "users/%40alice%3Aexample.org/admin", json!({"admin": true}))
            .await
            .0,
        200
    );
    let (_, list) = site.socket("GET", "users", Value::Null).await;
    assert_eq!(list["users"][0]["admin"], true);
    for on in [true, false] {
        for (what, name) in [("suspended", "suspended"), ("locked", "locked")] {
            let (status, answer) = site
                .socket("POST", &format!("users/alice/{what}"), json!({name: on}))
                .await;
            assert_eq!((status, &answer[name]), (200, &json!(on)));
            let (_, list) = site.socket("GET", "users", Value::Null).await;
            assert_eq!(list["users"][0][name], on);
            assert_eq!(
                site.socket("POST", &format!("users/alice/{what}"), json!({})).await.0,
                400
            );
            assert_eq!(
                site.socket("POST", &format!("users/nobody/{what}"), json!({name: on}))
                    .await
                    .0,
                404
            );
        }
    }
    assert_eq!(site.socket("POST", "users/alice/deactivate", json!({})).await.0, 200);
    assert_eq!(
        site.socket("POST", "users/alice/deactivate", json!({})).await.0,
        200,
        "it can be repeated"
    );
    assert_eq!(
        site.socket("POST", "users/alice/password", json!({"password": "x"}))
            .await
            .0,
        403
    );
    assert_eq!(
        site.socket("POST", "users/alice/reactivate", json!({"password": "another"}))
            .await
            .0,
        200
    );
    assert_eq!(site.socket("POST", "users/nobody/deactivate", json!({})).await.0, 404);
    let (status, error) = site.socket("POST", "users/alice/admin", json!({"admin": "yes"})).await;
    assert_eq!((status, &error["errcode"]), (400, &json!("M_BAD_JSON")));
    assert_eq!(
        site.socket("POST", "users/alice/admin", Value::Null).await.1["errcode"],
        "M_NOT_JSON"
    );
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let site = site();
    for number in 0..1_001 {
        let (status, _) = site
            .socket("POST", "users", json!({"user": format!("u{number}")}))
            .await;
        assert_eq!(status, 200);
    }
    let (mut from, mut seen, mut pages) = (0, 0, 0);
    loop {
        let (_, page) = site.socket("GET", &format!("users?from={from}"), Value::Null).await;
        seen += page["users"].as_array().unwrap().len();
        pages += 1;
        match page["next"].as_u64() {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!((seen, pages), (1_001, 3));
    assert_eq!(site.socket("GET", "users?from=x", Value::Null).await.0, 400);
}

#[tokio::test]
async fn tokens_and_slots() {
    let site = site();
    let (_, token) = site
        .socket("POST", "tokens", json!({"uses_allowed": 2, "valid_for_ms": 1000}))
        .await;
    let text = token["token"].as_str().unwrap();
    assert_eq!(token["valid"], true);
    site.clock.advance_ms(1000);
    assert_eq!(
        site.socket("GET", "tokens", Value::Null).await.1["tokens"][0]["valid"],
        false
    );
    assert_eq!(
        site.socket("DELETE", &format!("tokens/{text}"), Value::Null).await.0,
        200
    );
    assert_eq!(
        site.socket("DELETE", &format!("tokens/{text}"), Value::Null).await.0,
        404
    );
    assert_eq!(site.socket("POST", "tokens", json!({"uses_allowed": 0})).await.0, 400);

    assert_eq!(
        site.socket("POST", "backup", Value::Null).await.0,
        403,
        "no passphrase yet"
    );
    assert_eq!(
        site.socket("DELETE", "keyring/slots/1", Value::Null).await.0,
        400,
        "the last slot"
    );
    let passphrase = |text: &str| Typed::AddPassphrase(SecretBytes::new(text.as_bytes().to_vec()));
    assert!(site.typed(&passphrase("short")).is_err());
    site.typed(&passphrase("long enough now")).unwrap();
    let (status, slots) = site.socket("GET", "keyring", Value::Null).await;
    assert_eq!((status, slots["slots"][1]["kind"].as_str()), (200, Some("passphrase")));
    assert_eq!(site.socket("DELETE", "keyring/slots/9", Value::Null).await.0, 404);
    // The file slot goes with all keys, for which somebody has to type.
    let (status, refused) = site.socket("DELETE", "keyring/slots/1", Value::Null).await;
    assert_eq!(status, 400);
    assert!(refused["error"].as_str().unwrap().contains("lamchat seal remove"));
    let (_, slots) = site.socket("DELETE", "keyring/slots/2", Value::Null).await;
    assert_eq!(slots["slots"].as_array().unwrap().len(), 1);
}
