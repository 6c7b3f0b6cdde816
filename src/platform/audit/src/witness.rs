//! A witness's key: an auditor says by it that a log was consistent with all that they saw of it before. Pure; whoever
//! calls [`WitnessKey::cosign`] has verified that first.

use crate::checkpoint::{Checkpoint, NotACheckpoint};
use crate::key::{NotAKey, TYPE_COSIGNATURE, VerifierKey, cosigned, hex};
use crate::note::{Note, NoteSignature};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lamchat_base::{Entropy, Secret};
use zeroize::Zeroizing;

/// The secret key of a witness.
#[derive(Debug)]
pub struct WitnessKey {
    name: String,
    seed: Secret<32>,
    pair: Ed25519KeyPair,
}

/// Why a text is no secret key of a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WitnessKeyError {
    /// Not `PRIVATE+KEY+name+id+base64` with an Ed25519 cosigning key.
    #[error("this is not the secret key of a witness; `lamchat audit witness-key` makes one")]
    Form,
    /// Names of keys have no spaces and no `+`.
    #[error("the name of a key is printable ASCII without spaces and without +, such as auditor.example.org")]
    Name,
}

/// What stands before a secret key.
const PREFIX: &str = "PRIVATE+KEY+";

impl WitnessKey {
    /// A new key.
    pub fn generate(name: &str, entropy: &dyn Entropy) -> Result<Self, WitnessKeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        entropy.fill(&mut *seed);
        Self::new(name, &seed).map_err(|_| WitnessKeyError::Name)
    }

    fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NotAKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NotAKey)?;
        let key = Self {
            name: name.to_owned(),
            seed: Secret::new(*seed),
            pair,
        };
        // A name that cannot stand in a note is refused here.
        key.public()?;
        Ok(key)
    }

    /// Reads `PRIVATE+KEY+name+hex(key ID)+base64(type || seed)`, as Go's signed notes write secret keys.
    pub fn parse(text: &str) -> Result<Self, WitnessKeyError> {
        let form = WitnessKeyError::Form;
        let rest = text.trim_end_matches('\n').strip_prefix(PREFIX).ok_or(form)?;
        let (name, rest) = rest.split_once('+').ok_or(form)?;
        let (id, base64) = rest.split_once('+').ok_or(form)?;
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(base64).map_err(|_| form)?);
        let Some((&TYPE_COSIGNATURE, seed)) = bytes.split_first() else {
            return Err(form);
        };
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| form)?);
        let key = Self::new(name, &seed).map_err(|_| form)?;
        let is_same = key.public().is_ok_and(|public| hex(&public.id()) == id);
        if is_same { Ok(key) } else { Err(form) }
    }

    /// The text that [`WitnessKey::parse`] reads; secret.
    pub fn to_text(&self) -> Result<Zeroizing<String>, NotAKey> {
        let bytes = Zeroizing::new([&[TYPE_COSIGNATURE], &self.seed.expose()[..]].concat());
        let base64 = Zeroizing::new(BASE64_STANDARD.encode(&*bytes));
        let id = hex(&self.public()?.id());
        Ok(Zeroizing::new(format!("{PREFIX}{}+{id}+{}\n", self.name, *base64)))
    }

    /// The public key, for those who verify.
    pub fn public(&self) -> Result<VerifierKey, NotAKey> {
        let public = self.pair.public_key().as_ref().try_into().map_err(|_| NotAKey)?;
        VerifierKey::of_witness(&self.name, public)
    }

    /// Adds this witness's signature to a checkpoint: "as of the specified time, the consistent tree head with the
    /// largest size the cosigner has observed … has the specified root hash".
    pub fn cosign(&self, note: &mut Note, time_s: u64) -> Result<(), NotACheckpoint> {
        Checkpoint::parse(&note.text)?;
        let signature = self.pair.sign(cosigned(time_s, &note.text).as_bytes());
        note.add(NoteSignature {
            name: self.name.clone(),
            key_id: self.public().map_err(|_| NotACheckpoint)?.id(),
            bytes: [&time_s.to_be_bytes(), signature.as_ref()].concat(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{WitnessKey, WitnessKeyError};
    use crate::note::Note;
    use lamchat_base::Entropy;

    struct Sevens;
    impl Entropy for Sevens {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(7);
        }
    }

    #[test]
    fn a_cosignature_verifies_for_its_text_and_time_only() {
        let key = WitnessKey::generate("auditor.example.org", &Sevens).unwrap();
        let text = key.to_text().unwrap();
        let key = WitnessKey::parse(&text).unwrap();
        assert!(!format!("{key:?}").contains("7, 7"), "a secret in Debug output");
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        let mut note = Note {
            text: format!("log\n3\n{root}\n"),
            signatures: Vec::new(),
        };
        key.cosign(&mut note, 1_679_315_147).unwrap();
        key.cosign(&mut note, 1_679_315_148).unwrap();
        assert_eq!(note.signatures.len(), 1, "the newer replaces the older");
        let note = Note::parse(&note.to_string()).unwrap();
        let public = key.public().unwrap();
        assert_eq!(public.check(&note).unwrap().unwrap().time_s, Some(1_679_315_148));
        let mut later = note.clone();
        later.signatures[0].bytes[7] ^= 1;
        assert!(public.check(&later).is_err());
        let mut longer = note.clone();
        longer.text = longer.text.replace('3', "4");
        assert!(public.check(&longer).is_err());
        assert_eq!(WitnessKey::generate("a b", &Sevens).unwrap_err(), WitnessKeyError::Name);
        assert!(WitnessKey::parse(&text.replace("auditor", "author")).is_err());
    }
}
