//! The main process of a forking service: found after its command has ended, by its pid file or
//! among what is left in the cgroup. Not here: what follows when it is found or not (the core).
//!
//! A number in a file is only a hint. It is believed when that process lies in the cgroup of the
//! service and is a child of init, which it is when all between have ended. Then only we can reap it,
//! so the number cannot become another's between the look and the pidfd, and signals go by that.

use services::definition::Kind;
use services::id::RunId;
use services::supervisor::event::Event;
use services::time::Duration;

use super::Init;
use super::later::Later;
use super::sender;

/// How long a daemon may take, after its command has ended, to write its pid file and to let go of
/// the processes between.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// In how many looks, one after the other, what is left must be the same before it is believed to be all:
/// what is on its way to fork once more is gone by then. Looks and no span of time: a machine that stood
/// still for as long has let nobody get on.
const REST: u32 = 10;
/// Longest pid file.
const FILE_MAX: usize = 64;

/// Why it is not known yet.
const RESTLESS: &str = "what its command has left does not come to rest";

/// What a look has shown.
enum Look {
    /// This is it: its number and its process group.
    Found { pid: u32, group: u32 },
    /// Not yet, for this reason.
    NotYet(String),
    /// It will not be.
    Never(String),
}

impl Init {
    /// Looks for the main process, and tells the core in the end.
    pub(super) fn find_main(&mut self, run: RunId) {
        let now = self.now;
        let live = self.table.live(run);
        let Some(seek) = live.and_then(|live| live.seek.as_mut()) else {
            let outcome = Err("its command has ended and left no process".to_owned());
            return self.tell(Event::MainSought { run, outcome });
        };
        let until = *seek.until.get_or_insert(now + PATIENCE);
        let outcome = match self.look_for_main(run) {
            Look::Found { pid, group } => match kernel::pidfd::open(pid) {
                Ok(pidfd) => {
                    self.table.found(run, pid, group, pidfd);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
            Look::NotYet(_) if now < until => return self.do_later(PAUSE, Later::FindMain(run)),
            Look::NotYet(why) | Look::Never(why) => Err(why),
        };
        if let (Err(_), Some(live)) = (&outcome, self.table.live(run)) {
            live.seek = None;
        }
        self.tell(Event::MainSought { run, outcome });
        self.check_emptied(run.service);
    }

    fn look_for_main(&mut self, run: RunId) -> Look {
        let definition = match self.definition(run.service) {
            Ok(definition) => definition,
            Err(cause) => return Look::Never(cause),
        };
        let file = match &definition.kind {
            Kind::Forking(program) => program.pid_file.as_ref(),
            Kind::Target | Kind::Simple(_) | Kind::Notify(_) | Kind::Oneshot(_) => {
                return Look::Never("the service is of another type now".to_owned());
            }
        };
        match file {
            Some(path) => self.look_into(&path.display().to_string(), definition.name.as_str()),
            None => self.look_around(run, definition.name.as_str()),
        }
    }

    /// The process that the pid file names.
    fn look_into(&mut self, path: &str, name: &str) -> Look {
        let text = match kernel::files::read_text_here(path, FILE_MAX) {
            Ok(text) => text,
            Err(error) if error.errno == kernel::Errno::NOENT => {
                return Look::NotYet(format!("its command has ended, and there is no {path}"));
            }
            Err(error) => return Look::Never(format!("its pid file: {error}")),
        };
        let Some(pid) = text.trim().parse().ok().filter(|pid| *pid > 1) else {
            return Look::NotYet(format!("{path} holds no number of a process"));
        };
        if self.table.owner(pid).is_some() {
            return Look::NotYet(format!(
                "{path} names process {pid}, which is another one's"
            ));
        }
        let Some(stat) = stat(pid) else {
            return Look::NotYet(format!("{path} names process {pid}, which is not there"));
        };
        // Without cgroups, that it is our child and nobody's else is all there is to be known.
        if self.cgroups.is_some() && !lies_in(pid, name) {
            let why = format!("{path} names process {pid}, which is not in the cgroup of {name}");
            return Look::NotYet(why);
        }
        if stat.parent != 1 {
            let parent = stat.parent;
            let why = format!("{path} names process {pid}, whose parent is {parent} and not init");
            return Look::NotYet(why);
        }
        let group = stat.group;
        Look::Found { pid, group }
    }

    /// The eldest process that is left, once that has been the same for a while.
    fn look_around(&mut self, run: RunId, name: &str) -> Look {
        let Some(cgroups) = &self.cgroups else {
            let why = "without cgroups its main process cannot be found but by a pid-file";
            return Look::Never(why.to_owned());
        };
        let pids = match cgroups.processes(name) {
            Ok(pids) => pids,
            Err(cause) => return Look::Never(cause),
        };
        let ours = pids
            .into_iter()
            .filter(|pid| self.table.owner(*pid).is_none())
            .filter_map(|pid| Some((stat(pid)?, pid)))
            .filter(|(stat, _)| stat.parent == 1);
        let Some((eldest, pid)) = ours.min_by_key(|(stat, pid)| (stat.started, *pid)) else {
            return Look::NotYet("its command has ended and left no process to init".to_owned());
        };
        let live = self.table.live(run);
        let Some(seek) = live.and_then(|live| live.seek.as_mut()) else {
            return Look::Never("it is being stopped".to_owned());
        };
        let looks = match seek.candidate {
            Some((known, started, looks)) if (known, started) == (pid, eldest.started) => looks + 1,
            Some(_) | None => 0,
        };
        if looks >= REST {
            let group = eldest.group;
            return Look::Found { pid, group };
        }
        seek.candidate = Some((pid, eldest.started, looks));
        Look::NotYet(RESTLESS.to_owned())
    }
}

/// What /proc tells of a process.
struct Stat {
    parent: u32,
    group: u32,
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = kernel::files::read_text(&format!("/proc/{pid}/stat"), 4096).ok()?;
    // The program's name is in parentheses and may hold anything, parentheses included.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Dead, and only not reaped: its end is told with our next look.
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn lies_in(pid: u32, name: &str) -> bool {
    let path = kernel::cgroup::of_process(pid).ok().flatten();
    let service = path.as_deref().and_then(sender::service_of_cgroup);
    service.is_some_and(|service| service.as_str() == name)
}
