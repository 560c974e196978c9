//! Whether a kernel has what the house needs: its configuration against `kernel/config/shark.config`.
//! Not here: what is needed and why (the fragment says so itself).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::paths;

/// The fragment, from the top of the checkout.
pub(super) const FRAGMENT: &str = "kernel/config/shark.config";

/// Refuses the kernel unpacked in `dir` when its configuration lacks something; one that brings no
/// configuration is taken as it is.
pub(super) fn check(dir: &Path) -> Result<()> {
    let boot = dir.join("boot");
    for entry in fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("config-") {
            return check_texts(&fragment()?, &path);
        }
    }
    Ok(())
}

fn fragment() -> Result<String> {
    fs::read_to_string(paths::workspace().join(FRAGMENT))
        .with_context(|| format!("cannot read {FRAGMENT}"))
}

fn check_texts(fragment: &str, config: &Path) -> Result<()> {
    let text =
        fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let lacking = lacking(fragment, &text);
    if lacking.is_empty() {
        return Ok(());
    }
    bail!(
        "the kernel lacks what Shark init needs; {FRAGMENT} says what for:\n  {}\nits configuration is {}",
        lacking.join("\n  "),
        config.display()
    )
}

/// What the fragment asks for and the configuration has not. Where a module will do (`=m`),
/// built in will do as well.
fn lacking(fragment: &str, config: &str) -> Vec<String> {
    let has = options(config);
    options(fragment)
        .into_iter()
        .filter(|(name, wanted)| {
            let found = has.get(name).copied().unwrap_or("n");
            !(found == *wanted || (*wanted == "m" && found == "y"))
        })
        .map(|(name, wanted)| {
            format!(
                "{name}={wanted}, and it is {}",
                has.get(name).copied().unwrap_or("not set")
            )
        })
        .collect()
}

/// Lines `CONFIG_NAME=value`; the others are comments.
fn options(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter(|line| line.starts_with("CONFIG_"))
        .filter_map(|line| line.trim_end().split_once('='))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_will_do_where_one_is_asked_for_and_built_in_too() {
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\n";
        assert_eq!(
            lacking("# why\nCONFIG_A=m\nCONFIG_C=m\n", config),
            Vec::<String>::new()
        );
        assert_eq!(
            lacking("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n", config),
            ["CONFIG_B=y, and it is not set", "CONFIG_C=y, and it is m"]
        );
    }

    #[test]
    fn the_fragment_asks_for_what_it_takes_to_boot() {
        let text = fragment().unwrap();
        let wanted = options(&text);
        for name in [
            "CONFIG_DM_VERITY",
            "CONFIG_EROFS_FS",
            "CONFIG_OVERLAY_FS",
            "CONFIG_CGROUPS",
            "CONFIG_DEVTMPFS",
        ] {
            assert!(wanted.contains_key(name), "{name}");
        }
    }
}
