//! What evidence may be large and how large: every number that a stranger's file could otherwise choose.

/// Largest bundle, manifest or enrolment file.
pub const FILE_BYTES_MAX: usize = 2 << 20;
/// Shortest nonce: 128 bits cannot be guessed or met twice.
pub const NONCE_BYTES_MIN: usize = 16;
/// Longest nonce: 64 hexadecimal digits fit EAT's 88 characters (RFC 9711, section 4.1).
pub const NONCE_BYTES_MAX: usize = 32;
/// Most certificates of an endorsement key: the leaf and its intermediates.
pub const CERTIFICATES_MAX: usize = 6;
/// Largest certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 8 << 10;
/// Most roots and auditors' keys in a trust file.
pub const ANCHORS_MAX: usize = 512;
/// Most intermediates of the auditor's own: what a maker has for all of its TPMs.
pub const INTERMEDIATES_MAX: usize = 64;
/// Largest public area (TPMT_PUBLIC): a 4096-bit RSA key with its policy.
pub const PUBLIC_BYTES_MAX: usize = 1024;
/// Largest quote (TPMS_ATTEST).
pub const QUOTE_BYTES_MAX: usize = 512;
/// Largest signature (TPMT_SIGNATURE).
pub const SIGNATURE_BYTES_MAX: usize = 256;
/// PCRs that a quote may select: 0 to 15, those that only a reset clears.
pub const PCRS_MAX: usize = 16;
/// Largest event log of the firmware.
pub const EVENT_LOG_BYTES_MAX: usize = 1 << 20;
/// Most events in a log.
pub const EVENTS_MAX: usize = 8192;
/// Most digest algorithms in a log's header.
pub const LOG_ALGORITHMS_MAX: usize = 8;
/// Most keys that the key holder binds into a quote.
pub const KEYS_MAX: usize = 16;
/// Longest name, version or label.
pub const NAME_BYTES_MAX: usize = 255;
/// Largest checkpoint of the audit log.
pub const CHECKPOINT_BYTES_MAX: usize = 4096;
/// Most images, and most digests in any list, of a reference manifest.
pub const REFERENCES_MAX: usize = 1024;
/// How long a box may take to answer an enrolment challenge, in seconds: thirty days, for a USB stick in the post.
pub const CHALLENGE_SECONDS_MAX: u64 = 30 * 24 * 3600;
