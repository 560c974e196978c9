//! A simulated filesystem that loses power. What was done to it since it was last told to write all out
//! may be lost step by step, and what comes later may be there without what came before: each step is of
//! a directory, whatever it is called by then. Not here: what is done to it, and what must hold afterwards.

use std::collections::BTreeMap;

use fastrand::Rng;
use mounts::state::Data;

/// A file's content, or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Dir,
    File(u32),
}

/// By path.
pub(crate) type Tree = BTreeMap<String, Node>;

/// A directory's number, which it keeps under any name.
type Id = u32;
const ROOT: Id = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Dir(Id),
    File(u32),
}

/// Names and numbers of what is in each directory.
#[derive(Clone, Debug)]
struct Dirs(BTreeMap<Id, BTreeMap<String, Entry>>);

/// The smallest things that are there or not after a cut.
#[derive(Clone, Debug)]
enum Step {
    MakeDir(Id, String, Id),
    /// Makes an empty file.
    Create(Id, String),
    Fill(Id, String, u32),
    /// Removes a file or an empty directory.
    Unlink(Id, String),
    Rename(Id, String, String),
}

/// What a cut leaves of the steps that were not written out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// Those whose bit is set; from the 64th on, all.
    Mask(u64),
    /// Each with the chance of a coin.
    Chance(u64),
}

#[derive(Clone, Debug)]
pub(crate) struct Platter {
    now: Dirs,
    durable: Dirs,
    pending: Vec<Step>,
    last: Id,
    /// Steps that were made in all.
    pub(crate) steps: u32,
    /// So many more are made before the power goes.
    left: Option<u32>,
}

impl Platter {
    pub(crate) fn with(tree: &Tree) -> Self {
        let nothing = Dirs(BTreeMap::from([(ROOT, BTreeMap::new())]));
        let mut made = Self {
            now: nothing.clone(),
            durable: nothing,
            pending: Vec::new(),
            last: ROOT,
            steps: 0,
            left: None,
        };
        for (path, node) in tree {
            match node {
                Node::Dir => made.make_dir(path).unwrap(),
                Node::File(content) => made.write(path, *content).unwrap(),
            }
        }
        made.sync("").unwrap();
        made.steps = 0;
        made
    }

    pub(crate) fn cut_after(&mut self, steps: u32) {
        self.left = Some(steps);
    }

    /// How many steps are in doubt.
    pub(crate) fn in_doubt(&self) -> usize {
        self.pending.len()
    }

    /// The power is back.
    pub(crate) fn start_again(&mut self, loss: Loss) {
        let mut rng = Rng::with_seed(match loss {
            Loss::Mask(_) => 0,
            Loss::Chance(seed) => seed,
        });
        for (number, step) in std::mem::take(&mut self.pending).iter().enumerate() {
            let kept = match loss {
                Loss::Mask(mask) => number >= 64 || mask & (1 << number) != 0,
                Loss::Chance(_) => rng.bool(),
            };
            if kept {
                self.durable.apply(step);
            }
        }
        self.now = self.durable.clone();
        self.left = None;
    }

    /// What is below `dir`, by paths that begin there.
    pub(crate) fn below(&self, dir: &str) -> Tree {
        let mut tree = Tree::new();
        if let Some(id) = self.now.dir(dir) {
            self.now.collect(id, "", &mut tree);
        }
        tree
    }

    /// Everything, by whole paths.
    pub(crate) fn tree(&self) -> Tree {
        let all = self.below("").into_iter();
        all.map(|(path, node)| (format!("/{path}"), node)).collect()
    }

    pub(crate) fn make_dir(&mut self, path: &str) -> Result<(), String> {
        let (parent, name) = self.place(path)?;
        self.last += 1;
        self.make(Step::MakeDir(parent, name, self.last))
    }

    pub(crate) fn write(&mut self, path: &str, content: u32) -> Result<(), String> {
        let (parent, name) = self.place(path)?;
        if !self.now.0[&parent].contains_key(&name) {
            self.make(Step::Create(parent, name.clone()))?;
        }
        self.make(Step::Fill(parent, name, content))
    }

    /// As stage1 copies: a directory before what is in it, each file made and then filled.
    pub(crate) fn copy(&mut self, from: &str, to: &str) -> Result<(), String> {
        self.make_dir(to)?;
        for (path, node) in self.below(from) {
            match node {
                Node::Dir => self.make_dir(&format!("{to}/{path}"))?,
                Node::File(content) => self.write(&format!("{to}/{path}"), content)?,
            }
        }
        Ok(())
    }

    fn place(&self, path: &str) -> Result<(Id, String), String> {
        let (parent, name) = path.rsplit_once('/').ok_or("no whole path")?;
        let parent = self.now.dir(parent).ok_or(format!("no {parent}"))?;
        Ok((parent, name.to_owned()))
    }

    fn make(&mut self, step: Step) -> Result<(), String> {
        self.take_a_step()?;
        if !self.now.apply(&step) {
            return Err(format!("{step:?} cannot be done"));
        }
        self.pending.push(step);
        Ok(())
    }

    fn take_a_step(&mut self) -> Result<(), String> {
        match &mut self.left {
            Some(0) => return Err("the power is gone".to_owned()),
            Some(left) => *left -= 1,
            None => {}
        }
        self.steps += 1;
        Ok(())
    }
}

impl Dirs {
    fn dir(&self, path: &str) -> Option<Id> {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        parts.try_fold(ROOT, |id, part| match self.0.get(&id)?.get(part)? {
            Entry::Dir(id) => Some(*id),
            Entry::File(_) => None,
        })
    }

    fn collect(&self, id: Id, prefix: &str, tree: &mut Tree) {
        for (name, entry) in self.0.get(&id).into_iter().flatten() {
            let path = format!("{prefix}{name}");
            match entry {
                Entry::File(content) => {
                    tree.insert(path, Node::File(*content));
                }
                Entry::Dir(id) => {
                    self.collect(*id, &format!("{path}/"), tree);
                    tree.insert(path, Node::Dir);
                }
            }
        }
    }

    /// Whether the step could be made.
    fn apply(&mut self, step: &Step) -> bool {
        let parent = match step {
            Step::MakeDir(parent, ..)
            | Step::Create(parent, _)
            | Step::Fill(parent, ..)
            | Step::Unlink(parent, _)
            | Step::Rename(parent, ..) => *parent,
        };
        let Some(dir) = self.0.get_mut(&parent) else {
            return false;
        };
        match step {
            Step::MakeDir(_, name, id) => {
                let free = !dir.contains_key(name);
                if free {
                    dir.insert(name.clone(), Entry::Dir(*id));
                    self.0.entry(*id).or_default();
                }
                free
            }
            Step::Create(_, name) => {
                let free = !dir.contains_key(name);
                if free {
                    dir.insert(name.clone(), Entry::File(0));
                }
                free
            }
            Step::Fill(_, name, content) => match dir.get_mut(name) {
                Some(entry @ Entry::File(_)) => {
                    *entry = Entry::File(*content);
                    true
                }
                Some(Entry::Dir(_)) | None => false,
            },
            Step::Unlink(_, name) => match dir.get(name) {
                Some(Entry::File(_)) => dir.remove(name).is_some(),
                Some(Entry::Dir(id)) => {
                    let (id, name) = (*id, name.clone());
                    let is_empty = self.0.get(&id).is_none_or(BTreeMap::is_empty);
                    let dir = self.0.get_mut(&parent).filter(|_| is_empty);
                    dir.is_some_and(|dir| dir.remove(&name).is_some())
                }
                None => false,
            },
            Step::Rename(_, from, to) => {
                let entry = dir.get(from).copied().filter(|_| !dir.contains_key(to));
                if let Some(entry) = entry {
                    dir.remove(from);
                    dir.insert(to.clone(), entry);
                }
                entry.is_some()
            }
        }
    }
}

impl Data for Platter {
    fn is_dir(&mut self, path: &str) -> bool {
        self.now.dir(path).is_some()
    }

    fn entries(&mut self, dir: &str) -> Result<Vec<String>, String> {
        let id = self.now.dir(dir).ok_or(format!("no {dir}"))?;
        Ok(self.now.0[&id].keys().cloned().collect())
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        let inside: Vec<String> = self.below(path).into_keys().rev().collect();
        for below in inside {
            let (parent, name) = self.place(&format!("{path}/{below}"))?;
            self.make(Step::Unlink(parent, name))?;
        }
        let (parent, name) = self.place(path)?;
        self.make(Step::Unlink(parent, name))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        let ((parent, from), (other, to)) = (self.place(from)?, self.place(to)?);
        assert_eq!(parent, other, "a rename stays in its directory");
        self.make(Step::Rename(parent, from, to))
    }

    fn sync(&mut self, _path: &str) -> Result<(), String> {
        self.take_a_step()?;
        self.durable = self.now.clone();
        self.pending.clear();
        Ok(())
    }
}
