//! Reading rows of this crate.

use lamchat_store::{ReadError, Table};

/// A row that does not have its form.
pub(crate) fn malformed_row(table: Table) -> ReadError {
    ReadError::Malformed {
        table: table.name,
        detail: "the row is too short or of an unknown version".to_owned(),
    }
}

/// Parses a row, or a part of one, that is JSON.
pub(crate) fn parse_json<T: serde::de::DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(bytes).map_err(|error| ReadError::Malformed {
        table: table.name,
        detail: error.to_string(),
    })
}
