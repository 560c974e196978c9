//! The texts of the kernel: its command line, module indices, uevents, mountinfo; and the plans that
//! are made from them.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use mounts::cmdline::Cmdline;
use mounts::manifest::Filesystem;
use mounts::modules::{IndexFiles, LoadOrder, ModuleIndex, module_name};
use mounts::plan::{
    self, Data, Flags, MountStep, SYSROOT, Step, early, late, move_below, over_root, root,
};
use mounts::slot::Slot;
use mounts::uevent::{self, Action, UeventError};
use mounts::unmount::{parse_mountinfo, plan};
use mounts::verity::OnCorruption;
use proptest::prelude::*;

#[test]
fn our_keys() {
    let cmdline = Cmdline::parse(
        "BOOT_IMAGE=/vmlinuz ro shark.slot=b shark.target=small console=ttyS0 shark.rescue shark.debug=1 \
         shark.watchdog=30 shark.verity=panic shark.mask=sshd shark.mask=chrony shark.mask=sshd quiet\n",
    );
    assert_eq!(
        cmdline,
        Cmdline {
            slot: Some(Slot::B),
            target: Some("small".to_owned()),
            rescue: true,
            debug: true,
            watchdog: Some(30),
            verity: Some(OnCorruption::Panic),
            masks: vec!["sshd".to_owned(), "chrony".to_owned()],
            ..Cmdline::default()
        }
    );
    assert_eq!(Cmdline::parse(""), Cmdline::default());
}

#[test]
fn the_later_of_two_counts_and_init_has_its_own_words() {
    let cmdline =
        Cmdline::parse("shark.slot=a shark.rescue shark.slot=b shark.rescue=0 -- shark.slot=a");
    assert_eq!(cmdline.slot, Some(Slot::B));
    assert!(!cmdline.rescue);
    assert_eq!(cmdline.errors, Vec::<String>::new());
}

#[test]
fn settings_that_the_command_line_decides_are_known_by_their_names() {
    let check = |text: &str, expect: &[&str]| {
        let cmdline = Cmdline::parse(text);
        let settings: Vec<&str> = cmdline.settings.iter().map(String::as_str).collect();
        assert_eq!(settings, expect, "{text}");
        assert_eq!(cmdline.errors, [""; 0]);
    };
    check("panic=30 quiet", &["kernel.panic"]);
    check(
        "panic=-1 oops=panic",
        &["kernel.panic", "kernel.panic_on_oops"],
    );
    check(
        "sysctl.kernel.softlockup_panic=0",
        &["kernel.softlockup_panic"],
    );
    check("nmi_watchdog=nopanic,0", &["kernel.hardlockup_panic"]);
    check("sysctl.vm.swappiness=1 panic_print=1 -- panic=1", &[]);
}

#[test]
fn slips_are_told_and_change_nothing() {
    let check = |text: &str, expect: &str| {
        let cmdline = Cmdline::parse(text);
        assert_eq!(cmdline.errors, [format!("kernel command line: {expect}")]);
        let bare = Cmdline {
            errors: Vec::new(),
            ..cmdline
        };
        assert_eq!(bare, Cmdline::default(), "{text}");
    };
    check(
        "shark.slto=b",
        "unknown key shark.slto; did you mean shark.slot?",
    );
    check("shark.zebra", "unknown key shark.zebra");
    check("shark.slot=c", "shark.slot=c: expected a or b");
    check("shark.slot", "shark.slot needs a value: shark.slot=...");
    check("shark.mask", "shark.mask needs a value: shark.mask=...");
    check("shark.mask=", "shark.mask=: expected the name of a service");
    check(
        "shark.mask=../x",
        "shark.mask=../x: expected the name of a service",
    );
    check(
        "shark.target=\"a b\"",
        "shark.target=a b: expected the name of a target",
    );
    check(
        "shark.watchdog=3601",
        "shark.watchdog=3601: expected seconds, 0 to 3600",
    );
    check(
        "shark.watchdog=30s",
        "shark.watchdog=30s: expected seconds, 0 to 3600",
    );
    check(
        "shark.verity=halt",
        "shark.verity=halt: expected eio, panic or restart",
    );
    check(
        "shark.rescue=maybe",
        "shark.rescue=maybe: expected no value, or 1 or 0",
    );
}

#[test]
fn quotes_as_the_kernel_takes_them() {
    let value = |text: &str| Cmdline::parse(text).module_parameters("m");
    assert_eq!(value("m.p=\"a b\""), "p=\"a b\"");
    assert_eq!(value("\"m.p=a b\""), "p=\"a b\"");
    assert_eq!(value("m.p=\"ab\""), "p=ab");
    assert_eq!(value("m.p=a\"b c\"d"), "p=\"a\"b c\"d\"");
    assert_eq!(value("m.p=\"a b"), "p=\"a b\"");
    assert_eq!(value("m.p"), "p");
    assert_eq!(value("m.p="), "p=");
    assert_eq!(value("=x m.p=1=2\tm.q"), "p=1=2 q");
    // Not ours to break: quotes hide what looks like a key.
    assert_eq!(
        Cmdline::parse("x=\"shark.slot=b shark.rescue\""),
        Cmdline::default()
    );
}

#[test]
fn parameters_reach_the_module_in_either_spelling() {
    let cmdline = Cmdline::parse(
        "dm-verity.prefetch-cluster=8 dm_verity.prefetch_cluster=16 softdog.soft_margin=60 a..b=1 .x=2",
    );
    assert_eq!(
        cmdline.module_parameters("dm-verity"),
        "prefetch_cluster=16"
    );
    assert_eq!(
        cmdline.module_parameters("dm_verity"),
        "prefetch_cluster=16"
    );
    assert_eq!(cmdline.module_parameters("softdog"), "soft_margin=60");
    assert_eq!(cmdline.module_parameters("ext4"), "");
}

#[test]
fn a_command_line_without_end_is_bounded() {
    let text = "shark.mask=m shark.x=1 ".repeat(10_000);
    let cmdline = Cmdline::parse(&text);
    assert_eq!(cmdline.masks, ["m"]);
    assert_eq!(cmdline.errors.len(), 256);
    assert!(cmdline.errors[0].contains("longer than 65536 bytes"));
}

const DEP: &str = "\
kernel/drivers/md/dm-mod.ko:
kernel/drivers/md/dm-bufio.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/md/dm-verity.ko.xz: kernel/drivers/md/dm-bufio.ko kernel/lib/reed_solomon.ko kernel/drivers/md/dm-mod.ko
kernel/lib/reed_solomon.ko:
kernel/fs/erofs/erofs.ko: kernel/lib/gone.ko
kernel/crypto/crc32c-intel.ko:
kernel/net/loop_a.ko: kernel/net/loop_b.ko
kernel/net/loop_b.ko: kernel/net/loop_a.ko
";

fn index() -> ModuleIndex {
    ModuleIndex::parse(IndexFiles {
        dep: DEP,
        builtin: "kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10dif.ko\n",
        softdep: "# comment\nsoftdep cifs gcm\nsoftdep dm_mod pre: crc32c nowhere post: loop_a\n",
        alias: "# comment\nalias virtio:d00000002v* virtio_blk\nalias pci:v*d00001[0-9]sv? nvme\nalias fs-erofs erofs\nalias crc32c crc32c_intel\n",
    })
    .unwrap()
}

fn order(names: &[&str]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let order = index().load_order(names);
    let names = order.paths.iter().map(|path| module_name(path)).collect();
    (names, order.builtin, order.missing)
}

#[test]
fn modules_come_after_what_they_need_and_once() {
    let (loaded, builtin, missing) = order(&["dm-verity", "ext4", "crc_t10dif", "dm_bufio"]);
    assert_eq!(
        loaded,
        [
            "crc32c_intel",
            "dm_mod",
            "reed_solomon",
            "dm_bufio",
            "dm_verity",
            "loop_b",
            "loop_a"
        ]
    );
    assert_eq!(builtin, ["ext4", "crc_t10dif"]);
    assert_eq!(missing, Vec::<String>::new());
    let LoadOrder {
        paths, optional, ..
    } = index().load_order(&["dm_verity"]);
    let optional: Vec<String> = optional.iter().map(|path| module_name(path)).collect();
    assert_eq!(optional, ["crc32c_intel", "loop_b", "loop_a"]);
    // What is asked for by name is not optional, even if something wants it softly as well.
    let order = index().load_order(&["dm_mod", "crc32c_intel"]);
    assert!(
        !order
            .optional
            .contains(&"kernel/crypto/crc32c-intel.ko".to_owned())
    );
    assert!(paths.contains(&"kernel/drivers/md/dm-verity.ko.xz".to_owned()));
}

#[test]
fn missing_modules_are_named_and_loops_end() {
    let (loaded, _, missing) = order(&["nope", "erofs", "loop-a"]);
    assert_eq!(loaded, ["erofs", "loop_b", "loop_a"]);
    assert_eq!(missing, ["nope", "kernel/lib/gone.ko"]);
    assert!(index().knows("dm-mod") && index().knows("ext4") && !index().knows("nope"));
}

#[test]
fn a_deep_chain_of_modules_does_not_overflow_the_stack() {
    let dep: String = (0..100_000)
        .map(|n| format!("m{n}.ko: m{}.ko\n", n + 1))
        .collect();
    let index = ModuleIndex::parse(IndexFiles {
        dep: &dep,
        ..IndexFiles::default()
    })
    .unwrap();
    let order = index.load_order(&["m0"]);
    assert_eq!(order.paths.len(), 100_000);
    assert_eq!(order.paths[0], "m99999.ko");
    assert_eq!(order.missing, ["m100000.ko"]);
}

#[test]
fn a_subset_has_its_own_index() {
    let paths = index().load_order(&["dm_bufio"]).paths;
    let small = index().render_dep(&paths);
    let again = ModuleIndex::parse(IndexFiles {
        dep: &small,
        ..IndexFiles::default()
    })
    .unwrap();
    let order = again.load_order(&["dm_bufio"]);
    assert_eq!(order.missing, Vec::<String>::new());
    assert_eq!(
        order.paths,
        [
            "kernel/drivers/md/dm-mod.ko",
            "kernel/drivers/md/dm-bufio.ko"
        ]
    );
}

#[test]
fn aliases_are_patterns() {
    let index = index();
    let check =
        |alias: &str, expect: &[&str]| assert_eq!(index.resolve_alias(alias), expect, "{alias}");
    check("virtio:d00000002v00001AF4", &["virtio_blk"]);
    check("virtio:d00000003v00001AF4", &[]);
    check("pci:v8086d000017svX", &["nvme"]);
    check("pci:v8086d00001Asv1", &[]);
    check("fs-erofs", &["erofs"]);
    check("fs-erofs2", &[]);
    check("", &[]);
}

#[test]
fn broken_indices_name_the_line() {
    let check = |files: IndexFiles<'_>, expect: &str| {
        let error = ModuleIndex::parse(files).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}");
    };
    let none = IndexFiles::default();
    check(
        IndexFiles {
            dep: "a.ko:\nb.ko c.ko\n",
            ..none
        },
        "modules.dep:2: expected",
    );
    check(
        IndexFiles {
            dep: "/etc/a.ko:\n",
            ..none
        },
        "modules.dep:1: expected",
    );
    check(
        IndexFiles {
            dep: "x/../../a.ko:\n",
            ..none
        },
        "modules.dep:1: expected",
    );
    check(
        IndexFiles {
            softdep: "softdep",
            ..none
        },
        "modules.softdep:1: expected",
    );
    check(
        IndexFiles {
            alias: "alias a",
            ..none
        },
        "modules.alias:1: expected",
    );
}

#[test]
fn uevents() {
    let event = uevent::parse(
        b"add@/devices/pci0000:00/block/vda/vda1\0ACTION=add\0SUBSYSTEM=block\0DEVNAME=vda1\0DEVTYPE=partition\0MAJOR=254\0MINOR=1\0PARTN=1\0PARTNAME=shark-state\0",
    )
    .unwrap();
    assert_eq!(event.action, Action::Add);
    assert_eq!(event.devpath, "/devices/pci0000:00/block/vda/vda1");
    let properties = &event.properties;
    assert_eq!(properties.subsystem(), Some("block"));
    assert_eq!(properties.devname(), Some("vda1"));
    assert_eq!(properties.devtype(), Some("partition"));
    assert_eq!(properties.device_number(), Some((254, 1)));
    assert_eq!(properties.partition_number(), Some(1));
    assert_eq!(properties.partition_name(), Some("shark-state"));
    assert_eq!(properties.modalias(), None);
    let check = |bytes: &[u8], expect: UeventError| assert_eq!(uevent::parse(bytes), Err(expect));
    check(b"libudev\0\xfe\xed\xca\xfe", UeventError::Udev);
    check(b"", UeventError::Header);
    check(b"add@devices", UeventError::Header);
    check(b"add@/../x\0", UeventError::Devpath("/../x".to_owned()));
    check(b"explode@/x\0", UeventError::Action("explode".to_owned()));
    check(
        b"add@/x\0novalue\0",
        UeventError::Property("novalue".to_owned()),
    );
    check(b"add@/\xff\0", UeventError::Utf8);
    check(&vec![b'x'; 8193], UeventError::TooLong(8193));
    let many = format!("add@/x\0{}", "A=1\0".repeat(129));
    check(many.as_bytes(), UeventError::TooMany);
}

#[test]
fn uevent_files_of_sysfs() {
    let properties =
        uevent::parse_file("MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\nDISKSEQ=1\n").unwrap();
    assert_eq!(properties.get("DISKSEQ"), Some("1"));
    assert_eq!(properties.devname(), Some("vda"));
    for bad in ["../sda", "/etc/passwd", "", "a//b", "a/./b"] {
        let properties = uevent::parse_file(&format!("DEVNAME={bad}\n")).unwrap();
        assert_eq!(properties.devname(), None, "{bad}");
    }
}

const MOUNTINFO: &str = "\
21 1 252:0 / / ro,noatime shared:1 - erofs /dev/dm-0 ro
22 21 0:5 / /dev rw,nosuid shared:2 - devtmpfs devtmpfs rw
23 21 0:20 / /proc rw shared:3 - proc proc rw
24 21 0:21 / /run rw shared:4 - tmpfs tmpfs rw
25 21 254:8 / /var rw,noatime shared:5 - ext4 /dev/vda8 rw
26 21 0:30 / /etc rw - overlay overlay rw,lowerdir=/etc
27 25 0:31 / /var/lib/a\\040b rw shared:7 master:1 propagate_from:2 - tmpfs tmp\\134fs rw
28 25 0:32 / /var/x rw - tmpfs  rw
29 28 0:33 / /var/x rw - tmpfs second rw
30 24 254:8 /sub /run/bind rw - ext4 /dev/vda8 rw
31 21 0:40 / /devices rw - tmpfs tmpfs rw
";

fn targets(mounts: &[mounts::unmount::MountEntry]) -> Vec<String> {
    let name = |m: &mounts::unmount::MountEntry| {
        format!("{}:{}", m.id, String::from_utf8_lossy(&m.target))
    };
    mounts.iter().map(name).collect()
}

#[test]
fn mountinfo_is_read_with_its_escapes() {
    let (entries, errors) = parse_mountinfo(MOUNTINFO.as_bytes());
    assert_eq!(errors, []);
    assert_eq!(entries.len(), 11);
    assert_eq!(entries[6].target, b"/var/lib/a b");
    assert_eq!(entries[6].source, b"tmp\\fs");
    assert_eq!(entries[7].source, b"");
    assert_eq!(entries[9].root, b"/sub");
    assert_eq!(entries[0].device, (252, 0));
    assert!(entries[0].is_read_only() && !entries[4].is_read_only());
    let (entries, errors) =
        parse_mountinfo(b"x\n1 1 0:1 / /a rw - t s o\n1 2 3 4\n1 1 0:1 / /a rw t s o\n");
    assert_eq!(entries.len(), 1);
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "mountinfo:1: expected a mount id",
            "mountinfo:3: expected MAJOR:MINOR",
            "mountinfo:4: expected a hyphen after the optional fields"
        ]
    );
}

#[test]
fn what_is_on_top_goes_first_and_what_we_live_under_stays() {
    let (entries, _) = parse_mountinfo(MOUNTINFO.as_bytes());
    let plan = plan(&entries, &["/", "/proc", "/dev", "/run"]);
    assert_eq!(
        targets(&plan.unmount),
        [
            "29:/var/x",
            "28:/var/x",
            "27:/var/lib/a b",
            "31:/devices",
            "26:/etc",
            "25:/var"
        ]
    );
    let mut kept = targets(&plan.kept);
    kept.sort();
    assert_eq!(
        kept,
        ["21:/", "22:/dev", "23:/proc", "24:/run", "30:/run/bind"]
    );
}

#[test]
fn what_carries_something_kept_is_kept() {
    let (entries, _) = parse_mountinfo(
        b"1 1 0:1 / / rw - a a a\n2 1 0:2 / /old rw - a a a\n3 2 0:3 / /old/keep rw - a a a\n4 2 0:4 / /old/go rw - a a a\n",
    );
    let plan = plan(&entries, &["/old/keep"]);
    assert_eq!(targets(&plan.unmount), ["4:/old/go"]);
    assert_eq!(plan.kept.len(), 3);
}

#[test]
fn a_cycle_of_parents_ends() {
    let (entries, _) = parse_mountinfo(
        b"1 2 0:1 / /a rw - a a a\n2 1 0:2 / /b rw - a a a\n3 1 0:2 / /c rw - a a a\n",
    );
    assert_eq!(plan(&entries, &[]).unmount.len(), 3);
    assert_eq!(plan(&entries, &["/a"]).kept.len(), 2);
}

fn mounts_of(steps: &[Step]) -> Vec<&MountStep> {
    steps
        .iter()
        .filter_map(|step| match step {
            Step::Mount(mount) => Some(mount),
            Step::Directory { .. } | Step::Move { .. } => None,
        })
        .collect()
}

#[test]
fn data_comes_before_the_overlay_that_lives_on_it() {
    let data = Data::Device {
        device: "/dev/vda8".to_owned(),
        fstype: "ext4".to_owned(),
    };
    let plan = plan::data(SYSROOT, &data);
    assert_eq!(plan.missing, Vec::<String>::new());
    let mut steps = plan.steps;
    steps.extend(plan::within_data(SYSROOT));
    steps.extend(over_root(SYSROOT, 7).steps);
    let targets: Vec<&str> = mounts_of(&steps)
        .iter()
        .map(|m| m.target.as_str())
        .collect();
    assert_eq!(targets, ["/sysroot/var", "/sysroot/etc", "/sysroot/tmp"]);
    let etc = mounts_of(&steps)[1];
    let place = "/sysroot/var/lib/shark/state/7/etc";
    assert_eq!(
        etc.options,
        format!("lowerdir=/sysroot/etc,upperdir={place}/upper,workdir={place}/work")
    );
    // Both directories of the overlay are made after the data is there and before the overlay.
    let at = |wanted: &dyn Fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let upper = at(&|s| matches!(s, Step::Directory { path, .. } if path.ends_with("/upper")));
    let overlay = at(&|s| matches!(s, Step::Mount(m) if m.fstype == "overlay"));
    let var = at(&|s| matches!(s, Step::Mount(m) if m.fstype == "ext4"));
    assert!(var < upper && upper < overlay);
}

#[test]
fn without_data_nothing_is_kept_and_the_plan_says_so() {
    let plan = plan::data(
        SYSROOT,
        &Data::Missing {
            why: "no partition is named shark-data".to_owned(),
        },
    );
    assert_eq!(
        plan.missing,
        ["data: no partition is named shark-data: /var is a tmpfs; nothing is kept"]
    );
    assert_eq!(mounts_of(&plan.steps)[0].fstype, "tmpfs");
    assert_eq!(mounts_of(&plan.steps).len(), 1);
}

#[test]
fn the_root_is_read_only_and_the_early_mounts_move_below_it() {
    let plan = root("/dev/dm-0", Filesystem::Erofs);
    let [mount] = mounts_of(&plan.steps)[..] else {
        panic!("one mount");
    };
    assert!(mount.flags.contains(Flags::READ_ONLY));
    assert_eq!(mount.flags.to_string(), "ro,noatime");
    let early: Vec<String> = mounts_of(&early())
        .iter()
        .map(|m| m.target.clone())
        .collect();
    let mut moved: Vec<String> = move_below(SYSROOT)
        .into_iter()
        .map(|step| match step {
            Step::Move { from, to } => {
                assert_eq!(to, format!("/sysroot{from}"));
                from
            }
            Step::Mount(_) | Step::Directory { .. } => panic!("only moves"),
        })
        .collect();
    moved.sort();
    let mut expect = early;
    expect.sort();
    assert_eq!(moved, expect);
    let late = late();
    let required: Vec<&MountStep> = mounts_of(&late)
        .into_iter()
        .filter(|m| m.required)
        .collect();
    assert_eq!(required[0].fstype, "cgroup2");
    assert_eq!(required.len(), 1);
}

proptest! {
    #[test]
    fn hostile_texts_never_panic(text in "(\\PC|[\"= .\n\\\\0-9:/-]){0,200}") {
        let _ = Cmdline::parse(&text);
        let _ = ModuleIndex::parse(IndexFiles { dep: &text, builtin: &text, softdep: &text, alias: &text });
        let _ = uevent::parse(text.as_bytes());
        let _ = uevent::parse_file(&text);
        let (entries, _) = parse_mountinfo(text.as_bytes());
        let _ = plan(&entries, &["/"]);
    }

    #[test]
    fn mounts_go_before_what_they_are_on(parents in prop::collection::vec(0usize..1000, 1..200)) {
        let text: String = parents.iter().enumerate()
            .map(|(id, parent)| format!("{id} {} 0:1 / /m{id} rw - t s o\n", parent % (id + 1)))
            .collect();
        let (entries, errors) = parse_mountinfo(text.as_bytes());
        prop_assert_eq!(errors.len(), 0);
        let plan = plan(&entries, &[]);
        let mut gone = vec![false; entries.len()];
        for mount in &plan.unmount {
            gone[usize::try_from(mount.id).unwrap()] = true;
            if mount.parent != mount.id {
                prop_assert!(!gone[usize::try_from(mount.parent).unwrap()]);
            }
        }
        prop_assert!(gone.iter().all(|gone| *gone));
    }

    #[test]
    fn every_word_of_modules_is_loaded_after_its_needs(edges in prop::collection::vec((0usize..30, 0usize..30), 0..80)) {
        // Edges only from higher to lower numbers: no cycles.
        let needs = |n: usize| edges.iter().filter(move |(a, b)| *a == n && b < a).map(|(_, b)| *b);
        let dep: String = (0..30)
            .map(|n| format!("m{n}.ko:{}\n", needs(n).map(|b| format!(" m{b}.ko")).collect::<String>()))
            .collect();
        let index = ModuleIndex::parse(IndexFiles { dep: &dep, ..IndexFiles::default() }).unwrap();
        let order = index.load_order(&["m29", "m28", "m7"]);
        let at = |n: usize| order.paths.iter().position(|path| *path == format!("m{n}.ko"));
        for n in (0..30).filter(|n| at(*n).is_some()) {
            for need in needs(n) {
                prop_assert!(at(need) < at(n));
                prop_assert!(at(need).is_some());
            }
        }
    }
}
