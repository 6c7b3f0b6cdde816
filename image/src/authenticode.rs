//! Signatures that firmware checks: Authenticode on programs (Microsoft, "Windows Authenticode Portable Executable
//! Signature Format") and on Secure Boot's variables (UEFI 2.10, 8.2.2). Neither has a time in it, and RSA with
//! PKCS #1 v1.5 is deterministic: equal inputs give equal bytes.

use crate::der::{self, OCTET_STRING, SEQUENCE, SET, algorithm, context, element, oid};
use crate::keys::{Certificate, KeyError, SigningCertificate};
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
    let statement = Statement::of(&pe::authenticode(program)?);
    let signature = signer.sign(&statement.message())?;
    Ok(statement.signed(signer.public(), &signature))
}

/// Whether this is [`signature`] of a program with that digest, by the key of that certificate, byte for byte.
pub fn is_signature(signed: &[u8], digest: &Sha256, signer: &Certificate) -> bool {
    let statement = Statement::of(digest);
    let signature = signer.signature_at_end(signed, &statement.message());
    signature.is_some_and(|signature| statement.signed(signer, signature) == signed)
}

/// SignedData over bytes that are elsewhere, as UEFI's variables carry it: no attributes, no outer ContentInfo.
pub fn detached(message: &[u8], signer: &SigningCertificate) -> Result<Vec<u8>, KeyError> {
    Ok(detached_with(signer.public(), &signer.sign(message)?))
}

/// Whether this is [`detached`] of that message, by the key of that certificate, byte for byte.
pub fn is_detached(signed: &[u8], message: &[u8], signer: &Certificate) -> bool {
    let signature = signer.signature_at_end(signed, message);
    signature.is_some_and(|signature| detached_with(signer, signature) == signed)
}

fn detached_with(signer: &Certificate, signature: &[u8]) -> Vec<u8> {
    let encapsulated = element(SEQUENCE, &[&oid(der::DATA)]);
    signed_data(&encapsulated, signer, None, signature)
}

/// What is said of a program, and in which words.
struct Statement {
    content: Vec<u8>,
    attributes: [Vec<u8>; 2],
}

impl Statement {
    fn of(digest: &Sha256) -> Self {
        let content = indirect_data(digest);
        let parts: Vec<&[u8]> = content.iter().map(Vec::as_slice).collect();
        // Of the content without its tag and length: CMS (RFC 5652, 5.4), and Microsoft's reading of it.
        let inner = Sha256::of_parts(&parts);
        let content_type = [
            &oid(der::CONTENT_TYPE)[..],
            &element(SET, &[&oid(der::SPC_INDIRECT_DATA)]),
        ];
        let digest = element(SET, &[&element(OCTET_STRING, &[&inner.0])]);
        Self {
            content: element(SEQUENCE, &parts),
            attributes: [
                element(SEQUENCE, &content_type),
                element(SEQUENCE, &[&oid(der::MESSAGE_DIGEST), &digest]),
            ],
        }
    }

    fn attributes(&self, tag: u8) -> Vec<u8> {
        element(tag, &self.attributes.each_ref().map(Vec::as_slice))
    }

    /// What is signed: the attributes as a SET. In the structure they have an implicit tag.
    fn message(&self) -> Vec<u8> {
        self.attributes(SET)
    }

    fn signed(&self, signer: &Certificate, signature: &[u8]) -> Vec<u8> {
        let content = element(context(0), &[&self.content]);
        let encapsulated = element(SEQUENCE, &[&oid(der::SPC_INDIRECT_DATA), &content]);
        let signed = signed_data(&encapsulated, signer, Some(&self.attributes(context(0))), signature);
        element(SEQUENCE, &[&oid(der::SIGNED_DATA), &element(context(0), &[&signed])])
    }
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
fn signed_data(encapsulated: &[u8], signer: &Certificate, attributes: Option<&[u8]>, signature: &[u8]) -> Vec<u8> {
    let version = [0x02, 0x01, 0x01];
    let info = element(
        SEQUENCE,
        &[
            &version,
            &element(SEQUENCE, &[&signer.issuer, &signer.serial]),
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
            &element(context(0), &[&signer.certificate]),
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
        let digest = pe::authenticode(&program).unwrap();
        assert!(is_signature(&first, &digest, keys.db.public()));
        assert!(!is_signature(&first, &Sha256([7; 32]), keys.db.public()));
        assert!(!is_signature(&first, &digest, keys.kek.public()));
        for place in 0..first.len() {
            let mut changed = first.clone();
            *changed.get_mut(place).unwrap() ^= 1;
            assert!(!is_signature(&changed, &digest, keys.db.public()), "byte {place}");
        }
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
