//! Administration against an exchange in a temporary folder, through the real router without a network; a file for each
//! topic, and here the [`Site`] that all of them ask.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod acts;
mod boxed;
mod distance;
mod evidence;
mod moderation;
mod registration;
mod stand_ins;
mod tokens;
mod users;

use crate::{Admin, Attestation, Nonces, listener_routes, socket_routes};
use lamchat_audit::AuditLog;
use lamchat_base::{Clock, Entropy, ManualClock, SecretBytes, UserNum};
use lamchat_holder::{Reply, Typed};
use lamchat_http::{Limits, Route, Router};
use lamchat_identity::Passwords;
use lamchat_identity::password::Cost;
use lamchat_media::Media;
use lamchat_store::{Store, WriteTxn};
use ruma::OwnedUserId;
use serde_json::Value;
use stand_ins::{Alone, Counting, Mute, NOW_MS, challenge, endpoint, holder, intermediate};
use std::sync::{Arc, OnceLock};

struct Site {
    admin: Arc<Admin>,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
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
        unlocked_by: lamchat_seal::SlotKind::File,
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
