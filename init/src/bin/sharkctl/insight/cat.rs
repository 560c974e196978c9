//! `cat`: the files that define a service, as they lie now. Not here: what init has made of them.

use serde_json::json;
use services::control::reply::Changed;
use services::control::{Reply, Request};

use super::files;
use crate::Context;
use crate::client::unexpected_reply;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::waiting::ask;

/// `cat`.
pub(crate) fn cat(
    context: &Context,
    screen: &mut Screen<'_>,
    name: &str,
    compare: bool,
) -> Result<(), Failure> {
    let files = files::of_service(&context.service_path, name);
    if files.is_empty() {
        return without_files(context, screen, name);
    }
    let differs = match compare {
        true => Some(compare_with_init(context, screen, name)?),
        false => None,
    };
    if screen.json {
        let files = files
            .iter()
            .map(|file| json!({ "path": file.path, "text": file.text }));
        let files: Vec<_> = files.collect();
        let told = json!({ "service": name, "files": files, "differs": differs });
        return screen.print_json(&told);
    }
    let mut text = String::new();
    for file in &files {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("# {}\n{}", file.path, file.text));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    screen.print(text)?;
    for words in differs.into_iter().flatten() {
        screen.say(&format!("{name}: {words}"));
    }
    Ok(())
}

/// Init may have it all the same: what is built in, or whose file has gone.
fn without_files(context: &Context, screen: &mut Screen<'_>, name: &str) -> Result<(), Failure> {
    let request = Request::Status {
        name: name.to_owned(),
    };
    let Reply::Service { service } = ask(context.patience(), screen, request)? else {
        return Err(unexpected_reply());
    };
    Err(Failure::Failed(format!(
        "{name} has no file in {}; init has it from {}",
        context.service_path.join(", "),
        service.source
    )))
}

/// How the files differ from what init has, in words.
fn compare_with_init(
    context: &Context,
    screen: &mut Screen<'_>,
    name: &str,
) -> Result<Vec<String>, Failure> {
    let request = Request::ReloadAll { dry_run: true };
    let Reply::Changed(changed) = ask(context.patience(), screen, request)? else {
        return Err(unexpected_reply());
    };
    Ok(differences(&changed, name))
}

fn differences(changed: &Changed, name: &str) -> Vec<String> {
    let among = |names: &[String]| names.iter().any(|it| it == name);
    let mut words = Vec::new();
    if among(&changed.added) {
        words.push("init has not read these files yet: `sharkctl reload`".to_owned());
    }
    if among(&changed.changed) {
        let keys = changed.keys.iter().find(|it| it.name == name);
        let keys = keys.map(|it| format!(" in {}", it.keys.join(", ")));
        let keys = keys.unwrap_or_default();
        words.push(format!(
            "these files differ from what init has read{keys}: `sharkctl reload` makes it read them"
        ));
    }
    // In a dry run, one that has changed is among those that would keep what they are.
    if among(&changed.keeping) {
        words.push("it runs on with an older definition until its next start".to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use services::control::ChangedKeys;

    use super::*;

    #[test]
    fn what_differs_is_told_with_its_keys() {
        let named = || vec!["web".to_owned()];
        let changed = Changed {
            changed: named(),
            keys: vec![ChangedKeys {
                name: "web".into(),
                keys: vec!["exec".into(), "user".into()],
            }],
            keeping: named(),
            ..Changed::default()
        };
        let words = differences(&changed, "web");
        assert!(
            words[0].contains(" in exec, user: `sharkctl reload`"),
            "{words:?}"
        );
        assert!(words[1].contains("until its next start"), "{words:?}");
        assert_eq!(differences(&changed, "we"), [""; 0]);
        let added = Changed {
            added: named(),
            ..Changed::default()
        };
        assert_eq!(differences(&added, "web").len(), 1);
    }
}
