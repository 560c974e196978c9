//! Credentials of a run: files in a directory of its own on ramfs, which is never swapped (tmpfs can
//! be told so only from Linux 6.4 on). The directory is 0500 and its files 0400, all of the account, so
//! that root and the services of the same account can read them and nobody else. It is not a mount of
//! the service's own, since a mount namespace would cut off those that mount for others, as container
//! engines do. Not here: the ramfs and the end of the directory (`pid1::begin`).

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};

use services::begin::{CREDENTIAL_MAX, Credential, CredentialSource};
use services::definition::Ids;

/// Makes `directory` with all credentials in it.
pub(super) fn lay_out(
    directory: &str,
    credentials: &[Credential],
    ids: Option<&Ids>,
) -> Result<(), String> {
    if kernel::files::exists(directory) {
        kernel::files::remove_tree(directory).map_err(|error| error.to_string())?;
    }
    fs::DirBuilder::new()
        .mode(0o700)
        .create(directory)
        .map_err(|error| format!("credentials: make {directory}: {error}"))?;
    let (uid, gid) = ids.map_or((0, 0), |ids| (ids.uid, ids.gid));
    let give = |path: &str| match ids {
        Some(_) => kernel::exec::give(path, uid, gid).map_err(|error| error.to_string()),
        None => Ok(()),
    };
    for credential in credentials {
        let content = content(credential)?;
        let path = format!("{directory}/{}", credential.name);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)
            .and_then(|mut file| file.write_all(&content))
            .map_err(|error| format!("credentials: write {path}: {error}"))?;
        give(&path)?;
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o500))
        .map_err(|error| format!("credentials: chmod {directory}: {error}"))?;
    give(directory)
}

fn content(credential: &Credential) -> Result<Vec<u8>, String> {
    match &credential.from {
        CredentialSource::Text(text) => Ok(text.clone().into_bytes()),
        CredentialSource::File(path) => {
            let path = path.display().to_string();
            kernel::files::read(&path, CREDENTIAL_MAX)
                .map_err(|error| format!("credential {}: {error}", credential.name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(name: &str, from: CredentialSource) -> Credential {
        Credential {
            name: name.to_owned(),
            from,
        }
    }

    #[test]
    fn they_are_files_that_only_the_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::write(&source, b"\xff\0").unwrap();
        let directory = dir.path().join("mine").display().to_string();
        let list = [
            credential("a", CredentialSource::Text("text".to_owned())),
            credential("b", CredentialSource::File(source.clone())),
        ];
        // Twice: what an earlier run has left is replaced.
        for _ in 0..2 {
            lay_out(&directory, &list, None).unwrap();
        }
        let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o500);
        assert_eq!(mode(&format!("{directory}/a")), 0o400);
        assert_eq!(fs::read(format!("{directory}/b")).unwrap(), b"\xff\0");

        fs::write(&source, vec![0; CREDENTIAL_MAX + 1]).unwrap();
        let told = lay_out(&directory, &list, None).unwrap_err();
        assert!(
            told.starts_with("credential b: ") && told.contains("EFBIG"),
            "{told}"
        );
        fs::remove_file(&source).unwrap();
        let told = lay_out(&directory, &list, None).unwrap_err();
        assert!(told.contains("ENOENT"), "{told}");
    }
}
