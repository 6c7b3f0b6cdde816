//! Runs the builder.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The commit and time of every build here.
const SOURCE: [(&str, &str); 2] = [("LAMCHAT_COMMIT", "000000000000"), ("SOURCE_DATE_EPOCH", "1767225600")];

/// Where and how a build runs.
pub struct Surroundings {
    environment: &'static [(&'static str, &'static str)],
    /// Commands that the builder is started by.
    before: Vec<&'static str>,
    /// Where, below a folder of its own.
    folder: &'static str,
}

impl Surroundings {
    /// As it comes.
    pub fn usual() -> Self {
        Self {
            environment: &[],
            before: Vec::new(),
            folder: "release",
        }
    }

    /// Another user where this one may become one, home, zone, language and place, other permissions for new files, one
    /// processor.
    pub fn other() -> Self {
        let mut before = vec!["taskset", "--cpu-list", "0"];
        if nobody_can_be_become() {
            before.extend(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        }
        Self {
            environment: &[
                ("TZ", "Pacific/Kiritimati"),
                ("HOME", "/nowhere"),
                ("USER", "somebody"),
                ("LC_ALL", "C.UTF-8"),
            ],
            before,
            folder: "quite/another place/release",
        }
    }
}

/// Whether a program may be started as the user `nobody`, who can read the source.
fn nobody_can_be_become() -> bool {
    let tried = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "test", "-r"])
        .arg(lamchat_image::workspace().join("Cargo.lock"))
        .status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        println!("the second build runs as the same user: there is no other who can read the source");
    }
    can
}

/// A release in a folder of its own.
pub struct Release {
    _folder: TempDir,
    path: PathBuf,
}

impl Release {
    /// Builds one.
    pub fn build(keys: &Path, surroundings: &Surroundings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(surroundings.folder);
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        let is_other = !surroundings.before.is_empty();
        if is_other {
            for folder in parent.ancestors().take(3) {
                std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
            }
        }
        let builder = shared().join("image");
        let mut command = match surroundings.before.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command
                    .args(rest)
                    .args(["sh", "-c", "umask 077; exec \"$@\"", "sh"])
                    .arg(&builder);
                command
            }
            None => Command::new(&builder),
        };
        command.envs(SOURCE).envs(surroundings.environment.iter().copied());
        command.arg("build").arg("--keys").arg(keys).arg("--out").arg(&path);
        sources(&mut command, &shared().join("lamchat"));
        succeed(&run(&mut command));
        Self { _folder: folder, path }
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of all files, those of the signatures too.
    pub fn files(&self) -> BTreeSet<String> {
        let list = |folder: &str| {
            let entries = std::fs::read_dir(self.file(folder)).unwrap();
            let files = entries
                .map(|entry| entry.unwrap())
                .filter(|entry| entry.file_type().unwrap().is_file());
            files
                .map(|file| format!("{folder}{}", file.file_name().into_string().unwrap()))
                .collect::<Vec<_>>()
        };
        list("").into_iter().chain(list("signatures/")).collect()
    }

    /// Verifies it with a program: what was said, or why it was refused.
    pub fn verify(&self, program: &Path) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_image"));
        command.envs(SOURCE).arg("verify").arg("--release").arg(&self.path);
        command.arg("--work").arg(folder.path().join("work"));
        sources(&mut command, program);
        let output = run(&mut command);
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn succeed(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The program that is put into the image.
pub fn program() -> PathBuf {
    let Some(program) = std::env::var_os("LAMCHAT_RELEASE_BINARY") else {
        panic!("LAMCHAT_RELEASE_BINARY names no program: run `tests/run release image`");
    };
    program.into()
}

/// The options that say what is built.
fn sources(command: &mut Command, program: &Path) {
    command
        .arg("--lamchat")
        .arg(program)
        .arg("--inputs")
        .arg(shared().join("inputs"));
}

/// A folder that every user may read, with the pinned packages, the builder and the program.
fn shared() -> &'static Path {
    static SHARED: OnceLock<TempDir> = OnceLock::new();
    let made = SHARED.get_or_init(|| {
        let kept = std::env::var_os("LAMCHAT_IMAGE_INPUTS").map(PathBuf::from);
        let kept = kept.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-inputs"));
        succeed(&run(Command::new(env!("CARGO_BIN_EXE_image"))
            .arg("fetch")
            .arg("--out")
            .arg(&kept)));
        let folder = tempfile::tempdir().unwrap();
        let inputs = folder.path().join("inputs");
        std::fs::create_dir(&inputs).unwrap();
        for file in std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()) {
            std::fs::copy(&file, inputs.join(file.file_name().unwrap())).unwrap();
        }
        std::fs::copy(env!("CARGO_BIN_EXE_image"), folder.path().join("image")).unwrap();
        std::fs::copy(program(), folder.path().join("lamchat")).unwrap();
        for (path, mode) in [(folder.path(), 0o755), (&inputs, 0o755)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        folder
    });
    made.path()
}

/// Makes keys of an operator, readable for the user of [`Surroundings::other`].
pub fn new_keys() -> PathBuf {
    let folder = tempfile::tempdir().unwrap().keep();
    succeed(&run(Command::new(env!("CARGO_BIN_EXE_image"))
        .args(["keys", "new", "--out"])
        .arg(&folder)));
    for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}
