//! The links of keys on the partition of the boot record: reading and keeping them, and the number that the
//! record has of them. Not here: what they say (`mounts::keyring`).

use mounts::keyring::{Basis, Keyring, copies, kept};
use mounts::slot::store;
use mounts::slot::update;

use super::change::Identity;
use super::device::Device;
use super::write;

/// The links of keys beside the record on `path`, and what is wrong with a copy of them.
#[must_use]
pub fn links(path: &str) -> (Vec<Vec<u8>>, Vec<String>) {
    match Device::open(path) {
        Ok(mut device) => copies::chains(&copies::load(&mut device)),
        Err(why) => (Vec::new(), vec![why]),
    }
}

/// Keeps the links that count by `basis` and those beside the record on `path`, which then says up to
/// which number they do. What is kept already is not written again. The keyring that comes of all, and the
/// chain that is kept.
///
/// # Errors
/// For people: what could not be opened, read or written.
pub fn keep_links(
    path: &str,
    running: &Identity,
    mut basis: Basis,
) -> Result<(Keyring, Vec<u8>), String> {
    let mut device = Device::open_to_write(path)?;
    device.lock()?;
    let copies = copies::load(&mut device);
    // Another may have written since they were looked at.
    let (there, _) = copies::chains(&copies);
    basis.chains.splice(0..0, there.iter().cloned());
    let (keyring, _) = basis.keyring();
    let chain = kept(&there, &keyring);
    // Whoever could sign while links are lost must not have that kept.
    if chain.is_empty() || keyring.lost().is_some() {
        return Ok((keyring, chain));
    }
    copies::store(&mut device, &copies, &chain)
        .map_err(|error| format!("the links of keys on {path} are not written: {error}"))?;
    let state = store::load(&mut device);
    let mut record = state.record().cloned();
    if let Some(record) = record.as_mut()
        && update::keep_link(record, &running.as_told(), keyring.newest())
    {
        write(&mut device, &state, record.clone())
            .map_err(|error| format!("the boot record on {path} is not written: {error}"))?;
    }
    Ok((keyring, chain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::keyring::{Link, LinkId, Named};
    use mounts::manifest::PublicKey;
    use mounts::slot::record::Record;
    use mounts::slot::region::{PARTITION_SIZE, Place};
    use std::os::unix::fs::FileExt;

    /// A key that all links revoke: the first of RFC 8032's tests.
    const FIRST: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn signing() -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&[1; 32])
    }

    fn named(key: &str) -> Named {
        Named {
            name: "a".to_owned(),
            key: PublicKey::parse(key).unwrap(),
        }
    }

    fn link(sequence: u32) -> Vec<u8> {
        use ed25519_dalek::Signer as _;
        let own = PublicKey::from_bytes(signing().verifying_key().as_bytes()).unwrap();
        let link = Link {
            sequence,
            trusted: vec![Named {
                name: "own".to_owned(),
                key: own,
            }],
            revoked: vec![named(FIRST)],
        };
        let signed = link.seal(|message| signing().sign(message).to_bytes());
        signed.unwrap().as_bytes().to_vec()
    }

    fn basis(chains: Vec<Vec<u8>>) -> Basis {
        let own = PublicKey::from_bytes(signing().verifying_key().as_bytes()).unwrap();
        let name = "own".to_owned();
        Basis {
            image: Link {
                trusted: vec![Named { name, key: own }],
                ..Link::default()
            },
            chains,
            needed: LinkId::default(),
        }
    }

    #[test]
    fn links_are_kept_beside_the_record_which_says_how_far_they_go() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        file.as_file().set_len(PARTITION_SIZE).unwrap();
        let record = Record::for_image(None, None).encode();
        let at = Place::FIRST.offset();
        file.as_file().write_all_at(&record, at).unwrap();
        let number = || super::super::load(path).record().unwrap().key_link.sequence;
        let keep = |chains| {
            let kept = keep_links(path, &Identity::default(), basis(chains)).unwrap();
            assert!(kept.0.sequence() == 0 || links(path).0 == [kept.1]);
            kept.0
        };
        assert_eq!(
            (keep(Vec::new()).sequence(), links(path)),
            (0, (Vec::new(), Vec::new()))
        );
        assert_eq!((keep(vec![link(1)]).sequence(), number()), (1, 1));
        // What another has written meanwhile counts too, and is not lost.
        assert_eq!((keep(vec![link(4)]).sequence(), number()), (4, 4));
        let both = [link(1), link(4)].concat();
        assert_eq!(links(path), (vec![both.clone()], Vec::new()));
        assert_eq!((keep(vec![link(2)]).sequence(), number()), (4, 4));
        // A damaged copy is mended by the next call.
        let [first, _] = copies::OFFSETS;
        file.as_file().write_all_at(&[1; 40], first + 50).unwrap();
        assert_eq!(
            (links(path).0, links(path).1.len()),
            (vec![both.clone()], 1)
        );
        keep(Vec::new());
        assert_eq!(links(path), (vec![both], Vec::new()));
    }
}
