//! Transports, patience, and that nothing stays open.

use crate::testing::{Swtpm, SystemEntropy, open_handles};
use crate::{Address, Device, Exhausted, PcrSelection, Tpm, TpmError, Transport, TransportError};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn tcp_and_unix_sockets_reach_the_same_answers() {
    let (tcp, unix) = (Swtpm::start_tcp(), Swtpm::start());
    let all = PcrSelection::new(&(0..24).collect::<Vec<_>>()).unwrap();
    let (left, right) = (tcp.tpm().read_pcrs(&all).unwrap(), unix.tpm().read_pcrs(&all).unwrap());
    assert_eq!(left, right);
    assert_eq!(left.value(17), Some(&[0xff; 32]));
    assert_eq!(left.value(7), Some(&[0; 32]));
}

#[test]
fn extending_moves_a_pcr_and_a_reset_takes_it_back() {
    let mut swtpm = Swtpm::start();
    let seven = PcrSelection::new(&[7]).unwrap();
    swtpm.tpm().extend_pcr(7, &[5; 32]).unwrap();
    let wanted = crate::crypto::sha256(&[&[0; 32], &[5; 32]]);
    assert_eq!(swtpm.tpm().read_pcrs(&seven).unwrap().value(7), Some(&wanted));
    swtpm.power_cycle();
    assert_eq!(swtpm.tpm().read_pcrs(&seven).unwrap().value(7), Some(&[0; 32]));
}

/// The device's poll loop, with a socket pair in place of `/dev/tpmrm0` and swtpm behind it.
#[test]
fn a_device_is_polled() {
    let swtpm = Swtpm::start();
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let mut inner = swtpm.address.open().unwrap();
    let relay = std::thread::spawn(move || {
        let mut far = far;
        let mut buffer = [0u8; 4096];
        while let Ok(count @ 1..) = far.read(&mut buffer) {
            std::thread::sleep(Duration::from_millis(20));
            let answer = inner.exchange(&buffer[..count], Duration::from_secs(60)).unwrap();
            // In two parts, as a driver never does and a pipe may.
            far.write_all(&answer[..7]).unwrap();
            far.write_all(&answer[7..]).unwrap();
        }
    });
    let device = Device::from_file(OwnedFd::from(near).into());
    let mut tpm = Tpm::new(Box::new(device), Arc::new(SystemEntropy));
    tpm.extend_pcr(11, &[1; 32]).unwrap();
    assert!(open_handles(&mut tpm).is_empty());
    drop(tpm);
    relay.join().unwrap();
}

#[test]
fn a_silent_tpm_times_out_and_an_absent_one_is_named() {
    let (near, _far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let mut device = Device::from_file(OwnedFd::from(near).into());
    let started = Instant::now();
    let short = Duration::from_millis(50);
    assert!(matches!(
        device.exchange(&[0; 10], short),
        Err(TransportError::TimedOut(_))
    ));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _silent = UnixListener::bind(&path).unwrap();
    let mut socket = Address::Unix(path).open().unwrap();
    assert!(matches!(
        socket.exchange(&[0; 10], short),
        Err(TransportError::TimedOut(_))
    ));
    assert!(started.elapsed() < Duration::from_secs(5));

    for absent in [
        Address::Device("/dev/no-tpm".into()),
        Address::Unix("/nowhere/socket".into()),
    ] {
        assert!(matches!(absent.open(), Err(TransportError::Absent { .. })));
    }
    assert!(matches!(
        socket.exchange(&[0; 5000], short),
        Err(TransportError::CommandTooLarge(5000))
    ));
}

#[test]
fn later_is_waited_for_but_not_for_ever() {
    let swtpm = Swtpm::start();
    for rc in [0x922, 0x908, 0x90a] {
        let mut tpm = swtpm.disturbed(move |number, _| (number % 3 != 0).then_some(rc));
        tpm.extend_pcr(16, &[1; 32]).unwrap();
    }
    let mut tpm = swtpm.disturbed(|_, _| Some(0x922));
    assert!(matches!(tpm.extend_pcr(16, &[1; 32]), Err(TpmError::Busy(5))));
}

#[test]
fn an_error_at_any_command_leaves_nothing_open() {
    // FlushContext and GetCapability work: the latter is how the test looks.
    const SPARED: [u32; 2] = [0x165, 0x17a];
    let swtpm = Swtpm::start();
    let errors: [(u32, fn(&TpmError) -> bool); 4] = [
        (0x921, |error| matches!(error, TpmError::Lockout)),
        (0x902, |error| matches!(error, TpmError::Exhausted(Exhausted::Object))),
        (0x903, |error| matches!(error, TpmError::Exhausted(Exhausted::Session))),
        (0x101, |error| matches!(error, TpmError::OutOfOrder(0x101))),
    ];
    for (rc, fits) in errors {
        for failing in 1..20 {
            let mut tpm =
                swtpm.disturbed(move |number, code| (number == failing && !SPARED.contains(&code)).then_some(rc));
            if let Err(error) = tpm.extend_pcr(16, &[1; 32]) {
                assert!(fits(&error), "{error:?}");
            }
            assert!(open_handles(&mut tpm).is_empty(), "{rc:#x} at command {failing}");
        }
    }
}

#[test]
fn the_storage_root_is_kept_and_stays_the_same_key() {
    let mut swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    let before = tpm.scope(|tpm| tpm.storage_root()).unwrap().1;
    assert!(tpm.keep_storage_root().unwrap());
    assert!(tpm.keep_storage_root().unwrap());
    drop(tpm);
    swtpm.power_cycle();
    let mut tpm = swtpm.tpm();
    let (handle, after) = tpm.scope(|tpm| tpm.storage_root()).unwrap();
    assert_eq!((handle.raw, &after), (crate::STORAGE_ROOT, &before));
    assert!(open_handles(&mut tpm).is_empty());
}
