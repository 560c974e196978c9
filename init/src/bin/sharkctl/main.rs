//! `sharkctl`: the command for operators. It talks to init over Varlink, reads logs from their files, and
//! checks service files with no init at all. Not here: anything that decides about services.
#![forbid(unsafe_code)]

mod admin;
mod boot;
mod cgroups;
mod change;
mod cli;
mod client;
mod compat;
mod compile;
mod completions;
mod debug;
mod failure;
mod history;
mod import;
mod insight;
mod logs;
mod machine;
mod metrics;
mod quantity;
mod replace;
mod screen;
mod show;
mod shutdown;
mod slots;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod top;
mod unknown;
mod update;
mod verify;
mod waiting;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use init::paths::Paths;
use services::status::ShutdownKind;

use crate::change::Change;
use crate::cli::{BootVerb, Cli, Options, ServiceVerb, Verb};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::waiting::Patience;

fn main() -> ExitCode {
    let colour = screen::colour_wanted();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    ExitCode::from(run(std::env::args_os(), &mut out, &mut err, colour))
}

/// Runs one command line and gives the exit status.
fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
    colour: bool,
) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(name) = arguments.first().and_then(|it| compat::Name::of(it)) {
        return run_as(name, &arguments, &mut Screen::new(out, err, colour));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Where nobody reads, there is nobody to be told.
            let _ = if error.use_stderr() {
                write!(err, "{error}")
            } else {
                write!(out, "{error}")
            };
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let mut screen = Screen::new(out, err, colour);
    (screen.json, screen.quiet) = (cli.options.json, cli.options.quiet);
    let context = Context::new(&cli.options);
    match perform(cli.verb, &context, &mut screen) {
        Ok(()) => 0,
        Err(failure) => {
            let text = unknown::explain(&context.service_path, &failure);
            // One thing a line, where there are several.
            let mut lines = text.lines().map(table::printable);
            if let Some(first) = lines.next() {
                screen.complain(&first);
            }
            lines.for_each(|line| screen.complain_bare(&line));
            failure.exit_status()
        }
    }
}

/// Runs a command line of another command than sharkctl.
fn run_as(name: compat::Name, arguments: &[OsString], screen: &mut Screen<'_>) -> u8 {
    let texts = arguments.iter().skip(1);
    let texts: Vec<String> = texts.map(|it| it.to_string_lossy().into_owned()).collect();
    let context = Context::new(&Options::default());
    compat::run(name, &context, screen, &texts)
}

/// What every verb may need to know.
struct Context {
    /// Socket of init.
    socket: PathBuf,
    /// Somebody said which socket: nothing else will do.
    socket_is_named: bool,
    /// Finds the partition with the boot record.
    find_record: fn() -> Option<String>,
    /// Directory of the logs: `log` beside the socket.
    log_dir: PathBuf,
    /// Directories of service files.
    service_path: Vec<String>,
    /// How long an operation may take.
    limit: Option<Duration>,
    /// Reads CLOCK_BOOTTIME, microseconds.
    boottime_us: fn() -> u64,
}

impl Context {
    fn new(options: &Options) -> Self {
        let paths = Paths::from_environment();
        let socket = match &options.socket {
            Some(socket) => socket.clone(),
            None => paths.control_socket(),
        };
        Self {
            log_dir: socket.parent().unwrap_or(Path::new("/")).join("log"),
            socket,
            socket_is_named: options.socket.is_some(),
            find_record: init::record::find,
            service_path: paths.service_path,
            limit: options.timeout.map(|s| Duration::from_secs(s.into())),
            boottime_us: || kernel::clock::boottime() / 1000,
        }
    }

    /// Where the logs of the present boot are. A disk that cannot be read has none.
    fn log_places(&self) -> Vec<PathBuf> {
        init::log::reader::places(&self.log_dir).unwrap_or_else(|_| vec![self.log_dir.clone()])
    }

    fn patience(&self) -> Patience<'_> {
        Patience {
            socket: &self.socket,
            limit: self.limit,
        }
    }
}

fn perform(verb: Verb, context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    match verb {
        Verb::Short(verb) | Verb::Long(verb) => perform_service(&verb, context, screen),
        Verb::Insight(verb) => insight::perform(&verb, context, screen),
        Verb::Admin(verb) => admin::perform(&verb, context, screen),
        Verb::Boot { verb } => perform_boot(&verb.unwrap_or(BootVerb::Info), context, screen),
        Verb::FactoryReset { no_reboot, .. } => shutdown::factory_reset(context, screen, no_reboot),
        Verb::Update { verb } => update::update(context, screen, &verb),
        Verb::Compat { verb } => compat::perform(&verb, context, screen),
        Verb::Top(options) => top::top(screen, &options),
        Verb::Metrics(options) => metrics::metrics(context, screen, &options),
        Verb::Verify(options) => verify::verify(screen, &options),
        Verb::Import(options) => import::import(screen, &options),
        Verb::Compile(options) => compile::compile(screen, &options),
        Verb::Poweroff(options) => {
            shutdown::shutdown(context, screen, ShutdownKind::Poweroff, options)
        }
        Verb::Reboot(options) => shutdown::shutdown(context, screen, ShutdownKind::Reboot, options),
        Verb::SoftReboot => shutdown::soft_reboot(context, screen),
        Verb::Halt(options) => shutdown::shutdown(context, screen, ShutdownKind::Halt, options),
        Verb::Reexec { program } => replace::reexec(context, screen, program),
        Verb::Debug { verb } => debug::debug(context, screen, &verb),
        Verb::Completions { shell } => completions::completions(context, screen, shell),
        Verb::Help { verbs } => help(screen, &verbs),
    }
}

fn perform_boot(
    verb: &BootVerb,
    context: &Context,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    match verb {
        BootVerb::Info => boot::info(context, screen),
        BootVerb::Wait { settled: true } => boot::wait_settled(context, screen),
        BootVerb::Wait { settled: false } => boot::wait(context, screen),
        BootVerb::Good(options) => slots::good(context, screen, options),
        BootVerb::Bad(options) => slots::bad(context, screen, options),
        BootVerb::SetSlot(options) => slots::set_slot(context, screen, options),
        BootVerb::History(on) => slots::history(context, screen, on),
        BootVerb::Record(on) => slots::record(context, screen, on),
    }
}

fn perform_service(
    verb: &ServiceVerb,
    context: &Context,
    screen: &mut Screen<'_>,
) -> Result<(), Failure> {
    let mut change =
        |change, names: &[String]| change::change_services(context, screen, change, names);
    match verb {
        ServiceVerb::Start(some) => change(Change::Start, &some.services),
        ServiceVerb::Stop(stop) => change(Change::Stop { all: stop.all }, &stop.some.services),
        ServiceVerb::Restart(some) => change(Change::Restart, &some.services),
        ServiceVerb::Reload { services, dry_run } if services.is_empty() => {
            change::reload_all(context.patience(), screen, *dry_run)
        }
        ServiceVerb::Reload { services, .. } => change(Change::Reload, services),
        ServiceVerb::List => show::list(context, screen),
        ServiceVerb::Timers => timers::timers(context, screen),
        ServiceVerb::Status { service: None } => show::status_of_all(context, screen),
        ServiceVerb::Status {
            service: Some(name),
        } => show::status_of_one(context, screen, name),
        ServiceVerb::Logs(options) => logs::logs(context, screen, options),
    }
}

/// What `--help` says of a verb.
fn help(screen: &mut Screen<'_>, verbs: &[String]) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    let mut found = &mut command;
    for verb in verbs {
        found = match found.find_subcommand_mut(verb) {
            Some(next) => next,
            None => {
                return Err(Failure::Usage(format!(
                    "there is no verb `{}`; `sharkctl help` names all",
                    verbs.join(" ")
                )));
            }
        };
    }
    screen.print(found.render_long_help().to_string())
}
