//! `update install`, `status`, `cancel`, `rollback`, `keys`: asks the updater. Not here: what it does
//! (`init::update`), and its protocol (`services::update`).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use kernel::unix::send_with_fds;
use mounts::keyring::to_text;
use serde_json::json;
use services::control::Frames;
use services::status::ShutdownKind;
use services::update::{
    Call, INTERFACE, Installed, Key, LINKS_TEXT_MAX, LoaderStatus, Progress, Reply, SlotStatus,
    Status, Step, UpdateError, decode_answer, encode_call,
};

use crate::Context;
use crate::cli::{Shutdown, UpdateVerb};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::shutdown;
use crate::table::{Align, Cell, Table, printable};

/// `update`.
pub(crate) fn update(
    context: &Context,
    screen: &mut Screen<'_>,
    verb: &UpdateVerb,
) -> Result<(), Failure> {
    match verb {
        UpdateVerb::Install { bundle } => install(context, screen, bundle),
        UpdateVerb::Status => status(context, screen),
        UpdateVerb::Cancel => {
            let slot = slot(ask(context, &Call::Cancel)?)?;
            tell_slot(screen, &slot, "the update is called off; it is not booted")
        }
        UpdateVerb::Rollback { reboot } => {
            let slot = slot(ask(context, &Call::Rollback)?)?;
            tell_slot(screen, &slot, "it is booted next, with all its tries")?;
            if *reboot {
                let options = Shutdown { force: false };
                shutdown::shutdown(context, screen, ShutdownKind::Reboot, options)?;
            }
            Ok(())
        }
        UpdateVerb::Keys { add: None } => keys(context, screen, &Call::Keys),
        UpdateVerb::Keys { add: Some(file) } => {
            let links = links(file)?;
            keys(context, screen, &Call::AddKeys { links })
        }
    }
}

/// A connection to the updater.
struct Updater {
    socket: PathBuf,
    stream: UnixStream,
    frames: Frames,
}

impl Updater {
    fn call(context: &Context, call: &Call, passed: &[BorrowedFd<'_>]) -> Result<Self, Failure> {
        let runtime = context.socket.parent().unwrap_or(Path::new("/"));
        let socket = runtime.join(INTERFACE);
        let stream = UnixStream::connect(&socket).map_err(|error| unreachable(&socket, &error))?;
        let mut message = encode_call(call).map_err(|error| Failure::Failed(error.to_string()))?;
        message.push(0);
        let sent = send_with_fds(&stream, &message, passed);
        match sent {
            Ok(true) => Ok(Self {
                socket,
                stream,
                frames: Frames::new(),
            }),
            // A fresh connection has room for one call.
            Ok(false) => Err(Failure::Unreachable("the updater takes no calls".into())),
            Err(error) => Err(Failure::Unreachable(format!(
                "{}: {error}",
                socket.display()
            ))),
        }
    }

    fn next(&mut self) -> Result<Reply, Failure> {
        let mut piece = [0; 4096];
        loop {
            let whole = self.frames.take();
            let whole = whole.map_err(|error| Failure::Failed(error.to_string()))?;
            if let Some(message) = whole {
                return match decode_answer(&message) {
                    Ok(answer) => answer.map_err(|error| failure_of(&error)),
                    Err(error) => Err(Failure::Failed(format!(
                        "the updater's answer: {error}; are both of the same version?"
                    ))),
                };
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(self.gone("closed the connection without an answer")),
                Ok(count) => {
                    let fed = self.frames.feed(piece.get(..count).unwrap_or_default());
                    fed.map_err(|error| Failure::Failed(error.to_string()))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.gone(&error.to_string())),
            }
        }
    }

    fn gone(&self, why: &str) -> Failure {
        Failure::Unreachable(format!(
            "the updater on {} {why}; see `sharkctl logs update`",
            self.socket.display()
        ))
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::Unreachable(
            format!("the updater does not run: nobody listens on {path}; `sharkctl start update`"),
        ),
        io::ErrorKind::PermissionDenied => {
            Failure::Permission(format!("connect to {path}: {error}; try as root"))
        }
        _ => Failure::Unreachable(format!("connect to {path}: {error}")),
    }
}

fn failure_of(error: &UpdateError) -> Failure {
    let mut text = error.to_string();
    match error {
        UpdateError::Unproven { problems } => {
            for problem in problems {
                text.push_str("\n  ");
                text.push_str(problem);
            }
            Failure::Refused(text)
        }
        UpdateError::Refused { .. } | UpdateError::Busy {} => Failure::Refused(text),
        UpdateError::Failed { .. } | UpdateError::Cancelled {} => Failure::Failed(text),
        UpdateError::PermissionDenied {} => Failure::Permission(text),
        UpdateError::Misused { .. } => Failure::Usage(text),
    }
}

fn ask(context: &Context, call: &Call) -> Result<Reply, Failure> {
    Updater::call(context, call, &[])?.next()
}

fn unexpected() -> Failure {
    Failure::Failed("the updater's reply answers another question".into())
}

fn slot(reply: Reply) -> Result<String, Failure> {
    match reply {
        Reply::Slot(slot) => Ok(slot),
        Reply::Progress(_) | Reply::Installed(_) | Reply::Status(_) | Reply::Keys(_) => {
            Err(unexpected())
        }
    }
}

fn tell_slot(screen: &mut Screen<'_>, slot: &str, what: &str) -> Result<(), Failure> {
    if screen.json {
        return screen.print_json(&json!({ "slot": slot }));
    }
    screen.say_done(&format!("slot {slot}: {what}\n"))
}

fn install(context: &Context, screen: &mut Screen<'_>, bundle: &str) -> Result<(), Failure> {
    let mut updater = if bundle == "-" {
        let call = Call::Install { url: None };
        Updater::call(context, &call, &[io::stdin().as_fd()])?
    } else if bundle.contains("://") {
        let url = Some(bundle.to_owned());
        Updater::call(context, &Call::Install { url }, &[])?
    } else {
        let path = Path::new(bundle);
        let file = File::open(path).map_err(|error| Failure::of_file("open", path, &error))?;
        let call = Call::Install { url: None };
        Updater::call(context, &call, &[file.as_fd()])?
    };
    let mut bar = Bar::new(screen.json || screen.quiet);
    let installed = loop {
        match updater.next()? {
            Reply::Progress(progress) if screen.json => line(screen, &Reply::Progress(progress))?,
            Reply::Progress(progress) => bar.show(&progress),
            Reply::Installed(installed) => break installed,
            Reply::Status(_) | Reply::Keys(_) | Reply::Slot(_) => return Err(unexpected()),
        }
    };
    bar.clear();
    if screen.json {
        return line(screen, &Reply::Installed(installed));
    }
    screen.say_done(&in_words(&installed))
}

/// One line of JSON.
fn line(screen: &mut Screen<'_>, reply: &Reply) -> Result<(), Failure> {
    let mut text =
        serde_json::to_string(reply).map_err(|error| Failure::Failed(error.to_string()))?;
    text.push('\n');
    screen.print(text)
}

fn in_words(installed: &Installed) -> String {
    let Installed {
        slot,
        version,
        kept,
        written,
        ..
    } = installed;
    let kept = match kept {
        0 => String::new(),
        bytes => format!(", {bytes} were there already"),
    };
    format!(
        "version {} is installed in slot {slot} ({written} bytes written{kept}); \
         `sharkctl reboot` tries it\n",
        printable(version)
    )
}

/// Progress at a terminal; elsewhere nothing is drawn.
struct Bar {
    bar: ProgressBar,
    /// What it is about.
    step: Option<Step>,
    hidden: bool,
}

impl Bar {
    fn new(hidden: bool) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            step: None,
            hidden,
        }
    }

    fn show(&mut self, progress: &Progress) {
        if self.hidden {
            return;
        }
        if let Some(trouble) = &progress.trouble {
            let words = format!("sharkctl: {}; trying again", printable(trouble));
            self.bar.suspend(|| eprintln!("{words}"));
        }
        // A bar of its own for each step, so that none is ever drawn with the figures of another.
        if self.step != Some(progress.step) {
            self.clear();
            self.step = Some(progress.step);
            self.bar = bar_of(progress);
        }
        self.bar.set_position(progress.done);
        self.bar.tick();
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn bar_of(progress: &Progress) -> ProgressBar {
    let template = match progress.total {
        0 => "{msg}",
        _ => "{msg:29} {wide_bar} {bytes:>10}/{total_bytes} {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(progress.total)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(progress.step.words())
}

fn status(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let Reply::Status(status) = ask(context, &Call::Status)? else {
        return Err(unexpected());
    };
    if screen.json {
        return screen.print_json(&*status);
    }
    screen.print(for_people(&status, screen))
}

fn for_people(status: &Status, screen: &Screen<'_>) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| text.push_str(&format!("{name:<10} {value}\n"));
    row("phase", &status.phase);
    if let Some(progress) = &status.progress {
        let of = match progress.total {
            0 => String::new(),
            total => format!(", {} of {total} bytes", progress.done),
        };
        row("now", &format!("{}{of}", progress.step.words()));
    }
    if let Some(last) = &status.last {
        row("last", &printable(last));
    }
    for problem in &status.key_problems {
        row("keys", &printable(problem));
    }
    row(
        "floor",
        &format!("security version {}", status.security_floor),
    );
    if let Some(loader) = &status.loader {
        row("loader", &loader_words(loader));
    }
    text.push('\n');
    let head = |text: &str| Cell::painted(text, |text| screen.paint().bold(text));
    let mut table = Table::new(vec![
        (Align::Left, head("SLOT")),
        (Align::Left, head("VERSION")),
        (Align::Right, head("SECURITY")),
        (Align::Right, head("STATE")),
        (Align::Right, head("TRIES")),
        (Align::Left, head("IS")),
    ]);
    for slot in &status.slots {
        table.row(slot_row(status, slot));
    }
    text.push_str(&table.render());
    text
}

pub(crate) fn loader_words(loader: &LoaderStatus) -> String {
    let LoaderStatus {
        kind,
        next,
        slots,
        problem,
    } = loader;
    if let Some(problem) = problem {
        return format!("{kind}, and cannot be asked: {}", printable(problem));
    }
    let next = next.as_deref().unwrap_or("no slot");
    let known: Vec<String> = ["a", "b"]
        .iter()
        .zip(slots)
        .map(|(slot, entry)| format!("{slot} {entry}"))
        .collect();
    format!("{kind}, starts {next} next ({})", known.join(", "))
}

fn slot_row(status: &Status, slot: &SlotStatus) -> Vec<Cell> {
    let is = |other: &Option<String>| other.as_deref() == Some(slot.slot.as_str());
    let mut words = Vec::new();
    for (holds, word) in [
        (is(&status.running), "running"),
        (is(&status.committed), "committed"),
        (is(&status.trial), status.phase.as_str()),
        (slot.priority == 0, "not booted"),
    ] {
        if holds {
            words.push(word);
        }
    }
    let security = slot.security_version.map(|it| it.to_string());
    vec![
        slot.slot.as_str().into(),
        slot.version.as_deref().unwrap_or("-").into(),
        security.unwrap_or_else(|| "-".to_owned()).into(),
        slot.state_generation.to_string().into(),
        slot.tries_left.to_string().into(),
        words.join(", ").into(),
    ]
}

/// The content of a file of links, as the updater is told it.
fn links(file: &str) -> Result<String, Failure> {
    let path = Path::new(file);
    let mut bytes = Vec::new();
    let most = LINKS_TEXT_MAX / 2;
    let limit = (most as u64).saturating_add(1);
    let read = if file == "-" {
        io::stdin().take(limit).read_to_end(&mut bytes)
    } else {
        let open = File::open(path).map_err(|error| Failure::of_file("open", path, &error))?;
        open.take(limit).read_to_end(&mut bytes)
    };
    read.map_err(|error| Failure::of_file("read", path, &error))?;
    if bytes.len() > most {
        return Err(Failure::Usage(format!(
            "{file}: expected at most {most} bytes of links; a bundle may bring more"
        )));
    }
    if bytes.is_empty() {
        return Err(Failure::Usage(format!("{file}: it is empty")));
    }
    Ok(to_text(&bytes))
}

fn keys(context: &Context, screen: &mut Screen<'_>, call: &Call) -> Result<(), Failure> {
    let Reply::Keys(keys) = ask(context, call)? else {
        return Err(unexpected());
    };
    if screen.json {
        return screen.print_json(&keys);
    }
    let head = |text: &str| Cell::painted(text, |text| screen.paint().bold(text));
    let mut table = Table::new(vec![
        (Align::Left, head("NAME")),
        (Align::Left, head("KEY")),
        (Align::Left, head("STATE")),
        (Align::Left, head("FROM")),
    ]);
    for key in &keys {
        table.row(key_row(key));
    }
    screen.print(table.render())
}

fn key_row(key: &Key) -> Vec<Cell> {
    let why = match (&key.problem, key.link) {
        (Some(problem), _) => format!(": {}", printable(problem)),
        (None, Some(link)) => format!(" by link {link}"),
        (None, None) => String::new(),
    };
    vec![
        key.name.as_str().into(),
        if key.key.is_empty() { "-" } else { &key.key }.into(),
        format!("{}{why}", key.state.as_str()).into(),
        key.source.as_str().into(),
    ]
}
