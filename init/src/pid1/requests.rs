//! What the calls of clients lead to, and how they are answered. Not here: sockets and buffers
//! (`clients`, `connection`), and what a request does to services (the core).

use services::control::request::Rejected;
use services::control::{
    BootInfo, ControlError, Reply, Request, ServicesPage, encode_error, encode_reply, introspect,
};
use services::id::{ServiceId, ServiceName};
use services::status::{ServiceStatus, ShutdownKind};
use services::supervisor::event::{Command, Event, Outcome, RequestId};

use super::Init;
use super::clients::{Owed, Peer};
use super::connection::Progress;
use super::say::Level;
use super::watchdog::Feeder;
use crate::arguments::shutdown_word;
use crate::ending::soft;

/// A page of a list ends with the service that takes it beyond so many nanoseconds: memory and tasks are read
/// of each, and a turn is to be over within a millisecond.
const LIST_WITHIN: u64 = 250_000;
/// And after so many services: how long it takes to write them down is not known before.
const LIST_MAX: usize = 64;
/// Longest name of a process, comm of proc(5).
const NAME_MAX: usize = 64;

impl Init {
    /// Takes one call of a client, if it can be answered now. A client that has sent more of them
    /// ahead gets its next turn after everybody else has had one.
    pub(super) fn serve(&mut self, number: u32) {
        // Before there is a graph, every answer would be wrong a moment later: calls wait.
        if self.supervisor.is_some()
            && let Some(client) = self.clients.get(number)
            && client.waiting.is_none()
            && !client.connection.is_sending()
            && let Some(call) = client.connection.take_call()
        {
            if !client.connection.is_reading() {
                self.resumed.push(number);
            }
            let peer = client.peer.clone();
            match Request::parse(&call) {
                Ok(call) => {
                    let asker = (!call.oneway).then_some(number);
                    if let Some(answer) = self.handle(asker, &peer, &call.request) {
                        self.audit_outcome(Some(&peer), &call.request, &answer);
                        self.answer(asker, &answer);
                    }
                }
                Err(Rejected::Answered { error, oneway }) => {
                    self.answer((!oneway).then_some(number), &Err(error));
                }
                Err(Rejected::Malformed(why)) => {
                    let line = format!("client {} (uid {}): {why}", peer.pid, peer.uid);
                    self.say(Level::Warning, &line);
                    self.dismiss(number);
                    return;
                }
            }
        }
        self.watch_client(number);
    }

    /// Sends an answer, if the client wants one and is still there.
    fn answer(&mut self, client: Option<u32>, answer: &Result<Reply, ControlError>) {
        let message = match answer {
            Ok(reply) => encode_reply(reply),
            Err(error) => encode_error(error),
        };
        self.send_message(client, message);
    }

    fn send_message(&mut self, client: Option<u32>, message: Vec<u8>) {
        let Some(number) = client else { return };
        let now = self.now;
        let Some(client) = self.clients.get(number) else {
            return;
        };
        match client.connection.reply(message, now) {
            Progress::Open => self.watch_client(number),
            Progress::Ended(_) => self.dismiss(number),
        }
    }

    /// Does what is asked. `None`: it is answered later.
    fn handle(
        &mut self,
        client: Option<u32>,
        peer: &Peer,
        request: &Request,
    ) -> Option<Result<Reply, ControlError>> {
        if request.changes() {
            let allowed = peer.may_change(self.control_group);
            self.audit(peer, request, allowed);
            if !allowed {
                return Some(Err(ControlError::PermissionDenied {}));
            }
        }
        match request {
            Request::List { from } => {
                let page = self.list(from.as_deref().unwrap_or_default());
                Some(Ok(Reply::Services(page)))
            }
            Request::Status { name } => Some(self.status_of(name)),
            Request::Start { name } => self.start(client, request, name),
            Request::Stop { name, all: false } => {
                self.command(client, request, name, Command::Stop)
            }
            Request::Stop { name, all: true } => {
                self.command(client, request, name, Command::StopAll)
            }
            Request::Restart { name } => self.command(client, request, name, Command::Restart),
            Request::ReloadService { name } => self.command(client, request, name, Command::Reload),
            Request::ReloadAll { dry_run } => {
                let id = self.clients.owe(client, request.clone());
                self.reload_all(id, *dry_run);
                None
            }
            Request::Boot => Some(Ok(Reply::Boot {
                boot: Box::new(BootInfo {
                    gate: Some(self.gate_info()),
                    watchdog: self.watchdog.as_ref().map(Feeder::describe),
                    ..self.boot.info.clone()
                }),
            })),
            // Nobody waits: it would only take a place among the open requests.
            Request::WaitBoot if client.is_none() => None,
            Request::WaitBoot => {
                let id = self.clients.owe(client, request.clone());
                self.tell(Event::Request {
                    request: id,
                    command: Command::WaitBoot,
                });
                None
            }
            Request::WaitGate => self.wait_gate(client),
            Request::BootGood { reason } => self.call_good(client, request, reason.as_deref()),
            Request::BootBad { reason, reboot } => self.call_bad(client, request, reason, *reboot),
            Request::SetSlot { slot } => self.set_slot(client, request, *slot),
            Request::BootRecord => self.show_record(client, request),
            Request::Trace => self.trace(client, peer, request),
            Request::Metrics => Some(Ok(Reply::Metrics {
                metrics: Box::new(self.metrics()),
            })),
            Request::Relations { from } => Some(Ok(self.relations(from.as_deref()))),
            Request::Shutdown { kind } => {
                if *kind == ShutdownKind::SoftReboot
                    && let Err(reason) = soft::check_next_root(&self.origin)
                {
                    return Some(Err(ControlError::Refused { reason }));
                }
                // Answered before it happens: afterwards there may be nobody to hear it.
                self.answer(client, &Ok(Reply::Done {}));
                self.shut_down(*kind);
                None
            }
            Request::Reexec { program } => self.reexec(client, request, program.as_deref()),
            Request::DebugPanic => self.crash(peer),
            Request::GetInfo => Some(Ok(introspect::info())),
            Request::GetInterfaceDescription { interface } => {
                Some(introspect::description(interface))
            }
        }
    }

    /// Starts a service. One that may be an instance of a template, and is not there, is looked for
    /// first.
    fn start(
        &mut self,
        client: Option<u32>,
        request: &Request,
        name: &str,
    ) -> Option<Result<Reply, ControlError>> {
        let core = self.supervisor.as_ref();
        let is_there = core.is_some_and(|core| core.lookup(name).is_some());
        let instance = name.contains('@').then(|| ServiceName::new(name).ok());
        match instance
            .flatten()
            .filter(|_| !is_there && !self.shutting_down)
        {
            Some(service) => {
                let id = self.clients.owe(client, request.clone());
                self.start_instance(id, service);
                None
            }
            None => self.command(client, request, name, Command::Start),
        }
    }

    fn command(
        &mut self,
        client: Option<u32>,
        request: &Request,
        name: &str,
        command: impl FnOnce(ServiceName) -> Command,
    ) -> Option<Result<Reply, ControlError>> {
        let Ok(service) = ServiceName::new(name) else {
            return Some(Err(no_such_service(name)));
        };
        let id = self.clients.owe(client, request.clone());
        self.tell(Event::Request {
            request: id,
            command: command(service),
        });
        None
    }

    /// Pays what is owed for `id`, as the core has decided.
    pub(super) fn complete(&mut self, id: RequestId, outcome: Outcome) {
        let Some(owed) = self.clients.settle(id) else {
            return;
        };
        let answer = match outcome {
            Outcome::Done => Ok(self.reply_to(id, &owed.request)),
            Outcome::NoSuchService(name) => Err(no_such_service(name.as_str())),
            Outcome::Failed(reason) => Err(ControlError::Failed {
                name: subject(&owed.request).to_owned(),
                reason,
            }),
            Outcome::Refused(reason) => Err(ControlError::Refused { reason }),
            Outcome::Superseded => Err(ControlError::Superseded {}),
        };
        self.audit_owed(&owed, &answer);
        self.answer(owed.client, &answer);
        self.resume(owed.client);
    }

    /// Pays what is owed for `id` with an answer that the core knows nothing of.
    pub(super) fn pay(&mut self, id: RequestId, answer: &Result<Reply, ControlError>) {
        if let Some(owed) = self.clients.settle(id) {
            self.audit_owed(&owed, answer);
            self.answer(owed.client, answer);
            self.resume(owed.client);
        }
    }

    /// The same with a message as it goes over the wire.
    pub(super) fn pay_with(&mut self, id: RequestId, message: Vec<u8>) {
        if let Some(owed) = self.clients.settle(id) {
            self.send_message(owed.client, message);
            self.resume(owed.client);
        }
    }

    /// The same with an error.
    pub(super) fn fail(&mut self, id: RequestId, error: ControlError) {
        self.pay(id, &Err(error));
    }

    /// A client that has its answer may have sent its next call already; it gets a turn of its own.
    fn resume(&mut self, client: Option<u32>) {
        if let Some(number) = client {
            self.resumed.push(number);
        }
    }

    fn reply_to(&mut self, id: RequestId, request: &Request) -> Reply {
        match request {
            Request::ReloadAll { .. } => Reply::Changed(self.take_changes(id)),
            Request::WaitBoot => Reply::BootFailed {
                failed: self.boot.info.failed.clone(),
            },
            Request::List { .. }
            | Request::Status { .. }
            | Request::Start { .. }
            | Request::Stop { .. }
            | Request::Restart { .. }
            | Request::ReloadService { .. }
            | Request::Boot
            | Request::WaitGate
            | Request::BootGood { .. }
            | Request::BootBad { .. }
            | Request::SetSlot { .. }
            | Request::BootRecord
            | Request::Trace
            | Request::Metrics
            | Request::Relations { .. }
            | Request::Shutdown { .. }
            | Request::Reexec { .. }
            | Request::DebugPanic
            | Request::GetInfo
            | Request::GetInterfaceDescription { .. } => Reply::Done {},
        }
    }

    /// Services by name, from one on, as many as make a page.
    fn list(&mut self, from: &str) -> ServicesPage {
        let Some(supervisor) = &self.supervisor else {
            return ServicesPage::default();
        };
        let mut ids = supervisor.services_from(from);
        let page: Vec<ServiceId> = ids.by_ref().take(LIST_MAX).collect();
        let mut next = ids.next();
        drop(ids);
        let until = kernel::clock::boottime().saturating_add(LIST_WITHIN);
        let mut services = Vec::with_capacity(page.len());
        for id in page {
            if !services.is_empty() && kernel::clock::boottime() >= until {
                next = Some(id);
                break;
            }
            services.extend(self.status(id));
        }
        let core = self.supervisor.as_ref();
        let next = next.and_then(|id| core?.name(id)).map(str::to_owned);
        ServicesPage { services, next }
    }

    fn relations(&self, from: Option<&str>) -> Reply {
        let core = self.supervisor.as_ref();
        let page = core.map(|core| core.relations(from.unwrap_or_default()));
        Reply::Relations(page.unwrap_or_default())
    }

    fn status_of(&mut self, name: &str) -> Result<Reply, ControlError> {
        let id = self
            .supervisor
            .as_ref()
            .and_then(|supervisor| supervisor.lookup(name));
        match id.and_then(|id| self.status(id)) {
            Some(service) => Ok(Reply::Service {
                service: Box::new(service),
            }),
            None => Err(no_such_service(name)),
        }
    }

    /// What the core knows of a service, and what only the kernel knows.
    fn status(&mut self, id: ServiceId) -> Option<ServiceStatus> {
        let mut status = self.supervisor.as_ref()?.status(id)?;
        let place = self.table.get(id);
        status.stored = place.map(|place| place.store.names()).unwrap_or_default();
        if let Some(live) = self.table.get(id).and_then(|place| place.live.as_ref()) {
            status.pid = (!live.ended).then_some(live.pid);
            if let Some(cgroups) = &self.cgroups {
                (status.memory_bytes, status.tasks) = cgroups.usage(&status.name);
                if status.left_running.is_some() {
                    let left = cgroups.processes(&status.name).unwrap_or_default();
                    status.left_running = u64::try_from(left.len()).ok().filter(|it| *it > 0);
                }
            }
        }
        Some(status)
    }

    /// Notes who asks for what.
    pub(super) fn audit(&mut self, peer: &Peer, request: &Request, allowed: bool) {
        let verdict = if allowed { "" } else { ": denied" };
        let line = format!("{} asks: {}{verdict}", who(peer), description(request));
        self.say.audit(self.now, Level::Notice, &line);
    }

    /// Notes what has become of it. That it was denied has been noted already.
    fn audit_outcome(
        &mut self,
        peer: Option<&Peer>,
        request: &Request,
        answer: &Result<Reply, ControlError>,
    ) {
        if !request.changes() {
            return;
        }
        let (level, outcome) = match answer {
            Ok(_) => (Level::Notice, "done".to_owned()),
            Err(ControlError::PermissionDenied {}) => return,
            Err(error) => (Level::Warning, error.to_string()),
        };
        let who = peer.map_or("a client that has gone".to_owned(), who);
        let line = format!("{who} has asked: {}: {outcome}", description(request));
        self.say.audit(self.now, level, &line);
    }

    fn audit_owed(&mut self, owed: &Owed, answer: &Result<Reply, ControlError>) {
        let client = owed.client.and_then(|number| self.clients.get(number));
        let peer = client.map(|client| client.peer.clone());
        self.audit_outcome(peer.as_ref(), &owed.request, answer);
    }
}

/// A client in words. The name is what the process calls itself now.
fn who(peer: &Peer) -> String {
    let name = kernel::files::read_text(&format!("/proc/{}/comm", peer.pid), NAME_MAX);
    let name = name.unwrap_or_default();
    let name = match name.trim_end() {
        "" => "gone",
        name => name,
    };
    format!("uid {} pid {} ({name})", peer.uid, peer.pid)
}

/// The request in words.
fn description(request: &Request) -> String {
    match request {
        Request::Shutdown { kind } => shutdown_word(*kind).to_owned(),
        Request::Start { name } => format!("start {name}"),
        Request::Stop { name, all: false } => format!("stop {name}"),
        Request::Stop { name, all: true } => format!("stop {name} with all that it has left"),
        Request::Restart { name } => format!("restart {name}"),
        Request::ReloadService { name } => format!("reload {name}"),
        Request::ReloadAll { dry_run: false } => "reload all service files".to_owned(),
        Request::ReloadAll { dry_run: true } => "what a reload would change".to_owned(),
        Request::BootGood { reason: None } => "call this boot good".to_owned(),
        Request::BootGood {
            reason: Some(reason),
        } => format!("call this boot good: {reason}"),
        Request::BootBad { reason, .. } => format!("call this boot bad: {reason}"),
        Request::SetSlot { slot } => format!("boot slot {}", slot.as_str()),
        Request::Reexec { program: None } => "replace init".to_owned(),
        Request::Reexec {
            program: Some(program),
        } => format!("replace init by {program}"),
        Request::DebugPanic => "crash init".to_owned(),
        Request::Trace => "a trace".to_owned(),
        Request::List { .. }
        | Request::Status { .. }
        | Request::Boot
        | Request::WaitBoot
        | Request::WaitGate
        | Request::BootRecord
        | Request::Metrics
        | Request::Relations { .. }
        | Request::GetInfo
        | Request::GetInterfaceDescription { .. } => request.method(),
    }
}

/// The service a request is about, or the closest thing to one.
fn subject(request: &Request) -> &str {
    match request {
        Request::Status { name }
        | Request::Start { name }
        | Request::Stop { name, .. }
        | Request::Restart { name }
        | Request::ReloadService { name } => name,
        Request::ReloadAll { .. } => "reload",
        Request::Reexec { .. } | Request::DebugPanic => "init",
        Request::List { .. }
        | Request::Boot
        | Request::WaitBoot
        | Request::WaitGate
        | Request::BootGood { .. }
        | Request::BootBad { .. }
        | Request::SetSlot { .. }
        | Request::BootRecord
        | Request::Trace
        | Request::Metrics
        | Request::Relations { .. }
        | Request::Shutdown { .. }
        | Request::GetInfo
        | Request::GetInterfaceDescription { .. } => "boot",
    }
}

fn no_such_service(name: &str) -> ControlError {
    ControlError::NoSuchService {
        name: name.to_owned(),
    }
}
