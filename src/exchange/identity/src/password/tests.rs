//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Cost, PASSWORD_BYTES_MAX, PasswordError, Passwords, WAITING_MAX};
use lamchat_base::Entropy;
use std::sync::atomic::{AtomicU8, Ordering};

struct Counting(AtomicU8);
impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
    }
}

fn entropy() -> Counting {
    Counting(AtomicU8::new(0))
}

#[tokio::test]
async fn a_password_fits_its_hash_only() {
    let passwords = Passwords::new(Cost::Minimum, 2);
    let hash = passwords.hash("correct horse".to_owned(), &entropy()).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
    assert!(
        passwords
            .verify("correct horse".to_owned(), Some(hash.clone()))
            .await
            .unwrap()
    );
    assert!(
        !passwords
            .verify("Correct horse".to_owned(), Some(hash.clone()))
            .await
            .unwrap()
    );
    assert!(!passwords.verify(String::new(), Some(hash)).await.unwrap());
}

#[tokio::test]
async fn two_hashes_of_one_password_differ() {
    let (passwords, entropy) = (Passwords::new(Cost::Minimum, 2), entropy());
    let first = passwords.hash("correct horse".to_owned(), &entropy).await.unwrap();
    assert_ne!(
        first,
        passwords.hash("correct horse".to_owned(), &entropy).await.unwrap()
    );
}

#[tokio::test]
async fn the_cost_in_the_hash_counts() {
    let hash = Passwords::new(Cost::Minimum, 1)
        .hash("correct horse".to_owned(), &entropy())
        .await
        .unwrap();
    let later = Passwords::new(Cost::Default, 1);
    assert!(later.verify("correct horse".to_owned(), Some(hash)).await.unwrap());
    let hash = later.hash("correct horse".to_owned(), &entropy()).await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert!(later.verify("correct horse".to_owned(), Some(hash)).await.unwrap());
}

#[tokio::test]
async fn nobody_has_no_password() {
    for cost in [Cost::Minimum, Cost::Default] {
        let passwords = Passwords::new(cost, 1);
        assert!(!passwords.verify("correct horse".to_owned(), None).await.unwrap());
    }
}

#[tokio::test]
async fn weak_and_endless_passwords_are_refused() {
    let passwords = Passwords::new(Cost::Default, 1);
    assert!(matches!(passwords.check_strength("1234567"), Err(PasswordError::Weak)));
    assert!(matches!(passwords.check_strength("äöüäöüä"), Err(PasswordError::Weak)));
    assert!(passwords.check_strength("äöüäöüäö").is_ok());
    let endless = "x".repeat(PASSWORD_BYTES_MAX + 1);
    assert!(matches!(
        passwords.check_strength(&endless),
        Err(PasswordError::TooLong)
    ));
    assert!(!passwords.verify(endless, None).await.unwrap());
    let minimum = Passwords::new(Cost::Minimum, 1);
    assert!(minimum.check_strength("1").is_ok());
    assert!(matches!(minimum.check_strength(""), Err(PasswordError::Weak)));
}

#[tokio::test]
async fn a_malformed_hash_is_a_fault_and_no_login() {
    let passwords = Passwords::new(Cost::Minimum, 1);
    let answer = passwords.verify("x".to_owned(), Some("$plain$x".to_owned())).await;
    assert!(matches!(answer, Err(PasswordError::Hash(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_is_bounded() {
    let passwords = Passwords::new(Cost::Minimum, 1);
    let _turn = std::sync::Arc::clone(&passwords.turns).acquire_owned().await.unwrap();
    let waiting: Vec<_> = (0..=WAITING_MAX)
        .map(|_| {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.verify("x".to_owned(), None).await })
        })
        .collect();
    while passwords.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(
        passwords.verify("x".to_owned(), None).await,
        Err(PasswordError::Busy)
    ));
    drop(_turn);
    for task in waiting {
        assert!(!task.await.unwrap().unwrap());
    }
}
