//! Reads directories of service files into sources, in layer order and within bounds. Not here: what
//! the files mean (`services::file`).

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use services::diagnostic::{Diagnostic, Place};
use services::file::{MASK, Source};

/// Largest service file, bytes.
const FILE_MAX: u64 = 1 << 20;
/// Most bytes of all files together: what bounds the memory of the loader.
const TOTAL_MAX: u64 = 64 << 20;
/// Most files of all layers together: each of the graph's services and a few drop-ins for it.
const FILES_MAX: usize = 65_536;

/// Why a file's text is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// There is no such file.
    Absent,
    /// There is one, and this is wrong with it.
    Broken(String),
}

/// Reads every `NAME.toml` and `NAME.toml.d/*.toml` of `directories` (lowest layer first), sorted by
/// path inside a layer. A directory that does not exist is an empty layer.
#[must_use]
pub fn sources(directories: &[String]) -> (Vec<Source>, Vec<Diagnostic>) {
    let (files, mut diagnostics) = files(directories);
    let mut total = 0;
    let mut sources = Vec::with_capacity(files.len());
    for (layer, path) in files {
        match source(&path, layer, total) {
            Ok(source) => {
                total += source.text.len() as u64;
                sources.push(source);
            }
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    (sources, diagnostics)
}

/// The files that [`sources`] reads, each with its layer.
fn files(directories: &[String]) -> (Vec<(u8, PathBuf)>, Vec<Diagnostic>) {
    let mut files: Vec<(u8, PathBuf)> = Vec::new();
    let mut diagnostics = Vec::new();
    for (layer, directory) in directories.iter().enumerate() {
        let layer = u8::try_from(layer).unwrap_or(u8::MAX);
        let first = files.len();
        let mut left_out = None;
        let listed = for_each(Path::new(directory), &mut |path| {
            match files.len() < FILES_MAX {
                true => files.push((layer, path.to_path_buf())),
                false => left_out = left_out.take().or_else(|| Some(path.to_path_buf())),
            }
            Ok(())
        });
        if let Err(error) = listed {
            let message = format!("the directory cannot be read: {error}");
            diagnostics.push(whole_file(directory, message));
        }
        if let Some(path) = left_out {
            let message = format!("is one too many: at most {FILES_MAX} files are read");
            diagnostics.push(whole_file(&path.display().to_string(), message));
        }
        // As bytes: to compare part by part takes ten times as long.
        if let Some(of_layer) = files.get_mut(first..) {
            of_layer.sort_unstable_by(|(_, a), (_, b)| a.as_os_str().cmp(b.as_os_str()));
        }
    }
    (files, diagnostics)
}

/// Each service file of a layer: `NAME.toml` and `NAME.toml.d/*.toml`, in any order.
///
/// # Errors
/// Of reading the directories, but that there is none; of `take`.
pub(super) fn for_each(
    directory: &Path,
    take: &mut dyn FnMut(&Path) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut entry = |path: PathBuf| {
        // What has another name are editors' backups, READMEs, package managers' leftovers.
        let name = path.file_name().and_then(|name| name.to_str());
        match name.unwrap_or_default() {
            name if name.ends_with(".toml") => take(&path),
            name if name.ends_with(".toml.d") => entries(&path, &mut |drop_in| match drop_in
                .extension()
                .is_some_and(|text| text == "toml")
            {
                true => take(&drop_in),
                false => Ok(()),
            }),
            _ => Ok(()),
        }
    };
    entries(directory, &mut entry)
}

/// Each entry of a directory; none where it does not exist.
fn entries(
    directory: &Path,
    take: &mut dyn FnMut(PathBuf) -> std::io::Result<()>,
) -> std::io::Result<()> {
    match fs::read_dir(directory) {
        Ok(mut entries) => entries.try_for_each(|entry| take(entry?.path())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let message = format!("{}: {error}", directory.display());
            Err(std::io::Error::new(error.kind(), message))
        }
    }
}

/// One file, when `total` bytes have been read of others.
fn source(path: &Path, layer: u8, total: u64) -> Result<Source, Box<Diagnostic>> {
    let name = path.display().to_string();
    match bounded(path, FILE_MAX.min(TOTAL_MAX.saturating_sub(total))) {
        Ok(text) => Ok(Source {
            path: name,
            layer,
            text,
        }),
        Err(_) if is_mask(path) => Ok(Source {
            path: name,
            layer,
            text: MASK.to_owned(),
        }),
        // Listed and absent: a symbolic link to nowhere, or removed a moment ago.
        Err(Unreadable::Absent) => Err(Box::new(whole_file(&name, "leads to no file".to_owned()))),
        Err(Unreadable::Broken(message)) => Err(Box::new(whole_file(&name, message))),
    }
}

/// Whether the file stands for one that says `masked = true`: a symbolic link to /dev/null.
#[must_use]
pub fn is_mask(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

/// The text of `path`, at most `limit` bytes of it.
///
/// # Errors
/// Absent, or broken with the reason: not readable, too long, not UTF-8.
pub fn bounded(path: &Path, limit: u64) -> Result<String, Unreadable> {
    let broken = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Unreadable::Absent,
        _ => Unreadable::Broken(format!("cannot be read: {error}")),
    };
    let metadata = fs::metadata(path).map_err(broken)?;
    if !metadata.is_file() {
        return Err(Unreadable::Broken("is not a regular file".to_owned()));
    }
    // One byte more than it has, so that its end shows without another look for room.
    let expected = metadata.len().min(limit).saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    fs::File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(broken)?;
    if bytes.len() as u64 > limit {
        return Err(Unreadable::Broken(format!(
            "has more than {limit} bytes, which is the most that is read"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        Unreadable::Broken(format!(
            "is not UTF-8: byte {} is out of place",
            error.utf8_error().valid_up_to()
        ))
    })
}

/// A diagnostic about a file as a whole.
#[must_use]
pub fn whole_file(path: &str, message: String) -> Diagnostic {
    Diagnostic::new(&Place::whole(path), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn layers_are_read_in_order_and_only_toml_counts() {
        let dir = tree(&[
            ("low/b.toml", "1"),
            ("low/a.toml", "2"),
            ("low/a.toml~", "x"),
            ("low/README", "x"),
            ("high/a.toml.d/20-x.toml", "4"),
            ("high/a.toml.d/10-x.toml", "3"),
            ("high/a.toml.d/notes", "x"),
        ]);
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (sources, diagnostics) = sources(&[path("low"), path("absent"), path("high")]);
        let got: Vec<(u8, &str, &str)> = sources
            .iter()
            .map(|source| {
                let name = source.path.rsplit('/').next().unwrap();
                (source.layer, name, source.text.as_str())
            })
            .collect();
        let expect = [
            (0, "a.toml", "2"),
            (0, "b.toml", "1"),
            (2, "10-x.toml", "3"),
            (2, "20-x.toml", "4"),
        ];
        assert_eq!(got, expect);
        assert_eq!(diagnostics, []);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let dir = tree(&[("ok.toml", ""), ("bad.toml", "")]);
        fs::write(dir.path().join("bad.toml"), b"exec = \"\xff\"").unwrap();
        fs::write(dir.path().join("long.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link.toml")).unwrap();
        fs::create_dir(dir.path().join("dir.toml")).unwrap();
        let (sources, diagnostics) = sources(&[dir.path().display().to_string()]);
        assert_eq!(sources.len(), 1);
        let said: Vec<String> = diagnostics
            .iter()
            .map(|d| {
                let name = d.file.rsplit('/').next().unwrap();
                format!("{name}: {}", d.message)
            })
            .collect();
        assert_eq!(
            said,
            [
                "bad.toml: is not UTF-8: byte 8 is out of place",
                "dir.toml: is not a regular file",
                "link.toml: leads to no file",
                "long.toml: has more than 1048576 bytes, which is the most that is read",
            ]
        );
    }
}
