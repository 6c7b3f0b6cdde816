//! Commands to a management controller and to disks. The kernel's structures have pointers to buffers; each lives as long
//! as the call.

use nix::errno::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use std::ffi::c_void;
use std::fs::File;
use std::marker::PhantomData;

/// A structure that the kernel reads and writes, with the buffers that it points to. The result is the call's own number.
struct Command<'a, T, const OPCODE: Opcode> {
    request: T,
    buffers: PhantomData<&'a mut [u8]>,
}

impl<T, const OPCODE: Opcode> Command<'_, T, OPCODE> {
    fn new(request: T) -> Self {
        Self {
            request,
            buffers: PhantomData,
        }
    }

    /// # Safety
    /// `T` is the structure of `OPCODE`, and its pointers are good for as many bytes as it says.
    unsafe fn run(&mut self, device: &File) -> Result<IoctlOutput, Errno> {
        // SAFETY: the caller's promise.
        unsafe { ioctl(device, self) }.map_err(|error| Errno::from_raw(error.raw_os_error()))
    }
}

// SAFETY: the pointer is to the structure itself, which lives through the call and is changed by the kernel alone.
unsafe impl<T, const OPCODE: Opcode> Ioctl for &mut Command<'_, T, OPCODE> {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.request).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<IoctlOutput> {
        Ok(output)
    }
}

/// A number of `_IOC`: direction (1 the kernel reads, 2 it writes), bytes, letter, number.
pub(super) const fn number(direction: u32, bytes: usize, letter: u8, number: u8) -> Opcode {
    direction << 30 | (bytes as u32) << 16 | (letter as u32) << 8 | number as u32
}

/// include/uapi/linux/ipmi.h: `struct ipmi_system_interface_addr`, the controller itself.
#[repr(C)]
struct SystemInterface {
    kind: i32,
    channel: i16,
    unit: u8,
}

impl SystemInterface {
    const KIND: i32 = 0x0c;
    const CHANNEL: i16 = 0x0f;
    const BYTES: u32 = size_of::<Self>() as u32;
}

/// `struct ipmi_msg`
#[repr(C)]
struct Message {
    function: u8,
    command: u8,
    data_bytes: u16,
    data: *mut u8,
}

/// `struct ipmi_req`
#[repr(C)]
struct Request {
    address: *mut SystemInterface,
    address_bytes: u32,
    id: i64,
    message: Message,
}

/// `struct ipmi_recv`
#[repr(C)]
struct Receive {
    kind: i32,
    address: *mut SystemInterface,
    address_bytes: u32,
    id: i64,
    message: Message,
}

const IPMI_SEND: Opcode = number(2, size_of::<Request>(), b'i', 13);
const IPMI_RECEIVE: Opcode = number(3, size_of::<Receive>(), b'i', 11);

/// Sends a command to the controller itself: `IPMICTL_SEND_COMMAND`.
pub fn ipmi_send(device: &File, id: i64, function: u8, command: u8, data: &[u8]) -> Result<(), Errno> {
    let mut address = SystemInterface {
        kind: SystemInterface::KIND,
        channel: SystemInterface::CHANNEL,
        unit: 0,
    };
    // The kernel does not write to it; a copy makes that nobody's worry.
    let mut data = data.to_vec();
    let request = Request {
        address: &raw mut address,
        address_bytes: SystemInterface::BYTES,
        id,
        message: Message {
            function,
            command,
            data_bytes: u16::try_from(data.len()).map_err(|_| Errno::EMSGSIZE)?,
            data: data.as_mut_ptr(),
        },
    };
    // SAFETY: the structure is the request's, and both pointers are to as many bytes as it says, alive until here.
    unsafe { Command::<Request, IPMI_SEND>::new(request).run(device) }.map(drop)
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// To which command.
    pub id: i64,
    /// How long it is.
    pub bytes: usize,
}

/// Takes a message that waits: `IPMICTL_RECEIVE_MSG_TRUNC`. `EAGAIN`: there is none.
pub fn ipmi_receive(device: &File, buffer: &mut [u8]) -> Result<Received, Errno> {
    // The kernel may write another kind of address, as long as this room.
    let mut address = [0u64; 8];
    let receive = Receive {
        kind: 0,
        address: address.as_mut_ptr().cast(),
        address_bytes: size_of_val(&address) as u32,
        id: 0,
        message: Message {
            function: 0,
            command: 0,
            data_bytes: u16::try_from(buffer.len()).unwrap_or(u16::MAX),
            data: buffer.as_mut_ptr(),
        },
    };
    let mut command = Command::<Receive, IPMI_RECEIVE>::new(receive);
    // SAFETY: the structure is the request's, and both pointers are to at least as many bytes as it says, alive until here.
    match unsafe { command.run(device) } {
        // The rest was cut off and what fits is there.
        Ok(_) | Err(Errno::EMSGSIZE) => Ok(Received {
            id: command.request.id,
            bytes: usize::from(command.request.message.data_bytes),
        }),
        Err(error) => Err(error),
    }
}

/// include/uapi/linux/nvme_ioctl.h: `struct nvme_passthru_cmd`.
#[repr(C)]
#[derive(Default)]
struct NvmeCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    words_2_3: [u32; 2],
    metadata: u64,
    address: u64,
    metadata_bytes: u32,
    data_bytes: u32,
    words_10_15: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

const NVME_ADMIN: Opcode = number(3, size_of::<NvmeCommand>(), b'N', 0x41);

/// "Get Log Page" of the controller: `NVME_IOCTL_ADMIN_CMD`. The number is NVMe's status, 0 for success.
pub fn nvme_log(device: &File, page: u8, log: &mut [u8; 512]) -> Result<IoctlOutput, Errno> {
    const GET_LOG_PAGE: u8 = 0x02;
    const ALL_NAMESPACES: u32 = u32::MAX;
    let words = log.len() as u32 / 4 - 1;
    let request = NvmeCommand {
        opcode: GET_LOG_PAGE,
        namespace: ALL_NAMESPACES,
        address: log.as_mut_ptr().expose_provenance() as u64,
        data_bytes: log.len() as u32,
        words_10_15: [words << 16 | u32::from(page), 0, 0, 0, 0, 0],
        timeout_ms: 3000,
        ..NvmeCommand::default()
    };
    // SAFETY: the structure is the request's, the address is that of a buffer of `data_bytes` bytes that lives until here,
    // and the command makes the controller write no more than that.
    unsafe { Command::<NvmeCommand, NVME_ADMIN>::new(request).run(device) }
}

/// include/scsi/sg.h: `struct sg_io_hdr`.
#[repr(C)]
struct ScsiCommand {
    interface: i32,
    direction: i32,
    command_bytes: u8,
    sense_bytes_max: u8,
    vectors: u16,
    data_bytes: u32,
    data: *mut c_void,
    command: *mut u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    id: i32,
    user: *mut c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_bytes: u8,
    host_status: u16,
    driver_status: u16,
    left: i32,
    duration_ms: u32,
    info: u32,
}

const SG_IO: Opcode = 0x2285;

/// "SMART RETURN STATUS" through "ATA PASS-THROUGH (16)" (SAT-4, 12.2.2.3): the sense data that come back. They are zeros
/// where none came.
pub fn ata_smart_status(device: &File) -> Result<[u8; 32], Errno> {
    let mut sense = [0; 32];
    // No data; the registers come back as sense data (CK_COND).
    let mut command = [0x85, 3 << 1, 0x20, 0, 0xda, 0, 0, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0xb0, 0];
    const NO_DATA: i32 = -1;
    let request = ScsiCommand {
        interface: i32::from(b'S'),
        direction: NO_DATA,
        command_bytes: command.len() as u8,
        sense_bytes_max: sense.len() as u8,
        vectors: 0,
        data_bytes: 0,
        data: std::ptr::null_mut(),
        command: command.as_mut_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms: 3000,
        flags: 0,
        id: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_bytes: 0,
        host_status: 0,
        driver_status: 0,
        left: 0,
        duration_ms: 0,
        info: 0,
    };
    // SAFETY: the structure is the request's, both pointers are to as many bytes as it says, alive until here, and the
    // command moves no data.
    unsafe { Command::<ScsiCommand, SG_IO>::new(request).run(device) }?;
    Ok(sense)
}

#[cfg(test)]
mod tests {
    use super::{IPMI_RECEIVE, IPMI_SEND, NVME_ADMIN, ScsiCommand};

    /// As the kernel's own headers make them, on 64 bits.
    #[test]
    fn numbers_and_sizes_are_the_kernels() {
        assert_eq!(
            [IPMI_SEND, IPMI_RECEIVE, NVME_ADMIN],
            [0x8028_690d, 0xc030_690b, 0xc048_4e41]
        );
        assert_eq!(size_of::<ScsiCommand>(), 88);
    }
}
