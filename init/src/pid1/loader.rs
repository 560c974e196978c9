//! The loader child as PID 1 sees it: started, waited for with a deadline, its result checked and
//! taken over, at boot with ever more modest attempts. Not here: what the child does (`load`).

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use services::control::{BootMode, Changed, ChangedKeys, ControlError, Reply};
use services::diagnostic::Diagnostic;
use services::id::ServiceName;
use services::supervisor::Supervisor;
use services::supervisor::compiled::{Compiled, GraphBytesError, Intact, Unchecked};
use services::supervisor::event::{Command, Event, ExitStatus, RequestId};
use services::time::{Duration, Time};

use super::Init;
use super::kept;
use super::plan;
use super::say::Level;
use super::table::Owner;
use crate::load::handoff::{self, Meta};
use crate::load::image;

/// The loader may take so long; a directory on a dead network file system is no reason to wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest result that is read.
const RESULT_MAX: usize = 64 << 20;
/// So many instances may wait for the loader.
const WAITING_MAX: usize = 64;
/// So many diagnostics go to the kernel's log; all of them go to whoever asked.
const DIAGNOSTICS_SAID: usize = 20;

/// Why the administrator's files are left aside on such a boot.
const LAST_GOOD: &str = "the last good slot is tried with the vendor's service files only";

/// For whom the loader runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Purpose {
    /// The boot, with all layers.
    BootWhole,
    /// The boot, with what the vendor shipped, since the whole was refused or no boot with it was
    /// found good.
    BootVendor,
    /// Somebody asked for the files to be read again.
    Reload(RequestId),
    /// Somebody asked what that would change.
    Rehearse(RequestId),
    /// Somebody wants an instance of a template started that no file names.
    Instance(RequestId, ServiceName),
}

impl Purpose {
    /// Whether somebody wants all files read again.
    const fn is_reload(&self) -> bool {
        matches!(self, Self::Reload(_) | Self::Rehearse(_))
    }
}

/// A loader at work.
#[derive(Debug, Serialize, Deserialize)]
struct Working {
    purpose: Purpose,
    pid: u32,
    #[serde(with = "kept")]
    pidfd: OwnedFd,
    #[serde(with = "kept")]
    result: OwnedFd,
    deadline: Time,
}

/// A result that is being taken over, in as many turns as it has steps: read, looked through in three
/// of them, compared, laid over what is there. Each costs little more than a look at every service; one after the other,
/// and what has come meanwhile between them, nobody waits for long.
#[derive(Debug, Serialize, Deserialize)]
struct Taking {
    purpose: Purpose,
    #[serde(with = "kept")]
    result: OwnedFd,
    /// A program that goes on for another begins again.
    #[serde(skip)]
    step: Step,
}

/// How far it is.
#[derive(Debug, Default)]
enum Step {
    #[default]
    Begun,
    Read(Vec<u8>, Meta),
    Intact(Intact, Meta),
    Found(Box<Unchecked>, Meta),
    Known(Box<Compiled>, Meta),
    Compared(Box<Compiled>, Meta, Changed),
}

/// What PID 1 knows of its loader.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Loader {
    working: Option<Working>,
    taking: Option<Taking>,
    /// Instances that are loaded when the loader is free.
    waiting: VecDeque<(RequestId, ServiceName)>,
    /// What the reload in hand changes, until it is answered.
    changes: Option<(RequestId, Changed)>,
}

impl Loader {
    /// When the loader is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.working.as_ref().map(|working| working.deadline)
    }

    /// Whether it has a result that is being taken over.
    pub(super) const fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    const fn is_busy(&self) -> bool {
        self.working.is_some() || self.taking.is_some()
    }
}

impl Init {
    /// Starts reading the service files for the first time.
    pub(super) fn load_for_boot(&mut self) {
        if self.rescue {
            let why = "services: shark.rescue on the kernel command line: started a shell only";
            self.boot.degrade(why.to_owned());
            self.no_gate("shark.rescue on the kernel command line");
            self.boot_rescue();
        } else if self.last_good {
            // A slip in the administrator's files that only shows when a service runs fails every
            // slot alike, and would fail this one too.
            self.say(Level::Warning, LAST_GOOD);
            self.gate_with_vendor_only("every slot had been given up");
            self.boot.degrade(format!("services: {LAST_GOOD}"));
            self.load(Purpose::BootVendor);
        } else if !self.boot_with_image() {
            self.load(Purpose::BootWhole);
        }
    }

    /// Boots with the graph that was made with the image, if there is one and nothing has changed since.
    fn boot_with_image(&mut self) -> bool {
        if !self.masks.is_empty() {
            return false;
        }
        match image::find(&self.paths) {
            Ok(Some((meta, graph))) => {
                self.control_group = meta.control_group;
                self.machine_seed = meta.machine;
                self.say(
                    Level::Notice,
                    "the service files are as they were when the image was made",
                );
                self.loaded(Purpose::BootWhole, Box::new(graph), Changed::default());
                true
            }
            Ok(None) => false,
            Err(why) => {
                let line = format!(
                    "reading all service files, as the graph of the image is not used: {why}"
                );
                self.say(Level::Info, &line);
                false
            }
        }
    }

    /// Reads the service files again for `request`; as a dry run, only to tell what would change.
    pub(super) fn reload_all(&mut self, request: RequestId, dry_run: bool) {
        if self.loader.is_busy() {
            let reason = "a reload is at work already".to_owned();
            self.fail(request, ControlError::Refused { reason });
        } else {
            self.load(match dry_run {
                true => Purpose::Rehearse(request),
                false => Purpose::Reload(request),
            });
        }
    }

    /// Starts an instance of a template that is not there yet, for `request`: it is loaded first.
    pub(super) fn start_instance(&mut self, request: RequestId, name: ServiceName) {
        if self.loader.waiting.len() >= WAITING_MAX {
            let reason = format!("{WAITING_MAX} instances of templates wait to be loaded already");
            return self.fail(request, ControlError::Refused { reason });
        }
        self.loader.waiting.push_back((request, name));
        self.load_waiting();
    }

    /// Loads the next instance, if the loader is free.
    fn load_waiting(&mut self) {
        while !self.loader.is_busy()
            && let Some((request, name)) = self.loader.waiting.pop_front()
        {
            self.load(Purpose::Instance(request, name));
        }
    }

    /// SIGHUP: the same, and nobody waits for the answer.
    pub(super) fn reload_by_signal(&mut self) {
        if self.supervisor.is_some() {
            self.say(Level::Notice, "SIGHUP: reading the service files again");
            let id = self.clients.owe(
                None,
                services::control::Request::ReloadAll { dry_run: false },
            );
            self.reload_all(id, false);
        }
    }

    fn load(&mut self, purpose: Purpose) {
        let path = match purpose {
            Purpose::BootWhole
            | Purpose::Reload(_)
            | Purpose::Rehearse(_)
            | Purpose::Instance(..) => self.paths.service_path_text(),
            Purpose::BootVendor => self.paths.vendor_only(),
        };
        let output = self.say.own_descriptor();
        let masks = self.masks.join(",");
        let more = match &purpose {
            Purpose::Instance(_, name) => name.as_str(),
            Purpose::BootWhole
            | Purpose::BootVendor
            | Purpose::Reload(_)
            | Purpose::Rehearse(_) => "",
        };
        let changes = (masks.as_str(), more);
        let started = plan::start_loader(&mut self.spawner, &path, changes, &self.paths, output);
        match started {
            Ok((child, result)) => {
                self.table.own(child.pid, Owner::Loader);
                self.loader.working = Some(Working {
                    purpose,
                    pid: child.pid,
                    pidfd: child.pidfd,
                    result,
                    deadline: self.now + PATIENCE,
                });
            }
            Err(cause) => self.not_loaded(&purpose, cause, Vec::new()),
        }
    }

    /// The loader takes too long. It is killed and disowned, not waited for: what it hangs in (a dead
    /// disk) may keep even the kill from it, and the boot must go on.
    pub(super) fn loader_overdue(&mut self) {
        let Some(working) = self.loader.working.take() else {
            return;
        };
        if let Err(error) =
            kernel::pidfd::send_signal(&working.pidfd, kernel::signals::Signal::KILL)
        {
            self.say(Level::Error, &error.to_string());
        }
        self.table.disown(working.pid);
        let cause = format!("the loader took more than {} s", PATIENCE.as_secs());
        self.not_loaded(&working.purpose, cause, Vec::new());
        self.load_waiting();
    }

    /// The loader has ended: its result is taken over from the next turn on.
    pub(super) fn loader_ended(&mut self, status: ExitStatus) {
        if let Some(working) = self.loader.working.take() {
            let Working {
                purpose, result, ..
            } = working;
            let cause = match status {
                ExitStatus::Code(0) => None,
                ExitStatus::Code(code) => Some(format!("the loader ended with status {code}")),
                ExitStatus::Signal { number, .. } => {
                    Some(format!("the loader was killed by signal {number}"))
                }
            };
            match cause {
                None => {
                    self.loader.taking = Some(Taking {
                        purpose,
                        result,
                        step: Step::Begun,
                    });
                }
                Some(cause) => self.not_loaded(&purpose, cause, Vec::new()),
            }
        }
        self.load_waiting();
    }

    /// The next step of taking a result over.
    pub(super) fn take_result_on(&mut self) {
        let Some(taking) = self.loader.taking.take() else {
            return;
        };
        let Taking {
            purpose,
            result,
            step,
        } = taking;
        let step = match step {
            Step::Begun => self.read_result(&purpose, &result),
            Step::Read(bytes, meta) => {
                let step = Intact::new(bytes).map(|it| Step::Intact(it, meta));
                self.looked_at(&purpose, step)
            }
            Step::Intact(bytes, meta) => {
                let step = bytes.read().map(|it| Step::Found(Box::new(it), meta));
                self.looked_at(&purpose, step)
            }
            Step::Found(found, meta) => {
                let step = found.check().map(|it| Step::Known(Box::new(it), meta));
                self.looked_at(&purpose, step)
            }
            Step::Known(graph, meta) => {
                let changed = self.changes_of(&graph).unwrap_or_default();
                Some(Step::Compared(graph, meta, changed))
            }
            Step::Compared(graph, meta, changed) => {
                self.take_over(purpose, graph, &meta, changed);
                return self.load_waiting();
            }
        };
        match step {
            Some(step) => {
                self.loader.taking = Some(Taking {
                    purpose,
                    result,
                    step,
                });
            }
            None => self.load_waiting(),
        }
    }

    /// The step that follows a look at the graph's bytes; `None`: they are none, and that has been told.
    fn looked_at(
        &mut self,
        purpose: &Purpose,
        step: Result<Step, GraphBytesError>,
    ) -> Option<Step> {
        match step {
            Ok(step) => Some(step),
            Err(error) => {
                self.not_loaded(purpose, error.to_string(), Vec::new());
                None
            }
        }
    }

    fn take_over(
        &mut self,
        purpose: Purpose,
        graph: Box<Compiled>,
        meta: &Meta,
        mut changed: Changed,
    ) {
        changed.logs = purpose.is_reload() && self.logs_change(meta);
        match purpose {
            Purpose::BootWhole
            | Purpose::BootVendor
            | Purpose::Reload(_)
            | Purpose::Instance(..) => {
                self.control_group = meta.control_group;
                self.machine_seed = meta.machine;
            }
            Purpose::Rehearse(_) => {}
        }
        self.loaded(purpose, graph, changed);
    }

    /// Reads a result; `None`: there is no graph in it, and whoever waits for one has been told.
    fn read_result(&mut self, purpose: &Purpose, result: &OwnedFd) -> Option<Step> {
        match read_result(result) {
            Ok(Loaded::Graph(_, meta)) if purpose.is_reload() && meta.log_is_wrong() => {
                let cause = "the settings of logs have mistakes".to_owned();
                let diagnostics = meta.log.map(|it| it.diagnostics);
                self.not_loaded(purpose, cause, diagnostics.unwrap_or_default());
            }
            Ok(Loaded::Graph(bytes, meta)) => return Some(Step::Read(bytes, meta)),
            Ok(Loaded::NoTemplate) => match purpose {
                Purpose::Instance(request, name) => {
                    let name = name.as_str().to_owned();
                    self.fail(*request, ControlError::NoSuchService { name });
                }
                Purpose::BootWhole
                | Purpose::BootVendor
                | Purpose::Reload(_)
                | Purpose::Rehearse(_) => {
                    let cause = "the loader speaks of a template that nobody named".to_owned();
                    self.not_loaded(purpose, cause, Vec::new());
                }
            },
            Ok(Loaded::Refused(diagnostics)) => {
                let cause = "the service files have mistakes".to_owned();
                self.not_loaded(purpose, cause, diagnostics);
            }
            Err(cause) => self.not_loaded(purpose, cause, Vec::new()),
        }
        None
    }

    fn loaded(&mut self, purpose: Purpose, graph: Box<Compiled>, changed: Changed) {
        match purpose {
            Purpose::BootWhole | Purpose::BootVendor if self.is_idle_machine(&graph) => {
                let why = "services: there is none: started a rescue shell";
                self.boot.degrade(why.to_owned());
                self.gate_without_services("there is none");
                self.boot_rescue();
            }
            Purpose::BootWhole | Purpose::BootVendor => self.boot(*graph),
            Purpose::Reload(request) => self.swap(request, graph, changed),
            Purpose::Instance(request, name) => {
                let reload = services::control::Request::ReloadAll { dry_run: false };
                let swap = self.clients.owe(None, reload);
                self.swap(swap, graph, changed);
                self.tell(Event::Request {
                    request,
                    command: Command::Start(name),
                });
            }
            Purpose::Rehearse(request) => self.pay(request, &Ok(Reply::Changed(changed))),
        }
    }

    /// A machine without any service would be up and out of reach; a namespace is not.
    fn is_idle_machine(&self, graph: &Compiled) -> bool {
        match self.boot.info.mode {
            BootMode::Container => false,
            BootMode::Disk | BootMode::Initramfs | BootMode::Direct => !graph.runs_something(),
        }
    }

    /// Takes a new graph over, and remembers what it changes for the answer.
    fn swap(&mut self, request: RequestId, graph: Box<Compiled>, changed: Changed) {
        let line = format!(
            "service files read again: {} added, {} changed, {} removed",
            changed.added.len(),
            changed.changed.len(),
            changed.removed.len(),
        );
        if changed.logs {
            self.renew_logger();
        }
        self.loader.changes = Some((request, changed));
        self.tell(Event::Replace { request, graph });
        self.say(Level::Notice, &line);
        self.configure_gate();
    }

    /// What taking `graph` over changes. Nothing is changed yet.
    fn changes_of(&self, graph: &Compiled) -> Option<Changed> {
        let differences = self.supervisor.as_ref()?.differences(graph);
        let keys = differences.keys.into_iter();
        Some(Changed {
            added: differences.added,
            changed: differences.changed,
            removed: differences.removed,
            keys: keys
                .map(|(name, keys)| ChangedKeys { name, keys })
                .collect(),
            keeping: differences.keeping,
            logs: false,
        })
    }

    /// What the reload `request` has changed, for its answer.
    pub(super) fn take_changes(&mut self, request: RequestId) -> Changed {
        // The other graph was here beside this one, and is not any more.
        kernel::heap::trim();
        match self.loader.changes.take_if(|(id, _)| *id == request) {
            Some((_, changes)) => changes,
            None => Changed::default(),
        }
    }

    fn not_loaded(&mut self, purpose: &Purpose, cause: String, diagnostics: Vec<Diagnostic>) {
        self.say(Level::Error, &format!("service files: {cause}"));
        for diagnostic in diagnostics.iter().take(DIAGNOSTICS_SAID) {
            self.say(Level::Error, &diagnostic.to_string());
        }
        let left_out = diagnostics.len().saturating_sub(DIAGNOSTICS_SAID);
        if left_out > 0 {
            self.say(Level::Error, &format!("and {left_out} more mistakes"));
        }
        match purpose {
            Purpose::BootWhole => {
                self.gate_with_vendor_only(&cause);
                self.boot.degrade(format!(
                    "services: {cause}: started with what the vendor shipped only"
                ));
                self.load(Purpose::BootVendor);
            }
            Purpose::BootVendor => {
                self.gate_without_services(&cause);
                self.boot.degrade(format!(
                    "services: {cause}, with the vendor's alone too: started a rescue shell"
                ));
                self.boot_rescue();
            }
            Purpose::Reload(request)
            | Purpose::Rehearse(request)
            | Purpose::Instance(request, _)
                if diagnostics.is_empty() =>
            {
                self.fail(
                    *request,
                    ControlError::Failed {
                        name: "reload".to_owned(),
                        reason: cause,
                    },
                );
            }
            Purpose::Reload(request)
            | Purpose::Rehearse(request)
            | Purpose::Instance(request, _) => {
                self.fail(*request, ControlError::InvalidServices { diagnostics });
            }
        }
    }

    pub(super) fn boot(&mut self, graph: Compiled) {
        let wanted = self.boot.info.target.clone();
        if !graph.has(&wanted) {
            self.boot.degrade(format!(
                "target {wanted}: there is no such target: booted `default`"
            ));
            self.boot.info.target = services::graph::DEFAULT_TARGET.to_owned();
        }
        self.boot.mark("graph loaded", self.now);
        let line = format!("{} services", graph.count());
        self.say(Level::Notice, &line);
        self.supervisor = Some(Supervisor::new(graph));
        let seed = self.machine_seed;
        self.tell(Event::Machine { seed });
        self.tell_clock();
        self.adopt_running();
        if let Ok(target) = ServiceName::new(&self.boot.info.target) {
            self.tell(Event::Boot { target });
        }
        self.configure_gate();
        // Whoever called before there was a graph is answered now.
        self.resumed = self.clients.numbers();
    }
}

/// What a loader that ended well has left.
enum Loaded {
    Graph(Vec<u8>, Meta),
    Refused(Vec<Diagnostic>),
    NoTemplate,
}

fn read_result(result: &OwnedFd) -> Result<Loaded, String> {
    // Sealed, it cannot change while it is being checked.
    let bytes = kernel::memfd::read_sealed(result, RESULT_MAX).map_err(|e| e.to_string())?;
    let (meta, graph) = handoff::decode(bytes)?;
    match graph {
        Some(graph) => Ok(Loaded::Graph(graph, meta)),
        None if meta.no_template => Ok(Loaded::NoTemplate),
        None => Ok(Loaded::Refused(meta.diagnostics)),
    }
}
