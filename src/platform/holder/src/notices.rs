//! The holder's side of the notices: acts wait until the exchange has noted them.

use crate::frame::{self, FrameError};
use crate::notice::{Ack, Notice};
use crate::reply::Reason;
use crate::serve::ServeError;
use crate::state::Refusal;
use crate::wire::MalformedError;
use parking_lot::Mutex;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Notices that wait until the exchange listens. Wrong keys are slowed down to one a minute; of more than these the last
/// ones count.
const KEPT_MAX: usize = 64;
/// How long the exchange may take to note something: as long as a full disk or a checkpoint makes it wait.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Notices on their way to the exchange.
#[derive(Debug)]
pub struct Notices(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The way to the exchange, while there is one.
    link: Option<(UnixStream, Receiver<Ack>)>,
    /// Of the time before the exchange listened.
    kept: Vec<Notice>,
    ready: bool,
}

/// Reads the exchange's answers; its end is the end of the holder.
#[derive(Debug)]
pub struct AckReader {
    stream: UnixStream,
    sender: SyncSender<Ack>,
}

impl Notices {
    /// Over the stream whose other end the exchange has.
    pub fn new(stream: UnixStream) -> std::io::Result<(Self, AckReader)> {
        let notices = Self::unattached();
        let reader = notices.attach(stream)?;
        Ok((notices, reader))
    }

    /// To nobody yet.
    pub fn unattached() -> Self {
        Self(Mutex::default())
    }

    /// To the exchange at the other end of this stream, in place of one that is gone.
    pub(crate) fn attach(&self, stream: UnixStream) -> std::io::Result<AckReader> {
        // One notice is on its way at a time.
        let (sender, acks) = sync_channel(1);
        let reader = AckReader {
            stream: stream.try_clone()?,
            sender,
        };
        let mut state = self.0.lock();
        state.link = Some((stream, acks));
        state.ready = false;
        Ok(reader)
    }

    /// The exchange is gone; what was kept waits for the next one.
    pub(crate) fn detach(&self) {
        let mut state = self.0.lock();
        state.link = None;
        state.ready = false;
    }

    /// Whether an exchange listens.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.lock().ready
    }

    /// Keeps a notice of something that was done or tried before the exchange could listen.
    pub(crate) fn keep(&self, notice: Notice) {
        let mut state = self.0.lock();
        if state.kept.len() >= KEPT_MAX {
            state.kept.remove(0);
        }
        state.kept.push(notice);
    }

    /// The exchange listens from now on: it gets what was kept.
    pub(crate) fn ready(&self) {
        let mut state = self.0.lock();
        state.ready = true;
        // On a full disk nothing can be noted yet; then the next act has to wait for it.
        if let Err(Refusal(_, sentence)) = state.flush() {
            tracing::error!(sentence, "what was typed before the start is not in the audit log yet");
        }
    }

    /// Tells the exchange, and waits until it has noted it.
    pub(crate) fn tell(&self, notice: &Notice) -> Result<(), Refusal> {
        let mut state = self.0.lock();
        if !state.ready {
            let sentence = "the server is still starting: try again when it runs";
            return Err(Refusal(Reason::NotNow, sentence.to_owned()));
        }
        state.flush()?;
        state.tell(notice)
    }
}

impl State {
    /// Tells what was kept.
    fn flush(&mut self) -> Result<(), Refusal> {
        while let Some(notice) = self.kept.first().copied() {
            self.tell(&notice)?;
            self.kept.remove(0);
        }
        Ok(())
    }

    fn tell(&mut self, notice: &Notice) -> Result<(), Refusal> {
        let refused = |why: &dyn std::fmt::Display| {
            let sentence = format!("it could not be noted in the audit log, without which nothing is done: {why}");
            Refusal(Reason::NotNoted, sentence)
        };
        let Some((stream, acks)) = &mut self.link else {
            return Err(refused(&"the server is gone"));
        };
        frame::write(stream, &notice.encode()).map_err(|error| refused(&error))?;
        match acks.recv_timeout(ACK_TIMEOUT) {
            Ok(Ack::Noted) => Ok(()),
            Ok(Ack::NotNoted) => Err(refused(&"the server's log says why")),
            Err(RecvTimeoutError::Timeout) => {
                // A late answer must not be taken for one to a later notice.
                self.ready = false;
                Err(refused(&"the server does not answer"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(refused(&"the server is gone")),
        }
    }
}

impl AckReader {
    /// Reads until the exchange closes its end. Blocks.
    pub fn run(mut self) -> Result<(), ServeError> {
        loop {
            let frame = match frame::read(&mut self.stream) {
                Err(FrameError::Ended) => return Ok(()),
                other => other?,
            };
            match self.sender.try_send(Ack::parse(&frame)?) {
                Ok(()) => {}
                // An answer that nobody waits for.
                Err(TrySendError::Full(_)) => return Err(MalformedError.into()),
                Err(TrySendError::Disconnected(_)) => return Ok(()),
            }
        }
    }
}
