//! `boot`: how the machine came up, how long it took, what it lacks; and waiting for it to be done. Not
//! here: finding any of it out (stage1 and init do).

use serde_json::{Value, json};
use services::control::{BootInfo, BootMode, BootState, Reply, Request};

use crate::Context;
use crate::client::{Client, unexpected_reply};
use crate::failure::{Failure, count};
use crate::quantity::seconds;
use crate::screen::Screen;
use crate::table::{Align, Table, printable};
use crate::waiting::{ask, await_reply, describe_boot};

/// `boot` and `boot info`.
pub(crate) fn info(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let boot = ask_boot(context, screen)?;
    if screen.json {
        screen.print_json(&to_json(&boot))
    } else {
        screen.print(for_people(&boot))
    }
}

/// `boot wait`.
pub(crate) fn wait(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let patience = context.patience();
    let mut client = Client::call(patience.socket, Request::WaitBoot)?;
    let mut what = || describe_boot(patience.socket);
    let reply = await_reply(&mut client, patience.limit, screen, &mut what)?;
    let Reply::BootFailed { failed } = reply else {
        return Err(unexpected_reply());
    };
    if screen.json {
        screen.print_json(&json!({ "failed": failed }))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the boot is done, but {} failed: {}; `sharkctl status` tells why",
        count(failed.len(), "service"),
        printable(&failed.join(", "))
    )))
}

/// Asks init how the machine came up.
pub(crate) fn ask_boot(context: &Context, screen: &mut Screen<'_>) -> Result<BootInfo, Failure> {
    match ask(context.patience(), screen, Request::Boot)? {
        Reply::Boot { boot } => Ok(*boot),
        _ => Err(unexpected_reply()),
    }
}

/// The shape that `--json` prints: every key is there, in camel case; what is absent is null.
pub(crate) fn to_json(boot: &BootInfo) -> Value {
    let timings: Vec<Value> = boot
        .timings
        .iter()
        .map(|step| json!({ "name": step.name, "us": step.us }))
        .collect();
    json!({
        "state": boot.state,
        "target": boot.target,
        "failed": boot.failed,
        "mode": boot.mode,
        "slot": boot.slot,
        "why": boot.why,
        "version": boot.version,
        "rootHash": boot.root_hash,
        "kernel": boot.kernel,
        "timings": timings,
        "missing": boot.missing,
    })
}

/// The word for a state of the boot.
pub(crate) const fn state_word(state: BootState) -> &'static str {
    match state {
        BootState::Starting => "starting",
        BootState::Ready => "ready",
        BootState::Degraded => "degraded",
    }
}

const fn mode_text(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Disk => "disk (verified slot)",
        BootMode::Initramfs => "initramfs (everything in memory)",
        BootMode::Direct => "direct (ordinary root)",
        BootMode::Container => "container (PID namespace)",
    }
}

fn for_people(boot: &BootInfo) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{key:>9}: {}\n", printable(value)));
        }
    };
    line(
        "state",
        &format!("{}, target {}", state_word(boot.state), boot.target),
    );
    line("failed", &boot.failed.join(", "));
    line("mode", mode_text(boot.mode));
    match &boot.slot {
        Some(slot) => line("slot", &format!("{slot}: {}", boot.why)),
        None => line("why", &boot.why),
    }
    line("version", boot.version.as_deref().unwrap_or_default());
    line("root hash", boot.root_hash.as_deref().unwrap_or_default());
    line("kernel", &boot.kernel);
    for missing in &boot.missing {
        line("missing", missing);
    }
    if !boot.timings.is_empty() {
        text.push('\n');
        text.push_str(&timings_table(boot));
    }
    text
}

/// When each step was reached, and how long it took from the step before.
fn timings_table(boot: &BootInfo) -> String {
    let mut table = Table::new(vec![
        (Align::Right, "REACHED".into()),
        (Align::Right, "TOOK".into()),
        (Align::Left, "STEP".into()),
    ]);
    let mut before = 0;
    for step in &boot.timings {
        table.row(vec![
            seconds(step.us).into(),
            seconds(step.us.saturating_sub(before)).into(),
            step.name.as_str().into(),
        ]);
        before = step.us;
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use services::control::Timing;

    use super::*;

    fn boot() -> BootInfo {
        let timing = |name: &str, us| Timing {
            name: name.into(),
            us,
        };
        BootInfo {
            mode: BootMode::Disk,
            slot: Some("b".into()),
            why: "slot a did not verify".into(),
            version: Some("1.2.3".into()),
            root_hash: Some("ab12".into()),
            kernel: "6.1.0".into(),
            target: "default".into(),
            state: BootState::Ready,
            failed: vec![],
            timings: vec![timing("stage1", 1_204_000), timing("ready", 2_402_999)],
            missing: vec!["watchdog: no /dev/watchdog".into()],
            gate: None,
            committed: false,
            trial: false,
            boot_number: None,
            watchdog: None,
        }
    }

    #[test]
    fn people() {
        assert_eq!(
            for_people(&boot()),
            "    state: ready, target default\n     \
                 mode: disk (verified slot)\n     \
                 slot: b: slot a did not verify\n  \
              version: 1.2.3\n\
             root hash: ab12\n   \
               kernel: 6.1.0\n  \
              missing: watchdog: no /dev/watchdog\n\
             \n\
             REACHED    TOOK  STEP\n \
              1.204s  1.204s  stage1\n \
              2.402s  1.198s  ready\n"
        );
    }

    #[test]
    fn programs() {
        let value = to_json(&boot());
        assert_eq!(value["rootHash"], "ab12");
        assert_eq!(value["state"], "ready");
        assert_eq!(value["mode"], "disk");
        assert_eq!(value["timings"][1]["us"], 2_402_999);
        let mut none = boot();
        none.slot = None;
        assert!(to_json(&none)["slot"].is_null());
    }
}
