//! The way to a stick's files. What comes from there is a stranger's: it is bounded, and nothing else is said of it.

use crate::wire::{About, Answer, Entry, Frame, Request, malformed, receive, send_content, send_end, send_json};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the other process may be silent: it works on a step for a minute, and a slow stick syncs as long.
const SILENCE_MAX: Duration = Duration::from_secs(150);

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum StickError {
    /// The process says so: a sentence for the operator.
    #[error("{0}")]
    Refused(String),
    /// The process has ended, is silent, or says something else than it should.
    #[error("the process that reads the stick failed, as a damaged stick may do it: {0}")]
    Gone(#[from] std::io::Error),
    /// A file was left in the middle.
    #[error("a file of the stick was not read or written to its end")]
    Left,
}

/// A connection to the process that has a stick.
#[derive(Debug)]
pub struct Stick {
    stream: UnixStream,
    /// Whether a file is being read or written, so that the next answer would be part of it.
    is_amid: bool,
    /// Bytes of the file that is being read which have not come yet.
    left: u64,
    /// What has come of it, and how much of that was taken.
    chunk: Vec<u8>,
    at: usize,
}

impl Stick {
    /// Over the socket whose other end that process has.
    pub fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Self {
            stream,
            is_amid: false,
            left: 0,
            chunk: Vec::new(),
            at: 0,
        })
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, StickError> {
        if self.is_amid {
            return Err(StickError::Left);
        }
        send_json(&mut self.stream, request)?;
        self.hear()
    }

    fn hear(&mut self) -> Result<Answer, StickError> {
        match receive(&mut self.stream)? {
            Some(Frame::Json(bytes)) => match serde_json::from_slice(&bytes).map_err(std::io::Error::from)? {
                Answer::Failed { reason } => Err(StickError::Refused(plain(&reason))),
                answer => Ok(answer),
            },
            Some(_) => Err(malformed().into()),
            None => Err(ended()),
        }
    }

    /// What the stick is.
    pub fn about(&mut self) -> Result<About, StickError> {
        match self.ask(&Request::About)? {
            Answer::About(about) => Ok(About {
                label: plain(&about.label),
                kind: plain(&about.kind),
                ..about
            }),
            _ => Err(malformed().into()),
        }
    }

    /// The names in a folder; the empty path is the first one.
    pub fn list(&mut self, path: &str) -> Result<Vec<Entry>, StickError> {
        match self.ask(&Request::List { path: path.to_owned() })? {
            Answer::Entries { entries } => Ok(entries),
            _ => Err(malformed().into()),
        }
    }

    /// A new folder; refused where there is something of this name.
    pub fn make_folder(&mut self, path: &str) -> Result<(), StickError> {
        match self.ask(&Request::MakeFolder { path: path.to_owned() })? {
            Answer::Done => Ok(()),
            _ => Err(malformed().into()),
        }
    }

    /// The content of a file of at most `bytes_max` bytes.
    pub fn read(&mut self, path: &str, bytes_max: u64) -> Result<FileReader<'_>, StickError> {
        let bytes = self.begin(path, bytes_max)?;
        Ok(FileReader { stick: self, bytes })
    }

    /// Begins a file of at most `bytes_max` bytes, and answers how many it has. [`Stick::content`] until it ends.
    pub fn begin(&mut self, path: &str, bytes_max: u64) -> Result<u64, StickError> {
        let path = path.to_owned();
        match self.ask(&Request::Read { path, bytes_max })? {
            Answer::File { bytes } => {
                (self.is_amid, self.left) = (true, bytes);
                (self.chunk, self.at) = (Vec::new(), 0);
                self.take_end()?;
                Ok(bytes)
            }
            _ => Err(malformed().into()),
        }
    }

    /// The next bytes of the file that was begun; none at its end. An error is one of `std::io`, whose text is the
    /// process's sentence.
    pub fn content(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.chunk.len() && self.left > 0 {
            self.turn()?;
        }
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.at += length;
        Ok(length)
    }

    /// Takes the content's end as soon as nothing else can come, so that whoever reads no further is not amid it.
    fn take_end(&mut self) -> std::io::Result<()> {
        if self.left > 0 || !self.is_amid {
            return Ok(());
        }
        match receive(&mut self.stream)? {
            Some(Frame::End) => {
                self.is_amid = false;
                Ok(())
            }
            Some(_) => Err(malformed()),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn turn(&mut self) -> std::io::Result<()> {
        match receive(&mut self.stream)? {
            Some(Frame::Content(bytes)) if bytes.len() as u64 <= self.left && !bytes.is_empty() => {
                self.left -= bytes.len() as u64;
                (self.chunk, self.at) = (bytes, 0);
                self.take_end()
            }
            Some(Frame::Json(bytes)) => match serde_json::from_slice(&bytes)? {
                Answer::Failed { reason } => {
                    (self.is_amid, self.left) = (false, 0);
                    Err(std::io::Error::other(plain(&reason)))
                }
                _ => Err(malformed()),
            },
            Some(_) => Err(malformed()),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// A whole file of at most `bytes_max` bytes.
    pub fn read_small(&mut self, path: &str, bytes_max: u64) -> Result<Vec<u8>, StickError> {
        let mut bytes = Vec::new();
        self.read(path, bytes_max)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Begins a new file; refused where there is something of this name. [`Stick::push`] its content, then
    /// [`Stick::end`] it.
    pub fn create(&mut self, path: &str) -> Result<(), StickError> {
        match self.ask(&Request::Write { path: path.to_owned() })? {
            Answer::Ready => {
                self.is_amid = true;
                Ok(())
            }
            _ => Err(malformed().into()),
        }
    }

    /// The next bytes of the file that was begun. A refusal comes at its end.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), StickError> {
        Ok(send_content(&mut self.stream, bytes)?)
    }

    /// The end of the file; it is on the stick for good when this returns.
    pub fn end(&mut self) -> Result<(), StickError> {
        send_end(&mut self.stream)?;
        self.is_amid = false;
        match self.hear()? {
            Answer::Done => Ok(()),
            _ => Err(malformed().into()),
        }
    }

    /// A new file with this content, on the stick for good when it returns.
    pub fn write_small(&mut self, path: &str, content: &[u8]) -> Result<(), StickError> {
        self.create(path)?;
        self.push(content)?;
        self.end()
    }

    /// Leaves the file system clean, and everything on the stick for good: it may be pulled.
    pub fn close(mut self) -> Result<(), StickError> {
        match self.ask(&Request::Close)? {
            Answer::Done => Ok(()),
            _ => Err(malformed().into()),
        }
    }
}

/// Without what could confuse a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

fn ended() -> StickError {
    std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()
}

/// A file's content. An error comes as one of `std::io`, whose text is the process's sentence.
#[derive(Debug)]
pub struct FileReader<'s> {
    stick: &'s mut Stick,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stick.content(buffer)
    }
}
