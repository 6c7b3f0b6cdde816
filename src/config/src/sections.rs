//! Every key of the file. `live` keys follow a reload (SIGHUP), `fixed` ones the next start.

use crate::change::Change;
use crate::choice::{LogFormat, PasswordCost, RegistrationMode, Resource};
use crate::contact::{EmailAddress, PageUrl};
use crate::rate::{Rate, RateUnit};
use crate::reader::Reader;
use crate::section::{self, Section};
use crate::tpm::TpmAddress;
use crate::value::{BaseUrl, SecretText};
use ruma::{OwnedServerName, OwnedUserId, RoomVersionId, owned_server_name};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeTable;

section! {
    /// The keys at the top of the file.
    pub struct Top {
        /// The name that ends every user id: a host, host:port or an IP literal with port. It can never be changed later.
        fixed server_name: OwnedServerName = owned_server_name!("localhost");
        /// The address under which clients reach the server; it is told in `/.well-known/matrix/client`.
        live public_baseurl: Option<BaseUrl> = None => "\"https://chat.example.org/\"";
        /// The folder for everything that is kept; made with mode 0700. Relative paths are relative to this file.
        fixed data_dir: PathBuf = PathBuf::from("lamchat-data");
    }
}

section! {
    /// An address to listen on.
    pub struct Listener {
        /// The IP address to listen on; "0.0.0.0" or "::" for every one.
        fixed address: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        /// The port to listen on; 0 takes a free one.
        fixed port: u16 = 8448;
        /// A file with the certificate chain in PEM form, read again on SIGHUP; without certificate and key: plain HTTP, for a proxy or a test.
        fixed tls_certificate: Option<PathBuf> = None => "\"cert.pem\"";
        /// A file with the certificate's private key in PEM form.
        fixed tls_private_key: Option<PathBuf> = None => "\"key.pem\"";
        /// TLS with a certificate of the server's own authority, which is made in the data folder on first start.
        fixed tls_local_authority: bool = true;
        /// What is served here: "client", "federation" (so far only: whose an OpenID token is, which widgets ask), "media", "admin" (/metrics, registration by shared secret, and over TLS the commands of administrators who have a credential).
        fixed resources: Vec<Resource> = vec![Resource::Client, Resource::Federation, Resource::Media];
    }
}

section! {
    /// What leaves the server.
    pub struct Outbound {
        /// Files with certificate authorities (PEM) that are trusted for every outbound HTTPS request.
        fixed extra_ca_certificates: Vec<PathBuf> = Vec::new();
        /// Whether requests to loopback, private and link-local addresses are refused.
        fixed deny_private_addresses: bool = true;
    }
}

section! {
    /// Other servers.
    pub struct Federation {
        /// Whether other servers are answered, on listeners with the resource "federation". Where a TPM has the keys they are not before the recovery key was typed back (`lamchat seal verify-recovery`), and this cannot become true in a reload before.
        live enabled: bool = true;
    }
}

section! {
    /// How accounts come into being.
    pub struct Registration {
        /// Who may register: "closed" nobody, "token" who has a token, "open" everybody.
        live mode: RegistrationMode = RegistrationMode::Token;
        /// Enables /_synapse/admin/v1/register (nonce and HMAC-SHA1) on listeners with resource "admin".
        live shared_secret: Option<SecretText> = None => "\"a long random text\"";
        /// Whether guests may come without name and password: they join rooms that let guests in, and may do little else.
        live guests: bool = false;
        /// A guest of whom nothing was seen for so many days leaves all rooms and loses the account; 0: never.
        live guest_days: u64 = 30;
        /// What a password hash costs: "default", or "minimum" for tests.
        fixed password_hash: PasswordCost = PasswordCost::Default;
    }
}

section! {
    /// What anybody may ask of the server.
    pub struct Limits {
        /// One switch for all rate limits; sizes are always limited.
        live enabled: bool = true;
        /// Largest uploaded file, in bytes.
        live upload_bytes_max: u64 = 104_857_600;
        /// Attempts to log in from one address; a rate is a number of times a second, minute or hour, and how many may come at once.
        live login_by_address: Rate = Rate { times: 30, unit: RateUnit::Minute, burst: 20 };
        /// Failing attempts to log in to one account.
        live login_by_account: Rate = Rate { times: 6, unit: RateUnit::Minute, burst: 5 };
        /// New accounts from one address.
        live registration: Rate = Rate { times: 6, unit: RateUnit::Minute, burst: 10 };
        /// Events that one user sends.
        live message: Rate = Rate { times: 10, unit: RateUnit::Second, burst: 100 };
        /// Joins, knocks and new rooms of one user.
        live join: Rate = Rate { times: 1, unit: RateUnit::Second, burst: 30 };
        /// Invitations by one user.
        live invite: Rate = Rate { times: 1, unit: RateUnit::Second, burst: 30 };
        /// Files that one user uploads.
        live upload: Rate = Rate { times: 2, unit: RateUnit::Second, burst: 50 };
        /// Everything else that is dear, for one user or address.
        live other: Rate = Rate { times: 10, unit: RateUnit::Second, burst: 100 };
    }
}

section! {
    /// Rooms.
    pub struct Rooms {
        /// The version of a new room when the client names none: "6" to "12".
        live default_version: RoomVersionId = RoomVersionId::V12;
        /// Whether the list of public rooms can be read without an account.
        live public_list_without_auth: bool = false;
    }
}

section! {
    /// Who is there, told to people who share a room.
    pub struct Presence {
        /// Whether it is told at all; otherwise everybody is offline to everybody.
        live enabled: bool = true;
    }
}

section! {
    /// Whom users turn to, told in `/.well-known/matrix/support`; without any of them it is not there.
    pub struct Support {
        /// The administrator's user id, of this server or another one.
        live matrix_id: Option<OwnedUserId> = None => "\"@admin:example.org\"";
        /// The administrator's email address.
        live email_address: Option<EmailAddress> = None => "\"admin@example.org\"";
        /// A page with help.
        live page: Option<PageUrl> = None => "\"https://example.org/help.html\"";
    }
}

section! {
    /// Connections.
    pub struct Http {
        /// Most connections at one time; more are closed at once.
        fixed connections_max: u32 = 10_000;
        /// Most connections of one IPv4 address or IPv6 /64 network; behind a proxy as many as connections_max.
        fixed connections_per_address_max: u32 = 1_000;
        /// Longest head of a request, in bytes.
        fixed header_bytes_max: u32 = 32_768;
        /// How long a client may take for the head of a request.
        fixed header_timeout: Duration = Duration::from_secs(15);
        /// How long a connection without a request is kept.
        fixed idle_timeout: Duration = Duration::from_secs(120);
        /// How long a TLS handshake may take.
        fixed handshake_timeout: Duration = Duration::from_secs(10);
        /// How long a client may take for a body, and for each piece of a file.
        fixed body_timeout: Duration = Duration::from_secs(30);
        /// How long a client may refuse to take an answer.
        fixed write_timeout: Duration = Duration::from_secs(60);
        /// How long requests in flight may take to finish when the server stops.
        fixed stop_timeout: Duration = Duration::from_secs(10);
    }
}

section! {
    /// Files.
    pub struct Media {
        /// Most bytes of all files of one user; 0 for any number.
        fixed quota_bytes_per_user: u64 = 0;
        /// Largest image that a thumbnail is made of, in bytes.
        fixed thumbnail_source_bytes_max: u64 = 33_554_432;
        /// Most pixels of an image that a thumbnail is made of.
        fixed thumbnail_pixels_max: u64 = 50_000_000;
        /// How many thumbnails are made at one time.
        fixed thumbnails_concurrent_max: u32 = 2;
    }
}

section! {
    /// The keyring, which opens everything in the data folder.
    pub struct Seal {
        /// A file whose first line is the passphrase that opens the keyring's passphrase slot; without it a TPM slot or the file slot opens it, or the start waits for `lamchat seal unlock`.
        fixed passphrase_file: Option<PathBuf> = None => "\"/run/credentials/lamchat.service/passphrase\"";
        /// The TPM: "auto" the machine's at /dev/tpmrm0 if there is one, "none", "device:/dev/tpmrm0", or "tcp:127.0.0.1:2321" for a software TPM.
        fixed tpm: TpmAddress = TpmAddress::Auto;
        /// The PCRs (0 to 23) whose values `lamchat seal init` and `lamchat seal rebind` seal to; 7 is the state of Secure Boot and who may sign what boots.
        fixed pcrs: Vec<u32> = vec![7];
        /// On our image: the public half of the key that signs its releases (PEM). With it, keys are sealed to what this key approves instead of to PCR 11 as it is, so that the next release opens them, and no other system.
        fixed release_key: Option<PathBuf> = None => "\"/etc/lamchat/release.pub\"";
        /// The release's approvals of what it measures, which systemd's stub hands over; read where there is a `release_key`.
        fixed pcr_signature: PathBuf = PathBuf::from("/.extra/tpm2-pcr-signature.json");
        /// Whether what is sealed from now on asks for a PIN at every start beside the TPM, against theft of the whole server: `lamchat seal init` and `seal rebind` ask for a new one, `lamchat seal unlock` takes it.
        fixed pin: bool = false;
        /// The folder of the keyring, which only the key holder touches; without it `keys` in the data folder. Name another where the key holder runs as a user of its own.
        fixed keys_dir: Option<PathBuf> = None => "\"/var/lib/lamchat-keys\"";
        /// The Unix socket of a key holder that a service manager starts; without it the server starts one itself.
        fixed holder: Option<PathBuf> = None => "\"/run/lamchat/key-holder.sock\"";
    }
}

section! {
    /// Evidence for auditors, `lamchat attest`: what runs here, and since when, as the TPM signs it.
    pub struct Attestation {
        /// Whether GET /_lamchat/v1/attestation?nonce= gives it to everybody on listeners with resource "client"; `lamchat attest quote` on this machine always does.
        live endpoint: bool = false;
        /// How often one address may ask that endpoint, whatever limits.enabled says: a TPM serves one after another.
        live rate_by_address: Rate = Rate { times: 6, unit: RateUnit::Minute, burst: 3 };
        /// How often all addresses together may ask it.
        live rate: Rate = Rate { times: 60, unit: RateUnit::Minute, burst: 10 };
        /// The PCRs (0 to 15) that are quoted; an auditor's reference manifest asks for exactly these.
        fixed pcrs: Vec<u32> = vec![0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13];
        /// Files with certificates (PEM): intermediates that the TPM does not keep, and its endorsement key's own if it keeps none.
        fixed ek_certificates: Vec<PathBuf> = Vec::new();
        /// The firmware's event log; by default the kernel's for the machine's own TPM, which only root may read, and none for a software TPM.
        fixed event_log: Option<PathBuf> = None => "\"/sys/kernel/security/tpm0/binary_bios_measurements\"";
        /// The file of the unified kernel image that was booted, where there is one.
        fixed uki: Option<PathBuf> = None => "\"/boot/efi/EFI/Linux/lamchat.efi\"";
        /// Instead of it, a file with its SHA-256 in hexadecimal; process 1 of the bootable image writes it.
        fixed uki_sha256: Option<PathBuf> = None => "\"/run/lamchat/uki.sha256\"";
    }
}

section! {
    /// The log, on standard error: no message content, no tokens, no IP addresses.
    pub struct Log {
        /// How lines look: "text", "json", or "auto": text on a terminal, json otherwise.
        fixed format: LogFormat = LogFormat::Auto;
        /// What is logged: "error", "warn", "info", "debug", "trace", or directives such as "info,lamchat_store=debug".
        live level: String = "info".to_owned();
    }
}

section! {
    /// What the server tells its administrators, in a room of their own. In plain text: the server has no device that could encrypt.
    pub struct Notices {
        /// Whether hardware, certificates, backups, keys and updates that need somebody are told in that room.
        fixed admins_room: bool = true;
        /// After how many days without a backup that is told; 0: never.
        fixed backup_days: u32 = 14;
        /// The folder from which the state of the hardware is read: the kernel's.
        fixed hardware: PathBuf = PathBuf::from("/sys");
    }
}

section! {
    /// Administration from this machine.
    pub struct Admin {
        /// The Unix socket of `lamchat user` and the like; by default admin.sock in the data folder.
        fixed socket: Option<PathBuf> = None => "\"/run/lamchat/admin.sock\"";
        /// Whether /metrics on listeners with the resource "admin" answers everybody, or only who has a credential.
        fixed metrics_open: bool = true;
        /// The socket of a box's updater, for `lamchat update`; process 1 of the bootable image sets it.
        fixed updates: Option<PathBuf> = None => "\"/run/lamchat/update.sock\"";
        /// The socket of a box's process 1, for `lamchat box`; process 1 of the bootable image sets it.
        fixed box_socket: Option<PathBuf> = None => "\"/run/lamchat/box.sock\"";
        /// Whether the release that runs may still be fallen back from: its database stays readable for the one before. Process 1 of the bootable image sets it.
        fixed on_trial: bool = false;
    }
}

section! {
    /// Where a box looks for updates. What is found is offered, and installed at an administrator's word.
    pub struct Updates {
        /// The address of the newest bundle; without it nobody is asked.
        live url: Option<String> = None => "\"https://updates.example.org/lamchat.bundle\"";
        /// The IP address of that server, so that nobody is asked where its name leads to.
        live address: Option<IpAddr> = None => "\"192.0.2.7\"";
        /// The SHA-256 of that server's public key, sha256:…; without it `authorities` and outbound.extra_ca_certificates vouch for its name.
        live pin: Option<String> = None => "\"sha256:…\"";
        /// Certificate authorities (PEM, the text itself) that vouch for that server's name.
        live authorities: Option<String> = None => "\"-----BEGIN CERTIFICATE-----…\"";
        /// How often it is looked for.
        live interval: Duration = Duration::from_secs(86_400);
        /// Whether what is found and can be installed is installed at once, and the machine started again.
        live automatic: bool = false;
    }
}

/// The whole configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The name that ends every user id.
    pub server_name: OwnedServerName,
    /// The address under which clients reach the server.
    pub public_baseurl: Option<BaseUrl>,
    /// The folder for everything that is kept.
    pub data_dir: PathBuf,
    /// Addresses to listen on; at least one.
    pub listeners: Vec<Listener>,
    /// What leaves the server.
    pub outbound: Outbound,
    /// Other servers.
    pub federation: Federation,
    /// How accounts come into being.
    pub registration: Registration,
    /// What anybody may ask of the server.
    pub limits: Limits,
    /// Rooms.
    pub rooms: Rooms,
    /// Who is there.
    pub presence: Presence,
    /// Whom users turn to.
    pub support: Support,
    /// Connections.
    pub http: Http,
    /// Files.
    pub media: Media,
    /// The keyring.
    pub seal: Seal,
    /// Evidence for auditors.
    pub attestation: Attestation,
    /// The log.
    pub log: Log,
    /// What the server tells its administrators.
    pub notices: Notices,
    /// Administration from this machine.
    pub admin: Admin,
    /// Where a box looks for updates.
    pub updates: Updates,
}

/// Calls `$do!(field)` for every section but the top and the listeners, so that no list of them is written twice.
macro_rules! for_sections {
    ($do:ident) => {
        $do! { outbound: Outbound, federation: Federation, registration: Registration, limits: Limits, rooms: Rooms,
        presence: Presence, support: Support, http: Http, media: Media,
        seal: Seal, attestation: Attestation, log: Log, notices: Notices, admin: Admin,
        updates: Updates }
    };
}

macro_rules! read_all {
    ($($name:ident: $kind:ty),*) => {
        /// Reads the whole file; what is wrong goes to `reader`.
        pub(crate) fn read(table: &DeTable<'_>, reader: &mut Reader<'_>) -> Config {
            let listeners = section::read_sections::<Listener>(table, "listeners", reader);
            $(let $name = section::read_section::<$kind>(table, stringify!($name), reader);)*
            let mut top = DeTable::new();
            for (name, value) in table.iter() {
                if !["listeners", $(stringify!($name)),*].contains(&name.get_ref().as_ref()) {
                    top.insert(name.clone(), value.clone());
                }
            }
            let Top { server_name, public_baseurl, data_dir } = Top::read(&top, "", reader);
            Config { server_name, public_baseurl, data_dir, listeners, $($name),* }
        }

        /// Every key with its section, and the names of the sections.
        pub(crate) fn known_keys() -> Vec<String> {
            let mut keys = vec!["listeners".to_owned()];
            Top::keys("", &mut keys);
            Listener::keys("listeners", &mut keys);
            $(
                keys.push(stringify!($name).to_owned());
                <$kind>::keys(stringify!($name), &mut keys);
            )*
            keys
        }

        impl Config {
            /// The configuration as TOML, every key with its sentence.
            pub fn document(&self) -> String {
                let mut out = String::new();
                self.top().document(&mut out);
                for listener in &self.listeners {
                    out.push_str("\n# Any number of these.\n[[listeners]]\n");
                    listener.document(&mut out);
                }
                $(
                    out.push_str(concat!("\n[", stringify!($name), "]\n"));
                    self.$name.document(&mut out);
                )*
                out
            }

            /// Every key with its value in one spelling: one a line, in the order of [`Config::document`], secrets as `"…"`.
            pub fn canonical(&self) -> String {
                let mut out = String::new();
                self.top().canonical("", &mut out);
                for (number, listener) in self.listeners.iter().enumerate() {
                    listener.canonical(&format!("listeners[{number}]"), &mut out);
                }
                $(self.$name.canonical(stringify!($name), &mut out);)*
                out
            }

            /// What differs in `newer`, by key.
            pub fn changes(&self, newer: &Self) -> Vec<Change> {
                let mut out = Vec::new();
                self.top().changes(&newer.top(), "", &mut out);
                if self.listeners.len() != newer.listeners.len() {
                    out.push(Change { key: "listeners".to_owned(), live: false });
                }
                for (number, (old, new)) in self.listeners.iter().zip(&newer.listeners).enumerate() {
                    old.changes(new, &format!("listeners[{number}]"), &mut out);
                }
                $(self.$name.changes(&newer.$name, stringify!($name), &mut out);)*
                out
            }
        }

        impl Default for Config {
            fn default() -> Self {
                let Top { server_name, public_baseurl, data_dir } = Top::default();
                Self { server_name, public_baseurl, data_dir, listeners: vec![Listener::default()],
                       $($name: <$kind>::default()),* }
            }
        }
    };
}
for_sections!(read_all);

impl Config {
    fn top(&self) -> Top {
        Top {
            server_name: self.server_name.clone(),
            public_baseurl: self.public_baseurl.clone(),
            data_dir: self.data_dir.clone(),
        }
    }

    /// The Unix socket for administration.
    pub fn admin_socket(&self) -> PathBuf {
        self.admin
            .socket
            .clone()
            .unwrap_or_else(|| self.data_dir.join("admin.sock"))
    }
}
