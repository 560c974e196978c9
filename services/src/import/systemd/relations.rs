//! Dependencies between units, and `[Install]`, as relations of services. Not here: what the names
//! mean (`set`).

use super::super::draft::Value;
use super::super::report::Outcome;
use super::group::Group;
use super::set::{Meaning, Names, Parsed, Suffix};
use super::syntax::Assignment;
use super::words;

/// Units that come when the machine goes down: whatever is said of them, services are stopped then.
const GOING_DOWN: &[&str] = &[
    "shutdown.target",
    "umount.target",
    "final.target",
    "reboot.target",
    "poweroff.target",
    "halt.target",
    "kexec.target",
    "exit.target",
    "emergency.target",
    "rescue.target",
    "emergency.service",
    "rescue.service",
];

/// Targets that every boot brings up: what they want is brought up by `default` here.
const BOOTED: &[&str] = &["multi-user.target", "graphical.target", "default.target"];

/// The same, before the others.
const BOOTED_EARLY: &[&str] = &[
    "sysinit.target",
    "basic.target",
    "sockets.target",
    "timers.target",
    "paths.target",
    "local-fs.target",
    "local-fs-pre.target",
    "remote-fs.target",
    "network.target",
    "network-pre.target",
    "cryptsetup.target",
];

/// The key of a service file, for a key of `[Unit]` that lists units.
fn relation(key: &str) -> Option<&'static str> {
    Some(match key {
        "Requires" | "Requisite" => "requires",
        "Wants" | "Upholds" => "wants",
        "BindsTo" | "BindTo" => "binds-to",
        "PartOf" => "part-of",
        "After" => "after",
        "Before" => "before",
        "Conflicts" => "conflicts",
        "OnFailure" => "on-failure.start",
        _ => return None,
    })
}

pub(super) fn is_relation(section: &str, key: &str) -> bool {
    section == "Install" || section == "Unit" && relation(key).is_some()
}

impl Group<'_> {
    /// A line of `[Unit]` that lists units.
    pub(super) fn relate(&mut self, names: &Names, unit: &Parsed<'_>, it: &Assignment) -> Outcome {
        let Some(key) = relation(&it.key) else {
            return Outcome::lost("is not known to this converter");
        };
        let others = match self.words(unit, &it.value) {
            Ok(others) => others,
            Err(why) => return Outcome::lost(why),
        };
        let parts: Vec<Outcome> = others
            .iter()
            .map(|other| self.relate_one(names, (&it.key, key), other))
            .collect();
        Outcome::all(parts).unwrap_or_else(|| Outcome::irrelevant("names nothing"))
    }

    fn relate_one(
        &mut self,
        names: &Names,
        (theirs, key): (&str, &'static str),
        other: &str,
    ) -> Outcome {
        if GOING_DOWN.contains(&other) {
            return self.going_down(theirs, key, other);
        }
        if key == "before" && BOOTED.contains(&other) {
            return Outcome::irrelevant("`default` is up when those are that it wants");
        }
        let ordered = matches!(key, "after" | "before" | "conflicts");
        let service = match names.meaning(other, !ordered) {
            Meaning::Service(service) => service,
            Meaning::Met(why) if key != "before" && key != "conflicts" => {
                return Outcome::irrelevant(why);
            }
            Meaning::Met(why) if why.starts_with("sockets are") => {
                return Outcome::irrelevant(why);
            }
            Meaning::Met(_) => {
                return Outcome::lost(format!(
                    "nothing is `{other}` here: a service that has to start after this one says so"
                ));
            }
            Meaning::Nothing(why) => return Outcome::lost(why),
        };
        if service == self.name || service == format!("{}%i", self.name) {
            return Outcome::irrelevant(format!("`{other}` is a part of this service here"));
        }
        if service == "default" {
            return match key {
                "after" => {
                    Outcome::lost("a service that `default` brings up cannot start after it")
                }
                _ => Outcome::lost(
                    "`default` brings this service up, and needs nothing the other way",
                ),
            };
        }
        let pulls = matches!(key, "requires" | "wants" | "binds-to");
        if pulls && names.is_ordered(&service, &self.name) {
            return Outcome::lost(format!(
                "`{other}` starts after this service, and what is wanted starts before it here: let \
                 something else want it"
            ));
        }
        self.draft.add(key, &service);
        let mut outcome = Outcome::carried(key);
        if pulls && !names.is_ordered(&self.name, &service) {
            outcome = outcome.look(format!(
                "it waits for `{service}` too, which systemd's {theirs}= alone does not ask for"
            ));
        }
        match theirs {
            "Requisite" => outcome.look(format!("`{service}` is started where it is not up")),
            "Upholds" => outcome.look(format!("`{service}` is not started again when it ends")),
            _ => outcome,
        }
    }

    /// What a line says of the end of the machine, or of a shell for emergencies.
    fn going_down(&mut self, theirs: &str, key: &str, other: &str) -> Outcome {
        let action = match other {
            "reboot.target" => "reboot",
            "poweroff.target" => "poweroff",
            _ => "",
        };
        match key {
            "after" | "before" | "conflicts" | "part-of" => {
                Outcome::irrelevant("every service is stopped when the machine goes down")
            }
            "on-failure.start" if action.is_empty() => Outcome::lost(format!(
                "`{other}` follows no failure here: see on-failure.action and on-failure.start"
            )),
            "on-failure.start" => self.put("on-failure.action", Value::Text(action.to_owned())),
            _ => Outcome::lost(format!(
                "the machine does not go down because a service starts: {theirs}= brings up no `{other}`"
            )),
        }
    }

    /// Words of a value, with specifiers.
    pub(super) fn words(&self, unit: &Parsed<'_>, value: &str) -> Result<Vec<String>, String> {
        let words = words::split(value)?;
        words
            .iter()
            .map(|word| unit.specifiers.expand(word))
            .collect()
    }

    /// A line of `[Install]`.
    pub(super) fn install(&mut self, names: &Names, unit: &Parsed<'_>, it: &Assignment) -> Outcome {
        let others = match self.words(unit, &it.value) {
            Ok(others) => others,
            Err(why) => return Outcome::lost(why),
        };
        let mut parts = Vec::new();
        for other in &others {
            parts.push(match it.key.as_str() {
                "WantedBy" => self.wanted_by(names, unit, other),
                "RequiredBy" => self.wanted_by(names, unit, other).look(format!(
                    "`{other}` only wants it: to let it fail with this service, name it there in \
                     `requires`"
                )),
                "Alias" if unit.stem == split_stem(other) => {
                    Outcome::irrelevant("is its own name")
                }
                "Alias" => Outcome::lost(format!(
                    "a service has one name: commands and files know it as `{}`",
                    self.name
                ))
                .look("units that are imported with it find it by this name too"),
                "Also" => match names.meaning(other, true) {
                    Meaning::Service(_) => Outcome::irrelevant("is imported with it"),
                    Meaning::Met(why) => Outcome::irrelevant(why),
                    Meaning::Nothing(_) => {
                        Outcome::lost(format!("`{other}` is not imported with it"))
                    }
                },
                "DefaultInstance" => Outcome::lost(format!(
                    "a template has no instance by itself: an empty file `{}@{other}.toml` makes this \
                     one",
                    self.name.split('@').next().unwrap_or_default()
                )),
                _ => Outcome::lost("is not known to this converter"),
            });
        }
        Outcome::all(parts).unwrap_or_else(|| Outcome::irrelevant("names nothing"))
    }

    fn wanted_by(&mut self, names: &Names, unit: &Parsed<'_>, other: &str) -> Outcome {
        if self.timed && unit.suffix == Suffix::Service {
            let at_boot = BOOTED.contains(&other) || BOOTED_EARLY.contains(&other);
            if at_boot && !self.draft.has("timer.on-boot") {
                self.draft
                    .set("timer.on-boot", Value::Text("0s".to_owned()));
                return Outcome::carried("timer.on-boot")
                    .look("with its timer it is started once at boot, as systemd would");
            }
            return Outcome::lost("its timer starts it, and nothing else brings it up");
        }
        if let Meaning::Service(service) = names.meaning(other, true)
            && service != self.name
        {
            let pulled = ["wants", "requires", "binds-to"].iter();
            let mut pulled = pulled.flat_map(|key| self.draft.texts(key));
            let pulled = pulled.any(|name| *name == service);
            if pulled || names.is_ordered(&self.name, &service) {
                return Outcome::lost(format!(
                    "it starts after `{service}`, and what a service wants starts before it here: let \
                     what brings `{service}` up want this one too"
                ));
            }
            self.draft.add("wanted-by", &service);
            return Outcome::carried("wanted-by");
        }
        if BOOTED.contains(&other) {
            self.draft.add("wanted-by", "default");
            return Outcome::carried("wanted-by");
        }
        if BOOTED_EARLY.contains(&other) {
            self.draft.add("wanted-by", "default");
            let outcome = Outcome::carried("wanted-by");
            return match other {
                "sockets.target" | "timers.target" => outcome,
                _ => outcome.look(format!(
                    "`default` brings it up with the others: who must start after it, as all do after \
                     `{other}`, has to say so"
                )),
            };
        }
        Outcome::lost(format!(
            "`{other}` is not imported with it, and no boot brings it up: nothing starts the service \
             by this line"
        ))
    }
}

fn split_stem(name: &str) -> &str {
    super::set::split(name).0
}
