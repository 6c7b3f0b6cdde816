//! Paths on a stick as we write them: every computer can show them, and no part of one has a meaning of its own.

/// Folders above a file.
const DEPTH_MAX: usize = 4;
/// Longest name.
const NAME_BYTES_MAX: usize = 100;

/// Whether `path` is one: names of letters, digits, `.`, `-`, `_` and spaces, with `/` between them. The empty path is the
/// first folder.
pub fn check_path(path: &str) -> bool {
    if path.is_empty() {
        return true;
    }
    let names: Vec<&str> = path.split('/').collect();
    names.len() <= DEPTH_MAX + 1 && names.into_iter().all(is_name)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with([' ', '.'])
        && !name.ends_with([' ', '.'])
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_ ".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::check_path;

    #[test]
    fn only_plain_paths_are_paths() {
        for good in ["", "a", "lamchat 1/part-00001", "a.b-c_D/e"] {
            assert!(check_path(good), "{good:?}");
        }
        for wrong in [
            "/",
            "a/",
            "/a",
            "..",
            "a/../b",
            ".x",
            "x.",
            " a",
            "a\\b",
            "a:b",
            "ä",
            "a/b/c/d/e/f",
            "a\0",
        ] {
            assert!(!check_path(wrong), "{wrong:?}");
        }
        assert!(!check_path(&"x".repeat(101)));
    }
}
