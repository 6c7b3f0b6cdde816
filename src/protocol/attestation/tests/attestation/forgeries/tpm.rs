//! What is changed of the file, of the quote, of its signature and of the keys.

use super::{OnTpm, impersonate, select, with_attributes};
use lamchat_attestation::simulation::{self, CertificateForm, SoftwareBox};
use lamchat_attestation::{KeyUse, Sha256, limits};

pub const TPM: &[OnTpm] = &[
    // The file.
    ("cut off", "bundle-truncated", |s, _| {
        let mut file = s.evidence.to_bytes();
        file.truncate(file.len() - 7);
        s.file = Some(file);
    }),
    ("a byte behind the end", "bundle-trailing-bytes", |s, _| {
        s.file = Some([s.evidence.to_bytes(), b"\n".to_vec()].concat());
    }),
    ("two bundles", "bundle-trailing-bytes", |s, w| {
        s.file = Some([s.evidence.to_bytes(), w.first.to_bytes()].concat());
    }),
    ("oversized file", "bundle-too-long", |s, _| {
        s.file = Some(vec![b'{'; limits::FILE_BYTES_MAX + 1]);
    }),
    ("oversized log", "bundle-member-oversized", |s, _| {
        s.evidence.tpm.event_log = vec![0; limits::EVENT_LOG_BYTES_MAX + 1];
    }),
    ("too many certificates", "bundle-member-oversized", |s, _| {
        let leaf = s.evidence.tpm.ek_certificates[0].clone();
        s.evidence.tpm.ek_certificates = vec![leaf; limits::CERTIFICATES_MAX + 1];
    }),
    ("unknown member", "bundle-unknown-member", |s, _| {
        s.replace("\"iat\"", "\"proved\"")
    }),
    ("unknown member at the end", "bundle-unknown-member", |s, _| {
        s.replace("\"}}", "\",\"more\":1}}");
    }),
    ("member twice", "bundle-duplicate-member", |s, _| {
        s.replace("\"iat\":", "\"eat_nonce\":\"00\",\"iat\":");
    }),
    ("members exchanged", "bundle-member-out-of-order", |s, _| {
        s.replace("\"quote\"", "\"signature\"");
    }),
    ("member left out", "bundle-member-out-of-order", |s, _| {
        s.replace("\"swname\":\"lamchat\",", "")
    }),
    ("white space", "bundle-syntax", |s, _| {
        s.replace(",\"iat\"", ", \"iat\"")
    }),
    ("escape in a string", "bundle-syntax", |s, _| {
        s.replace("example.org", "example\\u002eorg")
    }),
    ("another version of the format", "bundle-bad-value", |s, _| {
        s.replace("evidence:2", "evidence:3")
    }),
    ("capital digits", "bundle-bad-value", |s, _| {
        s.replace("\"eat_nonce\":\"02", "\"eat_nonce\":\"0A")
    }),
    ("short nonce", "bundle-bad-value", |s, _| s.evidence.nonce = vec![2; 15]),
    ("keys reordered", "bundle-unsorted", |s, _| {
        s.evidence.claims.keys.reverse()
    }),
    ("PCRs reordered", "bundle-unsorted", |s, _| {
        s.evidence.tpm.pcrs.swap(0, 1)
    }),
    ("PCR twice", "bundle-unsorted", |s, _| {
        s.evidence.tpm.pcrs[1] = s.evidence.tpm.pcrs[0]
    }),
    // The quote.
    ("no TPM_GENERATED", "quote-magic", |s, _| s.evidence.tpm.quote[0] ^= 1),
    ("a certification instead of a quote", "quote-type", |s, _| {
        s.evidence.tpm.quote[5] = 0x17
    }),
    ("quote cut off", "quote-malformed", |s, _| {
        s.evidence.tpm.quote.truncate(60)
    }),
    ("byte behind the quote", "quote-malformed", |s, _| {
        s.evidence.tpm.quote.push(0)
    }),
    ("subset of the PCRs", "pcr-subset", |s, w| select(s, w, 0)),
    ("superset of the PCRs", "pcr-superset", |s, w| select(s, w, 1)),
    ("one PCR for another", "pcr-selection", |s, w| select(s, w, 2)),
    ("SHA-1 bank", "pcr-bank", |s, w| select(s, w, 3)),
    ("two banks", "pcr-bank", |s, w| select(s, w, 4)),
    // Nonce and qualifying data.
    ("stale bundle", "nonce-stale", |s, w| s.evidence = w.first.clone()),
    ("bundle for somebody else", "nonce-foreign", |s, _| {
        s.nonce = vec![9; 20]
    }),
    ("stale quote under a fresh nonce", "qualifying-data", |s, w| {
        s.evidence = w.first.clone();
        s.evidence.nonce.clone_from(&s.nonce);
    }),
    ("fingerprints exchanged", "qualifying-data", |s, _| {
        let keys = &mut s.evidence.claims.keys;
        (keys[0].sha256, keys[1].sha256) = (keys[1].sha256, keys[0].sha256);
    }),
    ("fingerprint of another TLS key", "qualifying-data", |s, _| {
        let key = s.evidence.claims.keys.iter_mut().find(|key| key.usage == KeyUse::Tls);
        key.unwrap().sha256 = Sha256::of(b"the key of somebody in between");
    }),
    ("another configuration", "qualifying-data", |s, _| {
        s.evidence.claims.configuration = Sha256::ZERO
    }),
    ("another program", "qualifying-data", |s, _| {
        s.evidence.claims.binary = Sha256::ZERO
    }),
    ("another seal", "qualifying-data", |s, _| {
        s.evidence.claims.seal = Some("image policy".to_owned());
    }),
    (
        "no word of the seal, as in the version before",
        "qualifying-data",
        |s, _| {
            s.evidence.claims.seal = None;
        },
    ),
    ("a longer audit log", "qualifying-data", |s, _| {
        s.evidence.claims.audit_checkpoint = Some(simulation::checkpoint(43, 7));
    }),
    // Signature and attestation key.
    ("signature of another quote", "signature", |s, w| {
        s.evidence.tpm.signature.clone_from(&w.first.tpm.signature);
    }),
    ("clock changed", "signature", |s, _| {
        let at = s.evidence.tpm.quote.len() - 62;
        s.evidence.tpm.quote[at] ^= 1;
    }),
    ("attestation key swapped, quote kept", "signature", |s, _| {
        s.evidence.tpm.ak_public = SoftwareBox::honest().tpm.ak_public;
    }),
    ("another scheme", "signature-form", |s, _| {
        s.evidence.tpm.signature[1] = 0x14
    }),
    ("byte behind the signature", "signature-form", |s, _| {
        s.evidence.tpm.signature.push(0)
    }),
    ("key that signs anything", "ak-not-restricted", |s, _| {
        with_attributes(s, 0x0004_0072)
    }),
    ("key that does not sign", "ak-not-signing", |s, _| {
        with_attributes(s, 0x0001_0072)
    }),
    ("key that decrypts", "ak-decrypts", |s, _| {
        with_attributes(s, 0x0007_0072)
    }),
    ("key that can leave the TPM", "ak-not-fixed-tpm", |s, _| {
        with_attributes(s, 0x0005_0070)
    }),
    ("key that can leave its parent", "ak-not-fixed-parent", |s, _| {
        with_attributes(s, 0x0005_0062)
    }),
    ("key from outside", "ak-imported", |s, _| {
        with_attributes(s, 0x0005_0052)
    }),
    ("key of another hash", "ak-algorithm", |s, _| {
        s.evidence.tpm.ak_public[3] = 0x0C
    }),
    ("byte behind the key", "ak-malformed", |s, _| {
        s.evidence.tpm.ak_public.push(0)
    }),
    // Endorsement key and enrolment.
    ("another box altogether", "ek-chain-foreign", |s, _| {
        impersonate(s, &CertificateForm::default());
    }),
    (
        "attestation key swapped, quote signed anew",
        "ak-not-enrolled",
        |s, w| {
            impersonate(s, &CertificateForm::default());
            s.evidence.tpm.ek_certificates.clone_from(&w.second.tpm.ek_certificates);
        },
    ),
    ("no certificate", "ek-certificate-missing", |s, _| {
        s.evidence.tpm.ek_certificates.clear()
    }),
    ("intermediate left out", "ek-chain-foreign", |s, _| {
        s.evidence.tpm.ek_certificates.truncate(1)
    }),
    ("certificate changed", "ek-chain-signature", |s, _| {
        *s.evidence.tpm.ek_certificates[0].last_mut().unwrap() ^= 1;
    }),
    ("certificate that is none", "ek-certificate-malformed", |s, _| {
        s.evidence.tpm.ek_certificates[0] = b"certificate".to_vec();
    }),
    ("an authority's certificate", "ek-chain-path", |s, _| {
        s.evidence.tpm.ek_certificates.remove(0);
    }),
    (
        "certificate of another key of this maker",
        "ek-not-certified",
        |s, w| {
            s.evidence.tpm.ek_certificates[0].clone_from(&w.other_certificate);
        },
    ),
    ("before the certificate", "ek-chain-not-yet-valid", |s, _| {
        s.time = 946_684_800
    }),
    ("long after the certificate", "ek-chain-expired", |s, _| {
        s.time = 1 << 38
    }),
];
