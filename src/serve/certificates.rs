//! The certificates of the listeners: files of the operator's, or the server's own authority in the data folder.
//!
//! The authority and the server certificate are each kept, certificate and key together, as one sealed secret, so
//! that no power cut leaves a key without its certificate. `tls/ca.pem` is a copy for people.

use super::{StartError, audit, outside, refused};
use lamchat_base::{Clock, SecretBytes};
use lamchat_config::Config;
use lamchat_disk::{RealDisk, replace_file};
use lamchat_http::Identity;
use lamchat_http::certificate::{self, Issued};
use lamchat_seal::DataKeys;
use lamchat_store::Store;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often certificates are looked at; they are renewed weeks before their end.
pub const RENEWAL_CHECK: Duration = Duration::from_secs(6 * 3600);

const AUTHORITY: &str = "tls-authority";
const LEAF: &str = "tls-server";
/// The copy of the authority's certificate for people, in the folder `tls`.
const COPY: &str = "ca.pem";
/// Where the key begins in a sealed pair.
const KEY_MARK: &str = "-----BEGIN PRIVATE KEY-----";

/// All certificates of a run.
pub struct Certificates {
    local: Option<Local>,
    files: Vec<Files>,
}

/// The server's own authority, and the identity that it or an authority outside vouches for.
pub struct Local {
    pub keys: Arc<DataKeys>,
    pub store: Store,
    pub host: String,
    folder: PathBuf,
    /// The authority's certificate, in PEM.
    authority: Mutex<String>,
    pub identity: Arc<Identity>,
    /// Whether an authority outside vouches for what is shown.
    pub is_outside: AtomicBool,
    /// Held by whoever changes what is shown.
    pub changing: Mutex<()>,
}

/// A pair of files.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    identity: Arc<Identity>,
}

/// A pair of files that was read again and is not shown yet.
pub struct Reread {
    /// The certificate's file.
    pub file: String,
    shown: Arc<Identity>,
    fresh: Identity,
}

impl Reread {
    /// The SHA-256 of the certificate, if it is another than the one that is shown.
    pub fn is_other(&self) -> Option<[u8; 32]> {
        let fresh = self.fresh.certificate_sha256();
        fresh.filter(|_| fresh != self.shown.certificate_sha256())
    }

    /// Shows it from now on; connections stay.
    pub fn show(self) {
        self.shown.replace_by(&self.fresh);
        tracing::info!(file = self.file, "the certificate was read again");
    }
}

/// What people need to trust the server.
pub struct Authority {
    /// The certificate's file.
    pub file: PathBuf,
    /// Its SHA-256, as people compare it.
    pub fingerprint: String,
}

impl Certificates {
    /// Loads what the listeners need, making the authority on first start.
    pub fn open(config: &Config, keys: &Arc<DataKeys>, store: &Store, clock: &dyn Clock) -> Result<Self, StartError> {
        let local = config.listeners.iter().any(|listener| listener.tls_local_authority);
        let local = if local {
            Some(Local::open(config, keys, store, clock)?)
        } else {
            None
        };
        let mut files: Vec<Files> = Vec::new();
        for listener in &config.listeners {
            let (Some(certificate), Some(key)) = (&listener.tls_certificate, &listener.tls_private_key) else {
                continue;
            };
            if find(&files, certificate, key).is_none() {
                let identity = Identity::from_files(certificate, key).map_err(|error| {
                    StartError::Refused(format!(
                        "the certificate {} cannot be used: {error}",
                        certificate.display()
                    ))
                })?;
                files.push(Files {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    identity: Arc::new(identity),
                });
            }
        }
        Ok(Self { local, files })
    }

    /// The identity of a listener; `None`: plain HTTP.
    pub fn identity(&self, listener: &lamchat_config::Listener) -> Option<Arc<Identity>> {
        match (&listener.tls_certificate, &listener.tls_private_key) {
            (Some(certificate), Some(key)) => find(&self.files, certificate, key),
            _ if listener.tls_local_authority => self.local.as_ref().map(|local| Arc::clone(&local.identity)),
            _ => None,
        }
    }

    /// The server's own authority, if a listener uses it.
    pub fn authority(&self) -> Result<Option<Authority>, StartError> {
        let Some(local) = &self.local else { return Ok(None) };
        let fingerprint = certificate::fingerprint(&local.authority_pem()).map_err(refused)?;
        Ok(Some(Authority {
            file: local.folder.join(COPY),
            fingerprint,
        }))
    }

    /// SHA-256 of the public keys in files of the operator's and of an authority outside, as they are shown now.
    pub fn file_keys(&self) -> Vec<[u8; 32]> {
        let files = self.files.iter().filter_map(|files| files.identity.public_key_sha256());
        let outside = self
            .local
            .iter()
            .filter(|local| local.is_outside.load(Ordering::Relaxed));
        files
            .chain(outside.filter_map(|local| local.identity.public_key_sha256()))
            .collect()
    }

    /// The part of the server's own authority, if a listener uses it.
    pub fn local(&self) -> Option<&Local> {
        self.local.as_ref()
    }

    /// The files with their identities.
    pub fn files(&self) -> impl Iterator<Item = (String, &Identity)> {
        self.files
            .iter()
            .map(|files| (files.certificate.display().to_string(), &*files.identity))
    }

    /// Reads all files again. What cannot be used leaves the old one in place and goes to the log.
    pub fn read_again(&self) -> Vec<Reread> {
        let mut read = Vec::new();
        for files in &self.files {
            match Identity::from_files(&files.certificate, &files.key) {
                Ok(fresh) => read.push(Reread {
                    file: files.certificate.display().to_string(),
                    shown: Arc::clone(&files.identity),
                    fresh,
                }),
                Err(error) => {
                    tracing::error!(file = %files.certificate.display(), %error, "the old certificate stays in use")
                }
            }
        }
        read
    }

    /// Renews the certificate of the own authority when its end is near, and shows it again where an outside one has
    /// ended.
    pub fn renew(&self, clock: &Arc<dyn Clock>) {
        let Some(local) = &self.local else { return };
        let _one = local.changing.lock();
        let now_ms = clock.now_ms();
        if local.is_outside.load(Ordering::Relaxed)
            && let Ok(Some(_)) = outside::current(&local.keys, &local.host, now_ms)
        {
            return;
        }
        let was_outside = local.is_outside.load(Ordering::Relaxed);
        let renewed = issue(&local.keys, &local.store, &local.folder, &local.host, now_ms);
        let replaced = renewed.and_then(|own| match own.is_new || was_outside {
            true => local.replace(own).map(|()| true),
            false => Ok(false),
        });
        match replaced {
            Ok(true) => tracing::info!("the server's certificate was renewed"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the server's certificate could not be renewed"),
        }
    }
}

fn find(files: &[Files], certificate: &Path, key: &Path) -> Option<Arc<Identity>> {
    files
        .iter()
        .find(|files| files.certificate == certificate && files.key == key)
        .map(|files| Arc::clone(&files.identity))
}

impl Local {
    fn open(config: &Config, keys: &Arc<DataKeys>, store: &Store, clock: &dyn Clock) -> Result<Self, StartError> {
        let host = config.server_name.host().to_owned();
        let folder = config.data_dir.join("tls");
        let own = issue(keys, store, &folder, &host, clock.now_ms())?;
        let outside = outside::current(keys, &host, clock.now_ms())?;
        let is_outside = AtomicBool::new(outside.is_some());
        let shown = outside.unwrap_or(own.leaf);
        let identity = Identity::from_pem(shown.certificate_pem.as_bytes(), shown.key_pem.expose()).map_err(refused)?;
        Ok(Self {
            keys: Arc::clone(keys),
            store: store.clone(),
            host,
            folder,
            authority: Mutex::new(own.authority_pem),
            identity: Arc::new(identity),
            is_outside,
            changing: Mutex::default(),
        })
    }

    /// Shows the certificate of the server's own authority.
    pub fn show_own(&self, now_ms: u64) -> Result<(), StartError> {
        self.replace(issue(&self.keys, &self.store, &self.folder, &self.host, now_ms)?)
    }

    /// The certificate of the server's own authority, whoever vouches for what is shown.
    pub fn authority_pem(&self) -> String {
        self.authority.lock().clone()
    }

    fn replace(&self, own: Own) -> Result<(), StartError> {
        let Own {
            authority_pem, leaf, ..
        } = own;
        self.identity
            .replace(leaf.certificate_pem.as_bytes(), leaf.key_pem.expose())
            .map_err(refused)?;
        *self.authority.lock() = authority_pem;
        self.is_outside.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// What the server's own authority vouches for.
struct Own {
    authority_pem: String,
    leaf: Issued,
    /// Whether the leaf was made now.
    is_new: bool,
}

/// The server certificate: a kept one, or a new one when it is due.
fn issue(keys: &DataKeys, store: &Store, folder: &Path, host: &str, now_ms: u64) -> Result<Own, StartError> {
    let authority = match unseal(keys, AUTHORITY)? {
        Some(kept) if !certificate::authority_is_due(&kept.certificate_pem, host, now_ms).map_err(refused)? => kept,
        _ => {
            let made = certificate::make_authority(host, now_ms).map_err(refused)?;
            seal(keys, store, AUTHORITY, &made, now_ms)?;
            made
        }
    };
    let copy = folder.join(COPY);
    if std::fs::read(&copy).ok().as_deref() != Some(authority.certificate_pem.as_bytes()) {
        std::fs::create_dir_all(folder).map_err(StartError::io(folder.display().to_string()))?;
        let written = replace_file(&RealDisk, &copy, authority.certificate_pem.as_bytes());
        written.map_err(StartError::io(copy.display().to_string()))?;
    }
    let made = match unseal(keys, LEAF)? {
        Some(kept) => {
            let due = certificate::leaf_is_due(&kept.certificate_pem, &authority.certificate_pem, host, now_ms);
            if !due.map_err(refused)? {
                return Ok(Own {
                    authority_pem: authority.certificate_pem,
                    leaf: kept,
                    is_new: false,
                });
            }
            // Administrators far away have pinned the key.
            certificate::renew_leaf(&authority, &kept, host, now_ms)
        }
        None => certificate::make_leaf(&authority, host, now_ms),
    };
    let leaf = made.map_err(refused)?;
    seal(keys, store, LEAF, &leaf, now_ms)?;
    Ok(Own {
        authority_pem: authority.certificate_pem,
        leaf,
        is_new: true,
    })
}

fn seal(keys: &DataKeys, store: &Store, name: &str, pair: &Issued, now_ms: u64) -> Result<(), StartError> {
    let fingerprint = certificate::fingerprint(&pair.certificate_pem).map_err(refused)?;
    audit::note_key(store, now_ms, name, &fingerprint)?;
    keys.seal_secret(name, &join(pair)).map_err(refused)
}

/// Certificates and key as one secret.
pub fn join(pair: &Issued) -> SecretBytes {
    SecretBytes::new([pair.certificate_pem.as_bytes(), pair.key_pem.expose()].concat())
}

fn unseal(keys: &DataKeys, name: &str) -> Result<Option<Issued>, StartError> {
    let Some(both) = keys.unseal_secret(name).map_err(refused)? else {
        return Ok(None);
    };
    split(name, &both).map(Some)
}

/// What [`join`] has joined.
pub fn split(name: &str, both: &SecretBytes) -> Result<Issued, StartError> {
    let text = std::str::from_utf8(both.expose()).map_err(refused)?;
    let Some((certificate, key)) = text.find(KEY_MARK).and_then(|at| text.split_at_checked(at)) else {
        return Err(StartError::Refused(format!("the sealed secret {name} holds no key")));
    };
    Ok(Issued {
        certificate_pem: certificate.to_owned(),
        key_pem: SecretBytes::new(key.as_bytes().to_vec()),
    })
}
