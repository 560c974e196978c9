//! Conditions, files of variables and credentials: what is refused, and drop-ins.

use super::*;

fn begin(files: &[(&str, &str)]) -> Begin {
    let definition = service(files);
    definition.kind.program().unwrap().begin.clone()
}

fn refused(line: &str, column: usize, expect: &str) {
    let found = told(&[("/v/a.toml", &format!("exec = '/a'\n{line}\n"))]);
    let start = format!("/v/a.toml:2:{column}: key `");
    let good = found.len() == 1 && found[0].starts_with(&start) && found[0].contains(expect);
    assert!(good, "{line}: {found:?}");
}

#[test]
fn what_cannot_be_a_condition_is_refused_where_it_is() {
    refused(
        "conditions.path-exists = ['/a', 'b']",
        33,
        "an absolute path",
    );
    refused("conditions.path-exists = ['!/a']", 27, "an absolute path");
    refused("conditions.path-missing = '/a'", 27, "a list of strings");
    refused(
        "conditions.kernel-option = ['a b']",
        29,
        "a word of the kernel command line",
    );
    refused(
        "conditions.kernel-option = ['!']",
        29,
        "a word of the kernel command line",
    );
    refused(
        "conditions.architecture = ['i386']",
        28,
        "`x86_64` or `arm64`",
    );
    refused(
        "conditions.architecture = ['arm64', 'x86_64']",
        27,
        "never holds",
    );
    refused("conditions.slot = ['a', 'b']", 19, "never holds");
    refused("conditions.slot = ['c']", 20, "`a` or `b`");
    refused("conditions.first-boot = 'yes'", 25, "`true` or `false`");
    refused(
        "conditions.virtualization = ['kmv']",
        30,
        "`yes`, `vm`, `container`",
    );
    refused(
        "conditions.path-exist = ['/a']",
        12,
        "did you mean `path-exists`?",
    );
    check(
        "type = 'target'\nconditions.slot = ['a']",
        &[
            "/v/a.toml:2:12: key `conditions.slot`: has no meaning for a service of type `target`; \
         expected type `simple`, `notify`, `oneshot` or `forking`",
        ],
    );
}

#[test]
fn what_cannot_be_a_file_or_a_credential_is_refused_where_it_is() {
    refused("env-files = ['a']", 14, "an absolute path, after `-`");
    refused("env-files = ['- /a']", 14, "an absolute path, after `-`");
    refused("env-files = '/a'", 13, "a list of absolute paths");
    refused("credentials = 'x'", 15, "a table such as");
    refused("credentials.t = 'x'", 17, "a table such as");
    refused("credentials.t = {}", 13, "has to be either");
    refused(
        "credentials.t = { text = 'a', file = '/b' }",
        13,
        "has to be either",
    );
    refused("credentials.t = { file = 'b' }", 13, "not an absolute path");
    refused(
        "credentials.'../t' = { text = 'b' }",
        13,
        "is not the name of a credential",
    );
    refused(
        "credentials.'.t' = { text = 'b' }",
        13,
        "is not the name of a credential",
    );
    let long = format!("credentials.t = {{ text = '{}' }}", "x".repeat(4097));
    refused(&long, 13, "too long");
}

#[test]
fn there_is_a_limit_of_credentials() {
    let mut text = "exec = '/a'\n[credentials]\n".to_owned();
    for number in 0..65 {
        text.push_str(&format!("t{number} = {{ text = 'x' }}\n"));
    }
    let found = told(&[("/v/a.toml", &text)]);
    assert!(
        found.len() == 1 && found[0].contains("at most 64"),
        "{found:?}"
    );
}

#[test]
fn drop_ins_replace_lists_and_add_credentials() {
    let begin = begin(&[
        (
            "/v/a.toml",
            "exec = '/a'\nenv-files = ['/x']\nconditions.slot = ['a']\n\
             credentials = { a = { text = '1' }, b = { text = '1' } }",
        ),
        (
            "/e/a.toml.d/x.toml",
            "env-files = ['-/y']\nconditions.slot = []\n\
             credentials = { b = { text = '2' }, c = { text = '2' } }",
        ),
    ]);
    assert_eq!(begin.conditions, []);
    assert_eq!(begin.env_files.len(), 1);
    assert!(begin.env_files[0].optional);
    let texts: Vec<_> = begin
        .credentials
        .iter()
        .map(|it| (it.name.as_str(), &it.from))
        .collect();
    let text = |text: &str| CredentialSource::Text(text.to_owned());
    assert_eq!(
        texts,
        [("a", &text("1")), ("b", &text("2")), ("c", &text("2"))]
    );
}
