//! Whether the kernel is closed as the image's command line asks: nobody changes it while it runs, and it takes modules of
//! its maker's signature alone. The log says so at each start, and the console where it is not.

use super::state::Shared;

/// `none [integrity] confidentiality`: the word in brackets holds (kernel_lockdown(7), security/lockdown/lockdown.c).
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// `Y` where `module.sig_enforce=1` holds (Documentation/admin-guide/kernel-parameters.txt).
const SIGNED_MODULES: &str = "/sys/module/module/parameters/sig_enforce";

/// Looks, and tells.
pub fn note(shared: &Shared) {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    match sentence(read(LOCKDOWN), read(SIGNED_MODULES)) {
        Ok(closed) => shared.log.note(&closed),
        Err(open) => shared.notice(&open),
    }
}

fn sentence(lockdown: Result<String, String>, modules: Result<String, String>) -> Result<String, String> {
    let open = |why: String| format!("the kernel is NOT closed against changes: {why}");
    let (lockdown, modules) = (lockdown.map_err(open)?, modules.map_err(open)?);
    let level = lockdown.split_whitespace().find_map(|word| {
        let level = word.strip_prefix('[')?.strip_suffix(']')?;
        ["integrity", "confidentiality"].contains(&level).then_some(level)
    });
    let level = level.ok_or_else(|| open(format!("{LOCKDOWN} says {:?}", lockdown.trim())))?;
    if modules.trim() != "Y" {
        return Err(open("it takes modules that nobody signed".to_owned()));
    }
    Ok(format!(
        "the kernel is locked down ({level}), and takes signed modules alone"
    ))
}

#[cfg(test)]
mod tests {
    use super::sentence;

    fn of(lockdown: &str, modules: &str) -> Result<String, String> {
        sentence(Ok(lockdown.to_owned()), Ok(modules.to_owned()))
    }

    #[test]
    fn only_a_closed_kernel_is_called_so() {
        let closed = of("none [integrity] confidentiality\n", "Y\n");
        assert_eq!(
            closed.as_deref(),
            Ok("the kernel is locked down (integrity), and takes signed modules alone")
        );
        assert!(of("none integrity [confidentiality]\n", "Y\n").is_ok());
        for (lockdown, modules) in [
            ("[none] integrity confidentiality\n", "Y\n"),
            ("none integrity confidentiality\n", "Y\n"),
            ("", "Y\n"),
            ("none [integrity] confidentiality\n", "N\n"),
            ("none [integrity] confidentiality\n", ""),
        ] {
            let open = of(lockdown, modules).err().unwrap_or_default();
            assert!(open.contains("NOT closed"), "{lockdown:?} {modules:?}");
        }
        let unknown = sentence(Err("no such file".to_owned()), Ok("Y".to_owned()));
        assert!(unknown.is_err_and(|open| open.contains("no such file")));
    }
}
