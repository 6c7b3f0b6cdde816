//! The builder's command line.

use clap::{Parser, Subcommand};
use lamchat_image::{EPOCH, Keys, Release, ReleaseKey, Signer, Sources};
use std::error::Error;
use std::path::{Path, PathBuf};
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
    /// Fetches the pinned packages of Debian into a folder, with apt; installs nothing.
    Fetch {
        /// The folder.
        #[arg(long)]
        out: PathBuf,
    },
    /// Compiles the program as a release has it: with no path of this machine in it.
    Compile {
        /// The program's file.
        #[arg(long)]
        out: PathBuf,
        /// Another copy of the source than the one that this builder was compiled from.
        #[arg(long)]
        source: Option<PathBuf>,
        /// Where to compile.
        #[arg(long)]
        target: Option<PathBuf>,
    },
    /// Builds and signs a release.
    Build {
        /// The folder with the operator's keys.
        #[arg(long)]
        keys: PathBuf,
        /// The folder for the release, which must not be there yet.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        from: From,
    },
    /// Writes kernel and initrd alone, unsigned: `vmlinuz` and `initrd`, for a virtual machine without firmware.
    BootFiles {
        /// The folder with the operator's keys, for the release key in the initrd.
        #[arg(long)]
        keys: PathBuf,
        /// The folder for the two files, which must not be there yet.
        #[arg(long)]
        out: PathBuf,
        #[command(flatten)]
        from: From,
    },
    /// Checks an update bundle and adds an approver's signature to it.
    Approve {
        /// The bundle.
        #[arg(long)]
        bundle: PathBuf,
        /// The release key's public half, `release.pub`.
        #[arg(long)]
        release_key: PathBuf,
        /// The approver's private key.
        #[arg(long)]
        key: PathBuf,
        /// The approved bundle, which must not be there yet.
        #[arg(long)]
        out: PathBuf,
    },
    /// Builds a published release again, with its own signatures, and compares every byte.
    Verify {
        /// The folder with the release.
        #[arg(long)]
        release: PathBuf,
        /// A folder to build in, which must not be there yet.
        #[arg(long)]
        work: PathBuf,
        #[command(flatten)]
        from: From,
    },
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Makes PK, KEK, db and the release key in a folder that has none.
    New {
        /// The folder.
        #[arg(long)]
        out: PathBuf,
    },
    /// Makes a new release key, and keeps the one of before: the releases from now on are approved by both, and have a
    /// bundle for boxes that know the former key alone.
    Rotate {
        /// The folder with the operator's keys.
        #[arg(long)]
        keys: PathBuf,
    },
    /// Deletes the release key of before: only once every box is bound to the new one.
    EndRotation {
        /// The folder with the operator's keys.
        #[arg(long)]
        keys: PathBuf,
    },
    /// Names the approvers of updates in the folder of keys: the images of from now on take only updates that enough of
    /// them signed.
    Approvers {
        /// The folder with the operator's keys.
        #[arg(long)]
        keys: PathBuf,
        /// How many of them have to sign.
        #[arg(long)]
        threshold: usize,
        /// Their public keys: NAME.pub.
        #[arg(required = true)]
        approver: Vec<PathBuf>,
    },
    /// Makes the key of an approver of updates: NAME.key and NAME.pub.
    Approver {
        /// The approver's name.
        #[arg(long)]
        name: String,
        /// The folder.
        #[arg(long)]
        out: PathBuf,
    },
}

/// What is built.
#[derive(clap::Args)]
struct From {
    /// A folder with the pinned packages, as a release publishes them; without it apt fetches what is missing.
    #[arg(long)]
    inputs: Option<PathBuf>,
    /// Another version than the source's: for tests of updates.
    #[arg(long, hide = true)]
    release_version: Option<String>,
    /// Another security epoch than the source's: for tests of the floor.
    #[arg(long, hide = true)]
    epoch: Option<u64>,
    /// A static lamchat; without it this source is compiled.
    #[arg(long)]
    lamchat: Option<PathBuf>,
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
        Command::Keys(KeysCommand::Rotate { keys }) => Ok(lamchat_image::rotate(&keys)?),
        Command::Keys(KeysCommand::EndRotation { keys }) => Ok(lamchat_image::end_rotation(&keys)?),
        Command::Keys(KeysCommand::Approver { name, out }) => Ok(ReleaseKey::make(&out, &name)?),
        Command::Keys(KeysCommand::Approvers {
            keys,
            threshold,
            approver,
        }) => Ok(lamchat_image::name_approvers(&keys, &approver, threshold)?),
        Command::Approve {
            bundle,
            release_key,
            key,
            out,
        } => {
            let (header, count) = lamchat_image::approve(&bundle, &release_key, &ReleaseKey::read(&key)?, &out)?;
            println!(
                "release {}, security epoch {}, commit {}: {count} approvals",
                header.version, header.epoch, header.commit
            );
            Ok(())
        }
        Command::Fetch { out } => Ok(lamchat_image::fetch(&out)?),
        Command::Compile {
            out,
            source,
            target: folder,
        } => {
            let source = source.unwrap_or_else(|| lamchat_image::workspace().to_owned());
            let program = lamchat_image::compile(&source, &folder.unwrap_or_else(|| target().join("image")))?;
            Ok(std::fs::write(out, program)?)
        }
        Command::Build { keys, out, from } => {
            let mut signer = Signer::with_keys(&keys)?;
            from.with(|sources| {
                std::fs::create_dir(&out)?;
                Ok(lamchat_image::assemble(sources, &mut signer, &out)?)
            })
        }
        Command::BootFiles { keys, out, from } => {
            let signer = Signer::with_keys(&keys)?;
            from.with(|sources| {
                std::fs::create_dir(&out)?;
                let files = lamchat_image::boot_files(sources, &signer.release_public()?, &out.join("work"))?;
                std::fs::write(out.join("vmlinuz"), files.kernel)?;
                Ok(std::fs::write(out.join("initrd"), files.initrd)?)
            })
        }
        Command::Verify { release, work, from } => from.with(|sources| {
            let verified = lamchat_image::verify(sources, &release, &work)?;
            for (file, digest) in &verified.files {
                println!("{digest}  {file}");
            }
            println!("PCR 11: {}", verified.pcr11);
            Ok(())
        }),
    }
}

/// Where cargo builds.
fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    named.unwrap_or_else(|| lamchat_image::workspace().join("target"))
}

impl From {
    /// Reads everything that a release is made of and hands it on.
    fn with(&self, then: impl FnOnce(&Sources<'_>) -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
        let workspace = lamchat_image::workspace();
        let target = target();
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        let inputs = match &self.inputs {
            Some(folder) => folder.clone(),
            None => {
                let folder = target.join("image-inputs");
                lamchat_image::fetch(&folder)?;
                folder
            }
        };
        let program = match &self.lamchat {
            Some(file) => std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?,
            None => lamchat_image::compile(workspace, &target.join("image"))?,
        };
        then(&Sources {
            release: Release {
                version: self
                    .release_version
                    .clone()
                    .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
                epoch: self.epoch.unwrap_or(EPOCH),
                commit: lamchat_image::commit()?,
                built_at: lamchat_image::built_at()?,
            },
            program: &program,
            inputs: &inputs,
            needs: &lamchat_image::needs()?,
            lock: &read(&workspace.join("Cargo.lock"))?,
            changelog: &read(&workspace.join("CHANGELOG.md"))?,
        })
    }
}
