//! The command line: what can be typed. Each command's file does it.

mod admin_credential;
mod attest;
mod audit;
mod authority;
mod backup;
mod box_site;
mod certificate;
mod config;
mod distance;
mod health;
mod init;
mod media;
mod mirror;
mod next_start;
pub mod output;
mod password;
pub mod qr;
mod reach;
mod report;
mod rescue;
mod restore;
mod restorer;
mod seal;
mod serve;
mod signing_key;
pub mod socket;
pub mod time;
mod token;
mod update;
mod user;

pub use admin_credential::file as credential_file;
pub use authority::Authority;
pub use distance::Distance;
#[cfg(test)]
pub use distance::works_far_away;
pub use seal::recovery_code;
pub use update::text_of as update_text;

use crate::key_holder;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `--version` says: version, commit, build profile.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("LAMCHAT_COMMIT"),
    ", ",
    env!("LAMCHAT_PROFILE"),
    ")"
);

/// A Matrix message exchange in one program.
#[derive(Debug, Parser)]
#[command(name = "lamchat", version = VERSION, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "First steps:\n  \
    lamchat serve                          run a server for this machine, on https://localhost:8448\n  \
    lamchat user add alice                 make an account on the running server\n  \
    lamchat config example > lamchat.toml  every setting with its default\n\n\
    Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.")]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the server's configuration and data are.
#[derive(Debug, Clone, Default, Args)]
pub struct Place {
    /// The configuration file. `lamchat --config FILE` alone means `lamchat serve --config FILE`.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder, instead of the configuration's (default: ./lamchat-data).
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub distance: Distance,
}

impl Place {
    /// The configuration that these name: the file, or the embedded defaults.
    pub fn load(&self) -> Result<lamchat_config::Config, Failure> {
        let mut config = match &self.config {
            Some(file) => lamchat_config::load(file)?,
            None => lamchat_config::Config::default(),
        };
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        Ok(config)
    }
}

/// How to talk to the running server.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// The server's Unix socket (default: the configuration's, or admin.sock in the data folder).
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub socket: Option<PathBuf>,
    /// Print JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve {
        /// Give up files and system calls that the exchange never needs; elsewhere the service manager does it.
        #[arg(long, hide = true)]
        confined: bool,
    },
    /// Make and change accounts of the running server.
    #[command(subcommand)]
    User(user::User),
    /// Make and revoke registration tokens of the running server.
    #[command(subcommand)]
    Token(token::Token),
    /// What users uploaded: list and delete.
    #[command(subcommand)]
    Media(media::Media),
    /// What users reported to the administrators: list, show, close.
    #[command(subcommand)]
    Report(report::Report),
    /// Back up the running server, or check a backup.
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Restore a backup into an empty data folder.
    Restore(restore::Restore),
    /// How the server's keys are sealed and unlocked.
    #[command(subcommand, alias = "keyring")]
    Seal(seal::Seal),
    /// The log of administrative acts: show, export, verify, witness.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Evidence of what runs on a box: give it, and check it without trusting anybody.
    #[command(subcommand)]
    Attest(attest::Attest),
    /// Credentials with which commands work from a distance, by `--server`.
    #[command(subcommand)]
    AdminCredential(admin_credential::AdminCredential),
    /// The key that signs this server's events: show it, or make a new one.
    #[command(subcommand)]
    SigningKey(signing_key::SigningKey),
    /// The certificates that clients see: until when, and one of an authority of your own.
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    /// Check a configuration file, or print an example.
    #[command(subcommand)]
    Config(config::Config),
    /// Run as process 1 of the bootable image.
    #[command(hide = true)]
    Init {
        /// Put the image of the stick onto a disk instead.
        #[arg(long)]
        install: bool,
    },
    /// One request about updates of the box. Process 1 starts it.
    #[command(hide = true)]
    Updater(crate::updater::Post),
    /// Asks time servers. Process 1 starts it.
    #[command(hide = true)]
    Timekeeper(crate::timekeeper::Post),
    /// The files of a USB stick. Process 1 starts it.
    #[command(hide = true)]
    Stick(crate::stick::Post),
    /// A backup of data that can only be read. Process 1 starts it.
    #[command(hide = true)]
    Rescue,
    /// Reads a backup for the set-up of a box. Process 1 starts it.
    #[command(hide = true)]
    Restorer {
        /// Only tell what can be known without a key.
        #[arg(long)]
        look: bool,
    },
    /// Updates of a box: check, show, install.
    #[command(subcommand)]
    Update(update::Update),
    /// The configuration of a box: its network, its clock, where it looks for updates.
    #[command(subcommand)]
    Box(box_site::BoxSite),
    /// The two disks of a box that hold the same.
    #[command(subcommand)]
    Mirror(mirror::Mirror),
    /// Ask the running server whether it is well.
    Health(health::Health),
    /// The process that has the keys. The server starts it.
    #[command(hide = true)]
    KeyHolder {
        /// Start it and end.
        #[arg(long)]
        launch: bool,
        /// The user that the server runs as, by name or number, if it is not the same.
        #[arg(long, value_name = "USER", conflicts_with = "launch")]
        exchange_user: Option<String>,
        /// On the bootable image: the partition of the keyring; of a mirror, once for each disk.
        #[arg(
            long = "box",
            value_name = "PARTITION",
            conflicts_with = "launch",
            requires = "exchange_user"
        )]
        partitions: Vec<std::path::PathBuf>,
    },
}

/// Why a command failed: a sentence that says what to do. Exit code 1.
#[derive(Debug)]
pub struct Failure(pub String);

impl<T: std::fmt::Display> From<T> for Failure {
    fn from(reason: T) -> Self {
        Self(reason.to_string())
    }
}

/// Runs what was typed.
pub fn run() -> ExitCode {
    let typed = Cli::command().try_get_matches();
    let parsed = typed.and_then(|typed| Cli::from_arg_matches(&typed).map(|cli| (cli, distance::path(&typed))));
    let (mut cli, path) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version go to standard output with code 0, wrong usage to standard error with code 2.
            let printed = error.print();
            return ExitCode::from(if printed.is_ok() && !error.use_stderr() { 0 } else { 2 });
        }
    };
    if let Err(Failure(reason)) = cli.place.distance.settle(&path) {
        output::error(&reason);
        return ExitCode::FAILURE;
    }
    let result = match cli.command {
        Some(Command::Serve { confined }) => serve::run(&cli.place, confined),
        None => serve::run(&cli.place, false),
        Some(Command::User(command)) => user::run(&cli.place, command),
        Some(Command::Token(command)) => token::run(&cli.place, command),
        Some(Command::Media(command)) => media::run(&cli.place, command),
        Some(Command::Report(command)) => report::run(&cli.place, command),
        Some(Command::Backup(command)) => backup::run(&cli.place, command),
        Some(Command::Restore(command)) => restore::run(&cli.place, command),
        Some(Command::Seal(command)) => seal::run(&cli.place, command),
        Some(Command::Audit(command)) => audit::run(&cli.place, command),
        Some(Command::Attest(command)) => return attest::run(&cli.place, &command),
        Some(Command::AdminCredential(command)) => admin_credential::run(&cli.place, command),
        Some(Command::SigningKey(command)) => signing_key::run(&cli.place, command),
        Some(Command::Certificate(command)) => certificate::run(&cli.place, command),
        Some(Command::Config(command)) => config::run(&cli.place, command),
        Some(Command::Updater(post)) => {
            return crate::updater::run(&post).unwrap_or_else(|Failure(reason)| {
                output::error(&reason);
                ExitCode::FAILURE
            });
        }
        Some(Command::Timekeeper(post)) => crate::timekeeper::run(&post),
        Some(Command::Box(command)) => box_site::run(&cli.place, command),
        Some(Command::Stick(post)) => crate::stick::run(&post),
        Some(Command::Rescue) => rescue::run(&cli.place),
        Some(Command::Restorer { look }) => restorer::run(&cli.place, look),
        Some(Command::Mirror(command)) => mirror::run(&cli.place, command),
        Some(Command::Update(command)) => update::run(&cli.place, command),
        Some(Command::Init { install }) => init::run(install),
        Some(Command::Health(command)) => health::run(&cli.place, &command),
        Some(Command::KeyHolder { launch: true, .. }) => key_holder::launch(&cli.place),
        Some(Command::KeyHolder {
            exchange_user,
            partitions,
            ..
        }) => key_holder::run(&cli.place, exchange_user.as_deref(), &partitions),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(reason)) => {
            output::error(&reason);
            ExitCode::FAILURE
        }
    }
}
