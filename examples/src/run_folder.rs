//! Run folders: written beside their final place and moved there when complete.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A run folder in the making; removed again unless [`finish`](RunFolder::finish) is reached.
pub struct RunFolder {
    target: PathBuf,
    partial: PathBuf,
    force: bool,
    keep: bool,
}

impl RunFolder {
    /// Prepares `out`, or a new folder `runs/NAME-k` if none is given.
    ///
    /// # Errors
    /// [`Error::OutputExists`] without `force`, [`Error::NoRunFolder`] for one that is not a run folder,
    /// [`Error::Io`] if nothing can be written there.
    pub fn prepare(out: Option<&Path>, name: &str, force: bool) -> Result<Self> {
        let target: PathBuf = match out {
            // Without what follows a last slash, which would put the partial folder inside.
            Some(out) => out.components().collect(),
            None => fresh(name),
        };
        if target.exists() {
            if !force {
                return Err(Error::OutputExists { path: target });
            }
            if !target.join("config.toml").is_file() {
                return Err(Error::NoRunFolder { path: target });
            }
        }
        let mut partial = target.clone().into_os_string();
        partial.push(format!(".partial-{}", std::process::id()));
        let partial = PathBuf::from(partial);
        std::fs::create_dir_all(&partial).map_err(Error::io(&target))?;
        Ok(Self {
            target,
            partial,
            force,
            keep: false,
        })
    }

    /// Writes one file.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let path = self.partial.join(name);
        std::fs::write(&path, contents).map_err(Error::io(&path))
    }

    /// Whether a file has been written.
    pub fn has(&self, name: &str) -> bool {
        self.partial.join(name).is_file()
    }

    /// Moves the folder to its place, which it returns. If that fails, everything stays in the partial folder, which the
    /// error names.
    pub fn finish(mut self) -> Result<PathBuf> {
        let moved = self.replace();
        if moved.is_err() {
            self.keep = true;
        }
        moved.map(|()| self.target.clone())
    }

    fn replace(&self) -> Result<()> {
        let saved = |source| Error::Unmoved {
            path: self.target.clone(),
            partial: self.partial.clone(),
            source,
        };
        if !(self.force && self.target.exists()) {
            return std::fs::rename(&self.partial, &self.target).map_err(saved);
        }
        let mut old = self.partial.clone().into_os_string();
        old.push(".replaced");
        let old = PathBuf::from(old);
        std::fs::rename(&self.target, &old).map_err(saved)?;
        std::fs::rename(&self.partial, &self.target).map_err(saved)?;
        std::fs::remove_dir_all(&old).map_err(Error::io(&old))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.keep {
            // After `finish` there is nothing left to remove.
            let _ = std::fs::remove_dir_all(&self.partial);
        }
    }
}

/// Writes a file beside its place and moves it there when complete.
pub fn write_whole(path: &Path, contents: &str) -> Result<()> {
    let mut partial = path.to_owned().into_os_string();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = std::fs::write(&partial, contents).and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&partial);
        Error::io(path)(source)
    })
}

fn fresh(name: &str) -> PathBuf {
    (1..)
        .map(|k| PathBuf::from("runs").join(format!("{name}-{k}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| PathBuf::from("runs").join(name))
}
