//! Kernel modules: the index files that depmod writes, and the order in which to load a set of them.
//!
//! Names are compared with `-` as `_`, as the kernel does. Source: modules.dep(5), modprobe.d(5).
//! Not here: reading files, decompressing, finit_module(2).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Largest index file that is looked at, in bytes; Debian's modules.dep has half a megabyte.
pub const INDEX_MAX: usize = 16 << 20;

/// One module with its file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Module {
    path: String,
    needs: Vec<String>,
}

/// What must, if it can, be loaded before and after a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Soft {
    pre: Vec<String>,
    post: Vec<String>,
}

/// The modules of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleIndex {
    modules: BTreeMap<String, Module>,
    builtin: BTreeSet<String>,
    soft: BTreeMap<String, Soft>,
    aliases: Vec<(String, String)>,
}

/// The content of depmod's files. modules.dep must be there; the others may be empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct IndexFiles<'a> {
    /// modules.dep
    pub dep: &'a str,
    /// modules.builtin
    pub builtin: &'a str,
    /// modules.softdep
    pub softdep: &'a str,
    /// modules.alias
    pub alias: &'a str,
}

/// A line of an index file that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// The file is larger than [`INDEX_MAX`].
    TooLarge {
        /// Its name.
        file: &'static str,
    },
    /// A line does not have the form it should.
    Line {
        /// Name of the file.
        file: &'static str,
        /// Number of the line, from 1.
        line: usize,
        /// What it should look like.
        expected: &'static str,
    },
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { file } => write!(f, "{file}: larger than {INDEX_MAX} bytes"),
            Self::Line {
                file,
                line,
                expected,
            } => write!(f, "{file}:{line}: expected \"{expected}\"; run depmod"),
        }
    }
}

impl std::error::Error for IndexError {}

/// What to load for a set of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOrder {
    /// Files to load, in order, relative to the directory of modules.dep.
    pub paths: Vec<String>,
    /// Names that are built in: nothing to do.
    pub builtin: Vec<String>,
    /// Names, and paths that a module depends on, that are neither built in nor in modules.dep.
    pub missing: Vec<String>,
    /// Those of `paths` that are there only for a soft dependency: when loading one fails (an
    /// accelerated cipher on a processor without the instructions), the boot goes on.
    pub optional: Vec<String>,
}

/// The name of a module from its path, or from a name in either spelling: `virtio-blk`,
/// `kernel/drivers/block/virtio_blk.ko.xz` are both `virtio_blk`.
#[must_use]
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"]
        .iter()
        .find_map(|suffix| file.strip_suffix(suffix))
        .unwrap_or(file);
    stem.replace('-', "_")
}

/// Lines with their numbers, without empty ones and comments.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines().map(str::trim))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

impl ModuleIndex {
    /// Reads depmod's files.
    ///
    /// # Errors
    /// [`IndexError`] names file and line.
    pub fn parse(files: IndexFiles<'_>) -> Result<Self, IndexError> {
        for (file, text) in [
            ("modules.dep", files.dep),
            ("modules.builtin", files.builtin),
            ("modules.softdep", files.softdep),
            ("modules.alias", files.alias),
        ] {
            if text.len() > INDEX_MAX {
                return Err(IndexError::TooLarge { file });
            }
        }
        Ok(Self {
            modules: parse_dep(files.dep)?,
            builtin: lines(files.builtin)
                .map(|(_, path)| module_name(path))
                .collect(),
            soft: parse_softdep(files.softdep)?,
            aliases: parse_alias(files.alias)?,
        })
    }

    /// A module file or something built in has this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        let name = module_name(name);
        self.modules.contains_key(&name) || self.builtin.contains(&name)
    }

    /// The order in which to load the named modules, with all they depend on, each once and after
    /// what it needs. Soft dependencies are taken along where the index has them.
    #[must_use]
    pub fn load_order(&self, names: &[&str]) -> LoadOrder {
        let mut order = self.walk(names, true);
        let hard: BTreeSet<String> = self.walk(names, false).paths.into_iter().collect();
        let soft = order.paths.iter().filter(|path| !hard.contains(*path));
        order.optional = soft.cloned().collect();
        order
    }

    fn walk(&self, names: &[&str], follow_soft: bool) -> LoadOrder {
        let mut walk = Walk {
            index: self,
            follow_soft,
            seen: BTreeSet::new(),
            order: LoadOrder::default(),
        };
        for name in names {
            walk.visit(&module_name(name), name, true);
        }
        walk.order
    }

    /// The modules whose alias fits `modalias`, as a uevent's MODALIAS has it.
    #[must_use]
    pub fn resolve_alias(&self, modalias: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for (pattern, module) in &self.aliases {
            if !found.contains(&module.as_str()) && glob(pattern.as_bytes(), modalias.as_bytes()) {
                found.push(module);
            }
        }
        found
    }

    /// Soft dependencies name modules or aliases ("crc32c" for whatever implements it).
    fn resolve_all<'a>(&'a self, names: &'a [String]) -> Vec<&'a str> {
        let resolve = |name: &'a String| {
            if self.knows(name) {
                vec![name.as_str()]
            } else {
                self.resolve_alias(name)
            }
        };
        names.iter().flat_map(resolve).collect()
    }

    /// A modules.dep for only these files, so that a small image can carry its own index. Files that
    /// are not in the index are left out, and so are dependencies that are not among `paths`.
    #[must_use]
    pub fn render_dep(&self, paths: &[String]) -> String {
        let mut text = String::new();
        for path in paths {
            let Some(module) = self.modules.get(&module_name(path)) else {
                continue;
            };
            text.push_str(&module.path);
            text.push(':');
            for need in module.needs.iter().filter(|need| paths.contains(need)) {
                text.push(' ');
                text.push_str(need);
            }
            text.push('\n');
        }
        text
    }
}

struct Walk<'a> {
    index: &'a ModuleIndex,
    follow_soft: bool,
    seen: BTreeSet<String>,
    order: LoadOrder,
}

/// A module on the way to being loaded.
struct Open<'a> {
    path: &'a str,
    todo: Vec<(&'a str, bool)>,
    post: Vec<&'a str>,
}

impl<'a> Walk<'a> {
    /// Depth first with a stack of its own: a hostile index must not overflow ours.
    fn visit(&mut self, name: &str, asked: &str, needed: bool) {
        let mut stack: Vec<Open<'a>> = Vec::new();
        let mut after: Vec<&'a str> = Vec::new();
        stack.extend(self.open(name, asked, needed));
        loop {
            let Some(top) = stack.last_mut() else {
                // What a module wants after itself comes once the whole of it is in place.
                let Some(next) = after.pop() else { return };
                stack.extend(self.open(&module_name(next), next, false));
                continue;
            };
            if let Some((next, needed)) = top.todo.pop() {
                let opened = self.open(&module_name(next), next, needed);
                stack.extend(opened);
            } else if let Some(done) = stack.pop() {
                self.order.paths.push(done.path.to_owned());
                after.extend(done.post.into_iter().rev());
            }
        }
    }

    /// Begins a module that was not seen before; notes it when it is built in or missing.
    fn open(&mut self, name: &str, asked: &str, needed: bool) -> Option<Open<'a>> {
        let index = self.index;
        if self.seen.contains(name) {
            return None;
        }
        let Some(module) = index.modules.get(name) else {
            if index.builtin.contains(name) {
                self.seen.insert(name.to_owned());
                self.order.builtin.push(name.to_owned());
            } else if needed {
                self.seen.insert(name.to_owned());
                self.order.missing.push(asked.to_owned());
            }
            return None;
        };
        self.seen.insert(name.to_owned());
        let (pre, post) = match index.soft.get(name).filter(|_| self.follow_soft) {
            Some(soft) => (index.resolve_all(&soft.pre), index.resolve_all(&soft.post)),
            None => (Vec::new(), Vec::new()),
        };
        let pre = pre.into_iter().map(|name| (name, false));
        let needs = module.needs.iter().map(|path| (path.as_str(), true));
        // Taken from the end: soft dependencies first, then the hard ones from the last of the line
        // to the first, as depmod orders them.
        let todo = needs.chain(pre.rev()).collect();
        Some(Open {
            path: &module.path,
            todo,
            post,
        })
    }
}

fn parse_dep(text: &str) -> Result<BTreeMap<String, Module>, IndexError> {
    let mut modules = BTreeMap::new();
    for (number, line) in lines(text) {
        let bad = IndexError::Line {
            file: "modules.dep",
            line: number,
            expected: "path/name.ko: path/needed.ko ...",
        };
        let (path, needs) = line.split_once(':').ok_or(bad.clone())?;
        if path.is_empty() || path.contains(char::is_whitespace) || leaves_directory(path) {
            return Err(bad);
        }
        let module = Module {
            path: path.to_owned(),
            needs: needs.split_whitespace().map(str::to_owned).collect(),
        };
        modules.insert(module_name(path), module);
    }
    Ok(modules)
}

/// Paths of modules.dep stay below its directory.
fn leaves_directory(path: &str) -> bool {
    path.starts_with('/') || path.split('/').any(|part| part == "..")
}

fn parse_softdep(text: &str) -> Result<BTreeMap<String, Soft>, IndexError> {
    let mut soft: BTreeMap<String, Soft> = BTreeMap::new();
    for (number, line) in lines(text) {
        let mut words = line.split_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else {
            return Err(IndexError::Line {
                file: "modules.softdep",
                line: number,
                expected: "softdep module pre: name ... post: name ...",
            });
        };
        let entry = soft.entry(module_name(module)).or_default();
        let mut list = None;
        for word in words {
            match (word, &mut list) {
                ("pre:", list) => *list = Some(false),
                ("post:", list) => *list = Some(true),
                (name, Some(false)) => entry.pre.push(name.to_owned()),
                (name, Some(true)) => entry.post.push(name.to_owned()),
                // Some modules of real kernels name no side ("softdep cifs gcm"); kmod ignores that too.
                (_, None) => {}
            }
        }
    }
    Ok(soft)
}

fn parse_alias(text: &str) -> Result<Vec<(String, String)>, IndexError> {
    lines(text)
        .map(|(number, line)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["alias", pattern, module] => Ok(((*pattern).to_owned(), (*module).to_owned())),
                _ => Err(IndexError::Line {
                    file: "modules.alias",
                    line: number,
                    expected: "alias pattern module",
                }),
            }
        })
        .collect()
}

/// fnmatch(3) with `*`, `?` and `[...]`, without special cases for slashes or leading dots. Linear
/// in practice: only the last `*` is ever tried again.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        match step(pattern, text) {
            Step::End => return true,
            Step::On(next_pattern, next_text) => (pattern, text) = (next_pattern, next_text),
            Step::No => match retry {
                Some((after_star, [_, shorter @ ..])) => {
                    retry = Some((after_star, shorter));
                    (pattern, text) = (after_star, shorter);
                }
                Some((_, [])) | None => return false,
            },
        }
    }
}

enum Step<'a> {
    End,
    On(&'a [u8], &'a [u8]),
    No,
}

fn step<'a>(pattern: &'a [u8], text: &'a [u8]) -> Step<'a> {
    match (pattern, text) {
        ([], []) => Step::End,
        ([b'?', pattern @ ..], [_, text @ ..]) => Step::On(pattern, text),
        ([b'[', class @ ..], [byte, text @ ..]) => match in_class(class, *byte) {
            Some((true, rest)) => Step::On(rest, text),
            Some((false, _)) => Step::No,
            None if *byte == b'[' => Step::On(class, text),
            None => Step::No,
        },
        ([literal, pattern @ ..], [byte, text @ ..]) if literal == byte => Step::On(pattern, text),
        _ => Step::No,
    }
}

/// Whether `byte` is in the class that `class` starts with, and what follows its `]`.
fn in_class(class: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match class {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let mut first = true;
    loop {
        match rest {
            [b']', after @ ..] if !first => return Some((found != negated, after)),
            [low, b'-', high, after @ ..] if *high != b']' => {
                found |= (*low..=*high).contains(&byte);
                rest = after;
            }
            [one, after @ ..] => {
                found |= *one == byte;
                rest = after;
            }
            [] => return None,
        }
        first = false;
    }
}
