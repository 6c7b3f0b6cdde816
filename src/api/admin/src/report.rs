//! What users reported: `lamchat report`.

use crate::audit::actor;
use crate::{Admin, AdminError};
use lamchat_accounts::report::{self, Report, Target};
use lamchat_accounts::user;
use lamchat_audit::Entry;
use lamchat_http::{Request, query_value};
use lamchat_rooms::event::{EventRow, Unsigned};
use lamchat_rooms::event_id;
use lamchat_store::{Read, ReadError, WriteTxn};
use serde_json::{Value, json};
use std::sync::Arc;

/// Reports on one page of the list.
const PAGE: usize = 500;

/// A page of open reports: `?from=` is what the page before answered as `next`.
pub async fn list(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let from = query_value(request.query(), "from").unwrap_or_else(|| "0".to_owned());
    let from = from
        .parse()
        .map_err(|_| AdminError::invalid("from is a number that the page before told"))?;
    let read = admin.store.read();
    let page = report::list(&read, from, PAGE)?;
    let next = if page.len() == PAGE {
        page.last().and_then(|(number, _)| number.checked_add(1))
    } else {
        None
    };
    let mut reports = Vec::with_capacity(page.len());
    for (number, report) in &page {
        reports.push(described(&read, *number, report)?);
    }
    Ok(json!({"reports": reports, "next": next}))
}

/// One report, and the event that it is about as the reporter saw it: encrypted if it was sent so.
pub async fn show(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let number = number(&request)?;
    let read = admin.store.read();
    let report = report::one(&read, number)?.ok_or_else(none)?;
    let mut shown = described(&read, number, &report)?;
    if let (Target::Event { room_id, event_id, .. }, Some(shown)) = (&report.target, shown.as_object_mut())
        && let Some((_, row)) = event_id::find(&read, event_id)?
    {
        let mut event = Vec::new();
        EventRow::decode(&row)?.write_client(&mut event, Some(room_id), &Unsigned::default());
        shown.insert(
            "event".to_owned(),
            serde_json::from_slice(&event).map_err(AdminError::internal)?,
        );
    }
    Ok(shown)
}

/// Closes a report: it is forgotten. The audit log tells which administrator closed it, and nothing of who was reported.
pub async fn close(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let number = number(&request)?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "report.close").subject(number);
    let change = move |txn: &mut WriteTxn<'_>| -> Result<Option<&'static str>, ReadError> {
        let Some(report) = report::close(txn, number)? else {
            return Ok(None);
        };
        let kind = report.target.kind();
        lamchat_audit::append(txn, &entry.clone().fact("kind", kind))?;
        Ok(Some(kind))
    };
    let kind = admin.store.write(change).await?.ok_or_else(none)?;
    tracing::info!(number, kind, "an administrator closed a report");
    Ok(json!({"report": number, "kind": kind}))
}

fn described(read: &dyn Read, number: u32, report: &Report) -> Result<Value, AdminError> {
    let mut shown = serde_json::to_value(&report.target).map_err(AdminError::internal)?;
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("report".to_owned(), number.into());
        shown.insert("received_ms".to_owned(), report.received_ms.into());
        let reporter = user::known_id(read, report.reporter)?;
        shown.insert("reporter".to_owned(), reporter.as_str().into());
        shown.insert("reason".to_owned(), report.reason.as_str().into());
    }
    Ok(shown)
}

fn number(request: &Request) -> Result<u32, AdminError> {
    request
        .params
        .value("report")
        .parse()
        .map_err(|_| AdminError::invalid("A report is named by its number"))
}

fn none() -> AdminError {
    AdminError::not_found("There is no such report; `lamchat report list` shows all that are open")
}
