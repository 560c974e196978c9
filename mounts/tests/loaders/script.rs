//! U-Boot and the boot script of an image, as the script reads and writes its environment: a reading of
//! its own, by offsets and texts.

use std::collections::BTreeMap;

use crc::{CRC_32_ISO_HDLC, Crc};
use mounts::slot::Slot;

use crate::fat::Fat;

const COPIES: [&str; 2] = ["shark/uboot.env", "shark/uboot-redund.env"];
const SIZE: usize = 0x4000;
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

type Values = BTreeMap<String, String>;

fn import(file: &[u8]) -> Option<(u8, Values)> {
    if file.len() != SIZE || CRC32.checksum(&file[5..]).to_le_bytes() != file[..4] {
        return None;
    }
    let text = String::from_utf8_lossy(&file[5..]).into_owned();
    let end = text.find("\0\0").unwrap();
    let values = text[..end].split('\0').map(|line| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    Some((file[4], values.collect()))
}

fn export(serial: u8, values: &Values) -> Vec<u8> {
    let mut data: Vec<u8> = values
        .iter()
        .flat_map(|(name, value)| format!("{name}={value}\0").into_bytes())
        .collect();
    data.resize(SIZE - 5, 0);
    let sum = CRC32.checksum(&data).to_le_bytes();
    [&sum[..], &[serial], &data].concat()
}

/// Counts a boot where there is one to count; the slot that is started.
pub(crate) fn run(fat: &mut Fat) -> Result<Slot, String> {
    let files = fat.files();
    let copies = COPIES.map(|path| files.get(path).and_then(|file| import(file)));
    let newer = match &copies {
        [None, None] => None,
        [Some(_), None] => Some(0),
        [None, Some(_)] => Some(1),
        [Some((first, _)), Some((second, _))] => {
            // The second one where it is at most half a turn ahead.
            Some(usize::from((1..128).contains(&second.wrapping_sub(*first))))
        }
    };
    let mut values = match newer {
        Some(newer) => copies[newer].clone().unwrap(),
        None => (0, Values::new()),
    };
    let number = |values: &Values, name: &str, default: u32| {
        values.get(name).map_or(default, |it| it.parse().unwrap())
    };
    let order = values.1.get("shark_order");
    let order: Vec<Slot> = order
        .map_or("a b", String::as_str)
        .split(' ')
        .map(slot)
        .collect();
    let on_trial = values
        .1
        .get("upgrade_available")
        .is_some_and(|it| it == "1");
    let (count, limit) = (
        number(&values.1, "bootcount", 0),
        number(&values.1, "bootlimit", 1),
    );
    if !on_trial {
        return Ok(order[0]);
    }
    if count <= limit {
        values
            .1
            .insert("bootcount".to_owned(), (count + 1).to_string());
        let path = COPIES[newer.map_or(0, |newer| 1 - newer)];
        let bytes = export(values.0.wrapping_add(1), &values.1);
        fat.call()?;
        // Over what was there, and torn when power goes in between.
        let mut torn = files.get(path).cloned().unwrap_or_default();
        torn.resize(SIZE, 0xff);
        torn[..512].copy_from_slice(&bytes[..512]);
        torn[4] ^= 0x55;
        torn[5] ^= 0xff;
        fat.put(path, &torn);
        fat.call()?;
        fat.put(path, &bytes);
        fat.call()?;
    }
    let over = count + 1 > limit;
    Ok(order.get(1).copied().filter(|_| over).unwrap_or(order[0]))
}

fn slot(word: &str) -> Slot {
    match word {
        "a" => Slot::A,
        "b" => Slot::B,
        other => panic!("slot {other}"),
    }
}
