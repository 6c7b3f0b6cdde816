//! The key holder: a process of its own, without network, that opens the keyring, talks to the TPM and signs the audit
//! log; and the other end's way to ask it. `PROTOCOL.md` beside this crate documents every byte between them.
//!
//! The exchange is handed data keys and never sees the master key, a recovery key in use, a passphrase, a PIN or the
//! TPM. What people type goes to the holder's own socket.
//!
//! What must never happen here: an answer to a peer of another user, a frame that is guessed at, a secret in an error,
//! an act of somebody's that the audit log does not know of.

mod act;
mod anchor;
mod attest;
mod audit;
mod blame;
mod client;
mod deadline;
mod erase;
mod files;
mod floor;
mod frame;
mod guesses;
mod hand;
mod hardware;
mod image;
mod known;
mod notice;
mod notices;
mod on_box;
mod open;
mod peer;
mod pin;
mod renew;
mod reply;
mod request;
mod retired;
mod run;
mod sandbox;
mod sealer;
mod serve;
mod state;
#[cfg(test)]
mod tests;
mod tpm;
mod typed;
mod wire;

pub use anchor::Anchored;
pub use blame::Blame;
pub use client::{AskError, Client, Opened, ask_typed, listen};
pub use files::{FOLDER, FolderError};
pub use frame::{FRAME_BYTES_MAX, FrameError};
pub use image::{IMAGE_PCR, ImageSeal, Release, SlotSeal};
pub use known::Watcher;
pub use lamchat_tpm::{Anchor, Standing};
pub use notice::{Ack, Act, Notice, State};
pub use notices::{AckReader, Notices};
pub use peer::PeerError;
pub use reply::{Force, HolderStatus, PinUse, Reason, Reply, TpmStatus};
pub use request::{Request, Sealed};
pub use run::{Post, RunError, run, run_on_box};
pub use sandbox::{Files, Network, SandboxError, TpmPlace, confine, leave_network};
pub use serve::{ServeError, serve, serve_typed};
pub use state::{Holder, Setup};
pub use tpm::Tpm;
pub use typed::Typed;
pub use wire::{BOOTABLE_MAX, MalformedError};

/// The socket for what people type, in the holder's folder.
pub const SOCKET: &str = "holder.socket";
/// The file whose lock says that a holder is there.
const LOCK: &str = "lock";
