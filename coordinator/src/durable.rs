//! Writing files so that a crash leaves the old one or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The owner alone: keys, tokens.
    Owner,
    /// As the process' umask says.
    Usual,
}

/// Replaces the file at `path` by `bytes`; durable on return.
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    write_parts(path, access, |file| {
        file.write_all(bytes)?;
        Ok(((), path.to_path_buf()))
    })
}

/// Replaces the file whose path, in the folder of `near`, `act` gives once it has written all of it; durable on return.
pub(crate) fn write_parts<T>(
    near: &Path,
    access: Access,
    act: impl FnOnce(&mut File) -> io::Result<(T, PathBuf)>,
) -> io::Result<T> {
    let partial = partial_of(near)?;
    let written = create(&partial, access).and_then(|mut file| {
        let written = act(&mut file)?;
        file.sync_all()?;
        Ok(written)
    });
    match written.and_then(|(made, path)| fs::rename(&partial, path).map(|()| made)) {
        Ok(made) => sync_folder(near).map(|()| made),
        Err(error) => {
            // Nobody else will clean up; the first error is the one worth telling.
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

/// Like [`write`], but leaves a file that is there already; whether it wrote.
pub(crate) fn write_new(path: &Path, bytes: &[u8], access: Access) -> io::Result<bool> {
    let partial = partial_of(path)?;
    let written = create(&partial, access).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    // A link fails where a rename would replace what another process has just written.
    let linked = written.and_then(|()| fs::hard_link(&partial, path));
    let _ = fs::remove_file(&partial);
    match linked {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes entries of the folder that holds `path` durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Whether a file is a left-over of an interrupted write.
pub(crate) fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.contains(".partial-")
}

/// In the same folder, so that a rename cannot cross file systems; per process, so that two do not write into one file.
fn partial_of(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let name = format!(".{}.partial-{}", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(name))
}

fn create(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if access == Access::Owner {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = access;
    options.open(path)
}
