//! What pstore keeps of a dying kernel, read for the cause and for how far the boot had come.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use mounts::slot::crash::{
    Crash, CrashKind, SAID_BOOTING, SAID_ENDING, SAID_GATE, SAID_GOOD, SAID_REFUSED, crash_of,
};
use mounts::slot::record::{Stage, TEXT_MAX};
use proptest::prelude::*;

fn crash(dmesg: &str) -> Crash {
    crash_of(dmesg).unwrap_or_else(|| panic!("a crash is told in {dmesg}"))
}

/// Each with the text that a kernel wrote, and what is to be read from it.
const DEATHS: [(&str, CrashKind, &str); 17] = [
    (
        "Panic#1 Part1\n<6>[   41.0] sysrq: Trigger a crash\n\
         <0>[   41.1] Kernel panic - not syncing: sysrq triggered crash\n\
         <4>[   41.1] CPU: 0 PID: 210 Comm: sh Not tainted\n",
        CrashKind::Panic,
        "sysrq triggered crash",
    ),
    (
        "Panic#1 Part1\n<0>[    2.5] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n",
        CrashKind::Panic,
        "Attempted to kill init! exitcode=0x00000100",
    ),
    (
        "Oops#1 Part1\n<1>[   12.3] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
         <1>[   12.3] #PF: supervisor write access in kernel mode\n<4>[   12.3] Oops: 0002 [#1] PREEMPT SMP NOPTI\n",
        CrashKind::Oops,
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    ),
    // A panic that only follows an oops is told by the oops.
    (
        "Oops#1 Part1\n<1>[   12.3] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
         Panic#2 Part1\n<0>[   12.4] Kernel panic - not syncing: Fatal exception\n",
        CrashKind::Panic,
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    ),
    // arm64, with the thread that spoke.
    (
        "Panic#1 Part1\n<1>[    9.0][  T210] Unable to handle kernel paging request at virtual address 00000010\n\
         <0>[    9.0][  T210] Internal error: Oops: 96000004 [#1] SMP\n\
         <0>[    9.1][  T210] Kernel panic - not syncing: Oops: Fatal exception\n",
        CrashKind::Panic,
        "Unable to handle kernel paging request at virtual address 00000010",
    ),
    (
        "Panic#1 Part1\n<2>[   44.0] kernel BUG at fs/inode.c:612!\n\
         <4>[   44.0] invalid opcode: 0000 [#1] SMP\n\
         <0>[   44.1] Kernel panic - not syncing: Fatal exception in interrupt\n",
        CrashKind::Panic,
        "kernel BUG at fs/inode.c:612!",
    ),
    // Hangs that the kernel finds itself.
    (
        "Panic#1 Part1\n<0>[   30.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [busy:99]\n\
         <0>[   30.0] Kernel panic - not syncing: softlockup: hung tasks\n",
        CrashKind::Panic,
        "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [busy:99]",
    ),
    (
        "Panic#1 Part1\n<3>[  130.0] INFO: task mount:77 blocked for more than 120 seconds.\n\
         <0>[  130.0] Kernel panic - not syncing: hung_task: blocked tasks\n",
        CrashKind::Panic,
        "INFO: task mount:77 blocked for more than 120 seconds.",
    ),
    (
        "Panic#1 Part1\n<0>[   60.0] Kernel panic - not syncing: Software Watchdog Timer expired\n",
        CrashKind::Watchdog,
        "Software Watchdog Timer expired",
    ),
    (
        "Panic#1 Part1\n<0>[   60.0] Kernel panic - not syncing: watchdog pretimeout event\n",
        CrashKind::Watchdog,
        "watchdog pretimeout event",
    ),
    // Verity: the panic, and the block that it is about.
    (
        "Panic#1 Part1\n<3>[    5.0] device-mapper: verity: 254:0: data block 12 is corrupted\n\
         <0>[    5.0] Kernel panic - not syncing: dm-verity device corrupted\n",
        CrashKind::Verity,
        "dm-verity device corrupted: 254:0: data block 12 is corrupted",
    ),
    (
        "Panic#1 Part1\n<0>[    5.0] Kernel panic - not syncing: dm-verity device has I/O error\n",
        CrashKind::Panic,
        "dm-verity device has I/O error",
    ),
    // Where a bad block is only an error, what it breaks may be the kernel's first process.
    (
        "Panic#1 Part1\n<3>[    5.0] device-mapper: verity: 254:0: metadata block 3 is corrupted\n\
         <0>[    5.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000007\n",
        CrashKind::Verity,
        "dm-verity device corrupted: 254:0: metadata block 3 is corrupted",
    ),
    // No header, no priorities: as an operator copies it from a console.
    (
        "[    2.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
        CrashKind::Panic,
        "VFS: Unable to mount root fs on unknown-block(0,0)",
    ),
    // Memory that has decayed.
    (
        "Panic#1 Part1\n<0>[    5.0] Kernel panic - not syncing: \0\0\u{1}\n",
        CrashKind::Panic,
        "the kernel kept no cause",
    ),
    // Only the part of the record that has not the cause.
    (
        "Panic#1 Part2\n<6>[    1.0] random: crng init done\n",
        CrashKind::Panic,
        "the kernel kept no cause",
    ),
    (
        "Panic#1 Part1\n<0>[    2.5] Kernel panic - not syncing: äääääääääääääääääääääääääääääääääääääää and more\n",
        CrashKind::Panic,
        "ääääääääääääääääääääääääääääääääääää",
    ),
];

#[test]
fn deaths_and_their_causes() {
    for (dmesg, kind, text) in DEATHS {
        let crash = crash(dmesg);
        assert_eq!((crash.kind, crash.text.as_str()), (kind, text), "{dmesg}");
        assert_eq!(crash.id, crc32c::crc32c(dmesg.as_bytes()));
        assert!(crash.text.len() <= TEXT_MAX);
    }
}

#[test]
fn what_is_no_death_is_none() {
    for dmesg in [
        "",
        "Panic",
        "#1 Part1",
        "Shutdown#1 Part1\n<5>[   99.0] reboot: Restarting system\n",
        // A complaint after which the kernel went on.
        "Shutdown#3 Part1\n<3>[    4.0] BUG: sleeping function called from invalid context\n",
        "Unknown#1 Part1\n<3>[  130.0] INFO: task mount:77 blocked for more than 120 seconds.\n",
        "Shutdown#1 Part1\n<3>[    5.0] device-mapper: verity: 254:0: data block 12 is corrupted\n",
    ] {
        assert_eq!(crash_of(dmesg), None, "{dmesg}");
    }
}

/// A boot's account of the death before it lies in the log of the next, and was taken for its own.
#[test]
fn what_programs_write_to_the_log_is_no_evidence() {
    let told = "<12>[    1.2] shark: last boot, slot b: panic (Kernel panic - not syncing: old)\n\
                <30>[    1.3] Kernel panic - not syncing: said by a program\n\
                <28>[    1.4] BUG: said by another\n\
                <11>[    1.5] device-mapper: verity: 254:0: data block 1 is corrupted\n";
    assert_eq!(crash_of(&format!("Shutdown#1 Part1\n{told}")), None);
    assert_eq!(crash_of(told), None);
    let dmesg = format!("Oops#1 Part1\n{told}<4>[   20.0] Oops: 0000 [#1] SMP\n");
    let crash = crash(&dmesg);
    assert_eq!(crash.kind, CrashKind::Oops);
    assert_eq!(crash.text, "Oops: 0000 [#1] SMP");
}

#[test]
fn how_far_the_boot_had_come() {
    let stage = |said: &[&str]| {
        let lines: String = said
            .iter()
            .map(|line| format!("<29>[    3.0] shark: {line}\n"))
            .collect();
        crash(&format!(
            "Panic#1 Part1\n{lines}<0>[   9.0] Kernel panic - not syncing: test\n"
        ))
        .stage
    };
    let gate = format!("{SAID_GATE}: slot b");
    let good = format!("{SAID_GOOD}: slot b committed");
    let ending = format!("{SAID_ENDING}reboot");
    assert_eq!(stage(&[]), None);
    assert_eq!(stage(&["booting slot b: forced"]), Some(Stage::Stage1));
    assert_eq!(stage(&["booting slot b", &gate]), Some(Stage::Gate));
    assert_eq!(stage(&[&gate, "sshd: up", &good]), Some(Stage::Running));
    assert_eq!(stage(&[&good, &ending, "sshd: down"]), Some(Stage::Ending));
    // A line that only speaks of it is none.
    assert_eq!(stage(&[&format!("app: {SAID_GOOD}")]), Some(Stage::Stage1));
    // Nor does a program's line count that is not ours.
    assert_eq!(
        crash(&format!(
            "Panic#1 Part1\n<29>[ 3.0] app: shark: {SAID_GOOD}\n<0>[ 9.0] Kernel panic - not syncing: test\n"
        ))
        .stage,
        None
    );
}

/// Slot a was refused for a bad block, slot b panicked for another reason in the same kernel, and b
/// was marked for the block of a.
#[test]
fn what_was_wrong_with_the_slot_before_is_not_this_slots() {
    let block = "<3>[    1.0] device-mapper: verity: 254:0: data block 12 is corrupted\n\
                 <3>[    1.0] INFO: task stage1:1 blocked for more than 120 seconds.\n";
    let refused = format!("<15>[    1.1] shark: slot a{SAID_REFUSED}root: data block 12\n");
    let booting = format!("<14>[    2.0] shark: {SAID_BOOTING}b: next priority 1\n");
    let panic = "<0>[    9.0] Kernel panic - not syncing: sysrq triggered crash\n";
    let of = |log: &[&str]| {
        let crash = crash(&format!("Panic#1 Part1\n{}", log.concat()));
        (crash.kind, crash.text)
    };
    let plain = (CrashKind::Panic, "sysrq triggered crash".to_owned());
    assert_eq!(of(&[block, &refused, &booting, panic]), plain);
    // It panics before b's root is open, or the line of the refusal is lost.
    assert_eq!(of(&[block, &refused, panic]), plain);
    assert_eq!(of(&[block, &booting, panic]), plain);
    let empty = "<0>[    9.0] Kernel panic - not syncing: hung_task: blocked tasks\n";
    assert_eq!(of(&[block, &booting, empty]).1, "hung_task: blocked tasks");
    // Its own blocks still count, and others' lines about slots do not.
    assert_eq!(of(&[&booting, block, panic]).0, CrashKind::Verity);
    let told = "<14>[    2.0] shark: last boot, slot b: panic\n\
                <14>[    2.0] shark: slot b: highest priority 2\n\
                <14>[    2.0] app: shark: booting slot b\n";
    assert_eq!(of(&[block, told, panic]).0, CrashKind::Verity);
}

/// Part 1 is the end of the log, and files come in any order: the first cause is the earliest one.
#[test]
fn parts_are_put_into_the_order_of_time() {
    let first = "Oops#1 Part1\n<1>[   12.3] BUG: the first cause\n";
    let early = "Panic#2 Part2\n<1>[   12.4] BUG: the second cause\n";
    let late = "Panic#2 Part1\n<0>[   12.5] Kernel panic - not syncing: Fatal exception\n";
    for order in [
        [first, early, late],
        [late, early, first],
        [early, late, first],
    ] {
        assert_eq!(crash(&order.concat()).text, "BUG: the first cause");
    }
    assert_eq!(crash(&[late, early].concat()).text, "BUG: the second cause");
}

proptest! {
    #[test]
    fn no_text_breaks_it_and_what_is_told_fits_a_line(
        parts in prop::collection::vec(prop::sample::select(&[
            "Panic#1 Part1\n", "Oops#2 Part9\n", "Kernel panic - not syncing: ", "<0>", "<4>[  1.0] ",
            "shark: ", "BUG: ", "device-mapper: verity: ", "corrupted", "\n", "é", "[", "]", "<99>", "#", " Part",
        ][..]), 0..40),
        noise in any::<String>(),
    ) {
        let dmesg = parts.concat() + &noise;
        if let Some(crash) = crash_of(&dmesg) {
            prop_assert!(crash.text.len() <= TEXT_MAX && !crash.text.is_empty());
            prop_assert!(!crash.text.chars().any(char::is_control));
            prop_assert_ne!(crash.id, 0);
            prop_assert_eq!(crash_of(&dmesg), Some(crash));
        }
    }
}
