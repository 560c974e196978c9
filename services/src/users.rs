//! Accounts of the machine: the text of /etc/passwd and /etc/group (passwd(5), group(5)) becomes
//! numbers. Not here: reading those files, and using the numbers.

use std::collections::BTreeMap;

use crate::definition::{Account, Ids};
use crate::diagnostic::nearest;

/// Most supplementary groups of one user: NGROUPS_MAX of the kernel is 65536, but a list that long
/// is a mistake.
const MAX_GROUPS: usize = 256;

/// Users and groups by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// uid and primary gid.
    users: BTreeMap<String, (u32, u32)>,
    groups: BTreeMap<String, u32>,
    /// gids of the groups that name the user as a member.
    memberships: BTreeMap<String, Vec<u32>>,
}

impl Accounts {
    /// Reads both texts. A line that is not an entry is passed over, as libc does: other programs
    /// put their marks there. Of two entries of one name, the first counts.
    #[must_use]
    pub fn parse(passwd: &str, group: &str) -> Self {
        let mut accounts = Self::default();
        for (name, uid, gid) in passwd.lines().filter_map(user) {
            let users = &mut accounts.users;
            users.entry(name.to_owned()).or_insert((uid, gid));
        }
        for (name, gid, members) in group.lines().filter_map(group_entry) {
            if accounts.groups.contains_key(name) {
                continue;
            }
            accounts.groups.insert(name.to_owned(), gid);
            for member in members.split(',').filter(|member| !member.is_empty()) {
                let list = accounts.memberships.entry(member.to_owned()).or_default();
                if !list.contains(&gid) {
                    list.push(gid);
                }
            }
        }
        accounts
    }

    /// The uid of the user called `name`.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<u32> {
        self.users.get(name).map(|(uid, _)| *uid)
    }

    /// The gid of the group called `name`.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }

    /// Numbers of `account`: the user's own group where it names none, and all groups that have
    /// the user as a member.
    ///
    /// # Errors
    /// A sentence that names the user or group that does not exist, and the nearest one.
    pub fn lookup(&self, account: &Account) -> Result<Ids, String> {
        let user = account.user.as_str();
        let &(uid, own) = self
            .users
            .get(user)
            .ok_or_else(|| missing("user", user, self.users.keys()))?;
        let gid = match &account.group {
            Some(name) => *self
                .groups
                .get(name)
                .ok_or_else(|| missing("group", name, self.groups.keys()))?,
            None => own,
        };
        let groups = self.memberships.get(user).cloned().unwrap_or_default();
        if groups.len() > MAX_GROUPS {
            return Err(format!(
                "user `{user}` is a member of {} groups, {MAX_GROUPS} at most are carried",
                groups.len()
            ));
        }
        Ok(Ids { uid, gid, groups })
    }
}

/// `name:password:uid:gid:...`
fn user(line: &str) -> Option<(&str, u32, u32)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some((name, uid, gid))
}

/// `name:password:gid:members`
fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or("")))
}

fn missing<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    match nearest(name, known.map(String::as_str)) {
        Some(near) => {
            format!("there is no {what} `{name}` on this machine; did you mean `{near}`?")
        }
        None => format!("there is no {what} `{name}` on this machine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        +::::::\n\
        chrony:x:101:103::/var/lib/chrony:/usr/sbin/nologin\n\
        chrony:x:999:999::/:/bin/sh\n\
        broken:x:many:0::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nchrony:x:103:\ndialout:x:20:chrony,,root\nadm:x:4:chrony\n";

    fn check(user: &str, group: Option<&str>, expect: Result<(u32, u32, &[u32]), &str>) {
        let account = Account {
            user: user.to_owned(),
            group: group.map(str::to_owned),
            ids: None,
        };
        let found = Accounts::parse(PASSWD, GROUP).lookup(&account);
        let expect = expect.map(|(uid, gid, groups)| Ids {
            uid,
            gid,
            groups: groups.to_vec(),
        });
        assert_eq!(found, expect.map_err(str::to_owned));
    }

    #[test]
    fn accounts_become_numbers() {
        check("chrony", None, Ok((101, 103, &[20, 4])));
        check("chrony", Some("adm"), Ok((101, 4, &[20, 4])));
        check("root", None, Ok((0, 0, &[20])));
    }

    #[test]
    fn what_is_missing_is_named() {
        let no_user = "there is no user `cronhy` on this machine; did you mean `chrony`?";
        check("cronhy", None, Err(no_user));
        check(
            "broken",
            None,
            Err("there is no user `broken` on this machine"),
        );
        let no_group = "there is no group `plugdev` on this machine";
        check("chrony", Some("plugdev"), Err(no_group));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(passwd in "[a-z:0-9\n,+]{0,200}", group in "[a-z:0-9\n,]{0,200}") {
            let accounts = Accounts::parse(&passwd, &group);
            let account = Account { user: "a".into(), group: Some("b".into()), ids: None };
            let _ = accounts.lookup(&account);
        }
    }
}
