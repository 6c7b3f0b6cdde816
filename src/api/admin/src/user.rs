//! Accounts: `lamchat user`.

use crate::audit::actor;
use crate::route::parse;
use crate::{Admin, AdminError};
use lamchat_accounts::account::{self, ChangeAccountError, CreateAccountError, NewAccount};
use lamchat_accounts::session;
use lamchat_audit::Entry;
use lamchat_base::UserNum;
use lamchat_http::{Request, query_value};
use lamchat_identity::localpart;
use lamchat_store::WriteTxn;
use ruma::{OwnedUserId, UserId};
use serde_json::{Value, json};
use std::sync::Arc;

/// Accounts on one page of the list.
const PAGE: usize = 500;

#[derive(serde::Deserialize)]
struct Add {
    user: String,
    password: Option<String>,
    #[serde(default)]
    admin: bool,
    display_name: Option<String>,
}

/// Makes an account. Without a password nobody can log in to it until it gets one.
pub async fn add(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let add: Add = parse(&request)?;
    let user_id = user_id(&admin, &add.user)?;
    let password_hash = match add.password {
        Some(password) => Some(admin.passwords.hash(password, &*admin.entropy).await?),
        None => None,
    };
    let new = NewAccount {
        user_id: user_id.clone(),
        password_hash,
        is_admin: add.admin,
        display_name: add.display_name,
        now_ms: admin.now_ms(),
    };
    let entry = entry(&admin, &request, "user.add", &user_id)?
        .fact("admin", add.admin)
        .fact("password", new.password_hash.is_some());
    let change = move |txn: &mut WriteTxn<'_>| {
        account::create(txn, new)?;
        lamchat_audit::append(txn, &entry)?;
        Ok::<_, CreateAccountError>(())
    };
    admin.store.write(change).await?;
    tracing::info!(admin = add.admin, "an administrator made an account");
    Ok(json!({"user_id": user_id, "admin": add.admin}))
}

/// A page of accounts: `?from=` is what the page before answered as `next`.
pub async fn list(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let from = query_value(request.query(), "from").unwrap_or_else(|| "0".to_owned());
    let from = from
        .parse()
        .map_err(|_| AdminError::invalid("from is a number that the page before told"))?;
    let accounts = account::list(&admin.store.read(), UserNum(from), PAGE)?;
    let next = if accounts.len() == PAGE {
        accounts.last().map(|last| u64::from(last.user.0) + 1)
    } else {
        None
    };
    let users: Vec<Value> = accounts
        .iter()
        .map(|account| {
            json!({
                "user_id": account.user_id,
                "created_ms": account.created_ms,
                "admin": account.standing.is_admin(),
                "deactivated": account.standing.is_deactivated(),
                "locked": account.standing.is_locked(),
                "suspended": account.standing.is_suspended(),
            })
        })
        .collect();
    Ok(json!({"users": users, "next": next}))
}

#[derive(serde::Deserialize)]
struct SetPassword {
    password: String,
    #[serde(default)]
    keep_devices: bool,
}

/// Sets a password, and logs all devices out unless they are to be kept.
pub async fn set_password(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let (user, user_id) = named(&admin, &request)?;
    let set: SetPassword = parse(&request)?;
    let hash = admin.passwords.hash(set.password, &*admin.entropy).await?;
    let exchange = Arc::clone(&admin.exchange);
    let entry = entry(&admin, &request, "user.password", &user_id)?.fact("keep_devices", set.keep_devices);
    let change = move |txn: &mut WriteTxn<'_>| {
        lamchat_audit::append(txn, &entry)?;
        account::set_password_hash(txn, user, &hash)?;
        if !set.keep_devices {
            let removed = session::close_all(txn, user, None)?;
            exchange.forget_devices(txn, user, &removed)?;
        }
        Ok::<_, ChangeAccountError>(())
    };
    admin.store.write(change).await?;
    tracing::info!("an administrator set a password");
    Ok(json!({"user_id": user_id}))
}

#[derive(serde::Deserialize)]
struct Deactivate {
    #[serde(default)]
    erase: bool,
}

/// Closes an account: the user leaves every room, and devices, keys and account data go. Doing it again completes
/// what was cut off.
pub async fn deactivate(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let (user, user_id) = named(&admin, &request)?;
    let Deactivate { erase } = parse(&request)?;
    let entry = entry(&admin, &request, "user.deactivate", &user_id)?.fact("erase", erase);
    admin
        .exchange
        .leave_rooms(user, user_id.clone())
        .await
        .map_err(AdminError::internal)?;
    let exchange = Arc::clone(&admin.exchange);
    let change = move |txn: &mut WriteTxn<'_>| {
        let removed = account::deactivate(txn, user, erase)?;
        exchange.forget_devices(txn, user, &removed)?;
        lamchat_audit::append(txn, &entry)?;
        Ok::<_, ChangeAccountError>(())
    };
    admin.store.write(change).await?;
    tracing::info!(erase, "an administrator deactivated an account");
    Ok(json!({"user_id": user_id}))
}

#[derive(serde::Deserialize)]
struct Reactivate {
    password: Option<String>,
}

/// Opens a deactivated account again, without the rooms and devices that it had.
pub async fn reactivate(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let (user, user_id) = named(&admin, &request)?;
    let Reactivate { password } = parse(&request)?;
    let hash = match password {
        Some(password) => Some(admin.passwords.hash(password, &*admin.entropy).await?),
        None => None,
    };
    let entry = entry(&admin, &request, "user.reactivate", &user_id)?.fact("password", hash.is_some());
    let change = move |txn: &mut WriteTxn<'_>| {
        lamchat_audit::append(txn, &entry)?;
        account::reactivate(txn, user)?;
        hash.map_or(Ok(()), |hash| account::set_password_hash(txn, user, &hash))
    };
    admin.store.write(change).await?;
    tracing::info!("an administrator reactivated an account");
    Ok(json!({"user_id": user_id}))
}

#[derive(serde::Deserialize)]
struct SetAdmin {
    admin: bool,
}

/// Gives or takes the role of administrator.
pub async fn set_admin(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let (user, user_id) = named(&admin, &request)?;
    let SetAdmin { admin: is_admin } = parse(&request)?;
    let entry = entry(&admin, &request, "user.admin", &user_id)?.fact("admin", is_admin);
    let change = move |txn: &mut WriteTxn<'_>| {
        lamchat_audit::append(txn, &entry)?;
        account::set_admin(txn, user, is_admin)
    };
    admin.store.write(change).await?;
    tracing::info!(is_admin, "an administrator changed a role");
    Ok(json!({"user_id": user_id, "admin": is_admin}))
}

#[derive(serde::Deserialize)]
struct SetSuspended {
    suspended: bool,
}

/// Suspends an account, or ends that: it can read, redact what it sent, and leave.
pub async fn set_suspended(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let SetSuspended { suspended } = parse(&request)?;
    let user_id = moderate(&admin, &request, "user.suspend", suspended, account::set_suspended).await?;
    Ok(json!({"user_id": user_id, "suspended": suspended}))
}

#[derive(serde::Deserialize)]
struct SetLocked {
    locked: bool,
}

/// Locks an account, or ends that: it keeps its sessions, and each of their requests is refused.
pub async fn set_locked(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let SetLocked { locked } = parse(&request)?;
    let user_id = moderate(&admin, &request, "user.lock", locked, account::set_locked).await?;
    Ok(json!({"user_id": user_id, "locked": locked}))
}

/// Unlike administrators among themselves with their clients, whoever has the socket may do this to administrators too:
/// it is how a stolen account is stopped.
async fn moderate(
    admin: &Admin,
    request: &Request,
    act: &'static str,
    on: bool,
    set: fn(&mut WriteTxn<'_>, UserNum, bool) -> Result<(), ChangeAccountError>,
) -> Result<OwnedUserId, AdminError> {
    let (user, user_id) = named(admin, request)?;
    let entry = entry(admin, request, act, &user_id)?.fact("on", on);
    let change = move |txn: &mut WriteTxn<'_>| {
        lamchat_audit::append(txn, &entry)?;
        set(txn, user, on)
    };
    admin.store.write(change).await?;
    tracing::info!(act, on, "an administrator changed an account");
    Ok(user_id)
}

/// An entry of the audit log about an account.
fn entry(admin: &Admin, request: &Request, act: &str, user_id: &UserId) -> Result<Entry, AdminError> {
    Ok(Entry::new(admin.now_ms(), actor(request)?, act).subject(user_id))
}

/// The account that the path names.
pub(crate) fn named(admin: &Admin, request: &Request) -> Result<(UserNum, OwnedUserId), AdminError> {
    named_by(admin, request.params.value("user"))
}

/// The account of a name or user id.
pub(crate) fn named_by(admin: &Admin, text: &str) -> Result<(UserNum, OwnedUserId), AdminError> {
    let user_id = user_id(admin, text)?;
    let account = account::by_id(&admin.store.read(), &user_id)?;
    let account = account.ok_or_else(|| {
        AdminError::not_found(format!(
            "There is no account {user_id}; `lamchat user list` shows all accounts"
        ))
    })?;
    Ok((account.user, user_id))
}

/// `alice` or `@alice:here` as a user id of this server.
fn user_id(admin: &Admin, text: &str) -> Result<OwnedUserId, AdminError> {
    if !text.starts_with('@') {
        return Ok(localpart::user_id(text, &admin.server_name)?);
    }
    let id = UserId::parse(text).map_err(|_| AdminError::invalid(format!("{text} is not a user id")))?;
    if id.server_name() != admin.server_name {
        return Err(AdminError::invalid(format!(
            "{text} belongs to another server; this one is {}",
            admin.server_name
        )));
    }
    Ok(localpart::user_id(id.localpart(), &admin.server_name)?)
}
