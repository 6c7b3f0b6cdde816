//! A server of network block devices for one machine: the NBD protocol, doc/proto.md of the project nbd, as far as QEMU
//! asks: the fixed newstyle handshake with NBD_OPT_GO, and simple replies.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// "NBDMAGIC", "IHAVEOPT".
const GREETING: [u64; 2] = [0x4e42_444d_4147_4943, 0x4948_4156_454f_5054];
/// NBD_FLAG_FIXED_NEWSTYLE, NBD_FLAG_NO_ZEROES.
const HANDSHAKE_FLAGS: u16 = 0b11;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;
const OPT_ABORT: u32 = 2;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = (1 << 31) + 1;
/// NBD_FLAG_HAS_FLAGS, SEND_FLUSH, SEND_TRIM, SEND_WRITE_ZEROES: QEMU makes a flush of what it calls FUA.
const DEVICE_FLAGS: u16 = 1 | 1 << 2 | 1 << 5 | 1 << 6;
const REQUEST: u32 = 0x2560_9513;
const REPLY: u32 = 0x6744_6698;
const EIO: u32 = 5;
const EINVAL: u32 = 22;
/// Longest request; QEMU sends 32 MiB at most.
const REQUEST_BYTES_MAX: u32 = 64 << 20;

/// What a machine's controller asks of its disk. An error is answered as EIO.
pub trait Device {
    /// Bytes.
    fn length(&self) -> u64;
    /// Fills the buffer from an offset on.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Takes bytes; for good only after a flush.
    fn write(&mut self, offset: u64, bytes: Vec<u8>) -> Result<()>;
    /// Everything that was answered is for good when this returns.
    fn flush(&mut self) -> Result<()>;
    /// Whether it answers nothing any more.
    fn is_dead(&self) -> bool;
}

fn two(stream: &mut impl Read) -> Result<u16> {
    let mut bytes = [0; 2];
    stream.read_exact(&mut bytes).map(|()| u16::from_be_bytes(bytes))
}

fn four(stream: &mut impl Read) -> Result<u32> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).map(|()| u32::from_be_bytes(bytes))
}

fn eight(stream: &mut impl Read) -> Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes).map(|()| u64::from_be_bytes(bytes))
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

/// Agrees on the one device there is; whether the client goes on with it.
fn shake_hands(stream: &mut (impl Read + Write), length: u64) -> Result<bool> {
    for word in GREETING {
        stream.write_all(&word.to_be_bytes())?;
    }
    stream.write_all(&HANDSHAKE_FLAGS.to_be_bytes())?;
    // The client's flags: without zeros or with them makes no difference after NBD_OPT_GO.
    four(stream)?;
    loop {
        if eight(stream)? != GREETING[1] {
            return Err(wrong("an option without its mark"));
        }
        let (option, bytes) = (four(stream)?, four(stream)?);
        std::io::copy(&mut stream.take(u64::from(bytes)), &mut std::io::sink())?;
        match option {
            OPT_INFO | OPT_GO => {
                // NBD_INFO_EXPORT: type 0, length, flags.
                let mut info = vec![0; 2];
                info.extend(length.to_be_bytes());
                info.extend(DEVICE_FLAGS.to_be_bytes());
                answer(stream, option, REP_INFO, &info)?;
                answer(stream, option, REP_ACK, &[])?;
                if option == OPT_GO {
                    return Ok(true);
                }
            }
            OPT_ABORT => {
                answer(stream, option, REP_ACK, &[])?;
                return Ok(false);
            }
            _ => answer(stream, option, REP_ERR_UNSUP, &[])?,
        }
    }
}

fn answer(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> Result<()> {
    let mut reply = OPTION_REPLY.to_be_bytes().to_vec();
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    reply.extend(data);
    stream.write_all(&reply)
}

/// Serves a client to its end; a device that is dead leaves it waiting.
pub fn serve(stream: &mut (impl Read + Write), device: &mut impl Device) -> Result<()> {
    if !shake_hands(stream, device.length())? {
        return Ok(());
    }
    loop {
        if four(stream)? != REQUEST {
            return Err(wrong("a request without its mark"));
        }
        let (_flags, kind, cookie) = (two(stream)?, two(stream)?, eight(stream)?);
        let (offset, length) = (eight(stream)?, four(stream)?);
        // NBD_CMD_DISC has no answer.
        if kind == 2 {
            return Ok(());
        }
        if length > REQUEST_BYTES_MAX || offset.saturating_add(u64::from(length)) > device.length() {
            return Err(wrong("a request that is too long or behind the end"));
        }
        let mut data = Vec::new();
        // A flush names no bytes, and what is discarded has none.
        if [0, 1, 6].contains(&kind) {
            data.resize(usize::try_from(length).unwrap(), 0);
        }
        let done = match kind {
            0 => device.read(offset, &mut data),
            1 => {
                stream.read_exact(&mut data)?;
                device.write(offset, std::mem::take(&mut data))
            }
            3 => device.flush(),
            // NBD_CMD_TRIM: what is there afterwards is not defined, so it may be what was there.
            4 => Ok(()),
            // NBD_CMD_WRITE_ZEROES.
            6 => device.write(offset, std::mem::take(&mut data)),
            _ => Err(ErrorKind::Unsupported.into()),
        };
        if device.is_dead() {
            std::io::copy(stream, &mut std::io::sink())?;
            return Ok(());
        }
        let error = match &done {
            Ok(()) => 0,
            Err(error) if error.kind() == ErrorKind::Unsupported => EINVAL,
            Err(_) => EIO,
        };
        let mut reply = REPLY.to_be_bytes().to_vec();
        reply.extend(error.to_be_bytes());
        reply.extend(cookie.to_be_bytes());
        if done.is_ok() {
            reply.extend(data);
        }
        stream.write_all(&reply)?;
    }
}
