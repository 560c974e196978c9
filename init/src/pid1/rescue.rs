//! The service of last resort: a shell on the console, for a boot that has no service files to go by. Not here:
//! when that is so (`loader`).

use services::file::Source;

use super::Init;
use super::say::Level;

impl Init {
    /// Boots the one service that needs no file.
    pub(super) fn boot_rescue(&mut self) {
        let loaded = services::file::load(&[rescue_source()], None);
        match loaded.graph {
            Some(graph) => self.boot(graph.into()),
            None => self.say(Level::Emergency, "the built-in rescue service is broken"),
        }
    }
}

/// The service of last resort: a shell on the console, whatever shell there is.
fn rescue_source() -> Source {
    const SHELLS: [(&str, &str); 4] = [
        ("/bin/sh", ""),
        ("/usr/bin/sh", ""),
        ("/bin/busybox", r#", "sh""#),
        ("/usr/bin/busybox", r#", "sh""#),
    ];
    let (shell, word) = SHELLS
        .into_iter()
        .find(|(path, _)| std::path::Path::new(path).exists())
        .unwrap_or(("/bin/sh", ""));
    Source {
        path: "(built in)/rescue.toml".to_owned(),
        layer: 0,
        text: format!(
            "description = \"A shell, since no service files could be read\"\n\
             exec = [\"{shell}\"{word}]\n\
             tty = \"/dev/console\"\n\
             restart.policy = \"always\"\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rescue_service_passes_the_checks_of_any_other() {
        let loaded = services::file::load(&[rescue_source()], None);
        assert_eq!(loaded.diagnostics, []);
        let graph = loaded.graph.unwrap();
        assert!(graph.index_of("rescue").is_some());
        assert!(graph.index_of(services::graph::DEFAULT_TARGET).is_some());
    }
}
