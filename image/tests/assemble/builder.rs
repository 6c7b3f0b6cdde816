//! Runs the builder.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The commit and time of every build here.
const SOURCE: [(&str, &str); 2] = [("LAMCHAT_COMMIT", "000000000000"), ("SOURCE_DATE_EPOCH", "1767225600")];

/// The builder's file, in either place.
const BUILDER: &str = "image";
const OTHER_BUILDER: &str = "the other builder";
/// What a dynamically linked program names.
const LOADER: &[u8] = b"ld-linux-x86-64.so";

/// Where and how a build runs.
pub struct Surroundings {
    environment: &'static [(&'static str, &'static str)],
    /// Commands that the builder is started by.
    before: Vec<&'static str>,
    /// Where, below a folder of its own.
    folder: &'static str,
    /// The folder with the builder, the program and the packages.
    shelf: &'static Path,
    /// The builder's file in it.
    builder: &'static str,
}

impl Surroundings {
    /// As it comes.
    pub fn usual() -> Self {
        Self {
            environment: &[],
            before: Vec::new(),
            folder: "release",
            shelf: shelf(),
            builder: BUILDER,
        }
    }

    /// Another user where this one may become one, clock, home, zone, language and place, of the release, the builder and
    /// the packages; other permissions for new files, one processor.
    pub fn other() -> Self {
        let mut before = vec!["taskset", "--cpu-list", "0"];
        if is_root() {
            before.extend(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]);
            assert_nobody_can_read();
        } else {
            println!("the second build runs as the same user: only root can become another");
        }
        before.extend(["faketime", "-f", "+400d"]);
        Self {
            environment: &[
                ("TZ", "Pacific/Kiritimati"),
                ("HOME", "/nowhere"),
                ("USER", "somebody"),
                ("LC_ALL", "C.UTF-8"),
            ],
            before,
            folder: "quite/another place/release",
            shelf: other_shelf(),
            builder: OTHER_BUILDER,
        }
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Root can become anybody, so a second build as the same user shows less than it could: the source must be readable.
fn assert_nobody_can_read() {
    let lock = lamchat_image::workspace().join("Cargo.lock");
    let tried = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "test", "-r"])
        .arg(&lock)
        .status();
    let can = tried.unwrap().success();
    assert!(
        can,
        "user 65534 cannot read {}: put the source where others can",
        lock.display()
    );
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
        let builder = surroundings.shelf.join(surroundings.builder);
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
        sources(&mut command, &surroundings.shelf.join("lamchat"), surroundings.shelf);
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
        sources(&mut command, program, shelf());
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
fn sources(command: &mut Command, program: &Path, shelf: &Path) {
    command
        .arg("--lamchat")
        .arg(program)
        .arg("--inputs")
        .arg(shelf.join("inputs"));
}

/// The pinned packages, fetched if they are not there yet.
fn packages() -> PathBuf {
    let kept = std::env::var_os("LAMCHAT_IMAGE_INPUTS").map(PathBuf::from);
    let kept = kept.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-inputs"));
    succeed(&run(Command::new(env!("CARGO_BIN_EXE_image"))
        .arg("fetch")
        .arg("--out")
        .arg(&kept)));
    kept
}

/// The folder with everything for the first build.
fn shelf() -> &'static Path {
    static SHELF: OnceLock<PathBuf> = OnceLock::new();
    SHELF.get_or_init(|| fill("", Path::new(env!("CARGO_BIN_EXE_image")), BUILDER))
}

/// The one for the second: its builder is linked dynamically, because nobody can tell a static program another time.
fn other_shelf() -> &'static Path {
    static SHELF: OnceLock<PathBuf> = OnceLock::new();
    SHELF.get_or_init(|| {
        let Some(builder) = std::env::var_os("LAMCHAT_DYNAMIC_BUILDER") else {
            panic!("LAMCHAT_DYNAMIC_BUILDER names no builder: run `tests/run release image`");
        };
        let bytes = std::fs::read(&builder).unwrap();
        let is_dynamic = bytes.windows(LOADER.len()).any(|window| window == LOADER);
        assert!(
            is_dynamic,
            "{builder:?} is linked statically: faketime does not reach it"
        );
        fill("a place/for the other", Path::new(&builder), OTHER_BUILDER)
    })
}

/// Fills a new folder that every user may read, below which there are folders of this name.
fn fill(below: &str, builder: &Path, name: &str) -> PathBuf {
    let folder = tempfile::tempdir().unwrap().keep();
    let shelf = folder.join(below);
    let inputs = shelf.join("inputs");
    std::fs::create_dir_all(&inputs).unwrap();
    for file in std::fs::read_dir(packages())
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        std::fs::copy(&file, inputs.join(file.file_name().unwrap())).unwrap();
    }
    std::fs::copy(builder, shelf.join(name)).unwrap();
    std::fs::copy(program(), shelf.join("lamchat")).unwrap();
    let readable = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    for path in inputs.ancestors().take_while(|path| path.starts_with(&folder)) {
        readable(path);
    }
    shelf
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
