//! The table of keys and the manual page say the same.

use super::*;

#[test]
fn the_manual_page_has_every_key() {
    let page = include_str!("../../../../man/shark-service.5");
    let start = page.find("\n.TS").unwrap();
    let end = page.find("\n.TE").unwrap();
    let rows: Vec<&str> = page[start..end]
        .lines()
        .filter(|line| line.contains('|'))
        .collect();
    let known = known_keys().into_iter();
    let expect: Vec<String> = known
        .map(|key| {
            let types = match key.types.len() {
                5 => "all".to_owned(),
                4 => "not target".to_owned(),
                // The page is narrow.
                3 if key.types == ["simple", "notify", "forking"] => "what stays".to_owned(),
                _ => key.types.join(", "),
            };
            format!("{}|{}|{}|{types}", key.name, key.form, key.default)
        })
        .collect();
    let plain: Vec<String> = rows[2..]
        .iter()
        .map(|row| row.replace("\\-", "-"))
        .collect();
    assert_eq!(plain, expect, "\n{}", expect.join("\n"));
}
