//! Signatures that firmware checks: Authenticode on programs (Microsoft, "Windows Authenticode Portable Executable
//! Signature Format") and on Secure Boot's variables (UEFI 2.10, 8.2.2). Neither has a time in it, and RSA with
//! PKCS #1 v1.5 is deterministic: equal inputs give equal bytes.

use crate::der::{self, OCTET_STRING, SEQUENCE, SET, algorithm, context, element, oid};
use crate::keys::{KeyError, SigningCertificate};
use crate::pe::{self, PeError};
use lamchat_attestation::Sha256;

/// A program could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The program is not what is expected.
    #[error(transparent)]
    Program(#[from] PeError),
    /// The key refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The signature of a program (PKCS #7, DER), whatever signature the program has.
pub fn signature(program: &[u8], signer: &SigningCertificate) -> Result<Vec<u8>, SignError> {
    let content = indirect_data(&pe::authenticode(program)?);
    // Of the content without its tag and length: CMS (RFC 5652, 5.4), and Microsoft's reading of it.
    let inner = Sha256::of_parts(&content.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let content = element(SEQUENCE, &content.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let content_type = element(
        SEQUENCE,
        &[&oid(der::CONTENT_TYPE), &element(SET, &[&oid(der::SPC_INDIRECT_DATA)])],
    );
    let digest = element(
        SEQUENCE,
        &[
            &oid(der::MESSAGE_DIGEST),
            &element(SET, &[&element(OCTET_STRING, &[&inner.0])]),
        ],
    );
    // What is signed is the attributes as a SET; in the structure they have an implicit tag.
    let signature = signer.sign(&element(SET, &[&content_type, &digest]))?;
    let attributes = element(context(0), &[&content_type, &digest]);
    let encapsulated = element(
        SEQUENCE,
        &[&oid(der::SPC_INDIRECT_DATA), &element(context(0), &[&content])],
    );
    let signed = signed_data(&encapsulated, signer, Some(&attributes), &signature);
    Ok(element(
        SEQUENCE,
        &[&oid(der::SIGNED_DATA), &element(context(0), &[&signed])],
    ))
}

/// SignedData over bytes that are elsewhere, as UEFI's variables carry it: no attributes, no outer ContentInfo.
pub fn detached(message: &[u8], signer: &SigningCertificate) -> Result<Vec<u8>, KeyError> {
    let signature = signer.sign(message)?;
    let encapsulated = element(SEQUENCE, &[&oid(der::DATA)]);
    Ok(signed_data(&encapsulated, signer, None, &signature))
}

/// The parts of SpcIndirectDataContent: what is signed is a program with this digest.
fn indirect_data(digest: &Sha256) -> [Vec<u8>; 2] {
    // The file's name, which nobody uses, as every signing tool writes it.
    let obsolete: Vec<u8> = "<<<Obsolete>>>".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let link = element(context(0), &[&element(context(2), &[&element(0x80, &[&obsolete])])]);
    let image = element(SEQUENCE, &[&element(0x03, &[&[0]]), &link]);
    [
        element(SEQUENCE, &[&oid(der::SPC_PE_IMAGE_DATA), &image]),
        element(
            SEQUENCE,
            &[&algorithm(der::SHA256), &element(OCTET_STRING, &[&digest.0])],
        ),
    ]
}

/// SignedData (RFC 2315, 9.1) with one signer and its certificate.
fn signed_data(
    encapsulated: &[u8],
    signer: &SigningCertificate,
    attributes: Option<&[u8]>,
    signature: &[u8],
) -> Vec<u8> {
    let version = [0x02, 0x01, 0x01];
    let info = element(
        SEQUENCE,
        &[
            &version,
            &element(SEQUENCE, &[signer.issuer(), signer.serial()]),
            &algorithm(der::SHA256),
            attributes.unwrap_or_default(),
            &algorithm(der::RSA_ENCRYPTION),
            &element(OCTET_STRING, &[signature]),
        ],
    );
    element(
        SEQUENCE,
        &[
            &version,
            &element(SET, &[&algorithm(der::SHA256)]),
            encapsulated,
            &element(context(0), &[signer.certificate()]),
            &element(SET, &[&info]),
        ],
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::*;
    use crate::keys::Keys;
    use crate::{pe, secure_boot};

    /// That firmware accepts them is shown by the tests that start one.
    #[test]
    fn signatures_name_digest_and_signer_and_are_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        Keys::make(folder.path()).unwrap();
        let keys = Keys::read(folder.path()).unwrap();
        let again = Keys::read(folder.path()).unwrap();
        let program = crate::pe::example();
        let first = signature(&program, &keys.db).unwrap();
        assert_eq!(first, signature(&program, &again.db).unwrap());
        let has = |wanted: &[u8]| first.windows(wanted.len()).any(|window| window == wanted);
        assert!(has(&pe::authenticode(&program).unwrap().0) && has(keys.db.certificate()));
        assert!(!has(keys.kek.certificate()));
        let signed = pe::with_signature(&program, &first).unwrap();
        assert_eq!(
            signature(&signed, &keys.db).unwrap(),
            first,
            "a signed program is signed as without"
        );
        for bytes in [&b""[..], b"MZ", program.get(..100).unwrap()] {
            assert!(matches!(signature(bytes, &keys.db), Err(SignError::Program(_))));
        }
        let lists = secure_boot::enrolments(&keys).unwrap();
        assert_eq!(
            lists.each_ref().map(|one| one.name),
            ["db", "KEK", "PK"],
            "PK ends the set-up mode"
        );
        for one in &lists {
            assert!(one.update.ends_with(&one.list) && one.update.len() > one.list.len() + 256);
        }
        assert!(Keys::make(folder.path()).is_err(), "keys were overwritten");
    }
}
