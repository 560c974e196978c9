//! The network of the rescue console: an ssh server with what it needs, for the holders of given
//! keys, as files of the initramfs. Not here: the console itself (stage1), and the modules of
//! network cards (`initrd`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use initramfs::archive::{Archive, Entry};

use super::apt::{self, Apt};
use crate::build::elf;
use crate::cache::{self, Hasher};
use crate::{command, paths};

/// stage1 runs it when it goes to rescue.
const NETWORK: &str = include_str!("rescue/network");
/// What udhcpc calls when it has a lease.
const LEASE: &str = include_str!("rescue/lease");

/// Who the ssh server lets in, as it looks it up.
const ACCOUNTS: [(&str, &str); 3] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/shells", "/bin/sh\n"),
];

/// What is started, as it is called in its package.
const SERVER: &str = "usr/sbin/dropbear";

/// An ssh server for the initramfs.
pub(super) struct RescueSsh {
    /// The packages of server and libraries, unpacked.
    unpacked: PathBuf,
    /// Content of an authorized_keys file.
    keys: Vec<u8>,
}

impl RescueSsh {
    /// Reads the keys, and fetches the server from Debian's packages.
    pub(super) fn prepare(keys: &Path, apt: &Apt) -> Result<Self> {
        let text = fs::read_to_string(keys)
            .with_context(|| format!("--rescue-ssh: cannot read {}", keys.display()))?;
        check_keys(&text).with_context(|| format!("--rescue-ssh {}", keys.display()))?;
        let packages = apt.fetch(&["dropbear-bin"])?;
        let mut hasher = Hasher::new("rescue ssh");
        for (package, _) in &packages {
            hasher.text(&package.id());
        }
        let dir = paths::cache().join(format!("dropbear-{}", hasher.finish().short()));
        let unpacked = cache::directory(dir, "unpacking the ssh server of rescue", |fresh| {
            packages
                .iter()
                .try_for_each(|(_, file)| apt::unpack(file, fresh, &["./usr/share"]))
        })?;
        Ok(Self {
            unpacked,
            keys: text.into_bytes(),
        })
    }

    /// What it adds to the archive's key.
    pub(super) fn hash(&self, hasher: &mut Hasher) {
        hasher.text(&self.unpacked.to_string_lossy());
        hasher.bytes(&self.keys);
    }

    /// Adds server, libraries, keys and scripts.
    pub(super) fn add(&self, archive: &mut Archive) -> Result<()> {
        for (path, content) in self.programs()? {
            archive.add(&path, Entry::file(0o755, content))?;
        }
        for (path, text) in ACCOUNTS {
            archive.add(path, Entry::file(0o644, text.as_bytes().to_vec()))?;
        }
        // The server makes its own key here when somebody first connects.
        archive.add("etc/dropbear", Entry::directory(0o700))?;
        archive.add("root/.ssh", Entry::directory(0o700))?;
        archive.add(
            "root/.ssh/authorized_keys",
            Entry::file(0o600, self.keys.clone()),
        )?;
        for (path, text) in [
            ("etc/shark/rescue/network", NETWORK),
            ("etc/shark/rescue/lease", LEASE),
        ] {
            archive.add(path, Entry::file(0o755, text.as_bytes().to_vec()))?;
        }
        Ok(())
    }

    /// The server, its dynamic linker, and every library that one of them asks for: path in the
    /// archive and content.
    fn programs(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        let libraries = libraries(&self.unpacked)?;
        let server = read(&self.unpacked.join(SERVER))?;
        let mut open = vec![("bin/dropbear".to_owned(), server)];
        while let Some((path, content)) = open.pop() {
            let needs = elf::needs(&content).with_context(|| path.clone())?;
            files.insert(path, content);
            let linker = needs.interpreter.into_iter();
            let names = needs
                .libraries
                .into_iter()
                .map(|name| format!("/lib/{name}"));
            for wanted in linker.chain(names) {
                let wanted = wanted.trim_start_matches('/').to_owned();
                let name = wanted.rsplit('/').next().unwrap_or_default();
                // The linker is a library of the C library, too: once is enough.
                let packed = |path: &String| path.rsplit('/').next() == Some(name);
                if files.keys().any(packed) || open.iter().any(|(path, _)| packed(path)) {
                    continue;
                }
                let Some(file) = libraries.get(name) else {
                    bail!("dropbear needs {name}, and none of its packages has it");
                };
                open.push((wanted, read(file)?));
            }
        }
        Ok(files)
    }
}

/// Every shared library below `dir`, by name. Their links name them, too.
fn libraries(dir: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let list = command::text(command::new("find").arg(dir).args(["-name", "*.so*"]))?;
    Ok(list
        .lines()
        .filter_map(|line| {
            let path = PathBuf::from(line);
            let name = path.file_name()?.to_string_lossy().into_owned();
            // A link with a whole path leads out of the directory, to where it will be.
            let target = match fs::read_link(&path) {
                Ok(target) if target.is_absolute() => dir.join(target.strip_prefix("/").ok()?),
                _ => path,
            };
            Some((name, target))
        })
        .collect())
}

/// A file without a key would make a server that lets nobody in; one with a private key would hand
/// it to everybody who has the initramfs.
fn check_keys(text: &str) -> Result<()> {
    if text.contains("PRIVATE KEY") {
        bail!("this is a private key; give the public one, which ends in .pub");
    }
    let is_key = |line: &str| {
        let kinds = ["ssh-", "ecdsa-", "sk-"];
        line.split_whitespace()
            .any(|word| kinds.iter().any(|kind| word.starts_with(kind)))
    };
    if !text
        .lines()
        .any(|line| !line.starts_with('#') && is_key(line))
    {
        bail!("there is no public key in it, as in authorized_keys of sshd(8)");
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys_holds_a_public_key_and_no_private_one() {
        let check = |text: &str, expect: Option<&str>| match (check_keys(text), expect) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
        };
        check("ssh-ed25519 AAAA me@there\n", None);
        check("# mine\nno-pty ecdsa-sha2-nistp256 AAAA\n", None);
        check("", Some("no public key"));
        check("# ssh-ed25519 AAAA\n", Some("no public key"));
        let private = ["-----BEGIN OPENSSH", "PRIVATE KEY-----\n"].join(" ");
        check(&private, Some("private key"));
    }

    #[test]
    fn libraries_are_found_behind_their_links() {
        let dir = tempfile::tempdir().unwrap();
        let lib = dir.path().join("lib");
        paths::make_dir(&lib).unwrap();
        fs::write(lib.join("libx.so.1.2"), "x").unwrap();
        std::os::unix::fs::symlink("libx.so.1.2", lib.join("libx.so.1")).unwrap();
        std::os::unix::fs::symlink("/lib/libx.so.1.2", dir.path().join("ld.so")).unwrap();
        let found = libraries(dir.path()).unwrap();
        for name in ["libx.so.1.2", "libx.so.1", "ld.so"] {
            assert_eq!(fs::read_to_string(&found[name]).unwrap(), "x", "{name}");
        }
    }
}
