//! `lamchat media list|delete`

use super::{Failure, Place, Server, output, socket};
use serde_json::{Value, json};

const MEDIA: &str = "/_lamchat/admin/v1/media";

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Media {
    /// List uploads: who, when, how large. What they contain is encrypted.
    List {
        /// Only those of this user.
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// Delete uploads for good: nobody can download them any more, and their bytes are erased.
    Delete {
        /// The uploads, as mxc://… URIs.
        #[arg(value_name = "MXC", required_unless_present = "user")]
        uploads: Vec<String>,
        /// Instead, all uploads of this user.
        #[arg(long, value_name = "USER", conflicts_with = "uploads")]
        user: Option<String>,
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: Media) -> Result<(), Failure> {
    match command {
        Media::List { user, server } => list(place, &server, user.as_deref()),
        Media::Delete {
            user: Some(user),
            server,
            ..
        } => delete_of_user(place, &server, &user),
        Media::Delete { uploads, server, .. } => {
            let mut deleted = Vec::new();
            for upload in uploads {
                let target = format!("{MEDIA}/{}", socket::escape(&upload));
                let answer = socket::call(place, &server, "DELETE", &target, None)?;
                if !server.json {
                    output::line(format!("{upload} was deleted"));
                }
                deleted.push(answer);
            }
            if server.json {
                output::line(json!({"deleted": deleted}).to_string());
            }
            Ok(())
        }
    }
}

fn delete_of_user(place: &Place, server: &Server, user: &str) -> Result<(), Failure> {
    let target = format!("/_lamchat/admin/v1/users/{}/media", socket::escape(user));
    let answer = socket::call(place, server, "DELETE", &target, None)?;
    output::line(if server.json {
        answer.to_string()
    } else {
        let (uploads, bytes) = (number(&answer, "uploads"), number(&answer, "bytes"));
        format!("{uploads} uploads with {bytes} bytes were deleted")
    });
    Ok(())
}

/// All pages, one after the other.
fn list(place: &Place, server: &Server, user: Option<&str>) -> Result<(), Failure> {
    let of_user = user
        .map(|user| format!("&user={}", socket::escape(user)))
        .unwrap_or_default();
    let (mut uploads, mut from) = (Vec::new(), String::new());
    loop {
        let target = format!("{MEDIA}?from={}{of_user}", socket::escape(&from));
        let answer = socket::call(place, server, "GET", &target, None)?;
        let page = answer.get("uploads").and_then(Value::as_array);
        uploads.extend(page.cloned().unwrap_or_default());
        match answer.get("next").and_then(Value::as_str) {
            Some(next) => from = next.to_owned(),
            None => break,
        }
    }
    if server.json {
        output::line(json!({"uploads": uploads}).to_string());
        return Ok(());
    }
    let rows: Vec<Vec<String>> = uploads
        .iter()
        .map(|upload| {
            vec![
                text(upload, "mxc"),
                text(upload, "user_id"),
                output::time(number(upload, "created_ms")),
                number(upload, "size").to_string(),
                text(upload, "content_type"),
            ]
        })
        .collect();
    output::table(&["UPLOAD", "BY", "MADE (UTC)", "BYTES", "TYPE"], &rows);
    Ok(())
}

fn number(upload: &Value, key: &str) -> u64 {
    upload.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// What users wrote, without what a terminal acts upon.
fn text(upload: &Value, key: &str) -> String {
    let text = upload.get(key).and_then(Value::as_str).unwrap_or_default();
    text.chars().filter(|char| !char.is_control()).collect()
}
