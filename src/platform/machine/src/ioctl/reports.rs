//! Reports of a human interface device. The number of the request says how long the buffer is.

use super::commands::number;
use nix::errno::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use std::ffi::c_void;
use std::fs::File;

/// Which of a device's reports: include/uapi/linux/hidraw.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// `HIDIOCGFEATURE(len)`
    Feature,
    /// `HIDIOCGINPUT(len)`
    Input,
}

/// The longest report: `HID_MAX_BUFFER_SIZE`, include/linux/hid.h.
const REPORT_BYTES_MAX: usize = 16 * 1024 - 1;

struct Get<'a> {
    kind: Report,
    buffer: &'a mut [u8],
}

// SAFETY: the number has the buffer's own length, and the kernel reads and writes no more than that; the buffer lives
// through the call, and any bytes in it are valid.
unsafe impl Ioctl for Get<'_> {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        let which = match self.kind {
            Report::Feature => 0x07,
            Report::Input => 0x0a,
        };
        number(3, self.buffer.len(), b'H', which)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.buffer.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<IoctlOutput> {
        Ok(output)
    }
}

/// Reads a report: its number is the buffer's first byte, also where the device has but one, 0. Answers how many bytes of
/// the buffer were written, the number among them.
pub fn hid_report(device: &File, kind: Report, buffer: &mut [u8]) -> Result<usize, Errno> {
    if buffer.len() < 2 || buffer.len() > REPORT_BYTES_MAX {
        return Err(Errno::EINVAL);
    }
    // SAFETY: as the implementation says.
    let written = unsafe { ioctl(device, Get { kind, buffer }) };
    let written = written.map_err(|error| Errno::from_raw(error.raw_os_error()))?;
    usize::try_from(written).map_err(|_| Errno::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let opcode = |kind, bytes: usize| {
            let buffer = &mut vec![0; bytes];
            Get { kind, buffer }.opcode()
        };
        // What `gcc` makes of the kernel's header.
        assert_eq!(opcode(Report::Feature, 2), 0xc002_4807);
        assert_eq!(opcode(Report::Input, 256), 0xc100_480a);
    }

    #[test]
    fn a_file_has_no_reports() {
        let file = tempfile::tempfile();
        let asked = file.map(|file| hid_report(&file, Report::Feature, &mut [0; 8]));
        assert!(matches!(asked, Ok(Err(Errno::ENOTTY))));
    }
}
