//! `sharkctl why` in the situations that operators meet: each time it names the true cause in one screen.
//! `cargo xtask captures` writes the same screens down.

use anyhow::ensure;
use machine::broken::{SITUATIONS, capture};
use machine::scenario::{ANSWER, booted, spec};

#[test]
fn why_names_the_true_cause_in_one_screen() -> anyhow::Result<()> {
    let mut machine = booted(&spec(None)?)?;
    for situation in SITUATIONS {
        let text = capture(&mut machine, situation)?;
        println!("{}:\n{text}", situation.title);
    }
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}
