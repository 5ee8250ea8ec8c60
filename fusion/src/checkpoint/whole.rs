//! Files that are whole or not there at all.

use std::fs::File;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};

/// Writes a file beside its place and moves it there when it is complete and on the disk: whoever reads it, also after a crash,
/// finds the old one or the new one.
///
/// # Errors
/// Those of the system; what was there before stays.
pub fn write_whole(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    let mut partial = path.to_owned().into_os_string();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(contents.as_ref())?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&partial);
    })
}
