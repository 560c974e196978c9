//! Waiting at the rescue console: for Enter, for a disk, for the end of the shell, and for the end
//! of the pause, while the watchdog is fed and children that end are reaped.
//!
//! Not here: what follows from each.

use std::fs;
use std::io::{self, BufRead};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use kernel::epoll::{Events, Poller, Readiness};
use kernel::signals::Signal;
use kernel::spawn::Child;

use super::pause::{Pause, Terminals};
use super::{now, shell};
use crate::stage1::Machine;
use crate::stage1::report::print_console;
use crate::stage1::search::Search;
use crate::stage1::watchdog;

/// Somebody is there while this file is: for what takes long and has no terminal.
pub(super) const HOLD: &str = "/run/shark/hold";
/// How often terminals are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A shell that ended sooner was opened by noise on the line, or by a line that is at its end: nobody
/// reads its prompt and leaves it that fast.
const NOISE: Duration = Duration::from_millis(500);
/// What the poller tells.
const INPUT: u64 = 0;
const DEVICES: u64 = 1;
const CHILD: u64 = 2;

/// Why the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Somebody left the shell.
    ShellEnded,
    /// A disk of ours is there.
    DiskCame,
    /// Nobody came, or has gone.
    PauseOver,
}

/// What is waited on. Without a poller (no memory, no descriptors) time alone counts.
pub(super) struct Console {
    poller: Option<Poller>,
    events: Events,
}

impl Console {
    /// Watches the console and the machine's devices.
    pub(super) fn open(machine: &Machine) -> Self {
        // For the file that holds the pause; without the directory nobody can make it.
        let _ = kernel::files::make_dirs("/run/shark", 0o755);
        let console = Self::alone();
        if let Some(poller) = &console.poller {
            // Without the news of devices the pause still ends.
            let _ = poller.add(&machine.devices, DEVICES, Readiness::READ);
        }
        console
    }

    fn alone() -> Self {
        let poller = Poller::new().ok();
        if let Some(poller) = &poller
            && shell::find().is_some()
        {
            // What cannot be watched, such as /dev/null on a machine without a console, has no input.
            let _ = poller.add(io::stdin(), INPUT, Readiness::READ);
        }
        Self {
            poller,
            events: Events::new(),
        }
    }

    /// Waits, with a shell for everybody who asks. With `search` a disk of ours ends it.
    pub(super) fn wait(&mut self, machine: &mut Machine, pause: &mut Pause, search: bool) -> Woken {
        let mut disks = Search::default();
        loop {
            match self.turn(pause, None) {
                Turn::Input => {
                    if let Some(woken) = self.in_shell(Some(machine), pause) {
                        return woken;
                    }
                }
                Turn::Devices => {
                    machine.devices.work_off(&mut machine.report);
                    let news = machine.devices.news();
                    let look = search && !news.is_empty();
                    if look && disks.look(&news, &mut machine.report).is_some() {
                        return Woken::DiskCame;
                    }
                }
                Turn::ChildEnded | Turn::Nothing => {}
            }
            if pause.is_over() {
                return Woken::PauseOver;
            }
        }
    }

    /// A shell until it ends, or until nobody has used it for long. `None`: it did not start, or
    /// nobody was there.
    fn in_shell(&mut self, mut machine: Option<&mut Machine>, pause: &mut Pause) -> Option<Woken> {
        let child = match shell::start() {
            Ok(child) => child,
            Err(error) => {
                print_console(&format!("rescue: no shell: {error}"));
                return None;
            }
        };
        // The shell reads now.
        self.watch_input(false);
        let watched = self
            .poller
            .as_ref()
            .is_some_and(|poller| poller.add(&child.pidfd, CHILD, Readiness::READ).is_ok());
        let started = now();
        pause.used(started);
        let woken = loop {
            match self.turn(pause, Some(&child)) {
                Turn::ChildEnded => break shell_ended(now().saturating_sub(started)),
                Turn::Devices => {
                    if let Some(machine) = &mut machine {
                        machine.devices.work_off(&mut machine.report);
                    }
                }
                Turn::Input | Turn::Nothing => {}
            }
            if pause.is_over() {
                print_console("rescue: nobody has used the shell for long; going on");
                let _ = kernel::pidfd::send_signal(&child.pidfd, Signal::HUP);
                break Some(Woken::PauseOver);
            }
        };
        if let (Some(poller), true) = (&self.poller, watched) {
            let _ = poller.remove(&child.pidfd);
        }
        self.watch_input(true);
        if woken.is_none() {
            print_console(&format!(
                "rescue: a shell that ends within {} ms may be noise on the line and is no word to boot; press \
                 Enter for another",
                NOISE.as_millis()
            ));
        }
        woken
    }

    fn watch_input(&self, on: bool) {
        if let Some(poller) = &self.poller {
            let input = io::stdin();
            let _ = if on {
                poller.add(input, INPUT, Readiness::READ)
            } else {
                poller.remove(input)
            };
        }
    }

    /// One wait, no longer than the watchdog allows; what it brought.
    fn turn(&mut self, pause: &mut Pause, child: Option<&Child>) -> Turn {
        let left = pause.left().unwrap_or(LOOK).max(Duration::from_millis(1));
        let longest = LOOK.min(watchdog::interval()).min(left);
        watchdog::feed();
        match &self.poller {
            Some(poller) if poller.wait(&mut self.events, Some(longest)).is_ok() => {}
            Some(_) | None => std::thread::sleep(longest),
        }
        let ended = reap(child);
        if kernel::files::exists(HOLD) {
            pause.used(now());
        }
        pause.update(now(), terminals());
        if ended {
            return Turn::ChildEnded;
        }
        let told = |what| self.events.iter().any(|(token, _)| token == what);
        let (input, devices) = (told(INPUT), told(DEVICES));
        if input {
            self.take_input()
        } else if devices {
            Turn::Devices
        } else {
            Turn::Nothing
        }
    }

    /// Throws away what was typed: it was Enter, or noise.
    fn take_input(&mut self) -> Turn {
        let mut input = io::stdin().lock();
        let length = input.fill_buf().map_or(0, <[u8]>::len);
        input.consume(length);
        if length > 0 {
            return Turn::Input;
        }
        // Its end; watching on would only wake up again and again.
        self.watch_input(false);
        Turn::Nothing
    }
}

/// What the end of a shell says that lived so long.
fn shell_ended(lived: Duration) -> Option<Woken> {
    (lived >= NOISE).then_some(Woken::ShellEnded)
}

/// What a wait brought.
enum Turn {
    Input,
    Devices,
    ChildEnded,
    Nothing,
}

/// Waits without devices, and without anything to try: until the shell or the pause ends.
pub(super) fn alone(pause: &mut Pause) {
    let mut console = Console::alone();
    while !pause.is_over() {
        if let Turn::Input = console.turn(pause, None)
            && console.in_shell(None, pause).is_some()
        {
            return;
        }
    }
}

/// Reaps all children that have ended; whether `child` is among them.
fn reap(child: Option<&Child>) -> bool {
    let mut ended = false;
    while let Ok(Some(reaped)) = kernel::reap::next() {
        ended |= child.is_some_and(|child| child.pid == reaped.pid);
    }
    ended
}

/// When the console and the terminals of those who came by the network were last read from. The
/// kernel notes it on the device, to eight seconds.
fn terminals() -> Terminals {
    let mut paths = vec![shell::terminal()];
    if let Ok(entries) = fs::read_dir("/dev/pts") {
        let names = entries.flatten().map(|entry| entry.path());
        let numbered = names.filter(|path| !path.ends_with("ptmx"));
        paths.extend(numbered.map(|path| path.to_string_lossy().into_owned()));
    }
    paths.sort_unstable();
    paths
        .into_iter()
        .filter_map(|path| {
            let atime = fs::metadata(&path).ok()?.atime();
            Some((path, atime))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_nobody_used_is_no_word_to_boot() {
        for (millis, expect) in [(0, None), (499, None), (500, Some(Woken::ShellEnded))] {
            assert_eq!(shell_ended(Duration::from_millis(millis)), expect);
        }
    }
}
