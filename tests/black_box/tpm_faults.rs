//! A TPM that is busy, full or locked out: a clear word, nothing lost, and the recovery key in the meantime.

use crate::harness::{CONFIG, Site, text};
use crate::tpm::{Swtpm, copy, opens, rebind, recovers, recovers_older, slot, status};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// TPM_RC_OBJECT_MEMORY: no room for another loaded object (TPM 2.0 Part 2, 6.6.3).
const OBJECT_MEMORY: u32 = 0x902;
/// TPM_RC_SESSION_MEMORY.
const SESSION_MEMORY: u32 = 0x903;
/// TPM_RC_LOCKOUT.
const LOCKOUT: u32 = 0x921;
/// TPM_RC_RETRY.
const RETRY: u32 = 0x922;
/// Load, which every use of a sealed key needs.
const LOAD: u32 = 0x157;
/// StartAuthSession.
const START_SESSION: u32 = 0x176;
/// NV_UndefineSpace, which takes an older seal's counter away.
const UNDEFINE: u32 = 0x122;
/// Any command.
const ANY: u32 = 0;

/// Stands between the server and its TPM, and answers some commands in the TPM's place.
struct Proxy {
    port: u16,
    /// The code that it answers with; 0 for none.
    code: Arc<AtomicU32>,
    /// The command that it answers.
    command: Arc<AtomicU32>,
}

impl Proxy {
    fn before(tpm: &Swtpm) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, tpm) = (listener.local_addr().unwrap().port(), tpm.port);
        let (code, command) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (its_code, its_command) = (code.clone(), command.clone());
        // swtpm talks to one client at a time.
        let busy = Arc::new(Mutex::new(()));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (code, command, busy) = (its_code.clone(), its_command.clone(), busy.clone());
                std::thread::spawn(move || {
                    let _busy = busy.lock().unwrap();
                    // Either end may go at any time.
                    let _ended = relay(client.unwrap(), tpm, &code, &command);
                });
            }
        });
        Self { port, code, command }
    }

    fn answer(&self, command: u32, code: u32) {
        self.command.store(command, Ordering::SeqCst);
        self.code.store(code, Ordering::SeqCst);
    }

    fn config(&self) -> String {
        format!("{CONFIG}\n[seal]\ntpm = \"tcp:127.0.0.1:{}\"\n", self.port)
    }
}

fn relay(mut client: TcpStream, tpm: u16, code: &AtomicU32, command: &AtomicU32) -> std::io::Result<()> {
    let mut tpm = TcpStream::connect(("127.0.0.1", tpm))?;
    loop {
        let request = frame(&mut client)?;
        let asked = u32::from_be_bytes(request[6..10].try_into().unwrap());
        let (code, command) = (code.load(Ordering::SeqCst), command.load(Ordering::SeqCst));
        if code != 0 && (command == ANY || command == asked) {
            let answer = [&[0x80, 0x01, 0, 0, 0, 10], code.to_be_bytes().as_slice()].concat();
            client.write_all(&answer)?;
            continue;
        }
        tpm.write_all(&request)?;
        client.write_all(&frame(&mut tpm)?)?;
    }
}

/// A command or an answer: tag (2), length (4), code (4), the rest.
fn frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 10];
    stream.read_exact(&mut bytes)?;
    let length = u32::from_be_bytes(bytes[2..6].try_into().unwrap()) as usize;
    bytes.resize(length.max(10), 0);
    stream.read_exact(&mut bytes[10..])?;
    Ok(bytes)
}

/// Sealed through the proxy.
fn sealed(proxy: &Proxy) -> (Site, String) {
    let site = Site::with(&proxy.config());
    let server = site.start();
    server.account("ada");
    let made = site.command_json(&["seal", "add-recovery"], "");
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    let made = site.command_json(&["seal", "init", "--force"], "");
    let file = slot(&made, "file");
    let removed = site.command(&["seal", "remove", &file], &format!("{key}\n"));
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    server.stop();
    (site, key)
}

#[test]
fn every_fault_is_named_and_the_recovery_key_opens_meanwhile() {
    let tpm = Swtpm::new();
    let proxy = Proxy::before(&tpm);
    let (site, key) = sealed(&proxy);
    let (object, session) = ("no room for another object", "no room for another session");
    for (command, code, word) in [
        (LOAD, LOCKOUT, "these keys have no PIN"),
        (ANY, RETRY, "busy"),
        (LOAD, OBJECT_MEMORY, object),
        (START_SESSION, SESSION_MEMORY, session),
    ] {
        proxy.answer(command, code);
        let (server, reason) = recovers(&site, &key);
        assert!(reason.contains(word), "{word}: {reason}");
        assert!(!reason.contains("PCR"), "{reason}");
        // What needs the TPM is refused, and leaves everything as it is.
        let before = status(&site)["slots"].clone();
        let refused = site.command(&["seal", "rebind", &slot(&status(&site), "tpm"), "--force"], "");
        assert!(!refused.status.success());
        assert!(
            text(&refused.stderr).contains(word),
            "{word}: {}",
            text(&refused.stderr)
        );
        assert_eq!(status(&site)["slots"], before);
        server.stop();
        // It ends by itself, and then the TPM opens the keys as before.
        proxy.answer(0, 0);
        opens(&site).stop();
    }
}

#[test]
fn what_could_not_be_taken_out_of_the_tpm_goes_at_the_next_start() {
    let tpm = Swtpm::new();
    let proxy = Proxy::before(&tpm);
    let (site, key) = sealed(&proxy);
    let older = Site::with(&proxy.config());
    copy(&site.path("data"), &older.path("data"));
    let server = opens(&site);
    proxy.answer(UNDEFINE, LOCKOUT);
    rebind(&site);
    assert_eq!(tpm.indices(), 2, "the counter of before is still there");
    proxy.answer(0, 0);
    server.stop();
    opens(&site).stop();
    assert_eq!(tpm.indices(), 1);
    let (server, reason) = recovers_older(&older, &key);
    assert!(reason.contains("the counter against rollback"), "{reason}");
    server.stop();
}
