//! What is known of servers and TPMs (`hardware/*.toml` at the top of the project), and how this machine's hardware is.
//!
//! The files are data with sources; nothing here invents a limit or a fault. Nothing here writes to hardware either.

mod bmc;
mod catalogue;
mod health;
mod model;
mod qualify;
mod reference;
mod report;
mod smart;
mod tpm;
mod ups;
mod version;

pub use bmc::{Ask, BmcError, BmcSurveyor};
pub use catalogue::{Automatic, Catalogue, CatalogueError, CertificateIndex, CertificatePlace, Check, Pcr, catalogue};
pub use health::{Health, Part, Reading, Root, State, Surveyor, Unit};
pub use model::{Memory, PcrBanks};
pub use qualify::{Answer, Found, is_unfit, qualify};
pub use reference::{Digest, KnownEvent, KnownValue};
pub use report::{HealthReport, QuirkReport, ReadingReport, TpmReport};
pub use smart::{NVME_LOG_BYTES, ata, nvme};
pub use tpm::{Bearing, Family, Kind, KnownTpm, Quirk, QuirkKind, TpmMake};
pub use ups::{AskReport, ReportKind, is_ups, ups};
pub use version::{Version, VersionError};
