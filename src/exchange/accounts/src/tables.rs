//! Every table of this crate, with the form of its keys and values.

use lamchat_store::Table;

/// user number (u32) → user id, as text.
pub(crate) const USER: Table = Table::new(16, "accounts.user");
/// user id, as text → user number (u32).
pub(crate) const USER_BY_ID: Table = Table::new(17, "accounts.user_by_id");
/// name of a counter → the last number handed out (u32).
pub(crate) const COUNTER: Table = Table::new(18, "accounts.counter");
/// user number → standing (one byte), then the account as JSON.
pub(crate) const ACCOUNT: Table = Table::new(19, "accounts.account");
/// authority, subject → user number (u32).
pub(crate) const SUBJECT: Table = Table::new(20, "accounts.subject");
/// user number → password hash, a PHC string.
pub(crate) const PASSWORD: Table = Table::new(21, "accounts.password");
/// SHA-256 of an access token → binary session row, see `session`.
pub(crate) const SESSION: Table = Table::new(22, "accounts.session");
/// SHA-256 of a refresh token → user number (u32), device id as text.
pub(crate) const REFRESH: Table = Table::new(23, "accounts.refresh");
/// user number, device id → the device as JSON.
pub(crate) const DEVICE: Table = Table::new(24, "accounts.device");
/// user number, field name → JSON value.
pub(crate) const PROFILE: Table = Table::new(25, "accounts.profile");
/// user number, scope, type → position (u64), then the content as JSON; no content: deleted.
pub(crate) const ACCOUNT_DATA: Table = Table::new(26, "accounts.account_data");
/// user number, position → scope, type: one row for each row of `ACCOUNT_DATA`.
pub(crate) const ACCOUNT_DATA_CHANGE: Table = Table::new(27, "accounts.account_data_change");
/// user number, filter number (u32) → the filter as JSON.
pub(crate) const FILTER: Table = Table::new(28, "accounts.filter");
/// user number, SHA-256 of the filter → filter number (u32).
pub(crate) const FILTER_BY_HASH: Table = Table::new(29, "accounts.filter_by_hash");
/// device number (u32) → user number (u32), device id as text.
pub(crate) const DEVICE_BY_NUM: Table = Table::new(30, "accounts.device_by_num");
/// report number (u32) → the open report as JSON, see `report`.
pub(crate) const REPORT: Table = Table::new(31, "accounts.report");
/// reporter's user number, report number (u32) → nothing: one row for each row of `REPORT`.
pub(crate) const REPORT_BY: Table = Table::new(32, "accounts.report_by");
/// SHA-256 of an OpenID token → user number (u32), expires at (ms, u64).
pub(crate) const OPENID: Table = Table::new(33, "accounts.openid");
/// user number, expires at (ms, u64), SHA-256 of the token → nothing: one row for each row of `OPENID`.
pub(crate) const OPENID_OF: Table = Table::new(34, "accounts.openid_of");

/// All of them, for the store.
pub const TABLES: &[Table] = &[
    USER,
    USER_BY_ID,
    COUNTER,
    ACCOUNT,
    SUBJECT,
    PASSWORD,
    SESSION,
    REFRESH,
    DEVICE,
    PROFILE,
    ACCOUNT_DATA,
    ACCOUNT_DATA_CHANGE,
    FILTER,
    FILTER_BY_HASH,
    DEVICE_BY_NUM,
    REPORT,
    REPORT_BY,
    OPENID,
    OPENID_OF,
];
