//! Reading and writing the TPM's big-endian bytes, bounded and without panic.

/// The bytes end before the structure does, or go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a structure is cut off, too long, or has a value that it cannot have")]
pub struct MalformedError;

/// Takes a structure apart from the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], MalformedError> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(MalformedError)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(MalformedError)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, MalformedError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, MalformedError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, MalformedError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, MalformedError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A TPM2B: two bytes of length, then as many bytes.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], MalformedError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), MalformedError> {
        if self.0.is_empty() { Ok(()) } else { Err(MalformedError) }
    }
}

/// Appends a TPM2B. `bytes` longer than 65,535 bytes cannot be written.
pub(crate) fn put_sized(into: &mut Vec<u8>, bytes: &[u8]) -> Result<(), MalformedError> {
    let length = u16::try_from(bytes.len()).map_err(|_| MalformedError)?;
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(bytes);
    Ok(())
}

/// `bytes` without the zeros at its end: a TPM drops them from authorization values (Part 1, 19.6.4.3), so that both
/// sides must compute without them.
pub(crate) fn without_trailing_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}
