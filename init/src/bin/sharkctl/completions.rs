//! `completions`: what a shell needs to complete a command line, and the names of services in it. Not here:
//! the verbs and their options, which are taken from the command line itself (`cli`).

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory};
use clap_complete::shells::{Bash, Fish, Zsh};
use services::file::{Role, role};

use crate::Context;
use crate::cli::{Cli, Shell};
use crate::client::{Client, unexpected_reply};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::waiting::all_pages;

/// Who is at a command line does not wait long for init.
const PATIENCE: Duration = Duration::from_secs(1);

/// `completions`.
pub(crate) fn completions(
    context: &Context,
    screen: &mut Screen<'_>,
    shell: Shell,
) -> Result<(), Failure> {
    let mut command = Cli::command();
    let text = match shell {
        Shell::Services => names(context),
        Shell::Bash => bash(&mut command),
        Shell::Zsh => zsh(&mut command),
        Shell::Fish => fish(&mut command),
    };
    screen.print(text)
}

fn generated(shell: impl clap_complete::Generator, command: &mut Command) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "sharkctl", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Services that init has, and those that there are files of: one a line.
fn names(context: &Context) -> String {
    let told = all_pages(|request| {
        let mut client = Client::call(&context.socket, request)?;
        client.receive(PATIENCE)?.ok_or_else(unexpected_reply)
    });
    let told = told.unwrap_or_default().into_iter();
    let mut names: BTreeSet<String> = told.map(|it| it.name).collect();
    let (sources, _unreadable) = init::load::read::sources(&context.service_path);
    names.extend(
        sources
            .iter()
            .filter_map(|source| match role(&source.path) {
                Role::Service(name) => Some(name.to_owned()),
                Role::DropIn(_) | Role::Other => None,
            }),
    );
    names.into_iter().map(|name| format!("{name}\n")).collect()
}

/// Verbs that take names of services.
fn verbs(command: &Command) -> String {
    let takes_one = |arg: &Arg| ["service", "services"].contains(&arg.get_id().as_str());
    let verbs = command.get_subcommands();
    let verbs = verbs.filter(|verb| verb.get_positionals().any(takes_one));
    verbs.map(Command::get_name).collect::<Vec<_>>().join(" ")
}

/// Options with a value, of all verbs: what stands behind one is no service.
fn valued(command: &Command) -> String {
    let all = std::iter::once(command).chain(command.get_subcommands());
    let options = all.flat_map(Command::get_arguments);
    let options = options.filter(|it| !it.is_positional() && it.get_action().takes_values());
    let words = options.flat_map(|it| {
        let short = it.get_short().map(|letter| format!("-{letter}"));
        let long = it.get_long().map(|name| format!("--{name}"));
        short.into_iter().chain(long)
    });
    words
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
        .join(" ")
}

const BASH: &str = r#"
_sharkctl_and_services() {
    _sharkctl "$@"
    local word verb=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$word" in
            -*|service) ;;
            *) verb="$word"; break ;;
        esac
    done
    [[ -n "$verb" && "$2" != -* && " VERBS " == *" $verb "* && " VALUED " != *" $3 "* ]] || return 0
    COMPREPLY=($(compgen -W "$(sharkctl completions services 2>/dev/null)" -- "$2"))
}
complete -F _sharkctl_and_services -o bashdefault -o default sharkctl
"#;

fn bash(command: &mut Command) -> String {
    let more = BASH
        .replace("VERBS", &verbs(command))
        .replace("VALUED", &valued(command));
    generated(Bash, command) + &more
}

const ZSH: &str = r#"_sharkctl_services() {
    local -a names
    names=(${(f)"$(sharkctl completions services 2>/dev/null)"})
    compadd -a names
}

"#;

fn zsh(command: &mut Command) -> String {
    let text = generated(Zsh, command);
    let lines = text.lines().map(|line| {
        let of_services = line.contains(":service -- ") || line.contains(":services -- ");
        match of_services {
            true => line.replace(":_default'", ":_sharkctl_services'"),
            false => line.to_owned(),
        }
    });
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    // Before the call at the end, when the file is loaded as the function itself.
    match text.rfind("if [ \"$funcstack[1]\"") {
        Some(at) => {
            let (before, after) = text.split_at(at);
            format!("{before}{ZSH}{after}")
        }
        None => text + ZSH,
    }
}

const FISH: &str = r#"
complete -c sharkctl -n "__fish_sharkctl_using_subcommand VERBS" -f -a "(sharkctl completions services 2>/dev/null)"
complete -c sharkctl -n "__fish_sharkctl_using_subcommand service; and __fish_seen_subcommand_from VERBS" -f -a "(sharkctl completions services 2>/dev/null)"
"#;

fn fish(command: &mut Command) -> String {
    let more = FISH.replace("VERBS", &verbs(command));
    generated(Fish, command) + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_options_are_those_of_the_command_line() {
        let command = Cli::command();
        let verbs = verbs(&command);
        let takes: Vec<&str> = verbs.split(' ').collect();
        for verb in [
            "start", "status", "why", "mask", "edit", "logs", "cat", "diff",
        ] {
            assert!(takes.contains(&verb), "{verb}: {verbs}");
        }
        assert!(
            !takes.contains(&"list") && !takes.contains(&"verify"),
            "{verbs}"
        );
        let valued = valued(&command);
        let valued: Vec<&str> = valued.split(' ').collect();
        assert!(
            valued.contains(&"--since") && valued.contains(&"--timeout") && valued.contains(&"-n")
        );
        assert!(!valued.contains(&"--json"));
    }
}
