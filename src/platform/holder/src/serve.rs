//! The holder's side: answers the exchange until it goes, and whoever types something.

use crate::frame::{self, FrameError};
use crate::on_box::left_to_process_1;
use crate::peer::{self, PeerError};
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::Network;
use crate::state::{Holder, Refusal, refused_key};
use crate::typed::Typed;
use crate::wire::MalformedError;
use crate::{audit, wire};
use nix::unistd::Pid;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long somebody at the holder's own socket may take to say what they want, or to take the answer.
const TYPED_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the holder stopped answering.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The other end is not who it should be.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The stream failed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame is not as documented.
    #[error(transparent)]
    Malformed(#[from] MalformedError),
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Socket(#[from] std::io::Error),
}

/// Answers the exchange at the other end of `stream` until it closes it; what waits for somebody ends when `gone` says so.
/// Blocks.
pub fn serve(mut stream: UnixStream, holder: &Holder, gone: &AtomicBool) -> Result<(), ServeError> {
    loop {
        let request = match frame::read(&mut stream) {
            Err(FrameError::Ended) => return Ok(()),
            other => Request::parse(&other?)?,
        };
        let reply = answer(request, holder, gone).unwrap_or_else(|Refusal(reason, text)| Reply::Refused(reason, text));
        frame::write(&mut stream, &reply.encode())?;
    }
}

fn answer(request: Request, holder: &Holder, gone: &AtomicBool) -> Result<Reply, Refusal> {
    match request {
        Request::Open { create } => holder.open(create),
        Request::AwaitUnlock => holder.await_unlock(gone),
        Request::Ready => {
            holder.notices.ready();
            Ok(Reply::Done)
        }
        Request::Status => holder.status(),
        // Which images a box may start is not the exchange's to say, nor to change by a slot of its own.
        Request::AddTpm { .. } | Request::RaiseFloor { .. } if holder.setup.on_box => Err(left_to_process_1()),
        Request::AddTpm { force } => holder.add_tpm(force, None).map(Reply::Slot),
        Request::Rebind { slot, force } => holder.rebind(slot, force, None).map(Reply::Slot),
        Request::AddFile => holder.add_file().map(Reply::Slot),
        Request::Remove(slot) => holder.remove(slot),
        Request::Rotate(purpose) => {
            let made = holder.keyring()?.rotate(purpose);
            made.map(Reply::Key).map_err(refused_key)
        }
        Request::Export => holder.export(),
        Request::BackupKey(salt) => Ok(Reply::Secret(holder.keyring()?.backup_key(&salt))),
        Request::LogIdentity(origin) => holder.with_notary(|notary| audit::identity(notary, &origin)),
        Request::TpmMake => holder.tpm_make(),
        Request::SignHead { checkpoint, proof } => holder.with_log(|notary| audit::sign(notary, &checkpoint, &proof)),
        Request::PlanKey => holder.with_notary(audit::plan),
        Request::ChangeKey {
            checkpoint,
            proof,
            entry,
            peaks,
        } => holder.with_log(|notary| audit::change(notary, &checkpoint, &proof, &entry, &peaks)),
        Request::LastKeyChange(origin) => holder.with_notary(|notary| Ok(audit::last_change(notary, &origin))),
        Request::ReadAnchor => holder.anchored(),
        Request::WriteAnchor(anchor) => holder.anchor(anchor),
        Request::AwaitHand { another_log } => holder.await_hand(another_log, gone),
        Request::LogLost => holder.with_notary(|notary| Ok(audit::lost(notary))),
        Request::ForgetFormer => holder.forget_former(),
        Request::RaiseFloor { floor, bootable, force } => {
            holder.raise_floor(floor, &bootable, force, None).map(|_| Reply::Done)
        }
        Request::Evidence {
            nonce,
            origin,
            statement,
            sealed,
        } => holder.evidence(&nonce, &origin, &statement, &sealed),
        Request::EkCertificates(certificates) => holder.complete_chain(certificates),
        Request::EnrolmentRequest => holder.enrolment_request(),
        Request::Activate(challenge) => holder.activate(&challenge),
    }
}

/// Answers people at the holder's own socket, one after the other, for as long as the process lives; `exchange` is no
/// such process, where it is of the same user. Blocks.
pub fn serve_typed(
    listener: &UnixListener,
    holder: &Holder,
    network: Network,
    exchange: Option<Pid>,
) -> Result<(), ServeError> {
    loop {
        let (stream, _) = listener.accept()?;
        match answer_typed(stream, holder, network, exchange) {
            // Whoever asks and goes away is no problem of the holder's.
            Ok(()) | Err(ServeError::Frame(FrameError::Ended)) => {}
            Err(error) => tracing::warn!(%error, "a connection to the key holder was closed"),
        }
    }
}

fn answer_typed(
    mut stream: UnixStream,
    holder: &Holder,
    network: Network,
    exchange: Option<Pid>,
) -> Result<(), ServeError> {
    let peer = peer::administrator(&stream, network, exchange)?;
    stream.set_read_timeout(Some(TYPED_TIMEOUT))?;
    stream.set_write_timeout(Some(TYPED_TIMEOUT))?;
    let request = Typed::parse(&frame::read(&mut stream)?)?;
    let reply = holder.act(request, peer);
    let reply = reply.unwrap_or_else(|Refusal(reason, sentence)| Reply::Refused(reason, wire::capital(&sentence)));
    frame::write(&mut stream, &reply.encode())?;
    Ok(())
}
