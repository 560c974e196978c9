//! What the plugin wrote, read and summed up: each life of a process (from a fork to an exec, or from
//! an exec on) gets a kind by the program it ran and by what became of it.

use std::collections::{BTreeMap, HashMap};

use super::Sum;
use super::names::{Names, Program};

/// A piece of code.
struct Block {
    at: u64,
    instructions: u64,
    code: Vec<u8>,
}

/// How often a piece of code ran in a life, under a system call.
struct Cell {
    life: u32,
    call: usize,
    block: usize,
    times: u64,
}

/// Everything the plugin wrote.
#[derive(Default)]
pub(super) struct Counts {
    /// Lives that began by exec, and the life before each.
    execs: HashMap<u32, u32>,
    blocks: Vec<Block>,
    cells: Vec<Cell>,
}

impl Counts {
    /// Reads the plugin's lines.
    pub(super) fn parse(text: &str) -> Self {
        let mut counts = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            // What it writes itself is well formed, but for a last line that was cut.
            let _ = counts.add(&words);
        }
        counts
    }

    fn add(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["X", life, before] => {
                self.execs.insert(life.parse().ok()?, before.parse().ok()?);
            }
            ["B", _, at, instructions, code] => self.blocks.push(Block {
                at: u64::from_str_radix(at, 16).ok()?,
                instructions: instructions.parse().ok()?,
                code: bytes(code)?,
            }),
            ["C", life, call, block, times] => self.cells.push(Cell {
                life: life.parse().ok()?,
                call: call.parse().ok()?,
                block: block.parse().ok()?,
                times: times.parse().ok()?,
            }),
            _ => {}
        }
        Some(())
    }

    /// Sums by kind of process.
    pub(super) fn sums(
        &self,
        programs: &[Program],
        kernel: &Names,
        calls: &[&str],
    ) -> BTreeMap<String, Sum> {
        let of_block: Vec<Option<&Program>> = self
            .blocks
            .iter()
            .map(|it| programs.iter().find(|program| program.has(it.at, &it.code)))
            .collect();
        let kinds = self.kinds(&of_block);
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        for kind in kinds.values() {
            sums.entry((*kind).to_owned()).or_default().processes += 1;
        }
        for cell in &self.cells {
            let Some(block) = self.blocks.get(cell.block) else {
                continue;
            };
            let kind = kinds.get(&cell.life).copied().unwrap_or("the kernel's own");
            let sum = sums.entry(kind.to_owned()).or_default();
            let many = cell.times * block.instructions;
            if block.at >> 63 == 0 {
                let program = of_block.get(cell.block).copied().flatten();
                let name = program.map_or("?", |it| it.names.at(block.at));
                *sum.user.entry(name.to_owned()).or_default() += many;
            } else {
                let call = cell.call.checked_sub(1).and_then(|it| calls.get(it));
                let call = call.copied().unwrap_or("entry, exit and others");
                let functions = sum.calls.entry(call.to_owned()).or_default();
                *functions.entry(kernel.at(block.at).to_owned()).or_default() += many;
            }
        }
        sums
    }

    /// What each life was. Those that never ran code of a program are the kernel's own.
    fn kinds(&self, of_block: &[Option<&Program>]) -> HashMap<u32, &'static str> {
        let mut ran: HashMap<u32, HashMap<&str, u64>> = HashMap::new();
        let mut loads = Vec::new();
        let mut logs = Vec::new();
        for cell in &self.cells {
            let (Some(block), Some(program)) = (
                self.blocks.get(cell.block),
                of_block.get(cell.block).copied().flatten(),
            ) else {
                continue;
            };
            let programs = ran.entry(cell.life).or_default();
            *programs.entry(program.name).or_default() += cell.times * block.instructions;
            let function = program.names.at(block.at);
            if function.starts_with("init::load::") {
                loads.push(cell.life);
            } else if function.starts_with("init::log::") {
                logs.push(cell.life);
            }
        }
        let program = |life: u32| {
            let programs = ran.get(&life)?.iter();
            Some(*programs.max_by_key(|(_, times)| **times)?.0)
        };
        let becomes: HashMap<u32, u32> = self.execs.iter().map(|(to, from)| (*from, *to)).collect();
        let kind = |life: u32| {
            let before = self.execs.get(&life).and_then(|it| program(*it));
            let after = becomes.get(&life).and_then(|it| program(*it));
            Some(match (program(life)?, before, after) {
                ("init", Some("trampoline"), _) => "PID 1",
                ("init", _, Some("service")) => "children before exec",
                ("init", _, Some(_)) => "helpers before exec",
                ("init", _, None) if loads.contains(&life) => "loader",
                ("init", _, None) if logs.contains(&life) => "logger",
                ("init", _, None) => "other helpers",
                ("service", _, _) => "services",
                (_, _, _) => "the measurement",
            })
        };
        let lives = ran.keys().copied();
        lives.filter_map(|it| Some((it, kind(it)?))).collect()
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trampoline becomes PID 1, which forks; its child becomes a service. Both are at the same
    /// addresses, and only their bytes tell them apart.
    const WRITTEN: &str = "F 1 0\nX 2 1\nX 3 2\nF 4 0\nX 5 4\n\
        B 0 1000 2 a1a1\nB 1 1000 3 b1b1\nB 2 1000 1 c1c1\nB 3 ffffffff81000000 10 00\n\
        C 2 0 0 1\nC 3 0 1 7\nC 3 1 3 5\nC 3 0 3 2\nC 4 0 1 4\nC 4 1 3 1\nC 5 0 2 9\nC 6 0 3 1\n\
        C 3 0 1";

    #[test]
    fn lives_get_their_kind_by_what_ran_before_and_after() {
        let programs = [
            Program::of_code("init", 0x1000, &[0xb1, 0xb1], "init::pid1::run"),
            Program::of_code("service", 0x1000, &[0xc1, 0xc1], "main"),
            Program::of_code("trampoline", 0x1000, &[0xa1, 0xa1], "main"),
        ];
        let kernel = Names::kernel("ffffffff81000000 T do_mkdirat\n");
        let sums = Counts::parse(WRITTEN).sums(&programs, &kernel, &["mkdirat"]);
        let kinds: Vec<(&str, u64)> = sums
            .iter()
            .map(|(k, it)| (k.as_str(), it.processes))
            .collect();
        assert_eq!(
            kinds,
            [
                ("PID 1", 1),
                ("children before exec", 1),
                ("services", 1),
                ("the kernel's own", 0),
                ("the measurement", 1)
            ]
        );
        assert_eq!(sums["PID 1"].user["init::pid1::run"], 21);
        assert_eq!(sums["PID 1"].calls["mkdirat"]["do_mkdirat"], 50);
        assert_eq!(
            sums["PID 1"].calls["entry, exit and others"]["do_mkdirat"],
            20
        );
        assert_eq!(sums["children before exec"].user["init::pid1::run"], 12);
        assert_eq!(sums["services"].user["main"], 9);
    }
}
