//! The way to the key holder: started before anything else, told of its end, asked for the keys.

use super::{Start, StartError, locked, refused};
use crate::key_holder;
use lamchat_api_admin::audit::entry_of;
use lamchat_config::Config;
use lamchat_holder::{AskError, Blame, Client, Notice, Opened, listen};
use lamchat_seal::{ReleasedKey, SlotKind};
use lamchat_store::Store;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread;
use tokio::sync::oneshot;

/// Why a running server ends without being told to.
pub const ENDED: &str =
    "the key holder has ended, and without it nothing can be unlocked, sealed or signed: start again";

/// The way to it.
pub struct Link {
    /// What asks.
    pub client: Arc<Client>,
    /// Where notices are noted, once it is open.
    audit: Arc<OnceLock<Store>>,
    gone: oneshot::Receiver<()>,
    /// The process that started it, which ends at once.
    launcher: parking_lot::Mutex<Option<Child>>,
}

/// Starts it, or connects to the one that a service manager has.
pub fn start(start: &Start) -> Result<Link, StartError> {
    let what = || StartError::io("the key holder could not be started");
    let (requests, notices, launcher) = match &start.config.seal.holder {
        Some(socket) => {
            let connect =
                || UnixStream::connect(socket).map_err(StartError::io(format!("seal.holder {}", socket.display())));
            (connect()?, connect()?, None)
        }
        None => {
            let (requests, its_requests) = UnixStream::pair().map_err(what())?;
            let (notices, its_notices) = UnixStream::pair().map_err(what())?;
            let mut command = key_holder::command(&start.place, true);
            command.stdin(Stdio::from(OwnedFd::from(its_requests)));
            command.stdout(Stdio::from(OwnedFd::from(its_notices)));
            let launcher = command.spawn().map_err(what())?;
            (requests, notices, Some(launcher))
        }
    };
    let audit: Arc<OnceLock<Store>> = Arc::default();
    let (sender, gone) = oneshot::channel();
    let client = Arc::new(Client::new(requests).map_err(what())?);
    let (noted, known) = (Arc::clone(&audit), Arc::clone(&client));
    let reader = thread::Builder::new().name("notices".to_owned());
    reader
        .spawn(move || {
            if let Err(error) = listen(notices, |notice| {
                known.forget_status();
                note(&noted, notice)
            }) {
                tracing::error!(%error, "the key holder is let go");
            }
            // Nobody waits for it while the server stops.
            let _told = sender.send(());
        })
        .map_err(what())?;
    Ok(Link {
        client,
        audit,
        gone,
        launcher: parking_lot::Mutex::new(launcher),
    })
}

fn note(audit: &OnceLock<Store>, notice: &Notice) -> Result<(), String> {
    let store = audit.get().ok_or("the audit log is not open yet")?;
    let entry = entry_of(notice);
    let appended = store.write_blocking(move |txn| lamchat_audit::append(txn, &entry).map(drop));
    appended.map_err(|error| super::audit::sentence(&error))
}

impl Link {
    /// Its end.
    pub async fn ended(&mut self) {
        // Whether it told its end or vanished: it is gone.
        let _gone = (&mut self.gone).await;
    }

    /// Notices go to the audit log in this store from now on; those of before are noted first.
    pub async fn take_notices(&self, store: &Store) -> Result<(), StartError> {
        if self.audit.set(store.clone()).is_err() {
            return Err(StartError::Refused("notices were taken twice".to_owned()));
        }
        self.ask(|client| client.ready()).await.map_err(refused)
    }

    /// The data keys and the slot that opened them; a new keyring where `create` says so. Waits for as long as the keys
    /// are locked.
    pub async fn open(&self, config: &Config, create: bool) -> Result<(SlotKind, Vec<ReleasedKey>), StartError> {
        let opened = self.ask(move |client| client.open(create)).await;
        if let Some(mut launcher) = self.launcher.lock().take() {
            // It has ended long ago: the key holder has answered.
            launcher.wait().map_err(StartError::io("the key holder's launcher"))?;
        }
        match opened.map_err(refused)? {
            Opened::Keys { by, keys } => Ok((by, keys)),
            Opened::Locked { reason, blame, slots } => {
                let why = locked::Why {
                    reason,
                    asks_for_pin: blame == Blame::Pin,
                };
                locked::wait(config, why, slots, self).await
            }
        }
    }

    /// Asks on a thread that carries no messages.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client) -> Result<T, AskError> + Send + 'static,
    ) -> Result<T, AskError> {
        let client = Arc::clone(&self.client);
        let answer = tokio::task::spawn_blocking(move || question(&client)).await;
        answer.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    }
}
