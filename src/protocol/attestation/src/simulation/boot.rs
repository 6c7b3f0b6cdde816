//! A boot: what the firmware measured, and its log.

use crate::sha256::Sha256;

const EV_NO_ACTION: u32 = 3;
const EV_SEPARATOR: u32 = 4;
const EV_CRTM_VERSION: u32 = 8;
const EV_IPL: u32 = 0xD;
const EV_VARIABLE_CONFIG: u32 = 0x8000_0001;
const EV_VARIABLE_BOOT: u32 = 0x8000_0002;
const EV_APPLICATION: u32 = 0x8000_0003;
const EV_GPT: u32 = 0x8000_0006;
const EV_ACTION: u32 = 0x8000_0007;
const EV_BLOB: u32 = 0x8000_0008;
const EV_AUTHORITY: u32 = 0x8000_00E0;

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// PCR.
    pub pcr: u32,
    /// Declared type.
    pub declared: u32,
    /// What was measured.
    pub digest: Sha256,
    /// Data.
    pub data: Vec<u8>,
}

/// What was measured, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The entries.
    pub entries: Vec<LogEntry>,
    /// The locality that the log says started the TPM.
    pub locality: u8,
}

/// UEFI_VARIABLE_DATA of a variable with the GUID that Secure Boot's own have.
pub fn variable(name: &str, content: &[u8]) -> Vec<u8> {
    let mut data = vec![
        0x61, 0xDF, 0xE4, 0x8B, 0xCA, 0x93, 0xD2, 0x11, 0xAA, 0x0D, 0x00, 0xE0, 0x98, 0x03, 0x2B, 0x8C,
    ];
    data.extend((name.len() as u64).to_le_bytes());
    data.extend((content.len() as u64).to_le_bytes());
    data.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
    data.extend(content);
    data
}

impl Boot {
    /// The boot of an image under Secure Boot.
    pub fn honest() -> Self {
        let mut boot = Self {
            entries: Vec::new(),
            locality: 0,
        };
        boot.note(b"StartupLocality\0\0");
        boot.hashed(0, EV_CRTM_VERSION, b"version 1");
        boot.known(0, EV_BLOB, Sha256::of(b"firmware volume"), &[0; 16]);
        boot.hashed(7, EV_VARIABLE_CONFIG, &variable("SecureBoot", &[1]));
        for name in ["PK", "KEK", "db", "dbx"] {
            boot.hashed(7, EV_VARIABLE_CONFIG, &variable(name, name.as_bytes()));
        }
        boot.hashed(1, EV_VARIABLE_BOOT, &variable("BootOrder", &[0, 0]));
        boot.hashed(4, EV_ACTION, b"Calling EFI Application from Boot Option");
        for pcr in 0..=7 {
            boot.hashed(pcr, EV_SEPARATOR, &[0; 4]);
        }
        boot.hashed(5, EV_GPT, b"partition table");
        boot.hashed(7, EV_AUTHORITY, &variable("db", b"certificate"));
        boot.known(
            4,
            EV_APPLICATION,
            Sha256::of(b"authenticode of the boot loader"),
            b"path",
        );
        boot.known(
            4,
            EV_APPLICATION,
            Sha256::of(b"authenticode of the uki"),
            b"path of the uki",
        );
        for section in [".linux", ".osrel", ".cmdline", ".initrd"] {
            boot.hashed(11, EV_IPL, section.as_bytes());
        }
        boot.hashed(5, EV_ACTION, b"Exit Boot Services Invocation");
        boot
    }

    fn note(&mut self, data: &[u8]) {
        self.known(0, EV_NO_ACTION, Sha256::ZERO, data);
    }

    /// Measures data.
    pub fn hashed(&mut self, pcr: u32, declared: u32, data: &[u8]) {
        self.known(pcr, declared, Sha256::of(data), data);
    }

    /// Measures a digest.
    pub fn known(&mut self, pcr: u32, declared: u32, digest: Sha256, data: &[u8]) {
        self.entries.push(LogEntry {
            pcr,
            declared,
            digest,
            data: data.to_vec(),
        });
    }

    /// What a PCR holds.
    pub fn pcr(&self, pcr: u8) -> Sha256 {
        let mut value = Sha256::ZERO;
        if pcr == 0 {
            value.0[31] = self.locality;
        }
        self.measured()
            .filter(|entry| entry.pcr == u32::from(pcr))
            .fold(value, |value, entry| value.extended(&entry.digest))
    }

    /// The entries that were extended.
    pub fn measured(&self) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter().filter(|entry| entry.declared != EV_NO_ACTION)
    }

    /// The place of the `nth` entry (from 0) of a PCR.
    ///
    /// # Panics
    /// There is none.
    pub fn place(&self, pcr: u32, nth: usize) -> usize {
        let mut places = (0..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.pcr == pcr && entry.declared != EV_NO_ACTION);
        places.nth(nth).unwrap().0
    }

    /// The log.
    pub fn log(&self) -> Vec<u8> {
        log_bytes(&self.entries)
    }
}

/// A log of the banks SHA-1 and SHA-256, as most firmware writes it.
pub fn log_bytes(entries: &[LogEntry]) -> Vec<u8> {
    log_with_algorithms(entries, &[(4, 20), (0xB, 32)])
}

/// A log of these banks (algorithm, bytes of a digest). Other digests than SHA-256 are made up.
pub fn log_with_algorithms(entries: &[LogEntry], algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut header = b"Spec ID Event03\0\0\0\0\0\x00\x02\x00\x02".to_vec();
    header.extend((algorithms.len() as u32).to_le_bytes());
    for (algorithm, length) in algorithms {
        header.extend(algorithm.to_le_bytes());
        header.extend(length.to_le_bytes());
    }
    header.push(0);
    let mut log = vec![0; 4];
    log.extend(EV_NO_ACTION.to_le_bytes());
    log.extend([0; 20]);
    log.extend((header.len() as u32).to_le_bytes());
    log.extend(header);
    for entry in entries {
        log.extend(entry.pcr.to_le_bytes());
        log.extend(entry.declared.to_le_bytes());
        log.extend((algorithms.len() as u32).to_le_bytes());
        for (algorithm, length) in algorithms {
            log.extend(algorithm.to_le_bytes());
            let digest = entry.digest.0.iter().cycle().take(usize::from(*length));
            log.extend(digest);
        }
        log.extend((entry.data.len() as u32).to_le_bytes());
        log.extend(&entry.data);
    }
    log
}
