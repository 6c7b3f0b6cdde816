//! A question to the controller, and its answer's form.

use std::io;

/// Network function "Sensor/Event" (5.1).
pub(super) const SENSOR: u8 = 0x04;
/// Network function "App".
pub(super) const APPLICATION: u8 = 0x06;
/// Network function "Storage".
pub(super) const STORAGE: u8 = 0x0a;
/// Network function "Transport".
pub(super) const TRANSPORT: u8 = 0x0c;

/// Why a controller tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum BmcError {
    /// It does not answer.
    #[error("it does not answer: {0}")]
    Silent(#[from] io::Error),
    /// It answers with a completion code (5.2).
    #[error("it refuses (completion code {0:#04x})")]
    Refused(u8),
    /// Its answer is shorter than the specification says.
    #[error("its answer is too short")]
    Short,
    /// Its list of sensors changes all the time, or never ends.
    #[error("its list of sensors cannot be read in one piece")]
    Restless,
}

/// Sends a network function, a command and its data to the controller itself, and returns the answer, with the completion
/// code as its first byte. Bounds its time by itself.
pub type Ask<'a> = dyn FnMut(u8, u8, &[u8]) -> io::Result<Vec<u8>> + 'a;

/// The way to it.
pub(super) struct Bmc<'a> {
    ask: &'a mut Ask<'a>,
}

impl<'a> Bmc<'a> {
    pub(super) fn new(ask: &'a mut Ask<'a>) -> Self {
        Self { ask }
    }

    /// The answer's data.
    pub(super) fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, BmcError> {
        let mut answer = (self.ask)(function, command, data)?;
        match answer.first() {
            None => Err(BmcError::Short),
            Some(0) => {
                answer.remove(0);
                Ok(answer)
            }
            Some(code) => Err(BmcError::Refused(*code)),
        }
    }
}

/// The first bytes of an answer.
pub(super) fn first<const N: usize>(answer: &[u8]) -> Result<&[u8; N], BmcError> {
    answer.first_chunk().ok_or(BmcError::Short)
}
