//! The builder's command line.

use clap::{Parser, Subcommand};
use lamchat_image::{Keys, Release, Signer, Sources};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds, signs and verifies LamChat's bootable image.
#[derive(Parser)]
#[command(name = "image", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The operator's keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Builds a release.
    Build(BuildArguments),
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Makes PK, KEK, db and the release key in a new folder.
    New {
        /// The folder.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(clap::Args)]
struct BuildArguments {
    /// The folder with the operator's keys.
    #[arg(long)]
    keys: PathBuf,
    /// The folder for the release, which must not be there yet.
    #[arg(long)]
    out: PathBuf,
    /// A folder with the pinned packages; by default apt fetches what target/image-inputs lacks.
    #[arg(long)]
    inputs: PathBuf,
    /// A static lamchat; by default it is compiled.
    #[arg(long)]
    lamchat: PathBuf,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    match arguments.command {
        Command::Keys(KeysCommand::New { out }) => Ok(Keys::make(&out)?),
        Command::Build(arguments) => {
            let program = std::fs::read(&arguments.lamchat)?;
            let sources = Sources {
                release: Release {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    epoch: 1,
                    commit: "unknown".to_owned(),
                    built_at: 1_767_225_600,
                },
                program: &program,
                inputs: &arguments.inputs,
            };
            let mut signer = Signer::with_keys(&arguments.keys)?;
            std::fs::create_dir_all(&arguments.out)?;
            Ok(lamchat_image::assemble(&sources, &mut signer, &arguments.out)?)
        }
    }
}
