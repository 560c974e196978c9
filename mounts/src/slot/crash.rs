//! What the kernel wrote down as it died: the text of pstore's dmesg records, read for the cause.
//!
//! Only what the kernel itself says counts. A line that a program wrote to the kernel's log, such as
//! stage1's account of the boot before, may tell how far the boot had come and nothing else. Not
//! here: finding and removing the records, and what follows from them ([`super::judge`]).

use super::fields::Stage;
use super::history::Text;

/// What PID 1 writes to the kernel's log, after `shark: `, when it has taken over on a boot that
/// must pass a gate. A record of a crash that holds the line came that far.
pub const SAID_GATE: &str = "the gate is open";
/// The same, once the boot has been committed.
pub const SAID_GOOD: &str = "this boot is good";
/// What stage1 writes there when a slot's root is open and it goes to it, before the slot's name.
pub const SAID_BOOTING: &str = "booting slot ";
/// What stage1 writes there when a slot is refused, after `slot` and its name: what the kernel said
/// before is that slot's, and accounted for.
pub const SAID_REFUSED: &str = " is not booted: ";
/// The same, when the machine goes down in order.
pub const SAID_ENDING: &str = "shutdown: ";

/// What kind of death it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashKind {
    /// The kernel panicked.
    Panic,
    /// The kernel found a fault of its own, and there is no sign of a panic.
    Oops,
    /// It panicked over a corrupted block of dm-verity, or with one in its log since the slot was
    /// booted. A block that the disk does not give is none: that panic is like others.
    Verity,
    /// It panicked because a watchdog that is a part of the kernel was not fed.
    Watchdog,
}

/// A crash that was found written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Of what kind.
    pub kind: CrashKind,
    /// CRC32C of the text that it was read from, never 0: tells whether it was judged before.
    pub id: u32,
    /// The cause in one line, at most [`super::record::TEXT_MAX`] bytes.
    pub text: String,
    /// How far the boot had come, as far as the text tells.
    pub stage: Option<Stage>,
}

/// Reads the text of pstore's dmesg records: all parts of all records of one boot, one after the
/// other in any order. `None` when no crash is told there.
///
/// Each part begins with a line such as `Panic#2 Part1`: the reason, the number of the record, and
/// the number of the part, where part 1 is the end of the log. Then come lines of the kernel's log,
/// such as `<4>[   12.345678] text`.
#[must_use]
pub fn crash_of(dmesg: &str) -> Option<Crash> {
    let mut signs = Signs::default();
    for part in parts(dmesg) {
        signs.reason(part.reason);
        for line in part.lines {
            signs.line(&Line::parse(line));
        }
    }
    let (kind, cause) = signs.cause()?;
    let mut text = Text::from(cause.as_str());
    if text.is_empty() {
        // Memory that decays leaves lines of control characters.
        text = Text::from(NO_CAUSE);
    }
    let id = match crc32c::crc32c(dmesg.as_bytes()) {
        0 => 1,
        id => id,
    };
    Some(Crash {
        kind,
        id,
        text: text.as_str().to_owned(),
        stage: signs.stage,
    })
}

/// What is told where the kernel told nothing.
const NO_CAUSE: &str = "the kernel kept no cause";

/// Why the kernel kept its log, as the first line of a part says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Panic,
    Oops,
    /// Not because of a crash, or nobody says.
    Other,
}

struct Part<'a> {
    reason: Kept,
    /// Count of the record, and the part counted from the end: sorts by time.
    order: (u32, std::cmp::Reverse<u32>),
    lines: Vec<&'a str>,
}

/// The parts in the order in which they were written.
fn parts(dmesg: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut part = Part {
        reason: Kept::Other,
        order: (0, std::cmp::Reverse(0)),
        lines: Vec::new(),
    };
    for line in dmesg.lines() {
        if let Some((reason, order)) = header(line) {
            let begun = Part {
                reason,
                order,
                lines: Vec::new(),
            };
            parts.push(std::mem::replace(&mut part, begun));
        } else {
            part.lines.push(line);
        }
    }
    parts.push(part);
    parts.sort_by_key(|part| part.order);
    parts
}

/// `Panic#2 Part1`.
fn header(line: &str) -> Option<(Kept, (u32, std::cmp::Reverse<u32>))> {
    let (reason, rest) = line.trim_end().split_once('#')?;
    let (count, part) = rest.split_once(" Part")?;
    let order = (count.parse().ok()?, std::cmp::Reverse(part.parse().ok()?));
    let reason = match reason {
        "Panic" => Kept::Panic,
        "Oops" => Kept::Oops,
        _ => Kept::Other,
    };
    Some((reason, order))
}

/// A line of the kernel's log without its prefixes.
struct Line<'a> {
    /// It was written to the log by a program.
    by_program: bool,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let (by_program, mut text) = match priority(line) {
            // Facility 0 is the kernel's; programs cannot write with it.
            Some((priority, rest)) => (priority > 7, rest),
            None => (false, line),
        };
        // The time, and with CONFIG_PRINTK_CALLER the thread or processor.
        for _ in 0..2 {
            if let Some((stamp, rest)) =
                text.strip_prefix('[').and_then(|rest| rest.split_once(']'))
                && stamp
                    .chars()
                    .all(|c| c.is_ascii_digit() || " .TC".contains(c))
            {
                text = rest;
            }
        }
        Self {
            by_program,
            text: text.trim(),
        }
    }
}

/// `<4>` and what follows.
fn priority(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
    Some((number.parse().ok()?, rest))
}

/// What the lines tell, gathered in the order of time.
#[derive(Default)]
struct Signs<'a> {
    kept_for_panic: bool,
    kept_for_oops: bool,
    panic: Option<&'a str>,
    fault: Option<&'a str>,
    bad_block: Option<&'a str>,
    stage: Option<Stage>,
}

/// How the kernel begins to tell of a fault of its own.
const FAULTS: [&str; 12] = [
    "BUG: ",
    "kernel BUG at ",
    "Oops: ",
    "Internal error: ",
    "Unable to handle kernel ",
    "general protection fault",
    "divide error",
    "invalid opcode",
    "stack segment",
    "watchdog: BUG: ",
    "INFO: task ",
    "rcu: INFO: ",
];

/// Panics that only say that something was told before.
const EMPTY_PANICS: [&str; 5] = [
    "Fatal exception",
    "Oops",
    "softlockup",
    "hung_task",
    "RCU Stall",
];

/// How dm-verity panics over a block that does not verify. Over one that the disk does not give it
/// says `dm-verity device has I/O error`.
const CORRUPTED: &str = "dm-verity device corrupted";

impl<'a> Signs<'a> {
    fn reason(&mut self, reason: Kept) {
        match reason {
            Kept::Panic => self.kept_for_panic = true,
            Kept::Oops => self.kept_for_oops = true,
            Kept::Other => {}
        }
    }

    fn line(&mut self, line: &Line<'a>) {
        if let Some(said) = line.text.strip_prefix("shark: ") {
            self.stage = self.stage.max(Some(stage_of(said)));
            if is_turn_to_another(said) {
                // What was wrong before was not this slot's, and the kernel went on after it.
                self.bad_block = None;
                self.fault = None;
            }
        } else if line.by_program {
            // Programs may say what they like.
        } else if let Some(cause) = line.text.strip_prefix("Kernel panic - not syncing: ") {
            self.panic.get_or_insert(cause);
        } else if let Some(block) = line.text.strip_prefix("device-mapper: verity: ")
            && block.contains("corrupted")
        {
            self.bad_block.get_or_insert(block);
        } else if FAULTS.iter().any(|fault| line.text.starts_with(fault)) {
            self.fault.get_or_insert(line.text);
        }
    }

    fn cause(&self) -> Option<(CrashKind, String)> {
        let panicked = self.panic.is_some() || self.kept_for_panic;
        // A complaint alone is none: kernels go on after many of them.
        if !panicked && !self.kept_for_oops && !self.fault.is_some_and(is_deadly) {
            return None;
        }
        let panic = self.panic.unwrap_or_default();
        if panic.starts_with(CORRUPTED) || self.bad_block.is_some() {
            return Some((CrashKind::Verity, self.verity_text(panic)));
        }
        let empty = panic.is_empty() || EMPTY_PANICS.iter().any(|it| panic.starts_with(it));
        let text = match self.fault {
            Some(fault) if empty => fault,
            Some(_) | None if panic.is_empty() => NO_CAUSE,
            Some(_) | None => panic,
        };
        let kind = if panic.starts_with("Software Watchdog") || panic.starts_with("watchdog pret") {
            CrashKind::Watchdog
        } else if panicked {
            CrashKind::Panic
        } else {
            CrashKind::Oops
        };
        Some((kind, text.to_owned()))
    }

    fn verity_text(&self, panic: &str) -> String {
        let what = if panic.starts_with(CORRUPTED) {
            panic
        } else {
            CORRUPTED
        };
        match self.bad_block {
            Some(block) => format!("{what}: {block}"),
            None => what.to_owned(),
        }
    }
}

/// A fault after which a kernel does not simply go on.
fn is_deadly(fault: &str) -> bool {
    !["INFO: ", "rcu: INFO: ", "BUG: sleeping", "BUG: scheduling"]
        .iter()
        .any(|mild| fault.starts_with(mild))
}

/// Whether stage1 says that a slot is done with, or that it goes to one.
fn is_turn_to_another(said: &str) -> bool {
    let refused = said.strip_prefix("slot ").and_then(|rest| rest.get(1..));
    said.starts_with(SAID_BOOTING) || refused.is_some_and(|rest| rest.starts_with(SAID_REFUSED))
}

/// How far a boot has come in which stage1 or PID 1 said this.
fn stage_of(said: &str) -> Stage {
    if said.starts_with(SAID_ENDING) {
        Stage::Ending
    } else if said.starts_with(SAID_GOOD) {
        Stage::Running
    } else if said.starts_with(SAID_GATE) {
        Stage::Gate
    } else {
        Stage::Stage1
    }
}
