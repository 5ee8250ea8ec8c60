//! Run folders: written beside their final place and moved there when complete.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use equilibria_fusion::checkpoint;

use crate::error::{Error, Result};

/// The folder of runs whose place nobody has chosen.
pub const RUNS: &str = "runs";

/// The file an unfinished run goes on from.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// The file of a complete run.
pub const MODEL: &str = "model.safetensors";

/// The file whose lock tells that a process works in a folder.
const LOCK: &str = "lock";

/// The run folder `DIR` in the making, `DIR.partial`. Until it is [finished](RunFolder::finish) it is removed again when
/// dropped, unless something in it is worth [keeping](RunFolder::keep).
pub struct RunFolder {
    target: PathBuf,
    partial: PathBuf,
    force: bool,
    keep: bool,
    /// The thread that writes a file, if one does.
    writer: Option<JoinHandle<Result<()>>>,
    /// Locked as long as this process works in the folder, and free again when it ends, however it ends.
    _lock: File,
}

impl RunFolder {
    /// Prepares `out`, or a new folder `runs/NAME-k` if none is given.
    ///
    /// # Errors
    /// [`Error::OutputExists`] or [`Error::Unfinished`] without `force`, [`Error::NoRunFolder`] for one that is not a run
    /// folder, [`Error::Busy`] if another process works there, [`Error::Io`] if nothing can be written there.
    pub fn prepare(out: Option<&Path>, name: &str, force: bool) -> Result<Self> {
        let target = out.map_or_else(|| fresh(name), tidy);
        if target.exists() {
            if !force {
                return Err(Error::OutputExists { path: target });
            }
            if !target.join("config.toml").is_file() {
                return Err(Error::NoRunFolder { path: target });
            }
        }
        let folder = Self::open(target, force)?;
        // Another process may have finished it since.
        if folder.target.exists() && !force {
            let path = folder.target.clone();
            return Err(Error::OutputExists { path });
        }
        let checkpoint = folder.partial.join(CHECKPOINT);
        if checkpoint.is_file() {
            if !force {
                return Err(Error::Unfinished {
                    path: folder.into_target(),
                });
            }
            std::fs::remove_file(&checkpoint).map_err(Error::io(&checkpoint))?;
        }
        Ok(folder)
    }

    /// The unfinished run of the folder `run`; `None` if it is complete.
    ///
    /// # Errors
    /// [`Error::NoRun`] if there is neither; [`Error::Busy`], [`Error::Io`].
    pub fn resume(run: &Path) -> Result<Option<Self>> {
        let target = meant(run);
        if !partial(&target).join(CHECKPOINT).is_file() {
            return match target.join(MODEL).is_file() {
                true => Ok(None),
                false => Err(Error::NoRun { path: target }),
            };
        }
        // What is in its place by now was to be replaced when the run began.
        let mut folder = Self::open(target, true)?;
        folder.keep();
        Ok(Some(folder))
    }

    fn open(target: PathBuf, force: bool) -> Result<Self> {
        let partial = partial(&target);
        std::fs::create_dir_all(&partial).map_err(Error::io(&target))?;
        let path = partial.join(LOCK);
        let lock = File::create(&path).map_err(Error::io(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy { path: partial }),
            Err(TryLockError::Error(error)) => return Err(Error::io(&path)(error)),
        }
        sweep(&partial);
        Ok(Self {
            target,
            partial,
            force,
            keep: false,
            writer: None,
            _lock: lock,
        })
    }

    /// Where the folder is to be.
    pub fn target(&self) -> &Path {
        &self.target
    }

    fn into_target(mut self) -> PathBuf {
        self.keep();
        self.target.clone()
    }

    /// Writes one file, whole or not at all.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        write_whole(&self.partial.join(name), contents)
    }

    /// [`write`](Self::write) by another thread, which makes the contents as well. If that fails, the error is that of the
    /// next call, which writes all the same, or of [`wait`](Self::wait).
    pub fn write_behind(
        &mut self,
        name: &str,
        contents: impl FnOnce() -> Result<Vec<u8>> + Send + 'static,
    ) -> Result<()> {
        let earlier = self.wait();
        let path = self.path(name);
        let place = path.clone();
        let writer = thread::Builder::new().spawn(move || write_whole(&path, contents()?));
        self.writer = Some(writer.map_err(Error::io(&place))?);
        earlier
    }

    /// Waits until everything is written.
    pub fn wait(&mut self) -> Result<()> {
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(()),
        }
    }

    /// Waits for the writer, however it ends.
    fn settle(&mut self) {
        let _ = self.writer.take().map(JoinHandle::join);
    }

    /// The path of a file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.partial.join(name)
    }

    /// Whether a file has been written.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).is_file()
    }

    /// Leaves the folder behind, whatever happens.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Whether it is left behind: there is something to go on from.
    pub fn is_kept(&self) -> bool {
        self.keep && self.has(CHECKPOINT)
    }

    /// Moves the folder to its place, which it returns. If that fails, everything stays in the partial folder, which the
    /// error names.
    pub fn finish(mut self) -> Result<PathBuf> {
        self.keep();
        // The model is here: a checkpoint that could not be written is not missed.
        self.settle();
        self.replace()?;
        for name in [CHECKPOINT, LOCK] {
            // A file too many does no harm.
            let _ = std::fs::remove_file(self.target.join(name));
        }
        Ok(self.target.clone())
    }

    fn replace(&self) -> Result<()> {
        let saved = |source| Error::Unmoved {
            path: self.target.clone(),
            partial: self.partial.clone(),
            source,
        };
        let mut old = self.partial.clone().into_os_string();
        old.push(".replaced");
        let old = PathBuf::from(old);
        if self.force && self.target.exists() {
            // What a process that was killed here has replaced stands where this run is to stand now, or is older still.
            if old.exists() {
                std::fs::remove_dir_all(&old).map_err(Error::io(&old))?;
            }
            std::fs::rename(&self.target, &old).map_err(saved)?;
        }
        std::fs::rename(&self.partial, &self.target).map_err(saved)?;
        match self.force && old.exists() {
            true => std::fs::remove_dir_all(&old).map_err(Error::io(&old)),
            false => Ok(()),
        }
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        self.settle();
        if !self.keep {
            // What cannot be removed is found and replaced by the next run.
            let _ = std::fs::remove_dir_all(&self.partial);
        }
    }
}

/// Removes what processes that were killed have left of files in the folder, which no other process writes in. What cannot be removed
/// does no harm.
fn sweep(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| checkpoint::is_partial(&entry.path())) {
        let _ = std::fs::remove_file(entry.path());
    }
}

/// Without what follows a last slash, which would put the partial folder inside; where a link stands, the folder it leads to.
fn tidy(path: &Path) -> PathBuf {
    let path: PathBuf = path.components().collect();
    checkpoint::destination(&path).components().collect()
}

/// The run folder that is meant by the name of its partial folder, which is all there is of a run that was killed.
fn meant(run: &Path) -> PathBuf {
    match run.extension() {
        Some(extension) if extension == "partial" => tidy(&run.with_extension("")),
        _ => tidy(run),
    }
}

/// The model of a complete run.
///
/// # Errors
/// [`Error::NotTrained`] if the run is unfinished, [`Error::NoRun`] if there is none.
pub fn model(run: &Path) -> Result<PathBuf> {
    let target = meant(run);
    let model = target.join(MODEL);
    match partial(&target).join(CHECKPOINT).is_file() {
        _ if model.exists() => Ok(model),
        true => Err(Error::NotTrained { path: target }),
        false => Err(Error::NoRun { path: target }),
    }
}

fn partial(target: &Path) -> PathBuf {
    let mut partial = target.to_owned().into_os_string();
    partial.push(".partial");
    PathBuf::from(partial)
}

/// Writes a file that is whole or not there at all, or into what is no regular file.
pub fn write_whole(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    checkpoint::write_whole(path, contents).map_err(Error::io(path))
}

fn fresh(name: &str) -> PathBuf {
    (1..)
        .map(|k| Path::new(RUNS).join(format!("{name}-{k}")))
        .find(|path| !path.exists() && !partial(path).exists())
        .unwrap_or_else(|| Path::new(RUNS).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_memory() -> Error {
        Error::io(Path::new("memory"))(std::io::ErrorKind::Other.into())
    }

    /// What has failed is told once, by the next call, and costs neither the file that is there nor the one after it.
    #[test]
    fn a_file_that_could_not_be_written_behind_is_told_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("run");
        let mut run = RunFolder::prepare(Some(&target), "run", false).expect("a new folder");
        run.keep();
        let contents = |run: &RunFolder| std::fs::read(run.path(CHECKPOINT)).expect("a file");
        run.write_behind(CHECKPOINT, || Ok(vec![1]))
            .expect("a thread");
        run.wait().expect("it is written");
        run.write_behind(CHECKPOINT, || Err(in_memory()))
            .expect("a thread");
        assert!(run.write_behind(CHECKPOINT, || Ok(vec![2])).is_err());
        run.wait().expect("it is written");
        assert_eq!(contents(&run), [2]);
        run.write_behind(CHECKPOINT, || Err(in_memory()))
            .expect("a thread");
        assert!(run.wait().is_err());
        assert_eq!(contents(&run), [2]);
        // A model does not miss its last checkpoint.
        run.write(MODEL, [3]).expect("it is written");
        run.write_behind(CHECKPOINT, || Err(in_memory()))
            .expect("a thread");
        let place = run.finish().expect("it is moved");
        assert_eq!(std::fs::read(place.join(MODEL)).expect("a file"), [3]);
    }
}
