//! What the kernel said before the last crash: taken out of the machine's pstore once the data are open, and kept with
//! them, because it may name what nobody else should read. The last few crashes stay.

use super::DATA;
use super::state::Shared;
use lamchat_machine::{crash_log, time};
use std::io::Read;
use std::path::{Path, PathBuf};

const PSTORE: &str = "/sys/fs/pstore";
/// Crashes that are kept.
const KEPT_MAX: usize = 5;
/// Largest file that is shown.
const SHOWN_BYTES_MAX: u64 = 1 << 20;

fn folder() -> PathBuf {
    Path::new(DATA).join("crashes")
}

/// Keeps what there is.
pub fn keep(shared: &Shared) {
    let lines = match crash_log::take(Path::new(PSTORE)) {
        Ok(lines) if lines.is_empty() => return,
        Ok(lines) => lines,
        Err(error) => {
            return shared
                .log
                .note(&format!("what the kernel said before a crash: {error}"));
        }
    };
    shared.notice("it crashed before this start: k shows the kernel's last words");
    if let Err(error) = write(&folder(), time::now_ms(), &lines) {
        shared
            .log
            .note(&format!("they are not: {}: {error}", folder().display()));
    }
}

fn write(folder: &Path, now_ms: u64, lines: &[String]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join(format!("{now_ms:016}")), lines.join("\n"))?;
    let all = names(folder)?;
    for old in all.iter().take(all.len().saturating_sub(KEPT_MAX)) {
        std::fs::remove_file(folder.join(old))?;
    }
    Ok(())
}

/// Oldest first.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<String> = entries
        .into_iter()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// The lines of the last one.
pub fn last() -> Vec<String> {
    read_last(&folder()).unwrap_or_else(|error| vec![format!("no crash is known: {error}")])
}

fn read_last(folder: &Path) -> std::io::Result<Vec<String>> {
    let Some(name) = names(folder)?.pop() else {
        return Ok(vec!["no crash is known".to_owned()]);
    };
    let mut text = String::new();
    std::fs::File::open(folder.join(name))?
        .take(SHOWN_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_last_few_stay() {
        let folder = tempfile::tempdir().unwrap();
        for at in 0..8 {
            write(folder.path(), at, &[format!("crash {at}"), "more".to_owned()]).unwrap();
        }
        assert_eq!(names(folder.path()).unwrap().len(), KEPT_MAX);
        assert_eq!(read_last(folder.path()).unwrap(), ["crash 7", "more"]);
    }
}
