//! Files that are whole or not there at all, and what is no file.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

/// Links that are followed before they are taken for a circle, as Linux does.
const MOST_LINKS: usize = 40;

/// Writes a file beside its place and moves it there when it is complete and on the disk: whoever reads it, also after a crash,
/// finds the old one or the new one. Links stay what they are: the file they lead to is replaced, or made.
///
/// What is no regular file, a device or a named pipe, is written into as it is, and so is the file that standard output or standard
/// error goes to: behind what has been printed.
///
/// # Errors
/// Those of the system; a file that was there before stays.
pub fn write_whole(path: &Path, contents: impl AsRef<[u8]>) -> Result<()> {
    let contents = contents.as_ref();
    match std::fs::metadata(path) {
        Ok(place) if place.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(place) => match standard(&place) {
            Some(mut stream) => {
                stream.write_all(contents)?;
                stream.flush()
            }
            None if place.is_file() => replace(&destination(path), contents),
            None => {
                let mut special = File::options().write(true).open(path)?;
                special.write_all(contents)?;
                special.flush()
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => replace(&destination(path), contents),
        Err(error) => Err(error),
    }
}

/// Where a path leads when the links it names are followed, whether something is there or not.
pub fn destination(path: &Path) -> PathBuf {
    let mut place = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = std::fs::read_link(&place) else {
            break;
        };
        place = place.parent().unwrap_or(Path::new("")).join(target);
    }
    place
}

/// Stands between the name of a file and the number of the process that writes it.
const PARTIAL: &str = ".partial-";

/// Whether a path is called as files are until [`write_whole`] has written them. One that stays belongs to a process that was killed.
pub fn is_partial(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = name.rsplit_once(PARTIAL).map(|(_, number)| number);
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    let mut partial = path.to_owned().into_os_string();
    partial.push(format!("{PARTIAL}{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&partial);
    })
}

/// The stream of this process that goes to a place, if one does: opened anew, it would be written from its beginning.
#[cfg(unix)]
fn standard(place: &Metadata) -> Option<Box<dyn Write>> {
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::fs::MetadataExt;

    let leads_here = |stream: BorrowedFd<'_>| {
        let file = stream.try_clone_to_owned().map(File::from);
        let stream = file.and_then(|file| file.metadata());
        stream.is_ok_and(|stream| (stream.dev(), stream.ino()) == (place.dev(), place.ino()))
    };
    let (out, error) = (std::io::stdout(), std::io::stderr());
    if leads_here(out.as_fd()) {
        return Some(Box::new(out));
    }
    leads_here(error.as_fd()).then(|| Box::new(error) as Box<dyn Write>)
}

#[cfg(not(unix))]
fn standard(_: &Metadata) -> Option<Box<dyn Write>> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).expect("a file")
    }

    #[test]
    fn links_stay_and_the_file_they_lead_to_is_replaced_or_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("deep")).expect("a folder");
        std::fs::write(at("deep/file"), "old").expect("a file");
        // One relative to its own folder, one through another link, one to what is not there yet.
        symlink("deep/file", at("link")).expect("a link");
        symlink(at("link"), at("second")).expect("a link");
        symlink("deep/new", at("dangling")).expect("a link");
        for (link, file) in [
            ("link", "deep/file"),
            ("second", "deep/file"),
            ("dangling", "deep/new"),
        ] {
            write_whole(&at(link), link).expect("it is written");
            assert_eq!(read(&at(file)), link);
            assert!(at(link).is_symlink() && !at(file).is_symlink(), "{link}");
        }
        symlink("nowhere/file", at("lost")).expect("a link");
        let lost = write_whole(&at("lost"), "x").expect_err("no folder");
        assert_eq!(lost.kind(), ErrorKind::NotFound);
        symlink("circle", at("circle")).expect("a link");
        assert!(write_whole(&at("circle"), "x").is_err() && at("circle").is_symlink());
        assert!(write_whole(&at("deep"), "x").is_err() && at("deep/file").is_file());
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 6, "nothing partial stays");
    }
}
