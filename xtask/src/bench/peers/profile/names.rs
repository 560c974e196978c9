//! Names for addresses: of the kernel, as its /proc/kallsyms tells them, and of static programs, by
//! their bytes and their symbols. Not here: what is counted by them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Functions by where they begin.
#[derive(Default)]
pub(super) struct Names(Vec<(u64, String)>);

impl Names {
    /// The functions of the kernel.
    pub(super) fn kernel(text: &str) -> Self {
        let function = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let code = matches!(words.next()?, "t" | "T" | "w" | "W");
            (code && address != 0).then_some((address, words.next()?.to_owned()))
        };
        Self::of(text.lines().filter_map(function).collect())
    }

    fn of(mut all: Vec<(u64, String)>) -> Self {
        all.sort();
        Self(all)
    }

    /// The function that an address is in.
    pub(super) fn at(&self, address: u64) -> &str {
        let after = self.0.partition_point(|(from, _)| *from <= address);
        let found = after.checked_sub(1).and_then(|it| self.0.get(it));
        found.map_or("?", |(_, name)| name)
    }

    /// Where a function begins.
    pub(super) fn find(&self, name: &str) -> Result<u64> {
        let found = self.0.iter().find(|(_, it)| it == name);
        let Some((address, _)) = found else {
            bail!("the kernel has no function {name}");
        };
        Ok(*address)
    }

    /// All that begin with `prefix`, as address and the rest of the name.
    pub(super) fn beginning<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (u64, &'a str)> + 'a {
        let rest = move |(at, name): &'a (u64, String)| Some((*at, name.strip_prefix(prefix)?));
        self.0.iter().filter_map(rest)
    }
}

/// A static program: what its memory holds, and its functions.
pub(super) struct Program {
    pub(super) name: &'static str,
    segments: Vec<(u64, Vec<u8>)>,
    pub(super) names: Names,
}

impl Program {
    /// Reads an ELF file of 64 bits.
    pub(super) fn read(name: &'static str, path: &Path) -> Result<Self> {
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(name, &file).with_context(|| format!("{} is no ELF file", path.display()))
    }

    /// One of so much code, and with one function.
    #[cfg(test)]
    pub(super) fn of_code(name: &'static str, at: u64, code: &[u8], function: &str) -> Self {
        Self {
            name,
            segments: vec![(at, code.to_vec())],
            names: Names::of(vec![(at, function.to_owned())]),
        }
    }

    fn parse(name: &'static str, file: &[u8]) -> Option<Self> {
        let mut segments = Vec::new();
        let table = number(file, 32, 8)?;
        for index in 0..number(file, 56, 2)? {
            let at = table + index * number(file, 54, 2)?;
            // PT_LOAD
            if number(file, at, 4)? == 1 {
                let (offset, size) = (number(file, at + 8, 8)?, number(file, at + 32, 8)?);
                segments.push((
                    number(file, at + 16, 8)?,
                    part(file, offset, size)?.to_vec(),
                ));
            }
        }
        Some(Self {
            name,
            segments,
            names: Names::of(functions(file).unwrap_or_default()),
        })
    }

    /// Whether it has that code there.
    pub(super) fn has(&self, address: u64, code: &[u8]) -> bool {
        self.segments.iter().any(|(from, bytes)| {
            let offset = address.checked_sub(*from);
            offset.and_then(|it| part(bytes, it, code.len() as u64)) == Some(code)
        })
    }
}

fn part(bytes: &[u8], at: u64, size: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(usize::try_from(size).ok()?)?)
}

fn number(bytes: &[u8], at: u64, size: u64) -> Option<u64> {
    let bytes = part(bytes, at, size)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |all, it| all << 8 | u64::from(*it)),
    )
}

/// What the symbol table calls functions.
fn functions(file: &[u8]) -> Option<Vec<(u64, String)>> {
    let mut all = Vec::new();
    let (table, size) = (number(file, 40, 8)?, number(file, 58, 2)?);
    for index in 0..number(file, 60, 2)? {
        let section = table + index * size;
        // SHT_SYMTAB
        if number(file, section + 4, 4)? != 2 {
            continue;
        }
        let strings = table + number(file, section + 40, 4)? * size;
        let strings = number(file, strings + 24, 8)?;
        let symbols = part(
            file,
            number(file, section + 24, 8)?,
            number(file, section + 32, 8)?,
        )?;
        for symbol in symbols.chunks_exact(24) {
            // STT_FUNC
            if number(symbol, 4, 1)? & 15 == 2 {
                let name = number(symbol, 0, 4)? + strings;
                let name = file.get(usize::try_from(name).ok()?..)?;
                let name = name.split(|byte| *byte == 0).next()?;
                let name = plain(&String::from_utf8_lossy(name));
                all.push((number(symbol, 8, 8)?, name));
            }
        }
    }
    Some(all)
}

/// A name as it is in the source: `_ZN4core3fmt5write17h0123456789abcdefE` is core::fmt::write.
fn plain(symbol: &str) -> String {
    let Some(mut rest) = symbol.strip_prefix("_ZN") else {
        return symbol.to_owned();
    };
    let mut words = Vec::new();
    while let Some(digits) = rest
        .find(|it: char| !it.is_ascii_digit())
        .filter(|it| *it > 0)
    {
        let (Ok(size), after) = (rest[..digits].parse::<usize>(), &rest[digits..]) else {
            break;
        };
        let Some(word) = after.get(..size) else {
            break;
        };
        words.push(word);
        rest = &after[size..];
    }
    // The last is a hash.
    words.pop_if(|it| it.len() == 17 && it.starts_with('h'));
    let text = words.join("::");
    let signs = [
        ("$LT$", "<"),
        ("$GT$", ">"),
        ("$RF$", "&"),
        ("$BP$", "*"),
        ("$u20$", " "),
        ("$C$", ","),
        ("$u7b$", "{"),
        ("$u7d$", "}"),
        ("$u5b$", "["),
        ("$u5d$", "]"),
        ("$u27$", "'"),
        ("..", "::"),
    ];
    let text = signs
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to));
    text.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_name_of_the_function_before_them() {
        let names = Names::kernel(
            "ffffffff81000100 T second\nffffffff81000000 t first\nffffffff81000080 d data\n",
        );
        assert_eq!(names.at(0xffff_ffff_8100_0090), "first");
        assert_eq!(names.at(0xffff_ffff_8100_0100), "second");
        assert_eq!(names.at(1), "?");
        assert_eq!(names.find("second").unwrap(), 0xffff_ffff_8100_0100);
        assert!(names.find("data").is_err());
    }

    #[test]
    fn names_are_as_in_the_source() {
        assert_eq!(
            plain("_ZN4core3fmt5write17h0123456789abcdefE"),
            "core::fmt::write"
        );
        assert_eq!(
            plain("_ZN36_$LT$T$u20$as$u20$core..any..Any$GT$7type_id17h0123456789abcdefE"),
            "<T as core::any::Any>::type_id"
        );
        assert_eq!(plain("memcpy"), "memcpy");
    }

    #[test]
    fn a_program_is_known_by_its_bytes() {
        let own = std::env::current_exe().unwrap();
        let program = Program::read("own", &own).unwrap();
        let (at, bytes) = program.segments.first().unwrap();
        assert!(program.has(at + 8, &bytes[8..40]));
        assert!(!program.has(at + 9, &bytes[8..40]));
    }
}
