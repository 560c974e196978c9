//! Whether what services have kept for themselves fits a machine: `verify --memory --processors`. Not
//! here: which machine that is.

use services::cpus::CpuList;
use services::definition::Definition;
use services::diagnostic::{Diagnostic, Place};

use crate::quantity::memory;

/// Services of the most memory that are named.
const NAMED: usize = 8;

/// What is known of the machine.
pub(crate) struct Machine<'a> {
    /// Its memory, bytes.
    pub(crate) memory: Option<u64>,
    /// Its processors.
    pub(crate) processors: Option<&'a CpuList>,
}

impl Machine<'_> {
    /// Whether nothing is known, so that everything fits.
    pub(crate) fn is_unknown(&self) -> bool {
        self.memory.is_none() && self.processors.is_none()
    }

    /// What does not fit. `place` finds where a service has a key.
    pub(crate) fn check(
        &self,
        definitions: &[Definition],
        place: &dyn Fn(&str, &Definition) -> Place,
    ) -> Vec<Diagnostic> {
        let mut problems = Vec::new();
        if let Some(there) = self.memory {
            problems.extend(check_memory(there, definitions, place));
        }
        if let Some(there) = self.processors {
            let missing = |it: &Definition| {
                let wanted = it.kind.program()?.cgroup.cpus.as_ref()?;
                let missing = wanted.without(there)?;
                let message = format!("the machine has no processor {missing}");
                let told = Diagnostic::new(&place("cgroup.cpus", it), message);
                Some(told.key("cgroup.cpus").expected(format!("some of {there}")))
            };
            problems.extend(definitions.iter().filter_map(missing));
        }
        problems
    }
}

fn check_memory(
    there: u64,
    definitions: &[Definition],
    place: &dyn Fn(&str, &Definition) -> Place,
) -> Option<Diagnostic> {
    let kept = |it: &Definition| it.kind.program()?.cgroup.memory_min.map(|it| it.0);
    let mut keeping: Vec<(u64, &Definition)> = definitions
        .iter()
        .filter_map(|it| Some((kept(it)?, it)))
        .collect();
    let sum = keeping
        .iter()
        .fold(0, |sum: u64, it| sum.saturating_add(it.0));
    if sum <= there {
        return None;
    }
    keeping.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.name.cmp(&b.1.name)));
    let mut names: Vec<String> = keeping
        .iter()
        .take(NAMED)
        .map(|(kept, it)| format!("`{}` {}", it.name, memory(*kept)))
        .collect();
    if let Some(more @ 1..) = keeping.len().checked_sub(NAMED) {
        names.push(format!("{more} more"));
    }
    let message = format!(
        "{} are kept for services, and the machine has {}: {}",
        memory(sum),
        memory(there),
        names.join(", ")
    );
    let (_, first) = keeping.first()?;
    Some(Diagnostic::new(&place("cgroup.memory-min", first), message).key("cgroup.memory-min"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use services::file::{Source, load};

    #[test]
    fn what_does_not_fit_is_told_with_who_asks_for_it() {
        let source = |name: &str, cgroup: &str| Source {
            path: format!("/v/{name}.toml"),
            layer: 0,
            text: format!("exec = '/{name}'\ncgroup = {{ {cgroup} }}\n"),
        };
        let sources = [
            source("a", "memory-min = '1G'"),
            source("b", "memory-min = '2G', cpus = '0,2-3'"),
            source("c", "cpus = '1'"),
        ];
        let graph = load(&sources, None).graph.unwrap();
        let two = CpuList::parse("0-1").unwrap();
        let told = |memory: u64| -> Vec<String> {
            let machine = Machine {
                memory: Some(memory),
                processors: Some(&two),
            };
            let place = |_: &str, it: &Definition| Place::whole(&it.source);
            let problems = machine.check(graph.services(), &place);
            problems.iter().map(ToString::to_string).collect()
        };
        let processors = "/v/b.toml: key `cgroup.cpus`: the machine has no processor 2-3; expected \
                          some of 0-1";
        assert_eq!(told(3 << 30), [processors]);
        let memory = "/v/b.toml: key `cgroup.memory-min`: 3.0GiB are kept for services, and the \
                      machine has 2.9GiB: `b` 2.0GiB, `a` 1.0GiB";
        assert_eq!(told((3 << 30) - (100 << 20)), [memory, processors]);
    }
}
