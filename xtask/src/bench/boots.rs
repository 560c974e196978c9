//! `cargo xtask bench`: boots the image and prints PID 1's figures. Not here: a verdict, and other
//! people's inits (`peers`).

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use machine::machine::Boot;
use machine::overlay::Overlay;
use machine::{Accel, Disk, Machine, Spec};
use serde::Serialize;
use serde_json::Value;

use crate::image::{self, ImageOptions};
use crate::{build, command, setup};

/// How long the boot and each question may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Arguments of the boots.
#[derive(Args)]
pub(super) struct BootsArgs {
    #[command(flatten)]
    image: ImageOptions,

    /// How many boots; the median of each time is told
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    boots: u32,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    /// Bytes of each program.
    programs: Vec<(String, u64)>,
    /// KVM or TCG: times of different accelerators cannot be compared.
    accelerator: String,
    /// Services that were up.
    services: usize,
    /// Memory of PID 1, KiB.
    memory: Memory,
    /// Name of each phase and when it was reached, microseconds after stage1's first instruction.
    phases: Vec<(String, u64)>,
    /// What choosing a slot and committing it cost.
    slots: SlotCosts,
}

/// What choosing a slot and committing it cost, microseconds: the least of all boots, which is the
/// floor that this machine can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct SlotCosts {
    /// From stage1's first instruction until the slot was chosen and charged.
    decision: u64,
    /// Of that: reading the record, judging the last boot, deciding.
    choice: u64,
    /// Of that: one record written, durable and read back.
    charge: u64,
    /// From the gate's verdict until the commit was durable.
    bookkeeping: u64,
}

/// Memory of PID 1, KiB, as /proc/1/smaps_rollup tells it (proc(5)).
#[derive(Clone, Copy, Debug, Serialize)]
struct Memory {
    rss: u64,
    pss: u64,
    anonymous: u64,
}

/// One boot.
struct Sample {
    memory: Memory,
    phases: Vec<(String, u64)>,
    services: usize,
}

/// Boots and prints.
pub(super) fn run(args: &BootsArgs) -> Result<ExitCode> {
    setup::need(&[setup::Need::Qemu(args.image.arch)])?;
    let image = image::make(&args.image)?;
    let (accel, why) = Accel::probe(image.arch);
    let spec = Spec {
        append: "quiet".into(),
        ..Spec::new(&image, accel, Disk::Fresh(image.disk.clone()))
    };
    let mut samples = Vec::new();
    for number in 1..=args.boots {
        command::step(&format!("boot {number} of {}", args.boots));
        samples.push(boot(&spec)?);
    }
    let figures = Figures {
        programs: programs(&build::programs(args.image.arch)?)?,
        accelerator: format!("{accel:?} ({why})"),
        services: samples.first().map_or(0, |s| s.services),
        memory: median_memory(&samples),
        phases: median_phases(&samples),
        slots: slot_costs(&samples)?,
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", table(&figures));
    }
    Ok(ExitCode::SUCCESS)
}

fn boot(spec: &Spec) -> Result<Sample> {
    let mut machine = Machine::quiet(spec, Overlay::default())?;
    match machine.boot(0, Instant::now() + PATIENCE) {
        Boot::Good => {}
        other => bail!(
            "the boot was not good: {other:?}\n{}",
            machine.console.tail(25)
        ),
    }
    let memory = parse_memory(&machine.shell("cat /proc/1/smaps_rollup", PATIENCE)?.text())?;
    let verdict = machine.shell("sharkctl boot wait", PATIENCE)?;
    if verdict.status != 0 {
        bail!("the boot was not committed: {}", verdict.text());
    }
    let boot: Value =
        serde_json::from_str(&machine.shell("sharkctl boot --json", PATIENCE)?.text())?;
    let list: Value =
        serde_json::from_str(&machine.shell("sharkctl list --json", PATIENCE)?.text())?;
    machine.power_off(PATIENCE)?;
    Ok(Sample {
        memory,
        phases: parse_phases(&boot)?,
        services: count_up(&list),
    })
}

fn count_up(list: &Value) -> usize {
    let services = list
        .get("services")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    services
        .iter()
        .filter(|s| s.get("state").and_then(Value::as_str) == Some("up"))
        .count()
}

/// Phases in order, counted from the first, which is stage1's first instruction.
fn parse_phases(boot: &Value) -> Result<Vec<(String, u64)>> {
    let timings = boot
        .get("timings")
        .and_then(Value::as_array)
        .context("`sharkctl boot --json` tells no timings")?;
    let phases: Vec<(String, u64)> = timings
        .iter()
        .filter_map(|t| Some((t.get("name")?.as_str()?.to_owned(), t.get("us")?.as_u64()?)))
        .collect();
    let first = phases
        .first()
        .context("`sharkctl boot --json` tells no timings")?
        .1;
    Ok(phases
        .into_iter()
        .map(|(name, us)| (name, us.saturating_sub(first)))
        .collect())
}

fn parse_memory(rollup: &str) -> Result<Memory> {
    let field = |name: &str| {
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok())
            .with_context(|| format!("smaps_rollup of PID 1 has no {name}"))
    };
    Ok(Memory {
        rss: field("Rss")?,
        pss: field("Pss")?,
        anonymous: field("Anonymous")?,
    })
}

fn programs(built: &build::Programs) -> Result<Vec<(String, u64)>> {
    [
        ("stage1", &built.stage1),
        ("init", &built.init),
        ("sharkctl", &built.sharkctl),
    ]
    .into_iter()
    .map(|(name, path)| {
        let size = fs::metadata(path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        Ok((name.to_owned(), size))
    })
    .collect()
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

fn median_memory(samples: &[Sample]) -> Memory {
    let of = |field: fn(&Memory) -> u64| median(samples.iter().map(|s| field(&s.memory)).collect());
    Memory {
        rss: of(|m| m.rss),
        pss: of(|m| m.pss),
        anonymous: of(|m| m.anonymous),
    }
}

fn median_phases(samples: &[Sample]) -> Vec<(String, u64)> {
    let names = samples.first().map_or(&[][..], |s| s.phases.as_slice());
    names
        .iter()
        .map(|(name, _)| {
            let times = samples
                .iter()
                .filter_map(|s| s.phases.iter().find(|(n, _)| n == name))
                .map(|(_, us)| *us);
            (name.clone(), median(times.collect()))
        })
        .collect()
}

fn slot_costs(samples: &[Sample]) -> Result<SlotCosts> {
    let least = |from: &str, to: &str| {
        let spans = samples.iter().filter_map(|sample| {
            let at = |name: &str| Some(sample.phases.iter().find(|(n, _)| n == name)?.1);
            Some(at(to)?.saturating_sub(at(from)?))
        });
        spans
            .min()
            .with_context(|| format!("`sharkctl boot --json` does not tell of {from} and {to}"))
    };
    Ok(SlotCosts {
        decision: least("stage1-start", "stage1-charge")?,
        choice: least("stage1-disk", "stage1-boot-record")?,
        charge: least("stage1-boot-record", "stage1-charge")?,
        bookkeeping: least("gate passed", "committed")?,
    })
}

fn table(figures: &Figures) -> String {
    let mut text = String::from("| figure | value |\n|---|---|\n");
    let total: u64 = figures.programs.iter().map(|(_, size)| size).sum();
    for (name, size) in &figures.programs {
        text.push_str(&format!("| {name} | {} KiB |\n", size.div_ceil(1024)));
    }
    text.push_str(&format!(
        "| all programs | {} KiB |\n",
        total.div_ceil(1024)
    ));
    let Memory {
        rss,
        pss,
        anonymous,
    } = figures.memory;
    let services = figures.services;
    text.push_str(&format!(
        "| PID 1 with {services} services: RSS | {rss} KiB |\n"
    ));
    text.push_str(&format!(
        "| PID 1 with {services} services: PSS | {pss} KiB |\n"
    ));
    text.push_str(&format!(
        "| PID 1 with {services} services: anonymous | {anonymous} KiB |\n"
    ));
    for (name, us) in figures.phases.iter().skip(1) {
        text.push_str(&format!(
            "| stage1's first instruction to {name} | {} |\n",
            milliseconds(*us)
        ));
    }
    text.push_str(&slots_table(&figures.slots));
    text.push_str(&format!("| accelerator | {} |\n", figures.accelerator));
    text
}

fn milliseconds(us: u64) -> String {
    let ms = Duration::from_micros(us).as_secs_f64() * 1000.0;
    format!("{ms:.1} ms")
}

fn slots_table(slots: &SlotCosts) -> String {
    let ratio = |part: u64, whole: u64| {
        let (part, whole) = (Duration::from_micros(part), Duration::from_micros(whole));
        part.as_secs_f64() / whole.as_secs_f64().max(f64::EPSILON)
    };
    let SlotCosts {
        decision,
        choice,
        charge,
        bookkeeping,
    } = *slots;
    format!(
        "| floor: stage1's first instruction to slot chosen and charged | {} |\n\
         | floor: of it, record read and slot decided | {}, {:.3} of it |\n\
         | floor: of it, charge durable and read back | {}, {:.3} of it |\n\
         | floor: gate passed to commit durable | {}, {:.1} of a charge |\n",
        milliseconds(decision),
        milliseconds(choice),
        ratio(choice, decision),
        milliseconds(charge),
        ratio(charge, decision),
        milliseconds(bookkeeping),
        ratio(bookkeeping, charge),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_of_each_cost_is_its_least_of_all_boots() {
        let memory = Memory {
            rss: 0,
            pss: 0,
            anonymous: 0,
        };
        let names = [
            "stage1-start",
            "stage1-disk",
            "stage1-boot-record",
            "stage1-charge",
            "gate passed",
            "committed",
        ];
        let sample = |times: [u64; 6]| Sample {
            memory,
            phases: names.map(str::to_owned).into_iter().zip(times).collect(),
            services: 1,
        };
        let samples = [
            sample([0, 1000, 1020, 1050, 9000, 9100]),
            sample([0, 900, 930, 955, 9000, 9200]),
        ];
        let costs = slot_costs(&samples).unwrap();
        let expect = SlotCosts {
            decision: 955,
            choice: 20,
            charge: 25,
            bookkeeping: 100,
        };
        assert_eq!(costs, expect);
        let table = slots_table(&costs);
        assert!(table.contains("0.1 ms, 4.0 of a charge"), "{table}");
        assert!(slot_costs(&[]).is_err());
    }

    #[test]
    fn memory_of_a_rollup() {
        let text = "0000-7fff ---p [rollup]\nRss:                 640 kB\nPss:                 512 kB\nPss_Anon: 1 kB\nAnonymous:            96 kB\n";
        let memory = parse_memory(text).unwrap();
        assert_eq!((memory.rss, memory.pss, memory.anonymous), (640, 512, 96));
        assert!(
            parse_memory("Rss: 1 kB")
                .unwrap_err()
                .to_string()
                .contains("no Pss")
        );
    }

    #[test]
    fn phases_count_from_the_first() {
        let boot = serde_json::json!({"timings": [{"name": "stage1", "us": 5}, {"name": "ready", "us": 25}]});
        assert_eq!(
            parse_phases(&boot).unwrap(),
            [("stage1".to_owned(), 0), ("ready".to_owned(), 20)]
        );
    }

    #[test]
    fn the_median_of_an_even_count_is_one_of_them() {
        assert_eq!(median(vec![9, 1, 5, 3]), 5);
    }
}
