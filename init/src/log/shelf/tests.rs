//! Logs on a disk: growing with those in memory, over boots, and within their budget.

use std::io::Write as _;

use super::super::reader::Reader;
use super::*;

const PIECE: usize = 100 * 1024;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// A directory of this build, which is on a disk, wherever temporary files are.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let program = std::env::current_exe().unwrap();
        let place = Self(tempfile::tempdir_in(program.parent().unwrap()).unwrap());
        fs::create_dir(place.memory()).unwrap();
        place
    }

    fn memory(&self) -> PathBuf {
        self.0.path().join("memory")
    }

    fn disk(&self) -> PathBuf {
        self.0.path().join("var/log")
    }

    /// The shelf as a logger of this boot has it.
    fn shelf(&self, boot: char, budget: u64) -> Shelf {
        Shelf {
            memory: self.memory(),
            root: self.disk(),
            boot: boot.to_string().repeat(32),
            budget,
            boots: 3,
            open: None,
        }
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.memory().join(file);
        let mut file = OpenOptions::new().append(true).create(true).open(path);
        file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// A boot that ended: what it had in memory is gone.
    fn end_boot(&self) {
        fs::remove_dir_all(self.memory()).unwrap();
        fs::create_dir(self.memory()).unwrap();
    }

    /// What is on the disk of a log, boot by boot.
    fn on_disk(&self, log: &str) -> Vec<String> {
        let boots = boot::kept(&self.disk()).unwrap().into_iter();
        let texts = boots.map(|boot| {
            let found = Reader::new(&[boot.path], &name(log)).read().unwrap();
            String::from_utf8(found.lines).unwrap()
        });
        texts.collect()
    }
}

fn keep(shelf: &mut Shelf, logs: &[&str]) -> Result<Vec<Kept>, Refused> {
    let mut all = Vec::new();
    let names = logs.iter().map(|it| name(it)).collect();
    shelf.keep(&names, &mut |_, kept| all.push(kept))?;
    Ok(all)
}

#[test]
fn what_is_new_goes_to_the_disk_and_old_files_leave_memory() {
    let place = Place::new();
    let mut shelf = place.shelf('a', 1 << 20);
    place.write("x", "one\ntwo\nhal");
    let kept = |number, bytes, freed| Kept {
        number,
        bytes,
        freed,
    };
    assert_eq!(keep(&mut shelf, &["x", "none"]), Ok(vec![kept(0, 8, 0)]));
    assert_eq!(place.on_disk("x"), ["one\ntwo\n"]);
    place.write("x", "f\n");
    place.write("x=1", "three\n");
    // A further logger of the same boot knows nothing of the first one.
    let mut shelf = place.shelf('a', 1 << 20);
    let both = vec![kept(0, 13, 1), kept(1, 6, 1)];
    assert_eq!(keep(&mut shelf, &["x"]), Ok(both));
    assert_eq!(place.on_disk("x"), ["one\ntwo\nhalf\nthree\n"]);
    assert!(!place.memory().join("x").exists() && place.memory().join("x=1").exists());
    assert_eq!(keep(&mut shelf, &["x"]), Ok(vec![kept(1, 6, 1)]));
}

#[test]
fn former_boots_are_kept_but_not_too_many() {
    let place = Place::new();
    for (number, boot) in "abcde".chars().enumerate() {
        place.write("x", &format!("boot {number}\n"));
        keep(&mut place.shelf(boot, 1 << 20), &["x"]).unwrap();
        place.end_boot();
    }
    assert_eq!(place.on_disk("x"), ["boot 2\n", "boot 3\n", "boot 4\n"]);
    let boots = boot::kept(&place.disk()).unwrap();
    let numbers: Vec<u32> = boots.iter().map(|it| it.number).collect();
    assert_eq!(numbers, [3, 4, 5]);
}

#[test]
fn a_flood_pushes_out_its_own_lines_and_the_oldest_first() {
    let place = Place::new();
    let most = 4 * PIECE as u64;
    let line = |boot: char| format!("{boot}{}\n", "x".repeat(PIECE - 2));
    place.write("quiet", "heard\n");
    place.write("flood", &line('a'));
    keep(&mut place.shelf('a', most), &["quiet", "flood"]).unwrap();
    place.end_boot();
    let mut shelf = place.shelf('b', most);
    for number in 0..10 {
        place.write(&file_name(&name("flood"), number), &line('b'));
        keep(&mut shelf, &["flood"]).unwrap();
        assert!(shelf.open.as_ref().unwrap().room <= most);
    }
    assert_eq!(place.on_disk("quiet"), ["heard\n", ""]);
    let flood = place.on_disk("flood");
    assert_eq!((&*flood[0], flood[1].len()), ("", 3 * PIECE));
    // Found again, it is the same.
    let account = |shelf: &Shelf| shelf.open.as_ref().unwrap().room;
    let mut further = place.shelf('b', most);
    keep(&mut further, &[]).unwrap();
    assert_eq!(account(&further), account(&shelf));
}

#[test]
fn what_cannot_be_written_is_told_and_gone_on_with() {
    let place = Place::new();
    place.write("x", "one\n");
    let mut shelf = place.shelf('a', 1 << 20);
    // Something else is in its place.
    fs::write(place.0.path().join("var"), "").unwrap();
    let Err(Refused::Failed(cause)) = keep(&mut shelf, &["x"]) else {
        panic!("kept");
    };
    assert!(cause.contains("var/log"), "{cause}");
    fs::remove_file(place.0.path().join("var")).unwrap();
    keep(&mut shelf, &["x"]).unwrap();
    assert_eq!(place.on_disk("x"), ["one\n"]);
    // Of what was torn there, the whole is written.
    let file = boot::kept(&place.disk()).unwrap()[0].path.join("x");
    fs::write(file, "on").unwrap();
    keep(&mut shelf, &["x"]).unwrap();
    assert_eq!(place.on_disk("x"), ["one\n"]);
}

#[test]
fn memory_is_no_disk() {
    let shelf = Shelf {
        root: "/dev/shm/none/of/it".into(),
        ..Place::new().shelf('a', 1 << 20)
    };
    if Path::new("/dev/shm").is_dir() {
        assert_eq!(shelf.room(), Err(Refused::Absent));
    }
}
