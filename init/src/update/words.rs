//! How the updater and its fetching child say their words to each other over one socket. Not here: the words
//! (`mounts::fetch::words`), and when what is said.

use std::io::{Read, Write};

use mounts::fetch::words::{decode, encode, length_of};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Says something.
///
/// # Errors
/// For people: the other side is gone.
pub(super) fn say(to: &mut impl Write, what: &impl Serialize) -> Result<(), String> {
    to.write_all(&encode(what)?)
        .map_err(|error| format!("write to the other half of the updater: {error}"))
}

/// Hears the next message; `None`: the other side has ended.
///
/// # Errors
/// For people: it is none.
pub(super) fn hear<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<T>, String> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(broken(&error)),
    }
    let mut bytes = vec![0; length_of(length)?];
    from.read_exact(&mut bytes)
        .map_err(|error| broken(&error))?;
    decode(&bytes)
        .map(Some)
        .map_err(|error| format!("from the other half of the updater: {error}"))
}

fn broken(error: &std::io::Error) -> String {
    format!("read from the other half of the updater: {error}")
}

#[cfg(test)]
mod tests {
    use mounts::fetch::words::Order;
    use mounts::keyring::Basis;

    use super::*;

    #[test]
    fn messages_come_in_order_and_the_end_is_no_message() {
        let mut wire = Vec::new();
        let order = Order::Send(vec![(0, 3), (7, 8)]);
        say(&mut wire, &order).unwrap();
        say(
            &mut wire,
            &Order::Open {
                url: None,
                basis: Basis::default(),
            },
        )
        .unwrap();
        let mut from = &wire[..];
        assert_eq!(hear(&mut from), Ok(Some(order)));
        assert!(matches!(hear(&mut from), Ok(Some(Order::Open { .. }))));
        assert_eq!(hear::<Order>(&mut from), Ok(None));
        let mut long = &[0xff; 8][..];
        assert!(hear::<Order>(&mut long).unwrap_err().contains("at most"));
        let mut torn = &wire[..6];
        assert!(hear::<Order>(&mut torn).is_err());
    }
}
