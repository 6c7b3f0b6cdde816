//! Strangers' bytes: whatever is not the protocol ends the connection and nothing else.

use super::*;

#[test]
fn what_is_not_the_protocol_ends_the_connection() {
    let frames: [&[u8]; 8] = [
        &[0, 0, 0, 0],
        &[0, 0, 0, 1, 1],
        &[0xFF; 8],
        &[0, 0, 0, 2, 2, 1],
        &[0, 0, 0, 2, 1, 200],
        &[0, 0, 0, 3, 1, 1, 2],
        &[0, 0, 0, 4, 1, 1, 0, 0],
        &[0, 0, 0, 3, 1, 64, 0],
    ];
    for frame in frames {
        let house = House::new();
        let mut stream = house.client.raw();
        stream.write_all(frame).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(house.served.join().unwrap().is_err(), "{frame:?}");
        // Whoever types nonsense ends nothing but that connection.
        let house = House::new();
        UnixStream::connect(house.socket()).unwrap().write_all(frame).unwrap();
        house.keys();
        house.client.ready().unwrap();
        house.type_in(&Typed::AddRecovery).unwrap();
        house.leave();
    }
}

#[test]
fn every_cut_or_longer_message_is_malformed() {
    let requests = [
        Request::Open { create: true },
        Request::Status,
        Request::Rebind { slot: 3, force: true },
        Request::Rotate(Purpose::Content),
        Request::BackupKey([1; 32]),
        Request::EnrolmentRequest,
        Request::EkCertificates(vec![vec![1; 700], Vec::new()]),
        evidence(),
        Request::PlanKey,
        Request::ReadAnchor,
        Request::WriteAnchor(ANCHOR),
        Request::AwaitHand { another_log: true },
        Request::LogLost,
        Request::TpmMake,
    ];
    for request in requests {
        let frame = request.encode();
        assert_eq!(Request::parse(&frame).unwrap(), request);
        assert!(
            (0..frame.len()).all(|end| Request::parse(&frame[..end]).is_err()),
            "{request:?}"
        );
        assert!(Request::parse(&[&frame[..], &[0]].concat()).is_err(), "{request:?}");
    }
    let house = House::new();
    let replies = [
        Reply::Keys {
            by: SlotKind::File,
            keys: house.keys(),
        },
        Reply::Status(Box::new((*house.client.status().unwrap()).clone())),
        Reply::Done,
        Reply::Key(house.client.rotate(Purpose::Secrets).unwrap()),
        Reply::Unlocked(SlotKind::Tpm),
        Reply::Anchored(Anchored::Never),
        Reply::Anchored(Anchored::At {
            anchor: ANCHOR,
            put_back: true,
        }),
        Reply::TpmMake(TpmMake {
            manufacturer: "NTC".to_owned(),
            model: "NPCT75x".to_owned(),
            firmware: Version(0x0007_0002_0001_0000),
        }),
    ];
    for reply in replies {
        let frame = reply.encode();
        assert_eq!(Reply::parse(&frame).unwrap(), reply);
        assert!(
            (0..frame.len()).all(|end| Reply::parse(&frame[..end]).is_err()),
            "{reply:?}"
        );
        assert!(Reply::parse(&[&frame[..], &[0]].concat()).is_err(), "{reply:?}");
    }
    let long = Reply::Refused(Reason::Disk, "ä".repeat(10_000));
    let Ok(Reply::Refused(_, sentence)) = Reply::parse(&long.encode()) else {
        panic!("malformed");
    };
    assert_eq!(sentence.len(), 4_096);
}
