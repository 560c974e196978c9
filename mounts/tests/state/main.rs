//! Directories that begin, go, and are reset on a filesystem that loses power at any step and writes in
//! any order; and whole lives of a device whose state follows the slot. The order is that of
//! [`mounts::state`], the choice that of [`mounts::slot::generation`].
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod life;
mod platter;

use mounts::state::{begin, discard, is_left_over, reset};

use platter::{Loss, Node, Platter, Tree};

/// Steps in doubt for which every combination is tried.
const EACH: usize = 9;
/// Combinations by chance where there are more.
const SOME: u64 = 200;

/// A tree of these files, with the directories they are in.
fn tree(files: &[(&str, u32)], dirs: &[&str]) -> Tree {
    let mut tree = Tree::new();
    let paths = files.iter().map(|(path, _)| *path);
    for path in paths.chain(dirs.iter().copied()) {
        for (at, _) in path.match_indices('/').skip(1) {
            tree.insert(path[..at].to_owned(), Node::Dir);
        }
    }
    tree.extend(dirs.iter().map(|path| ((*path).to_owned(), Node::Dir)));
    tree.extend(
        files
            .iter()
            .map(|(path, content)| ((*path).to_owned(), Node::File(*content))),
    );
    tree
}

/// Does `work`, the power going after each number of its steps, and calls `check` with each state that
/// may be found afterwards. How many there were.
fn each_cut(
    start: &Tree,
    work: &dyn Fn(&mut Platter) -> Result<(), String>,
    check: &dyn Fn(&mut Platter),
) -> u64 {
    let mut whole = Platter::with(start);
    work(&mut whole).unwrap();
    let mut states = 0;
    for steps in 0..=whole.steps {
        let mut cut = Platter::with(start);
        cut.cut_after(steps);
        let done = work(&mut cut);
        assert_eq!(done.is_ok(), steps == whole.steps);
        let in_doubt = cut.in_doubt();
        let losses: Vec<Loss> = match in_doubt {
            0..=EACH => (0..1 << in_doubt).map(Loss::Mask).collect(),
            _ => (0..SOME)
                .map(Loss::Chance)
                .chain([Loss::Mask(0), Loss::Mask(u64::MAX)])
                .collect(),
        };
        for loss in losses {
            let mut after = cut.clone();
            after.start_again(loss);
            check(&mut after);
            states += 1;
        }
    }
    states
}

const GENERATION: [(&str, u32); 4] = [
    ("/s/0/etc/upper/hostname", 1),
    ("/s/0/etc/upper/big", 2),
    ("/s/0/lib/app/data", 3),
    ("/s/0/lib/app/more", 4),
];

#[test]
fn a_copy_is_whole_or_not_at_all() {
    let start = tree(&GENERATION, &[]);
    let work =
        |data: &mut Platter| begin(data, "/s/1", |data, fresh| data.copy("/s/0", fresh)).map(drop);
    let expect = Platter::with(&start).below("/s/0");
    let states = each_cut(&start, &work, &|after| {
        assert_eq!(after.below("/s/0"), expect, "the source changed");
        let made = after.tree().contains_key("/s/1");
        assert!(
            !made || after.below("/s/1") == expect,
            "{:?}",
            after.below("/s/1")
        );
        // The next boot ends it, whatever the first has left; and so it does after another cut.
        let again = after.clone();
        work(after).unwrap();
        assert_eq!(after.below("/s/1"), expect);
        assert!(!after.tree().keys().any(|it| is_left_over(it)));
        for steps in 0..8 {
            let mut third = again.clone();
            third.cut_after(steps * 3);
            let _cut = work(&mut third);
            third.start_again(Loss::Chance(u64::from(steps)));
            work(&mut third).unwrap();
            assert_eq!(third.below("/s/1"), expect);
        }
    });
    println!("{states} states of a copy");
}

#[test]
fn what_goes_is_whole_as_long_as_it_has_its_name() {
    let start = tree(&GENERATION, &["/s/1"]);
    let expect = Platter::with(&start).below("/s/0");
    let work = |data: &mut Platter| discard(data, "/s/0");
    let states = each_cut(&start, &work, &|after| {
        let named = after.tree().contains_key("/s/0");
        assert!(
            !named || after.below("/s/0") == expect,
            "{:?}",
            after.tree()
        );
        assert!(after.tree().contains_key("/s/1"));
    });
    println!("{states} states of a removal");
}

#[test]
fn a_reset_that_has_begun_ends_and_then_nothing_is_left() {
    let mut files = GENERATION.map(|(path, content)| (format!("/var/lib/shark{path}"), content));
    files[3].0 = "/var/log/x".to_owned();
    let mut files: Vec<(&str, u32)> = files
        .iter()
        .map(|(path, it)| (path.as_str(), *it))
        .collect();
    files.push(("/var/lib/shark/factory-reset", 9));
    files.push(("/var/data", 5));
    let start = tree(&files, &["/var/lost+found", "/var/empty"]);
    let left = tree(&[], &["/var/lost+found", "/var/lib/shark"]);
    let work = |data: &mut Platter| reset(data, "/var", "/lib/shark/factory-reset");
    let states = each_cut(&start, &work, &|after| {
        if after.tree().contains_key("/var/lib/shark/factory-reset") {
            work(after).unwrap();
        }
        assert_eq!(after.tree(), left);
    });
    println!("{states} states of a reset");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told its seeds")]
fn a_slot_finds_what_it_left_or_a_copy_of_what_was_committed() {
    let seeds = std::env::var("SHARK_SEEDS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(400);
    let mut seen = life::Seen::default();
    for seed in 0..seeds {
        life::live(seed, &mut seen);
    }
    println!("{seeds} lives: {seen:?}");
    let life::Seen {
        boots,
        copies,
        cuts,
        commits,
        rollbacks,
        resets,
    } = seen;
    assert!(
        [boots, copies, cuts, commits, rollbacks, resets]
            .iter()
            .all(|it| *it >= seeds / 4)
    );
}
