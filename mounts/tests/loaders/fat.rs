//! A FAT partition that loses power: what was not made durable is lost, kept, torn, or there with other
//! bytes than were written. It counts calls, and one of them is the last.

use std::collections::BTreeMap;

use mounts::loader::files::BootFiles;

/// What becomes of a write that was not durable when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Torn {
    /// Half of it is there.
    Half,
    /// Its length is there, and zeros.
    Zeros,
    /// Its length is there, and what lay in its place before.
    Old,
}

/// How a cut treats what was not durable: bit n of `kept` is change n, counted from the oldest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    pub(crate) kept: u32,
    pub(crate) torn: Option<Torn>,
}

#[derive(Clone, Debug)]
enum Change {
    Write {
        path: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Remove {
        path: String,
    },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Fat {
    durable: BTreeMap<String, Vec<u8>>,
    pending: Vec<Change>,
    /// Bytes of a file that was removed last.
    old: Vec<u8>,
    /// Calls until the power goes.
    pub(crate) left: Option<u32>,
}

/// What every call says once the power has gone.
pub(crate) const CUT: &str = "the power has gone";

impl Fat {
    /// Counts a call.
    pub(crate) fn call(&mut self) -> Result<(), String> {
        match &mut self.left {
            None => Ok(()),
            Some(0) => Err(CUT.to_owned()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// How many changes are not durable.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The power goes, and comes back.
    pub(crate) fn cut(&mut self, loss: Loss) {
        let pending = std::mem::take(&mut self.pending);
        for (number, change) in pending.into_iter().enumerate() {
            let kept = loss.kept >> number.min(31) & 1 == 1;
            match (change, kept, loss.torn) {
                (change, true, _) => apply(&mut self.durable, &change),
                (Change::Write { path, at, bytes }, false, Some(torn)) => {
                    let bytes = match torn {
                        Torn::Half => bytes[..bytes.len() / 2].to_vec(),
                        Torn::Zeros => vec![0; bytes.len()],
                        Torn::Old => {
                            let mut old = self.old.clone();
                            old.resize(bytes.len(), b'\n');
                            old
                        }
                    };
                    apply(&mut self.durable, &Change::Write { path, at, bytes });
                }
                (Change::Write { .. }, false, None) | (Change::Remove { .. }, false, _) => {}
            }
        }
        self.left = None;
    }

    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.durable.clone();
        self.pending.iter().for_each(|it| apply(&mut files, it));
        files
    }

    /// The firmware writes through.
    pub(crate) fn put(&mut self, path: &str, bytes: &[u8]) {
        self.durable.insert(path.to_owned(), bytes.to_vec());
    }

    pub(crate) fn take(&mut self, path: &str) {
        self.durable.remove(path);
    }
}

fn apply(files: &mut BTreeMap<String, Vec<u8>>, change: &Change) {
    match change {
        Change::Write { path, at, bytes } => {
            let file = files.entry(path.clone()).or_default();
            if *at == 0 {
                file.clear();
            }
            file.resize((*at + bytes.len()).max(file.len()), 0);
            file[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        Change::Remove { path } => {
            files.remove(path);
        }
    }
}

impl BootFiles for &mut Fat {
    fn list(&mut self, directory: &str) -> Result<Vec<String>, String> {
        self.call()?;
        let prefix = format!("{directory}/");
        let files = self.files();
        let names = files.keys().filter_map(|path| path.strip_prefix(&prefix));
        Ok(names.map(str::to_owned).collect())
    }

    fn read(&mut self, path: &str, offset: u64, into: &mut [u8]) -> Result<usize, String> {
        self.call()?;
        let files = self.files();
        let file = files.get(path).ok_or_else(|| format!("no {path}"))?;
        let rest = &file[usize::try_from(offset).unwrap().min(file.len())..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<(), String> {
        self.call()?;
        self.pending.push(Change::Write {
            path: path.to_owned(),
            at: usize::try_from(offset).unwrap(),
            bytes: bytes.to_vec(),
        });
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        self.call()?;
        if let Some(old) = self.files().remove(path) {
            self.old = old;
            self.pending.push(Change::Remove {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), String> {
        self.call()?;
        let pending = std::mem::take(&mut self.pending);
        pending.iter().for_each(|it| apply(&mut self.durable, it));
        Ok(())
    }
}
