//! Opens every part of the exchange and hands each what it needs.

use super::attestation::Evidence;
use super::certificates::Certificates;
use super::{
    StartError, anchor, attestation, audit, clock, data_dir, exchange, federation, greeting, holder, outside, refused,
    rekey, server_name, settings, signing_key,
};
use lamchat_accounts::presence::Presences;
use lamchat_api_admin::{Admin, Attest, Attestation, Door, Standing};
use lamchat_api_client::App;
use lamchat_appliance::Folders;
use lamchat_audit::AuditLog;
use lamchat_base::{Clock, Entropy, SecretBytes};
use lamchat_config::Config;
use lamchat_disk::RealDisk;
use lamchat_host::{OsEntropy, SystemClock};
use lamchat_http::{Bind, Listener, Resource, Router, Server};
use lamchat_identity::{LoginTokens, Passwords, UiaSessions};
use lamchat_media::Media;
use lamchat_notices::Notices;
use lamchat_push::UnreadCounts;
use lamchat_rooms::Rooms;
use lamchat_rooms::delayed::DelayedEvents;
use lamchat_rooms::typing::Typing;
use lamchat_seal::{DataKeys, SlotKind};
use lamchat_store::{Store, Table};
use lamchat_sync::Syncer;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Administration has no strangers: its socket may be opened by one user only.
pub const SOCKET_MODE: u32 = 0o600;

/// The open parts.
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub store: Store,
    pub certificates: Arc<Certificates>,
    pub evidence: Arc<Evidence>,
    pub app: Arc<App>,
    pub admin: Arc<Admin>,
    pub audit: Arc<AuditLog>,
    pub notices: Notices,
    /// Identifier and public part of the server's signing key.
    pub signing_key: String,
    /// The slot that opened the keys.
    pub unlocked_by: SlotKind,
    /// Where updates are looked for; reloadable.
    pub pull: arc_swap::ArcSwapOption<super::pull::Wanted>,
    /// The folder for what was downloaded.
    pub pull_folder: std::path::PathBuf,
    /// Tells that the keyring's slots may have changed.
    pub federation_changed: Arc<tokio::sync::Notify>,
}

/// The open listeners.
pub struct Listening {
    public: Server,
    admin: Server,
}

impl Listening {
    /// The addresses of the configuration's listeners, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.public.addresses()
    }

    /// Finishes requests in flight; answers how many connections had to be cut.
    pub async fn stop(self, patience: Duration) -> usize {
        let (public, admin) = tokio::join!(self.public.stop(patience), self.admin.stop(patience));
        public + admin
    }
}

/// Every table of every crate.
pub fn tables() -> Vec<Table> {
    let all = [
        lamchat_accounts::TABLES,
        lamchat_identity::TABLES,
        lamchat_keys::TABLES,
        lamchat_rooms::TABLES,
        lamchat_media::TABLES,
        lamchat_push::TABLES,
        lamchat_audit::TABLES,
        lamchat_api_admin::TABLES,
        lamchat_notices::TABLES,
    ];
    all.concat()
}

/// Opens everything that has no listener yet.
pub async fn open(config: &Config, holder: &holder::Link) -> Result<Parts, StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    data_dir::prepare(&config.data_dir)?;
    let folders = Folders::below(&config.data_dir);
    let (unlocked_by, released) = holder.open(config, !folders.store.exists()).await?;
    let keys = DataKeys::new(RealDisk::shared(), &folders.data, Arc::clone(&entropy), released);
    let keys = Arc::new(keys);
    let store = lamchat_store::Options {
        dir: folders.store,
        key: keys.database_key().map_err(refused)?,
        tables: tables(),
        progress: super::progress::listener(),
    };
    let store = rekey::under_new_keys(store, &keys, holder).await?;
    let store = if config.admin.on_trial {
        Store::open_on_trial(store)
    } else {
        Store::open(store)
    };
    let store = store.map_err(refused)?;
    clock::raise(&store, &clock, config.admin.box_socket.as_deref()).await?;
    server_name::check(&keys, &config.server_name)?;
    let findings = anchor::check(config, &store, holder, unlocked_by).await?;
    if findings.iter().any(|finding| finding.new_epoch) {
        store
            .start_new_epoch()
            .await
            .map_err(|error| refused(audit::sentence(&error)))?;
    }
    let audit = audit::open(config, &store, &holder.client, &clock, &*entropy)?;
    for finding in findings {
        audit::note(&store, finding.entry(clock.now_ms())).await?;
    }
    let federation = federation::open(config, holder).await?;
    let certificates = Arc::new(Certificates::open(config, &keys, &store, &*clock)?);
    let evidence = Arc::new(Evidence::open(
        config,
        &holder.client,
        &audit,
        &certificates,
        &keys,
        &store,
    )?);
    let media = Media::open(
        settings::media(&config.media, folders.media),
        store.clone(),
        Arc::clone(&keys),
        Arc::clone(&clock),
        Arc::clone(&entropy),
    );
    let media = media.map_err(refused)?;
    let passwords = Passwords::with_cost(settings::password_cost(config.registration.password_hash));
    let key = signing_key::open(&keys, &store, &*entropy, clock.now_ms())?;
    let signing_key = format!("{} {}", key.id(), key.public_base64());
    let rooms = Rooms::new(
        store.clone(),
        Arc::clone(&clock),
        Arc::clone(&entropy),
        config.server_name.clone(),
        key,
    );
    let signing_keys = Arc::new(signing_key::Rotation {
        keys: Arc::clone(&keys),
        entropy: Arc::clone(&entropy),
        clock: Arc::clone(&clock),
        rooms: rooms.clone(),
        server_name: config.server_name.to_string(),
        changing: parking_lot::Mutex::default(),
        told: parking_lot::Mutex::default(),
    });
    let notices = Notices::new(store.clone(), rooms.clone());
    let typing = Arc::new(Typing::new(clock.now_ms()));
    tokio::spawn(lamchat_rooms::typing::expire_forever(
        Arc::clone(&typing),
        store.clone(),
        Arc::clone(&clock),
    ));
    let presence = Arc::new(Presences::new(typing.counter()));
    let unread = Arc::new(UnreadCounts::new());
    let syncer = Arc::new(Syncer::new(
        store.clone(),
        Arc::clone(&clock),
        Arc::clone(&typing),
        unread,
        Arc::clone(&presence),
    ));
    tokio::spawn(lamchat_sync::tell_presence_forever(
        Arc::clone(&syncer),
        Arc::clone(&clock),
    ));

    let app = Arc::new(App {
        store: store.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        server_name: config.server_name.clone(),
        settings: arc_swap::ArcSwap::from_pointee(settings::client(config)),
        limiters: lamchat_api_client::limit::Limiters::default(),
        delayed: Arc::new(DelayedEvents::open(rooms.clone()).map_err(refused)?),
        rooms,
        typing,
        syncer,
        passwords: passwords.clone(),
        uia: UiaSessions::new(),
        login_tokens: LoginTokens::new(),
        key_queries: lamchat_keys::QueryCache::new(),
        presence,
        hardware_sealed: federation.hardware_sealed,
        server_keys: Arc::clone(&signing_keys) as Arc<dyn lamchat_api_client::server_keys::ServerKeys>,
        searches: Arc::new(tokio::sync::Semaphore::new(lamchat_api_client::app::SEARCHES_MAX)),
        media: media.clone(),
    });
    let admin = Arc::new(Admin {
        store: store.clone(),
        clock: Arc::clone(&clock),
        entropy: Arc::clone(&entropy),
        server_name: config.server_name.clone(),
        version: crate::cli::VERSION.to_owned(),
        passwords,
        keys,
        holder: Arc::clone(&holder.client),
        unlocked_by,
        federation: federation.gate,
        media,
        attestation: Attestation::new(Arc::clone(&evidence) as Arc<dyn Attest>, attestation::endpoint(config)),
        audit: Arc::clone(&audit),
        anchoring: Arc::default(),
        signing_keys,
        exchange: Arc::new(exchange::Wired { app: Arc::clone(&app) }),
        shared_secret: arc_swap::ArcSwapOption::new(shared_secret(config).map(Arc::new)),
        hardware: Arc::default(),
        told: Default::default(),
        told_news: Default::default(),
        metrics: OnceLock::new(),
        nonces: lamchat_api_admin::Nonces::new(&*entropy),
        distance: lamchat_api_admin::Distance::new(!config.admin.metrics_open),
        certificates: Arc::new(outside::Shop {
            certificates: Arc::clone(&certificates),
            clock: Arc::clone(&clock),
        }),
        backup_days: config.notices.backup_days,
        standing: Standing::new(config.admin.updates.is_some(), config.admin.on_trial),
        updates: config.admin.updates.clone(),
        box_socket: config.admin.box_socket.clone(),
        offer: Default::default(),
    });
    Ok(Parts {
        clock,
        entropy,
        store,
        certificates,
        evidence,
        app,
        admin,
        audit,
        notices,
        signing_key,
        unlocked_by,
        pull: arc_swap::ArcSwapOption::new(super::pull::wanted(config).map(Arc::new)),
        pull_folder: config.data_dir.join("pull"),
        federation_changed: federation.changed,
    })
}

/// `registration.shared_secret`, as the admin API takes it.
pub fn shared_secret(config: &Config) -> Option<SecretBytes> {
    config
        .registration
        .shared_secret
        .as_ref()
        .map(|secret| SecretBytes::new(secret.expose().to_vec()))
}

/// Opens all listeners and begins to serve.
pub async fn listen(parts: &Parts, config: &Config) -> Result<Listening, StartError> {
    let limits = settings::http(&config.http);
    let mut routes = lamchat_api_client::routes(Arc::clone(&parts.app));
    routes.extend(lamchat_api_admin::listener_routes(&parts.admin));
    let router = Router::new(routes, limits.clone()).map_err(refused)?;
    let router = Arc::new(router.with_gate(federation::gate(&parts.admin.federation)));
    if parts.admin.metrics.set(Arc::clone(router.metrics())).is_err() {
        return Err(StartError::Refused("metrics were set twice".to_owned()));
    }
    lamchat_api_admin::metrics::register(&parts.admin, router.metrics());
    let socket = config.admin_socket();
    let socket_router = Router::new(lamchat_api_admin::socket_routes(&parts.admin), limits).map_err(refused)?;
    let listener = Listener {
        bind: Bind::Unix {
            path: socket,
            mode: SOCKET_MODE,
        },
        tls: None,
        resources: vec![Resource::Admin],
    };
    let admin = Server::start(vec![listener], Arc::new(socket_router))
        .await
        .map_err(refused)?;

    let listeners = config.listeners.iter().map(|listener| Listener {
        bind: Bind::Tcp(SocketAddr::new(listener.address, listener.port)),
        tls: parts.certificates.identity(listener),
        resources: listener.resources.iter().copied().map(settings::resource).collect(),
    });
    let public = Server::start(listeners.collect(), router).await.map_err(refused)?;
    if parts.admin.distance.doors.set(doors(parts, config, &public)).is_err() {
        return Err(StartError::Refused("the listeners were opened twice".to_owned()));
    }
    Ok(Listening { public, admin })
}

/// Where commands come in from a distance.
fn doors(parts: &Parts, config: &Config, public: &Server) -> Vec<Door> {
    let listeners = config.listeners.iter().zip(public.addresses());
    let doors = listeners.filter(|(listener, _)| listener.resources.contains(&lamchat_config::Resource::Admin));
    let doors = doors.filter_map(|(listener, address)| {
        Some(Door {
            url: greeting::url(config, listener, *address),
            identity: parts.certificates.identity(listener)?,
        })
    });
    doors.collect()
}
