//! `top`: a table of what services use, again and again. Here: the terminal and its keys, and the table.
//! Not here: the figures (`rates`), and reading them (`sample`).

pub(crate) mod cli;
mod rates;
mod sample;

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use kernel::console::{Keys, window};
use kernel::epoll::{Events, Poller, Readiness};
use kernel::signals::{Signal, SignalFd};
use serde_json::json;

use self::cli::Top;
use self::rates::{Column, OF_CGROUP, Row, Sample, rows, sort};
use crate::cgroups;
use crate::failure::Failure;
use crate::quantity::memory;
use crate::screen::{Paint, Screen};
use crate::table::{Align, Cell, Table};

/// The other screen of the terminal, without a cursor, and back from it.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l";
const END: &str = "\x1b[?25h\x1b[?1049l";

/// What a service has used since its cgroup was made, or since it is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// Time of the processor, microseconds.
    pub(crate) cpu_us: Option<u64>,
    /// Bytes read from disks, where the cgroup counts them.
    pub(crate) read_bytes: Option<u64>,
    /// Bytes written to them.
    pub(crate) written_bytes: Option<u64>,
}

/// Of each service which has a process; nothing where the cgroups cannot be read.
pub(crate) fn used(directory: &str) -> std::collections::BTreeMap<String, Used> {
    let services = sample::take(directory).map(|it| it.services);
    let services = services.unwrap_or_default().into_iter();
    let used = services.map(|(name, it)| {
        // What its processes tell of themselves goes with them: no counter.
        let io = it.io.get(&OF_CGROUP);
        let used = Used {
            cpu_us: it.cpu_us,
            read_bytes: io.map(|io| io.read),
            written_bytes: io.map(|io| io.written),
        };
        (name, used)
    });
    used.collect()
}

/// `top`.
pub(crate) fn top(screen: &mut Screen<'_>, options: &Top) -> Result<(), Failure> {
    let directory = cgroups::directory()?;
    options.counting.begin()?;
    let live = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if live && !options.once && !screen.json {
        let terminal = Terminal::open().map_err(|error| Failure::Failed(error.to_string()))?;
        screen.print(BEGIN)?;
        let done = watch(screen, options, &directory, &terminal);
        screen.print(END)?;
        return done;
    }
    let times = options.iterations.unwrap_or(1);
    let mut before = sample::take(&directory)?;
    for time in 0..times {
        std::thread::sleep(options.interval);
        let after = sample::take(&directory)?;
        let mut used = rows(&before, &after);
        sort(&mut used, options.sort, false);
        if screen.json {
            let interval = after.at_us.saturating_sub(before.at_us);
            screen.print_json(&json!({ "intervalUs": interval, "services": used }))?;
        } else {
            let gap = if time > 0 { "\n" } else { "" };
            screen.print(format!("{gap}{}", table(&used, screen.paint())))?;
        }
        before = after;
    }
    Ok(())
}

/// The terminal while the table is on it.
struct Terminal {
    keys: Keys,
    signals: SignalFd,
    poller: Poller,
}

/// What the watcher wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Sort(Column),
    TurnAround,
    LookAgain,
    DrawAgain,
    End,
}

impl Terminal {
    fn open() -> kernel::Result<Self> {
        let terminal = kernel::console::open_terminal("/dev/tty")?;
        let keys = Keys::of(terminal)?;
        // What ends it must not leave the terminal as it is now.
        let signals = [Signal::TERM, Signal::HUP, Signal::INT, Signal::WINCH];
        let signals = SignalFd::new(&signals)?;
        let poller = Poller::new()?;
        poller.add(&keys, 0, Readiness::READ)?;
        poller.add(&signals, 1, Readiness::READ)?;
        Ok(Self {
            keys,
            signals,
            poller,
        })
    }

    /// Waits until `until` for wishes.
    fn wishes(&self, until: Instant) -> kernel::Result<Vec<Wish>> {
        let mut events = Events::new();
        let left = until.saturating_duration_since(Instant::now());
        self.poller.wait(&mut events, Some(left))?;
        let mut wishes = Vec::new();
        for (token, _) in events.iter() {
            if token == 1 {
                wishes.extend(self.signals.next()?.map(|it| match it.signal {
                    Signal::WINCH => Wish::DrawAgain,
                    _ => Wish::End,
                }));
                continue;
            }
            let pressed = self.keys.pressed()?;
            if pressed.is_empty() {
                // The terminal has gone.
                wishes.push(Wish::End);
            }
            wishes.extend(pressed.into_iter().filter_map(wish_of));
        }
        Ok(wishes)
    }
}

fn wish_of(key: u8) -> Option<Wish> {
    Some(match key {
        // With the keys that end a program, or its input.
        b'q' | b'Q' | 3 | 4 => Wish::End,
        b'c' => Wish::Sort(Column::Cpu),
        b'm' => Wish::Sort(Column::Memory),
        b'i' => Wish::Sort(Column::Io),
        b'p' => Wish::Sort(Column::Pressure),
        b't' => Wish::Sort(Column::Tasks),
        b'n' => Wish::Sort(Column::Name),
        b'r' => Wish::TurnAround,
        b' ' => Wish::LookAgain,
        _ => return None,
    })
}

/// Until somebody wants it to end, or it has been shown as often as was asked for.
fn watch(
    screen: &mut Screen<'_>,
    options: &Top,
    directory: &str,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let failed = |error: kernel::Error| Failure::Failed(error.to_string());
    let (mut by, mut reverse) = (options.sort, false);
    let mut before = sample::take(directory)?;
    // The first figures soon.
    let mut until = Instant::now() + options.interval.min(Duration::from_millis(500));
    let mut used: Vec<Row> = Vec::new();
    let mut times = 0_u32;
    loop {
        draw(screen, &mut used, by, reverse)?;
        if options.iterations.is_some_and(|most| times >= most) {
            return Ok(());
        }
        for wish in terminal.wishes(until).map_err(failed)? {
            match wish {
                Wish::End => return Ok(()),
                Wish::Sort(column) => by = column,
                Wish::TurnAround => reverse = !reverse,
                Wish::DrawAgain => {}
                Wish::LookAgain => until = Instant::now(),
            }
        }
        if Instant::now() >= until {
            let after: Sample = sample::take(directory)?;
            used = rows(&before, &after);
            before = after;
            until = Instant::now() + options.interval;
            times = times.saturating_add(1);
        }
    }
}

/// As much as there is room for.
fn draw(
    screen: &mut Screen<'_>,
    used: &mut [Row],
    by: Column,
    reverse: bool,
) -> Result<(), Failure> {
    sort(used, by, reverse);
    let terminal: Option<OwnedFd> = File::open("/dev/tty").ok().map(OwnedFd::from);
    let (columns, lines) = terminal.and_then(window).unwrap_or((80, 24));
    let heading = format!(
        "{} services, sorted by {}{}; keys: c m i p t n r, q ends",
        used.len(),
        column_word(by),
        if reverse { ", the least first" } else { "" }
    );
    let text = format!("{heading}\n{}", table(used, Paint(false)));
    let mut out = String::from("\x1b[H");
    for line in text.lines().take(lines) {
        out.extend(line.chars().take(columns));
        // The rest of the line, and no newline after the last one, which would scroll.
        out.push_str("\x1b[K\r\n");
    }
    out.truncate(out.len().saturating_sub(2));
    out.push_str("\x1b[J");
    screen.print(out)
}

const fn column_word(by: Column) -> &'static str {
    match by {
        Column::Cpu => "CPU",
        Column::Memory => "memory",
        Column::Io => "I/O",
        Column::Pressure => "pressure",
        Column::Tasks => "tasks",
        Column::Name => "name",
    }
}

fn table(used: &[Row], paint: Paint) -> String {
    let heading = |text: &str| Cell::painted(text, |it| paint.bold(it));
    let right = [
        "CPU%",
        "MEMORY",
        "READ/s",
        "WRITTEN/s",
        "CPU-PSI",
        "MEM-PSI",
        "IO-PSI",
        "TASKS",
    ];
    let mut headings = vec![(Align::Left, heading("SERVICE"))];
    headings.extend(right.map(|text| (Align::Right, heading(text))));
    let mut table = Table::new(headings);
    let percent = |hundredths: Option<u64>| match hundredths {
        Some(it) => format!("{}.{}", it / 100, it % 100 / 10),
        None => "-".to_owned(),
    };
    let bytes = |bytes: Option<u64>| bytes.map_or("-".to_owned(), memory);
    for row in used {
        let psi = row.pressure;
        let cells = [
            percent(row.cpu),
            bytes(row.memory_bytes),
            bytes(row.read_bytes_per_second),
            bytes(row.written_bytes_per_second),
            percent(psi.cpu.map(u64::from)),
            percent(psi.memory.map(u64::from)),
            percent(psi.io.map(u64::from)),
            row.tasks.map_or("-".to_owned(), |it| it.to_string()),
        ];
        let mut line: Vec<Cell> = vec![row.service.as_str().into()];
        line.extend(cells.map(Cell::from));
        table.row(line);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::rates::Pressure;
    use super::*;

    #[test]
    fn the_table_has_a_dash_for_what_is_not_told() {
        let row = |service: &str, cpu| Row {
            service: service.to_owned(),
            cpu,
            memory_bytes: Some(2048),
            read_bytes_per_second: None,
            written_bytes_per_second: Some(0),
            pressure: Pressure {
                cpu: Some(1234),
                ..Pressure::default()
            },
            tasks: Some(3),
        };
        let text = table(&[row("web", Some(9950)), row("db", None)], Paint(false));
        let expect = "\
SERVICE  CPU%  MEMORY  READ/s  WRITTEN/s  CPU-PSI  MEM-PSI  IO-PSI  TASKS
web      99.5  2.0KiB       -         0B     12.3        -       -      3
db          -  2.0KiB       -         0B     12.3        -       -      3
";
        assert_eq!(text, expect);
    }

    #[test]
    fn keys_are_wishes() {
        assert_eq!(wish_of(b'q'), Some(Wish::End));
        assert_eq!(wish_of(3), Some(Wish::End));
        assert_eq!(wish_of(b'm'), Some(Wish::Sort(Column::Memory)));
        assert_eq!(wish_of(b'x'), None);
    }
}
