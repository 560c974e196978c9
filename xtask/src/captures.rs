//! `cargo xtask captures`: boots the image, breaks it in each of the ways that `machine::broken` knows, and
//! writes what `sharkctl why` shows into `docs/why.md`. Not here: what must be on the screens, which a test
//! of the boots asks for.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use machine::broken::{SITUATIONS, Situation, capture};
use machine::scenario::booted;
use machine::{Accel, Disk, Spec};

use crate::image::{self, ImageOptions};
use crate::setup::{self, Need};
use crate::{command, paths};

/// How the file begins.
const HEAD: &str = "# What `sharkctl why` shows

Screens of a running machine, each broken in another way, written by `cargo xtask captures`. The service
files are in [tests-qemu/broken](../tests-qemu/broken); a test boots the same machine and asks for the cause
on each screen, and for no more than 24 lines.

| situation | service | what was done before |
|---|---|---|
";

/// What it is given.
#[derive(clap::Args)]
pub(crate) struct CapturesArgs {
    /// Where to write
    #[arg(long, value_name = "FILE", default_value = "docs/why.md")]
    output: PathBuf,
}

pub(crate) fn run(args: &CapturesArgs) -> Result<()> {
    let options = ImageOptions::default();
    setup::need(&[Need::Qemu(options.arch)])?;
    let image = image::make(&options)?;
    let (accel, _) = Accel::probe(image.arch);
    command::step("booting");
    let spec = Spec::new(&image, accel, Disk::Fresh(image.disk.clone()));
    let mut machine = booted(&spec)?;
    let mut screens = Vec::new();
    for situation in SITUATIONS {
        command::step(situation.title);
        screens.push((situation, capture(&mut machine, situation)?));
    }
    let output = paths::workspace().join(&args.output);
    std::fs::write(&output, page(&screens))
        .with_context(|| format!("write {}", output.display()))?;
    println!("{}", output.display());
    Ok(())
}

fn page(screens: &[(&Situation, String)]) -> String {
    let mut page = HEAD.to_owned();
    for (it, _) in screens {
        let _ = writeln!(page, "| {} | `{}` | `{}` |", it.title, it.service, it.did);
    }
    for (it, screen) in screens {
        let (title, service, screen) = (it.title, it.service, screen.trim_end());
        let _ = write!(
            page,
            "\n## {title}\n\n```\n$ sharkctl why {service}\n{screen}\n```\n"
        );
    }
    page
}
