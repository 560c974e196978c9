//! `compile`: makes the graph that lies in an image, with no init running. Not here: making it
//! (`init::load::image`), and the checks (`services`).

use std::fs;
use std::io::Write;
use std::path::Path;

use init::load::image;
use init::paths::Paths;
use serde_json::json;

use crate::cli::Compile;
use crate::failure::{Failure, count};
use crate::screen::Screen;
use crate::verify;

/// `compile`.
pub(crate) fn compile(screen: &mut Screen<'_>, options: &Compile) -> Result<(), Failure> {
    let paths = Paths::new(None, None);
    let made = image::make(&options.root, &paths.service_path, options.time);
    let (bytes, services) = match made {
        Ok(made) => made,
        Err(diagnostics) => return verify::tell(screen, &diagnostics, &[], 0),
    };
    let place = image::place(&paths).unwrap_or_default();
    let place = options.root.join(place.strip_prefix("/").unwrap_or(&place));
    write(&place, &bytes).map_err(|error| Failure::of_file("write", &place, &error))?;
    if screen.json {
        return screen.print_json(&json!({
            "path": place,
            "services": services,
            "bytes": bytes.len(),
        }));
    }
    screen.say_done(&format!(
        "{}: {}, {} bytes\n",
        place.display(),
        count(services, "service"),
        bytes.len()
    ))
}

/// The old one stays until the new one is whole.
fn write(place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = place.with_extension("new");
    let written = fs::File::create(&fresh)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written
        .and_then(|()| fs::rename(&fresh, place))
        .inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })
}
