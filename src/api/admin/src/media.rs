//! Uploads: `lamchat media`. An administrator sees who uploaded what and how large it is, not what it contains.

use crate::audit::actor;
use crate::user::named;
use crate::{Admin, AdminError};
use lamchat_accounts::user;
use lamchat_audit::Entry;
use lamchat_http::{Request, query_value};
use lamchat_media::{Deleted, Media};
use lamchat_store::{ReadError, WriteTxn};
use ruma::OwnedMxcUri;
use serde_json::{Value, json};
use std::sync::Arc;

/// Uploads on one page of the list, and those that one write deletes.
const PAGE: usize = 500;

/// A page of uploads: `?from=` is what the page before answered as `next`, `?user=` limits it to one user.
pub async fn list(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let from = query_value(request.query(), "from").filter(|from| !from.is_empty());
    let uploader = match query_value(request.query(), "user") {
        Some(user) => Some(crate::user::named_by(&admin, &user)?.0),
        None => None,
    };
    let blocking = Arc::clone(&admin);
    let page =
        tokio::task::spawn_blocking(move || Media::list(&blocking.store.read(), from.as_deref(), uploader, PAGE));
    let page = page.await.map_err(AdminError::internal)??;
    let read = admin.store.read();
    let mut uploads = Vec::with_capacity(page.uploads.len());
    for upload in page.uploads {
        uploads.push(json!({
            "mxc": mxc(&admin, &upload.media_id),
            "user_id": user::known_id(&read, upload.uploader)?,
            "created_ms": upload.created_ms,
            "size": upload.size,
            "content_type": upload.content_type,
        }));
    }
    Ok(json!({"uploads": uploads, "next": page.next}))
}

/// Deletes one upload, named by its `mxc://` URI or by its id.
pub async fn delete(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let media_id = media_id(&admin, request.params.value("media"))?;
    let mxc = mxc(&admin, &media_id);
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "media.delete").subject(&mxc);
    let change = move |txn: &mut WriteTxn<'_>| -> Result<Option<Deleted>, ReadError> {
        let deleted = Media::delete(txn, &media_id)?;
        if let Some(deleted) = &deleted {
            lamchat_audit::append(txn, &entry.clone().fact("bytes", deleted.size))?;
        }
        Ok(deleted)
    };
    let deleted = admin.store.write(change).await?;
    let deleted = deleted.ok_or_else(|| {
        AdminError::not_found(format!(
            "There is no upload {mxc}; `lamchat media list` shows all uploads"
        ))
    })?;
    erase(&admin).await?;
    tracing::info!("an administrator deleted an upload");
    Ok(json!({"mxc": mxc, "bytes": deleted.size}))
}

/// Deletes all uploads of a user, in portions; doing it again completes what was cut off.
pub async fn delete_of_user(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let (uploader, user_id) = named(&admin, &request)?;
    let actor = actor(&request)?;
    let (mut count, mut bytes) = (0, 0);
    let mut from = None;
    loop {
        let blocking = Arc::clone(&admin);
        let after = from.take();
        let page = tokio::task::spawn_blocking(move || {
            Media::list(&blocking.store.read(), after.as_deref(), Some(uploader), PAGE)
        });
        let page = page.await.map_err(AdminError::internal)??;
        if !page.uploads.is_empty() {
            let entry = Entry::new(admin.now_ms(), actor.clone(), "media.delete").subject(&user_id);
            let ids: Vec<String> = page.uploads.into_iter().map(|upload| upload.media_id).collect();
            let change = move |txn: &mut WriteTxn<'_>| -> Result<(u64, u64), ReadError> {
                let (mut count, mut bytes) = (0, 0);
                for id in &ids {
                    if let Some(deleted) = Media::delete(txn, id)? {
                        count += 1;
                        bytes += deleted.size;
                    }
                }
                let entry = entry.clone().fact("uploads", count).fact("bytes", bytes);
                lamchat_audit::append(txn, &entry)?;
                Ok((count, bytes))
            };
            let portion = admin.store.write(change).await?;
            count += portion.0;
            bytes += portion.1;
            erase(&admin).await?;
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    tracing::info!(count, "an administrator deleted the uploads of a user");
    Ok(json!({"user_id": user_id, "uploads": count, "bytes": bytes}))
}

async fn erase(admin: &Admin) -> Result<(), AdminError> {
    let media = admin.media.clone();
    let erased = tokio::task::spawn_blocking(move || media.erase()).await;
    erased.map_err(AdminError::internal)?.map_err(AdminError::internal)?;
    Ok(())
}

fn mxc(admin: &Admin, media_id: &str) -> String {
    format!("mxc://{}/{media_id}", admin.server_name)
}

fn media_id(admin: &Admin, text: &str) -> Result<String, AdminError> {
    if !text.starts_with("mxc://") {
        return Ok(text.to_owned());
    }
    let uri = OwnedMxcUri::from(text.to_owned());
    match uri.parts() {
        Ok((server, media_id)) if server == admin.server_name => Ok(media_id.to_owned()),
        Ok((server, _)) => Err(AdminError::invalid(format!(
            "{text} belongs to {server}; this server is {}",
            admin.server_name
        ))),
        Err(_) => Err(AdminError::invalid(format!("{text} is not an mxc:// URI"))),
    }
}
