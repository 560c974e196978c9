//! `cargo xtask keyring`: one more link of keys, behind those that a fleet has already. Not here: what a
//! link means (`mounts::keyring`), and how it travels (`bundle`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use mounts::keyring::{self, Keyring, Link, Named, SignedLink, Trust};
use mounts::manifest::PublicKey;

use super::key::{self, ImageKey};

/// Arguments of `cargo xtask keyring`.
#[derive(Args, Clone, Debug)]
pub(crate) struct KeyringArgs {
    /// File of links, which is written with one link more; without it or where it is not there yet,
    /// this is the first
    #[arg(long, short, value_name = "PATH")]
    output: PathBuf,
    /// Sign the link with this key, which the devices trust until then, instead of keys/shark-image.key
    #[arg(long, value_name = "PATH")]
    key: Option<PathBuf>,
    /// A key that the devices came with: a `.pub` file; each is trusted further on. To be given with the
    /// first link where there is another than the one that signs; may be repeated
    #[arg(long, value_name = "PATH")]
    image_key: Vec<PathBuf>,
    /// Trust this key from now on: a `.pub` file; may be repeated
    #[arg(long, value_name = "PATH")]
    trust: Vec<PathBuf>,
    /// Do not trust this key any more; another link may bring it back; may be repeated
    #[arg(long, value_name = "PATH")]
    retire: Vec<PathBuf>,
    /// Never trust this key again; may be repeated
    #[arg(long, value_name = "PATH")]
    revoke: Vec<PathBuf>,
}

/// The command itself: writes the file and prints what it makes of the keys.
pub(crate) fn run(args: &KeyringArgs) -> Result<()> {
    let signer = ImageKey::open(args.key.as_deref())?;
    let read = |paths: &[PathBuf]| -> Result<Vec<Named>> {
        paths.iter().map(|path| key::named(path)).collect()
    };
    let before = match fs::read(&args.output) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", args.output.display()));
        }
    };
    let change = Change {
        trust: read(&args.trust)?,
        retire: read(&args.retire)?,
        revoke: read(&args.revoke)?,
    };
    let (keyring, bytes) = more(&before, &signer, &read(&args.image_key)?, &change)
        .with_context(|| format!("{}", args.output.display()))?;
    fs::write(&args.output, bytes)
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    for entry in keyring.entries() {
        let state = match entry.trust {
            Trust::Trusted => "trusted".to_owned(),
            Trust::Retired(link) => format!("retired by link {link}"),
            Trust::Revoked(link) => format!("revoked by link {link}"),
        };
        println!("{}  {:<20} {state}", entry.named.key, entry.named.name);
    }
    Ok(())
}

/// What a link changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) trust: Vec<Named>,
    pub(super) retire: Vec<Named>,
    pub(super) revoke: Vec<Named>,
}

/// The links in `before` with one more, signed by `signer`; the keys as they are by it. The first link is
/// for devices that came with `image` and the signer.
pub(super) fn more(
    before: &[u8],
    signer: &ImageKey,
    image: &[Named],
    change: &Change,
) -> Result<(Keyring, Vec<u8>)> {
    let links = keyring::parse(before).map_err(|error| anyhow!("{error}"))?;
    let (sequence, mut trusted, mut revoked) = match links.last() {
        None => {
            let keys = std::iter::once(signer.named()).chain(image.iter().cloned());
            (0, unique(keys), Vec::new())
        }
        Some(last) => {
            ensure!(
                image.is_empty(),
                "--image-key is for the first link, and there is one already"
            );
            let last = last.read().map_err(|error| anyhow!("{error}"))?;
            (last.sequence, last.trusted, last.revoked)
        }
    };
    let of_image = trusted.clone();
    ensure!(
        has(&trusted, &signer.public),
        "key {} is not trusted by the last link, so no device would take what it signs",
        signer.name
    );
    for named in &change.trust {
        if has(&revoked, &named.key) {
            bail!("key {} was revoked for good", named.name);
        }
        trusted.push(named.clone());
    }
    for named in change.retire.iter().chain(&change.revoke) {
        trusted.retain(|it| it.key != named.key);
    }
    revoked.extend(change.revoke.iter().cloned());
    ensure!(!trusted.is_empty(), "no key would be trusted any more");
    let link = Link {
        sequence: sequence.saturating_add(1),
        trusted: unique(trusted),
        revoked: unique(revoked),
    };
    let signed = link
        .seal(|message| signer.sign(message))
        .map_err(|error| anyhow!("{error}"))?;
    let bytes = [before, signed.as_bytes()].concat();
    Ok((checked(&bytes, &links, of_image, &link)?, bytes))
}

/// What a device makes of all links.
fn checked(
    bytes: &[u8],
    before: &[SignedLink],
    of_image: Vec<Named>,
    link: &Link,
) -> Result<Keyring> {
    let all = keyring::parse(bytes).map_err(|error| anyhow!("{error}"))?;
    // Where this is not the first, the keys of the image are not known here: all that were ever trusted
    // stand for them.
    let mut image = of_image;
    for earlier in before {
        image.extend(earlier.read().map_err(|error| anyhow!("{error}"))?.trusted);
    }
    let mut keyring = Keyring::of(image);
    let passed = keyring.extend(&all);
    ensure!(
        passed.is_empty() && keyring.sequence() == link.sequence,
        "a device would not take it: {}",
        passed.join("; ")
    );
    Ok(keyring)
}

/// Links that an image begins with, and that a bundle brings.
#[derive(Debug)]
pub(super) struct Links {
    /// All of them.
    pub(super) bytes: Vec<u8>,
    /// What the last one says.
    pub(super) last: Link,
}

/// The links in the file `path`, for a system that `signer` signs.
pub(super) fn open(path: &Path, signer: &ImageKey) -> Result<Links> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let links = keyring::parse(&bytes).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let last = links.last().map(SignedLink::read).transpose();
    let last = last.map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let last = last.with_context(|| format!("{}: no link is there", path.display()))?;
    ensure!(
        has(&last.trusted, &signer.public),
        "key {} is not trusted by link {} of {}: a device that takes the link refuses what it signs",
        signer.name,
        last.sequence,
        path.display()
    );
    Ok(Links { bytes, last })
}

fn has(keys: &[Named], key: &PublicKey) -> bool {
    keys.iter().any(|it| it.key == *key)
}

/// Each key once, with its first name.
fn unique(keys: impl IntoIterator<Item = Named>) -> Vec<Named> {
    keys.into_iter().fold(Vec::new(), |mut all, named| {
        if !has(&all, &named.key) {
            all.push(named);
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_follow_each_other_and_what_no_device_would_take_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = |name: &str| ImageKey::fresh(&dir.path().join(format!("{name}.key"))).unwrap();
        let (old, new, third) = (fresh("old"), fresh("new"), fresh("third"));
        let change = |trust: &[&ImageKey], revoke: &[&ImageKey]| Change {
            trust: trust.iter().map(|key| key.named()).collect(),
            retire: Vec::new(),
            revoke: revoke.iter().map(|key| key.named()).collect(),
        };
        let add = |before: &[u8], signer: &ImageKey, change: &Change| {
            more(before, signer, &[], change).map_err(|error| error.to_string())
        };
        let (_, first) = add(&[], &old, &change(&[&new], &[])).unwrap();
        let (keyring, second) = add(&first, &new, &change(&[], &[&old])).unwrap();
        assert_eq!(keyring.sequence(), 2);
        let trust: Vec<Trust> = keyring.entries().iter().map(|it| it.trust).collect();
        assert_eq!(trust, [Trust::Revoked(2), Trust::Trusted]);
        // A device with the first key alone takes both.
        let mut device = old.keyring();
        assert_eq!(device.extend(&keyring::parse(&second).unwrap()), [""; 0]);
        let said = |result: Result<_, String>| result.map(drop).unwrap_err();
        let stranger = said(add(&second, &third, &change(&[&third], &[])));
        assert!(stranger.contains("key third is not trusted"), "{stranger}");
        let back = said(add(&second, &new, &change(&[&old], &[])));
        assert!(back.contains("key old was revoked for good"), "{back}");
        let none = said(add(&second, &new, &change(&[], &[&new])));
        assert!(none.contains("no key would be trusted"), "{none}");
        let path = dir.path().join("links");
        fs::write(&path, &second).unwrap();
        assert_eq!(open(&path, &new).unwrap().bytes, second);
        let refused = open(&path, &old).unwrap_err().to_string();
        assert!(refused.contains("key old is not trusted by link 2"));
    }
}
