//! The digests computed here are the TPM's own.

use crate::blob::policy;
use crate::policy::{Policy, Step, epoch_branches};
use crate::seal::approval;
use crate::testing::{Release, Swtpm, open_handles};
use crate::wire::{self, Kind};
use crate::{ImageBinding, PcrSelection, PcrValues, SignedPolicy, Tpm, TpmError, policy_ref};

fn digest_of(tpm: &mut Tpm, session: &crate::session::Session) -> [u8; 32] {
    let answer = tpm
        .run(&wire::policy_get_digest(&session.handle).unwrap(), &mut [])
        .unwrap();
    answer.parameters[2..].try_into().unwrap()
}

#[test]
fn every_step_has_the_digest_of_the_tpms_trial_session() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    tpm.extend_pcr(7, &[1; 32]).unwrap();
    let counter = tpm.ensure_counter(0x0180_1111).unwrap();
    let values = tpm.read_pcrs(&PcrSelection::new(&[0, 7, 11, 23]).unwrap()).unwrap();
    let steps = [
        Step::Pcr(values),
        Step::Counter {
            name: counter.name,
            value: counter.value,
        },
        Step::AuthValue,
        Step::Or(vec![[1; 32], [2; 32], [3; 32]]),
        Step::Pcr(PcrValues::new([(5, [0; 32])]).unwrap()),
    ];
    let run: Result<(), TpmError> = tpm.scope(|tpm| {
        let (root, public) = tpm.storage_root()?;
        let mut own = tpm.session(Kind::Hmac, &root, &public)?;
        let mut trial = tpm.session(Kind::Trial, &root, &public)?;
        for count in 1..=steps.len() {
            tpm.assert_step(&mut trial, &mut own, &steps[count - 1], counter.index)?;
            let computed = Policy::new(steps[..count].to_vec()).digest()?;
            assert_eq!(digest_of(tpm, &trial), computed, "step {count}");
        }
        Ok(())
    });
    run.unwrap();
    assert!(open_handles(&mut tpm).is_empty());
}

#[test]
fn the_whole_image_policy_has_the_digest_of_a_real_session() {
    let swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    let release = Release::new();
    tpm.extend_pcr(11, &[9; 32]).unwrap();
    let counter = tpm.ensure_counter(0x0180_1111).unwrap();
    for epochs in [vec![3], vec![2, 3], (3..11).collect()] {
        let signed = tpm.read_pcrs(&PcrSelection::new(&[11]).unwrap()).unwrap();
        let fixed = tpm.read_pcrs(&PcrSelection::new(&[7]).unwrap()).unwrap();
        let approvals = [release.approve(&signed, 3)];
        let image = ImageBinding {
            release_key: release.point(),
            epochs,
            signed: signed.clone(),
        };
        let run: Result<(), TpmError> = tpm.scope(|tpm| {
            let (root, public) = tpm.storage_root()?;
            let mut own = tpm.session(Kind::Hmac, &root, &public)?;
            let mut session = tpm.session(Kind::Policy, &root, &public)?;
            let approval = approval(&image, &approvals, &signed).unwrap();
            tpm.assert_approved(&session, &image, approval)?;
            let authorize = Step::Authorize {
                key: image.release_key,
                policy_ref: policy_ref(3),
            };
            let alone = Policy::new(vec![Step::Pcr(signed.clone()), authorize]).digest()?;
            assert_eq!(digest_of(tpm, &session), alone);
            assert!(epoch_branches(&image.release_key, &image.epochs)?.contains(&alone));
            let whole = policy(&fixed, Some(&image), counter.name, counter.value, true)?;
            for step in whole.steps() {
                tpm.assert_step(&mut session, &mut own, step, counter.index)?;
            }
            assert_eq!(digest_of(tpm, &session), whole.digest()?);
            Ok(())
        });
        run.unwrap();
    }
}

#[test]
fn an_approval_is_checked_in_software_as_by_the_tpm() {
    let (release, other) = (Release::new(), Release::new());
    let values = PcrValues::new([(11, [4; 32])]).unwrap();
    let approval = release.approve(&values, 7);
    assert!(approval.is_signed_by(&release.point()));
    assert!(!approval.is_signed_by(&other.point()));
    let later = SignedPolicy {
        epoch: 8,
        ..approval.clone()
    };
    assert!(!later.is_signed_by(&release.point()));
    let elsewhere = SignedPolicy {
        pcrs: PcrValues::new([(11, [5; 32])]).unwrap(),
        ..approval
    };
    assert!(!elsewhere.is_signed_by(&release.point()));
    assert!(Policy::new(vec![Step::Or(vec![[0; 32]])]).digest().is_err());
    assert!(Policy::new(vec![Step::Or(vec![[0; 32]; 9])]).digest().is_err());
}
