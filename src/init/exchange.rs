//! The exchange on the box: its user, its folder, its configuration, and how to reach it.

use super::late::Act;
use super::service::Program;
use super::state::Shared;
use super::{DATA, RUN};
use crate::cli::{Failure, Place, Server, socket};
use lamchat_appliance::site::{Site, SiteError};
use serde_json::Value;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The user and group that it runs as: nobody else on the box has them.
pub const USER: u32 = 990;
/// See [`USER`].
pub const GROUP: u32 = 990;
/// Where clients and peers connect.
pub const PORTS: [u16; 2] = [443, 8448];
/// Where administrators with a credential connect: the box has no shell, so every command works from there.
pub const ADMIN_PORT: u16 = 8449;
/// Where the console's check of a working exchange connects: plain HTTP that never leaves the machine.
pub const LOCAL_PORT: u16 = 8008;
/// The socket for notices of sd_notify(3).
pub const NOTIFY_SOCKET: &str = "/run/lamchat/notify";

/// The configuration of the box itself.
pub fn site_file() -> PathBuf {
    Path::new(DATA).join("site.toml")
}

/// Why the box's configuration cannot be read, for everybody who stands before a screen: without it there is no PIN that
/// could be asked for. What stands in the file is for those who take the log along on a stick.
pub fn unreadable(shared: &Shared, error: &SiteError) -> String {
    match error {
        SiteError::Io { .. } => error.to_string(),
        SiteError::Malformed(_) | SiteError::Wrong(_) => {
            shared.log.keep("site.toml", &error.to_string());
            "the box's configuration cannot be read; its log on a stick (USB stick, logs) says why".to_owned()
        }
    }
}

/// The exchange's configuration.
pub fn config_file() -> PathBuf {
    Path::new(DATA).join("lamchat.toml")
}

/// Its data folder.
pub fn folder() -> PathBuf {
    Path::new(DATA).join("exchange")
}

/// The exchange's configuration, which follows from the box's.
pub fn config(site: &Site) -> String {
    let listener = |address: &str, port: u16, tls: bool, resources: &str| {
        format!(
            "\n[[listeners]]\naddress = \"{address}\"\nport = {port}\ntls_local_authority = {tls}\nresources = [{resources}]\n"
        )
    };
    let public = "\"client\", \"federation\", \"media\"";
    format!(
        "server_name = {:?}\ndata_dir = {:?}\n\n[admin]\nmetrics_open = false\nupdates = {:?}\nbox_socket = {:?}\non_trial = {}\n{}{}{}\n[seal]\nholder = {:?}\n{}",
        site.server_name,
        folder(),
        super::update::SOCKET,
        super::remote::SOCKET,
        super::update::mark().is_on_trial(),
        PORTS.map(|port| listener("::", port, true, public)).concat(),
        listener("::", ADMIN_PORT, true, "\"admin\""),
        listener("127.0.0.1", LOCAL_PORT, false, "\"client\", \"media\""),
        super::keys::EXCHANGE_SOCKET,
        updates(site),
    )
}

/// Where it looks for updates.
fn updates(site: &Site) -> String {
    let Some(updates) = &site.updates else {
        return String::new();
    };
    let text =
        |key: &str, value: Option<&String>| value.map(|value| format!("{key} = {value:?}\n")).unwrap_or_default();
    format!(
        "\n[updates]\nurl = {:?}\naddress = \"{}\"\ninterval = \"{}h\"\nautomatic = {}\n{}{}",
        updates.url,
        updates.address,
        updates.hours,
        updates.automatic,
        text("pin", updates.pin.as_ref()),
        text("authorities", updates.authorities.as_ref()),
    )
}

/// Whether the exchange would take this box's configuration.
pub fn check(site: &Site) -> Result<(), String> {
    lamchat_config::parse(&config(site), &config_file())
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Writes its configuration and makes its folder.
pub fn prepare(site: &Site) -> std::io::Result<()> {
    make_folder()?;
    write_for_it(&config_file(), &config(site))
}

/// Makes its folder.
fn make_folder() -> std::io::Result<()> {
    std::fs::create_dir_all(folder())?;
    chown(folder(), Some(USER), Some(GROUP))?;
    std::fs::set_permissions(folder(), std::fs::Permissions::from_mode(0o700))?;
    open_folder()
}

/// A file that it may read and nobody else.
fn write_for_it(file: &Path, text: &str) -> std::io::Result<()> {
    let new = file.with_extension("toml.new");
    std::fs::write(&new, text)?;
    chown(&new, Some(0), Some(GROUP))?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o640))?;
    std::fs::rename(&new, file)
}

/// Makes its folder for whoever fills it from a backup, which knows the server's name; answers that one's configuration.
pub fn prepare_restore() -> std::io::Result<PathBuf> {
    make_folder()?;
    let file = Path::new(RUN).join("restore.toml");
    write_for_it(&file, &restore_config())?;
    Ok(file)
}

fn restore_config() -> String {
    format!(
        "server_name = \"box.invalid\"\ndata_dir = {:?}\n\n[seal]\nholder = {:?}\n",
        folder(),
        super::keys::EXCHANGE_SOCKET
    )
}

/// It enters its own folder and reads its file, nothing else of the data.
pub fn open_folder() -> std::io::Result<()> {
    chown(DATA, Some(0), Some(GROUP))?;
    std::fs::set_permissions(DATA, std::fs::Permissions::from_mode(0o710))
}

/// How it is run.
pub fn program() -> Program {
    Program {
        name: "exchange",
        arguments: vec![
            "serve".to_owned(),
            "--confined".to_owned(),
            "--config".to_owned(),
            config_file().display().to_string(),
        ],
        user: USER,
        group: GROUP,
        folder: folder(),
        environment: vec![
            ("NOTIFY_SOCKET".to_owned(), NOTIFY_SOCKET.to_owned()),
            ("TMPDIR".to_owned(), "/tmp".to_owned()),
        ],
        input: None,
    }
}

/// Asks its admin API.
pub fn call(method: &str, target: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let (place, server) = way();
    socket::call(&place, &server, method, target, body)
}

fn way() -> (Place, Server) {
    let place = Place {
        config: Some(config_file()),
        ..Place::default()
    };
    let server = Server {
        socket: Some(folder().join("admin.sock")),
        json: true,
    };
    (place, server)
}

/// Asks it for something that comes as a stream.
pub fn stream(method: &str, target: &str) -> Result<Box<dyn std::io::Read>, Failure> {
    let (place, server) = way();
    socket::send(&place, &server, method, target, None)?.stream()
}

/// Hands it `bytes` bytes.
pub fn upload(target: &str, from: &mut dyn std::io::Read, bytes: u64) -> Result<Value, Failure> {
    let (place, server) = way();
    socket::transmit(&place, &server, "POST", target, socket::Body::Bytes(from, bytes))?.json()
}

/// Has an act of the console written into the audit log.
pub fn note_act(act: &Act) -> Result<(), String> {
    let body = serde_json::to_value(act).map_err(|error| error.to_string())?;
    let noted = call("POST", "/_lamchat/admin/v1/box/acts", Some(&body));
    noted.map(drop).map_err(|error| error.0)
}

/// Where process 1 listens for notices.
pub fn notify_socket() -> std::io::Result<std::os::unix::net::UnixDatagram> {
    let path = Path::new(RUN).join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path)?;
    chown(&path, Some(0), Some(GROUP))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::init::release::Release;
    use crate::init::state::Shared;
    use lamchat_appliance::site::{Network, Site};

    #[test]
    fn what_a_damaged_configuration_says_is_not_for_everybody() {
        let shared = Shared::new(Release::default());
        let error = Site::parse("format = 1\nversion = \"chat.example.org\"\n").unwrap_err();
        assert!(
            error.to_string().contains("chat.example.org"),
            "nothing to hide: {error}"
        );
        let told = super::unreadable(&shared, &error);
        assert!(told.contains("cannot be read") && !told.contains("example"), "{told}");
        assert!(shared.log.last_public(10).is_empty());
        assert!(shared.log.last(1).first().is_some_and(|line| line.contains("example")));
    }

    #[test]
    fn whoever_restores_takes_what_is_written_for_it() {
        let config = lamchat_config::parse(&super::restore_config(), std::path::Path::new("restore.toml")).unwrap();
        assert_eq!(config.data_dir, super::folder());
        assert_eq!(
            config.seal.holder.unwrap(),
            std::path::Path::new(super::super::keys::EXCHANGE_SOCKET)
        );
    }

    #[test]
    fn the_exchange_takes_what_is_written_for_it() {
        super::check(&Site::new("chat.example.org", Network::default())).unwrap();
        let error = super::check(&Site::new("not a name", Network::default())).unwrap_err();
        assert!(error.contains("server_name"), "{error}");
        super::check(&Site::new("a\"\nb", Network::default())).unwrap_err();
        let mut site = Site::new("chat.example.org", Network::default());
        site.updates = Some(lamchat_appliance::site::Updates {
            url: "https://updates.example.org:8443/lamchat.bundle".to_owned(),
            address: "192.0.2.7".parse().unwrap(),
            pin: None,
            authorities: Some("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".to_owned()),
            hours: 24,
            automatic: false,
        });
        super::check(&site).unwrap();
    }
}
