//! `lamchat serve --confined`, as it runs on the bootable image: whatever a server does, it does with its own files and a
//! short list of system calls.

use crate::harness::{CONFIG, Server, Site, program, text};
use lamchat_appliance::{Outcome, PART_BYTES_MAX, PartWriter, Rack, carry};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A folder that is not below /tmp, which every confined server may use, and a key holder: a confined server starts none.
struct Place {
    site: Site,
    listener: UnixListener,
}

/// A confined server, and its key holder.
struct Confined {
    server: Server,
    holder: Child,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let listener = UnixListener::bind(folder.path().join("keys.sock")).unwrap();
        let site = Site::at(folder, &config("100 MiB"));
        Self { site, listener }
    }

    fn start_holder(&self) -> Child {
        let socket = OwnedFd::from(self.listener.try_clone().unwrap());
        Command::new(program())
            .args(["--config", "lamchat.toml", "key-holder"])
            .current_dir(self.site.path(""))
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn start(&self) -> Confined {
        let holder = self.start_holder();
        let arguments = ["serve", "--confined", "--config", "lamchat.toml"];
        let server = Server::start(&self.site.path(""), &arguments).unwrap_or_else(|log| panic!("no start: {log}"));
        Confined { server, holder }
    }
}

impl Confined {
    /// Ends both well; a call or a file that was refused would be in the log.
    fn stop(mut self) {
        let log = self.server.log_so_far().join("\n");
        for word in ["ermission denied", "not permitted", " ERROR "] {
            assert!(!log.contains(word), "{log}");
        }
        self.server.stop();
        assert!(self.holder.wait().unwrap().success());
    }
}

fn config(about: &str) -> String {
    format!("# {about}\n{CONFIG}\n[seal]\ntpm = \"none\"\nholder = \"keys.sock\"\n")
}

/// Something to make thumbnails of.
fn picture() -> Vec<u8> {
    let pixels = image::RgbImage::from_fn(300, 200, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut png = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

fn ok(site: &Site, arguments: &[&str], input: &str) -> String {
    let output = site.command(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn everything_that_a_server_does_works_in_its_sandbox() {
    let place = Place::new();
    let site = &place.site;
    let confined = place.start();
    let server = &confined.server;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(
        status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"),
        "{status}"
    );

    // Accounts, rooms, messages.
    let mut alice = server.account("alice");
    server.client().log_in("alice", "password of alice").ok();
    let made = alice.post("/_matrix/client/v3/createRoom", &json!({"preset": "public_chat"}));
    let room = made.ok()["room_id"].as_str().unwrap().to_owned();
    let sent = alice.put(
        &format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1"),
        &json!({"msgtype": "m.text", "body": "hello"}),
    );
    sent.ok();
    assert!(alice.get("/_matrix/client/v3/sync").ok().to_string().contains("hello"));

    // Files: small ones, such as need several chunks, thumbnails of both kinds, and one that is no picture.
    let (png, long) = (picture(), vec![7; 3_000_000]);
    let mut upload = |content: &[u8], kind: &str| {
        let headers = [("Content-Type", kind)];
        let reply = alice.send("POST", "/_matrix/media/v3/upload", &headers, content);
        let uri = reply.unwrap().ok()["content_uri"].as_str().unwrap().to_owned();
        uri.strip_prefix("mxc://").unwrap().to_owned()
    };
    let (picture, file) = (upload(&png, "image/png"), upload(&long, "application/octet-stream"));
    let download = |id: &str| format!("/_matrix/client/v1/media/download/{id}");
    assert_eq!(alice.get(&download(&picture)).body, png);
    assert_eq!(alice.get(&download(&file)).body, long);
    for method in ["scale", "crop"] {
        let target = format!("/_matrix/client/v1/media/thumbnail/{picture}?width=32&height=32&method={method}");
        let thumbnail = alice.get(&target);
        assert_eq!(thumbnail.status, 200, "{}", text(&thumbnail.body));
        assert!(image::load_from_memory(&thumbnail.body).is_ok());
    }
    // There are no previews of links, which is no matter of the sandbox.
    let preview = alice.get("/_matrix/client/v1/media/preview_url?url=https://example.org");
    assert_eq!(preview.refusal(), (404, "M_NOT_FOUND".to_owned()));

    // A configuration that was edited, or replaced as a whole.
    site.configure(&config("edited").replace("mode = \"token\"", "mode = \"closed\""));
    server.signal("HUP");
    let line = server.wait_for_log("the configuration was reloaded");
    assert!(line.contains("registration.mode"), "{line}");
    std::fs::write(site.path("new.toml"), config("another")).unwrap();
    std::fs::rename(site.path("new.toml"), site.path("lamchat.toml")).unwrap();
    server.signal("HUP");
    let line = server.wait_for_log("the configuration was reloaded");
    assert!(line.contains("registration.mode"), "{line}");

    // Administration: keys, tokens, the log, evidence, and backups.
    ok(site, &["token", "create"], "");
    ok(site, &["signing-key", "rotate"], "");
    ok(site, &["audit", "show"], "");
    ok(site, &["audit", "export", "audit.log"], "");
    let made = site.command_json(&["seal", "add-recovery"], "");
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    ok(site, &["seal", "verify-recovery"], &format!("{key}\n"));
    let health: Value = site.command_json(&["health"], "");
    assert_eq!(health["state"], "running");
    ok(site, &["backup", "create", "backup"], "");
    ok(site, &["backup", "verify", "backup"], &format!("{key}\n"));
    confined.stop();

    // What was acknowledged is there after a start, and the backup is everything somewhere else.
    let confined = place.start();
    alice = again(&confined.server);
    assert_eq!(alice.get(&download(&file)).body, long);
    confined.stop();
    let other = Place::new();
    let backup = site.path("backup").display().to_string();
    ok(&other.site, &["restore", &backup], &format!("{key}\n"));
    let confined = other.start();
    alice = again(&confined.server);
    assert_eq!(alice.get(&download(&picture)).body, png);
    let messages = alice.get(&format!("/_matrix/client/v3/rooms/{room}/messages?dir=b"));
    assert!(messages.ok().to_string().contains("hello"));
    confined.stop();
}

/// Alice, at another start.
fn again(server: &Server) -> crate::harness::Client {
    let mut client = server.client();
    let token = client.log_in("alice", "password of alice").ok();
    client.token = Some(token["access_token"].as_str().unwrap().to_owned());
    client
}

/// Every file below a folder but sockets, and what is in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// The first bytes of what process 1 has from `lamchat rescue`, and whether that ended well.
fn rescue(place: &Place, bytes_max: u64) -> (Vec<u8>, bool) {
    let mut holder = place.start_holder();
    let mut child = Command::new(program())
        .args(["--config", "lamchat.toml", "rescue"])
        .current_dir(place.site.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut bytes = Vec::new();
    let out = child.stdout.take().unwrap();
    out.take(bytes_max).read_to_end(&mut bytes).unwrap();
    let ended = child.wait().unwrap();
    holder.wait().unwrap();
    (bytes, ended.success())
}

#[test]
fn what_can_only_be_read_is_saved_and_nothing_of_it_is_changed() {
    let place = Place::new();
    let site = &place.site;
    let Confined { server, mut holder } = place.start();
    let mut alice = server.account("alice");
    let made = alice.post("/_matrix/client/v3/createRoom", &json!({"preset": "public_chat"}));
    let room = made.ok()["room_id"].as_str().unwrap().to_owned();
    let key = site.command_json(&["seal", "add-recovery"], "");
    let key = format!("{}\n", key["recovery_key"].as_str().unwrap());
    let file = vec![7; 3_000_000];
    let reply = alice.send(
        "POST",
        "/_matrix/media/v3/upload",
        &[("Content-Type", "text/plain")],
        &file,
    );
    let uri = reply.unwrap().ok()["content_uri"].as_str().unwrap().to_owned();
    for number in 0..200 {
        alice
            .put(
                &format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{number}"),
                &json!({"msgtype": "m.text", "body": format!("message {number}")}),
            )
            .ok();
    }
    // Some of it is in the log and not in the database yet.
    server.kill();
    holder.wait().unwrap();

    let data = site.path("data");
    let before = files(&data);
    let (bytes, is_whole) = rescue(&place, u64::MAX);
    assert!(is_whole);
    assert!(files(&data) == before, "the data were changed");
    let (part, is_whole) = rescue(&place, 1 << 20);
    assert_eq!((part.len(), is_whole), (1 << 20, false));
    assert!(files(&data) == before, "the data were changed");

    let other = Place::new();
    let write = |name: &str, bytes: &[u8]| {
        let mut writer = PartWriter::create(&other.site.path(name), PART_BYTES_MAX).unwrap();
        writer.push(bytes).unwrap();
        writer.finish()
    };
    assert!(write("part", &part).is_err(), "a part is taken for a backup");
    write("backup", &bytes).unwrap();
    ok(&other.site, &["restore", "backup"], &key);
    let confined = other.start();
    let mut alice = again(&confined.server);
    let media = uri.strip_prefix("mxc://").unwrap();
    let found = alice.get(&format!("/_matrix/client/v1/media/download/{media}"));
    assert!(found.body == file, "{}", found.status);
    let messages = alice
        .get(&format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit=200"))
        .ok();
    let chunk = messages["chunk"].as_array().unwrap();
    assert_eq!(chunk.len(), 200);
    assert!(
        chunk
            .iter()
            .rev()
            .enumerate()
            .all(|(number, event)| { event["content"]["body"] == format!("message {number}") })
    );
    confined.stop();
}

/// The files of a folder, as process 1 has those of a stick.
struct Carrier {
    folder: PathBuf,
    file: Option<File>,
}

impl Read for Carrier {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.file.as_mut().ok_or(Error::from(ErrorKind::NotFound))?.read(buffer)
    }
}

impl Rack for Carrier {
    fn length(&mut self, name: &str) -> std::io::Result<u64> {
        Ok(std::fs::metadata(self.folder.join(name))?.len())
    }

    fn begin(&mut self, name: &str) -> std::io::Result<()> {
        self.file = Some(File::open(self.folder.join(name))?);
        Ok(())
    }
}

/// What `lamchat restorer` tells of a backup whose bytes it gets.
fn restorer(place: &Place, arguments: &[&str], backup: &Path) -> Outcome {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(program());
    command
        .args(["--config", "lamchat.toml", "restorer"])
        .args(arguments)
        .current_dir(place.site.path(""))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut rack = Carrier {
        folder: backup.to_owned(),
        file: None,
    };
    let outcome = carry(&ours, &mut rack, &mut |_| {}).unwrap();
    assert!(child.wait().unwrap().success());
    outcome
}

#[test]
fn a_backup_is_read_by_a_process_that_has_neither_stick_nor_keyring() {
    let place = Place::new();
    let site = &place.site;
    let confined = place.start();
    confined.server.account("alice");
    let key = site.command_json(&["seal", "add-recovery"], "");
    let key = key["recovery_key"].as_str().unwrap().to_owned();
    ok(site, &["backup", "create", "backup"], "");
    confined.stop();
    let backup = site.path("backup");

    let other = Place::new();
    let Outcome::Beginning { keyring, bytes } = restorer(&other, &["--look"], &backup) else {
        panic!("nothing is known of it");
    };
    assert!(bytes > 10_000, "{bytes}");
    assert!(!other.site.path("data").exists(), "a look writes nothing");
    // As the key holder of a box does it; but this one has nobody who types at its start.
    let keys = other.site.path("keys");
    other
        .site
        .configure(&format!("{}keys_dir = {keys:?}\n", config("other")));
    let unlock = lamchat_seal::Unlock::typed(&key).unwrap();
    let keyring = lamchat_seal::BackupKeyring::open(&keyring, &unlock).unwrap();
    let entropy = std::sync::Arc::new(lamchat_host::OsEntropy);
    drop(keyring.install(&keys, true, entropy).unwrap());
    // A backup that lacks something, first: nothing is in the way of the whole one.
    let part = std::fs::read(backup.join("part-00001")).unwrap();
    std::fs::write(backup.join("part-00001"), &part[..part.len() - 1]).unwrap();
    let mut holder = other.start_holder();
    let Outcome::Failed { reason } = restorer(&other, &[], &backup) else {
        panic!("it was restored");
    };
    assert!(reason.contains("part-00001 is damaged or truncated"), "{reason}");
    assert!(holder.wait().unwrap().success());
    std::fs::write(backup.join("part-00001"), &part).unwrap();
    let mut holder = other.start_holder();
    let Outcome::Restored { server_name, rows, .. } = restorer(&other, &[], &backup) else {
        panic!("it was not restored");
    };
    assert_eq!(server_name, "localhost");
    assert!(rows > 10, "{rows}");
    assert!(holder.wait().unwrap().success());
    let confined = other.start();
    again(&confined.server);
    confined.stop();
}
