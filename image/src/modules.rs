//! The kernel's modules: which are taken, what they need, and which devices they drive.
//!
//! Debian's package has no `modules.dep`, which depmod writes when a package is installed; what it would say is in the
//! section `.modinfo` of each module.

use lamchat_machine::modules::Condition;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};
use std::collections::{BTreeMap, BTreeSet};

/// Which modules the image has, `modules.toml`.
const CHOSEN: &str = include_str!("modules.toml");
/// A longer chain of needs is a circle.
const DEPTH_MAX: usize = 32;

/// The modules cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The list of modules is not readable.
    #[error("modules.toml: {0}")]
    List(#[from] toml::de::Error),
    /// The kernel has no such module.
    #[error("the kernel has no module {0}")]
    Missing(String),
    /// A module's file is damaged.
    #[error("the module {0} is damaged")]
    Damaged(String),
    /// Nothing would ever load a module.
    #[error(
        "nothing loads the module {0}: no device asks for it, and modules.toml has it neither in `load` nor in `named`"
    )]
    Dead(String),
    /// Process 1 knows no such condition.
    #[error("modules.toml: {0:?} is no condition")]
    Condition(String),
    /// Modules need each other in a circle.
    #[error("the modules around {0} need each other in a circle")]
    Circle(String),
}

/// `modules.toml`: the names of modules by what they are for.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    /// Loaded at every start, in this order.
    load: Vec<String>,
    /// Loaded when a device asks for them.
    devices: BTreeMap<String, Vec<String>>,
    /// Loaded by name where a condition holds, in this order.
    #[serde(default)]
    named: Vec<NamedModules>,
}

/// Modules that no device asks for.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedModules {
    when: String,
    modules: Vec<String>,
}

/// A module with what its `.modinfo` says. Names have `_` where files may have `-`.
struct Module {
    file: Vec<u8>,
    needs: Vec<String>,
    aliases: Vec<String>,
}

/// What the initrd gets.
pub struct ModuleSet {
    /// The files by name, without `.ko`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// `modules.dep`: `NAME: NEEDS…`, in the order of loading.
    pub dependencies: String,
    /// `modules.alias`: `alias PATTERN NAME`.
    pub aliases: String,
    /// `modules.load`: a name a line.
    pub load: String,
    /// `modules.named`: `CONDITION NAME`.
    pub named: String,
}

/// The modules of a package that may be taken: a path below `lib/modules`, without sounds and screens.
pub fn is_candidate(path: &str) -> bool {
    const LEFT_OUT: [&str; 6] = [
        "/kernel/sound/",
        "/kernel/drivers/gpu/",
        "/kernel/drivers/media/",
        "/kernel/drivers/staging/",
        "/kernel/drivers/iio/",
        "/kernel/drivers/net/wireless/",
    ];
    path.starts_with("lib/modules/") && path.ends_with(".ko") && !LEFT_OUT.iter().any(|folder| path.contains(folder))
}

/// Picks the modules of `modules.toml` and all that they need. `files` are a package's, by path.
pub fn pick(files: &BTreeMap<String, Vec<u8>>) -> Result<ModuleSet, ModuleError> {
    pick_chosen(&toml::from_str(CHOSEN)?, files)
}

fn pick_chosen(chosen: &Chosen, files: &BTreeMap<String, Vec<u8>>) -> Result<ModuleSet, ModuleError> {
    let by_name: BTreeMap<String, &Vec<u8>> = files
        .iter()
        .filter(|(path, _)| is_candidate(path))
        .map(|(path, file)| (name_of(path), file))
        .collect();
    let mut modules = BTreeMap::new();
    let by_condition = chosen.named.iter().flat_map(|named| &named.modules);
    let names = chosen.load.iter().chain(chosen.devices.values().flatten());
    for name in names.chain(by_condition.clone()) {
        gather(name, &by_name, &mut modules, DEPTH_MAX)?;
    }
    for name in chosen.devices.values().flatten() {
        let has_alias = modules.get(name).is_some_and(|module| !module.aliases.is_empty());
        if !has_alias && !chosen.load.contains(name) && !by_condition.clone().any(|other| other == name) {
            return Err(ModuleError::Dead(name.clone()));
        }
    }
    let mut dependencies = String::new();
    let mut aliases = String::new();
    for (name, module) in &modules {
        let mut order = Vec::new();
        for need in &module.needs {
            order_of(need, &modules, &mut order);
        }
        dependencies.push_str(&format!(
            "{name}:{}\n",
            order.iter().map(|need| format!(" {need}")).collect::<String>()
        ));
        for alias in &module.aliases {
            aliases.push_str(&format!("alias {alias} {name}\n"));
        }
    }
    let mut named = String::new();
    for NamedModules { when, modules } in &chosen.named {
        if Condition::parse(when).is_none() {
            return Err(ModuleError::Condition(when.clone()));
        }
        for name in modules {
            named.push_str(&format!("{when} {name}\n"));
        }
    }
    let load = chosen.load.iter().map(|name| format!("{name}\n")).collect();
    Ok(ModuleSet {
        files: modules.into_iter().map(|(name, module)| (name, module.file)).collect(),
        dependencies,
        aliases,
        load,
        named,
    })
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.trim_end_matches(".ko").replace('-', "_")
}

/// Adds a module and everything that it needs.
fn gather(
    name: &str,
    files: &BTreeMap<String, &Vec<u8>>,
    modules: &mut BTreeMap<String, Module>,
    depth: usize,
) -> Result<(), ModuleError> {
    if modules.contains_key(name) {
        return Ok(());
    }
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| ModuleError::Circle(name.to_owned()))?;
    let file = files.get(name).ok_or_else(|| ModuleError::Missing(name.to_owned()))?;
    let module = read(name, file)?;
    for need in &module.needs {
        gather(need, files, modules, depth)?;
    }
    modules.insert(name.to_owned(), module);
    Ok(())
}

/// Appends a module behind all that it needs.
fn order_of(name: &str, modules: &BTreeMap<String, Module>, order: &mut Vec<String>) {
    if order.iter().any(|other| other == name) {
        return;
    }
    for need in modules
        .get(name)
        .map(|module| module.needs.as_slice())
        .unwrap_or_default()
    {
        order_of(need, modules, order);
    }
    order.push(name.to_owned());
}

/// Reads `.modinfo`: texts `key=value`, each with a zero byte at its end.
fn read(name: &str, file: &[u8]) -> Result<Module, ModuleError> {
    let damaged = || ModuleError::Damaged(name.to_owned());
    let elf: ElfFile64<'_> = ElfFile64::parse(file).map_err(|_| damaged())?;
    let section = elf.section_by_name(".modinfo").ok_or_else(damaged)?;
    let info = section.data().map_err(|_| damaged())?;
    let mut needs = Vec::new();
    let mut aliases = BTreeSet::new();
    for line in info.split(|byte| *byte == 0) {
        let line = std::str::from_utf8(line).map_err(|_| damaged())?;
        match line.split_once('=') {
            Some(("depends", list)) => {
                needs.extend(
                    list.split(',')
                        .filter(|need| !need.is_empty())
                        .map(|need| need.replace('-', "_")),
                );
            }
            // A pattern with a space cannot come from a device.
            Some(("alias", pattern)) if !pattern.contains(' ') => {
                aliases.insert(pattern.to_owned());
            }
            _ => {}
        }
    }
    Ok(Module {
        file: file.to_vec(),
        needs,
        aliases: aliases.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests;
