//! `lamchat user add|list|passwd|suspend|unsuspend|lock|unlock|deactivate|reactivate|admin`

use super::{Failure, Place, Server, output, password, socket};
use serde_json::{Value, json};

const USERS: &str = "/_lamchat/admin/v1/users";

/// Subcommands. A USER is a name such as `alice`, or a whole id such as `@alice:example.org`.
#[derive(Debug, clap::Subcommand)]
pub enum User {
    /// Make an account. The password is asked for, or read as one line from standard input.
    Add {
        /// The new user's name, such as alice.
        user: String,
        /// Make the user an administrator.
        #[arg(long)]
        admin: bool,
        /// The name that others see.
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
        #[command(flatten)]
        server: Server,
    },
    /// List all accounts.
    List {
        #[command(flatten)]
        server: Server,
    },
    /// Set a new password. It is asked for, or read as one line from standard input.
    Passwd {
        /// Whose.
        user: String,
        /// Leave the user's devices logged in.
        #[arg(long)]
        keep_devices: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Suspend an account: it can read, redact what it sent, and leave rooms; neither send nor join.
    Suspend {
        /// Whose.
        user: String,
        #[command(flatten)]
        server: Server,
    },
    /// End a suspension.
    Unsuspend {
        /// Whose.
        user: String,
        #[command(flatten)]
        server: Server,
    },
    /// Lock an account: all that its devices can do is log out. They stay logged in until it is unlocked.
    Lock {
        /// Whose.
        user: String,
        #[command(flatten)]
        server: Server,
    },
    /// Unlock a locked account.
    Unlock {
        /// Whose.
        user: String,
        #[command(flatten)]
        server: Server,
    },
    /// Close an account: its devices are logged out, it leaves its rooms, and its name stays taken.
    Deactivate {
        /// Whose.
        user: String,
        /// Forget the profile as well.
        #[arg(long)]
        erase: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Open a deactivated account again, with a new password that is asked for or read from standard input.
    Reactivate {
        /// Whose.
        user: String,
        #[command(flatten)]
        server: Server,
    },
    /// Make a user an administrator, or with --remove no longer one.
    Admin {
        /// Whom.
        user: String,
        /// Take the role away.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        server: Server,
    },
}

/// Runs it.
pub fn run(place: &Place, command: User) -> Result<(), Failure> {
    match command {
        User::Add {
            user,
            admin,
            display_name,
            server,
        } => {
            let password = password::read_new(&format!("password for {user}"))?;
            let body = json!({"user": user, "password": *password, "admin": admin, "display_name": display_name});
            let answer = socket::call(place, &server, "POST", USERS, Some(&body))?;
            done(&server, &answer, "was made")
        }
        User::List { server } => list(place, &server),
        User::Passwd {
            user,
            keep_devices,
            server,
        } => {
            let password = password::read_new(&format!("password for {user}"))?;
            let body = json!({"password": *password, "keep_devices": keep_devices});
            let answer = socket::call(place, &server, "POST", &target(&user, "password"), Some(&body))?;
            done(
                &server,
                &answer,
                if keep_devices {
                    "has a new password"
                } else {
                    "has a new password; all devices were logged out"
                },
            )
        }
        User::Suspend { user, server } => moderate(place, &server, &user, "suspended", true, "is suspended"),
        User::Unsuspend { user, server } => {
            moderate(place, &server, &user, "suspended", false, "is no longer suspended")
        }
        User::Lock { user, server } => moderate(place, &server, &user, "locked", true, "is locked"),
        User::Unlock { user, server } => moderate(place, &server, &user, "locked", false, "is no longer locked"),
        User::Deactivate { user, erase, server } => {
            let body = json!({"erase": erase});
            let answer = socket::call(place, &server, "POST", &target(&user, "deactivate"), Some(&body))?;
            done(&server, &answer, "was deactivated")
        }
        User::Reactivate { user, server } => {
            let password = password::read_new(&format!("password for {user}"))?;
            let body = json!({"password": *password});
            let answer = socket::call(place, &server, "POST", &target(&user, "reactivate"), Some(&body))?;
            done(&server, &answer, "can log in again")
        }
        User::Admin { user, remove, server } => {
            let body = json!({"admin": !remove});
            let answer = socket::call(place, &server, "POST", &target(&user, "admin"), Some(&body))?;
            done(
                &server,
                &answer,
                if remove {
                    "is no longer an administrator"
                } else {
                    "is an administrator"
                },
            )
        }
    }
}

/// Sets a flag of an account that has a route of the same name.
fn moderate(place: &Place, server: &Server, user: &str, flag: &str, on: bool, done_so: &str) -> Result<(), Failure> {
    let body = json!({flag: on});
    let answer = socket::call(place, server, "POST", &target(user, flag), Some(&body))?;
    done(server, &answer, done_so)
}

fn target(user: &str, what: &str) -> String {
    format!("{USERS}/{}/{what}", socket::escape(user))
}

fn done(server: &Server, answer: &Value, what: &str) -> Result<(), Failure> {
    if server.json {
        output::line(answer.to_string());
    } else {
        output::line(format!(
            "{} {what}",
            answer.get("user_id").and_then(Value::as_str).unwrap_or("the account")
        ));
    }
    Ok(())
}

/// All of them, as a table or as JSON.
fn list(place: &Place, server: &Server) -> Result<(), Failure> {
    let users = socket::pages(place, server, USERS, "users")?;
    if server.json {
        output::line(json!({"users": users}).to_string());
        return Ok(());
    }
    let flag = |user: &Value, key: &str| user.get(key).and_then(Value::as_bool).unwrap_or(false);
    let rows: Vec<Vec<String>> = users
        .iter()
        .map(|user| {
            let names = [
                ("admin", "administrator"),
                ("deactivated", "deactivated"),
                ("locked", "locked"),
                ("suspended", "suspended"),
            ];
            let standing: Vec<&str> = names
                .iter()
                .filter(|(key, _)| flag(user, key))
                .map(|(_, word)| *word)
                .collect();
            vec![
                user.get("user_id")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                output::time(user.get("created_ms").and_then(Value::as_u64).unwrap_or_default()),
                standing.join(", "),
            ]
        })
        .collect();
    output::table(&["USER", "MADE (UTC)", "STANDING"], &rows);
    Ok(())
}
