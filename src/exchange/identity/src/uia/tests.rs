//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Operation, SESSION_LIFETIME_MS, SESSIONS_MAX, Stage, UiaSessions};
use lamchat_base::{DeviceNum, Entropy, UserNum};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
struct Counting(AtomicU64);
impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let number = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            chunk
                .iter_mut()
                .zip(number.to_be_bytes())
                .for_each(|(to, from)| *to = from);
        }
    }
}

fn operation(name: &str, user: Option<u32>) -> Operation {
    Operation {
        name: name.to_owned(),
        caller: user.map(|user| (UserNum(user), DeviceNum(user))),
    }
}

fn valid(_: u32) -> Result<(), ()> {
    Ok(())
}

#[test]
fn a_flow_needs_all_its_stages() {
    let (sessions, entropy, register) = (UiaSessions::new(), Counting::default(), operation("register", None));
    let flows = vec![vec![Stage::RegistrationToken, Stage::Dummy]];
    let opened = sessions.open(register.clone(), flows, &entropy, 0);
    assert!(!opened.is_done);
    let half = sessions.complete(&opened.session, &register, Stage::Dummy, 1).unwrap();
    assert_eq!(
        (half.is_done, half.completed.as_slice()),
        (false, [Stage::Dummy].as_slice())
    );
    let again = sessions.complete(&opened.session, &register, Stage::Dummy, 1).unwrap();
    assert_eq!(again.completed, [Stage::Dummy]);
    let done = sessions
        .complete_token(&opened.session, &register, "t", 2, valid)
        .unwrap()
        .unwrap();
    assert!(done.is_done);
    assert_eq!(done.registration_token.as_deref(), Some("t"));
    // It is over: nobody can use it again.
    assert!(sessions.progress(&opened.session, &register, 2).is_none());
    assert!(sessions.complete(&opened.session, &register, Stage::Dummy, 2).is_none());
}

#[test]
fn a_session_is_good_for_one_operation_of_one_caller() {
    let (sessions, entropy) = (UiaSessions::new(), Counting::default());
    let mine = operation("DELETE /devices/A", Some(1));
    let opened = sessions.open(mine.clone(), vec![vec![Stage::Password]], &entropy, 0);
    for other in [
        operation("DELETE /devices/B", Some(1)),
        operation("DELETE /devices/A", Some(2)),
        operation("DELETE /devices/A", None),
    ] {
        assert!(sessions.progress(&opened.session, &other, 0).is_none());
        assert!(sessions.complete(&opened.session, &other, Stage::Password, 0).is_none());
    }
    assert!(
        sessions
            .complete(&opened.session, &mine, Stage::Password, 0)
            .unwrap()
            .is_done
    );
}

#[test]
fn sessions_end() {
    let (sessions, entropy, register) = (UiaSessions::new(), Counting::default(), operation("register", None));
    let opened = sessions.open(register.clone(), vec![vec![Stage::Dummy]], &entropy, 1000);
    assert!(
        sessions
            .progress(&opened.session, &register, 1000 + SESSION_LIFETIME_MS - 1)
            .is_some()
    );
    assert!(
        sessions
            .complete(&opened.session, &register, Stage::Dummy, 1000 + SESSION_LIFETIME_MS)
            .is_none()
    );
}

#[test]
fn a_flood_pushes_out_the_oldest_only() {
    let (sessions, entropy, register) = (UiaSessions::new(), Counting::default(), operation("register", None));
    let all: Vec<_> = (0..SESSIONS_MAX + 10)
        .map(|_| {
            sessions
                .open(register.clone(), vec![vec![Stage::Dummy]], &entropy, 5)
                .session
        })
        .collect();
    assert!(sessions.0.lock().sessions.len() <= SESSIONS_MAX);
    assert!(sessions.0.lock().order.len() <= SESSIONS_MAX);
    assert!(sessions.progress(all.first().unwrap(), &register, 5).is_none());
    assert!(sessions.progress(all.last().unwrap(), &register, 5).is_some());
}

#[test]
fn pending_uses_count_until_they_finish_or_end() {
    let (sessions, entropy, register) = (UiaSessions::new(), Counting::default(), operation("register", None));
    let flows = vec![vec![Stage::RegistrationToken, Stage::Dummy]];
    let one_use = |pending: u32| if pending < 1 { Ok(()) } else { Err("in use") };
    let first = sessions.open(register.clone(), flows.clone(), &entropy, 0).session;
    let second = sessions.open(register.clone(), flows, &entropy, 10).session;
    sessions
        .complete_token(&first, &register, "t", 11, one_use)
        .unwrap()
        .unwrap();
    // Showing it again in the same session is no second use.
    sessions
        .complete_token(&first, &register, "t", 11, one_use)
        .unwrap()
        .unwrap();
    assert_eq!(sessions.pending("t", 11), 1);
    assert_eq!(
        sessions.complete_token(&second, &register, "t", 11, one_use).unwrap(),
        Err("in use")
    );
    // Another token in the same session gives the first one back.
    sessions
        .complete_token(&first, &register, "u", 11, valid)
        .unwrap()
        .unwrap();
    assert_eq!((sessions.pending("t", 11), sessions.pending("u", 11)), (0, 1));
    sessions
        .complete_token(&second, &register, "t", 12, one_use)
        .unwrap()
        .unwrap();
    assert!(sessions.complete(&second, &register, Stage::Dummy, 12).unwrap().is_done);
    assert_eq!(sessions.pending("t", 12), 0);
    // The first is abandoned: its use comes back when its time is over.
    assert_eq!(sessions.pending("u", SESSION_LIFETIME_MS - 1), 1);
    assert_eq!(sessions.pending("u", SESSION_LIFETIME_MS), 0);
    assert!(sessions.0.lock().pending.is_empty());
}
