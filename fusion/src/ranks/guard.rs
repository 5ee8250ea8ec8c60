//! What a rank does when it fails: others would wait for it forever.

use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

use super::Ranks;

/// The exit code of a program that has panicked.
pub const PANICKED: u8 = 101;

/// Does some work of a rank. Where that fails, or panics, all ranks [end](Ranks::fail): with the code that `tell` gives, which tells of the
/// error first, or with [`PANICKED`].
///
/// # Errors
/// That of the work, where ranks have not ended the process.
pub fn guarded<T, F>(
    ranks: &dyn Ranks,
    work: impl FnOnce() -> Result<T, F>,
    tell: impl FnOnce(&F) -> u8,
) -> Result<T, F> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => {
            ranks.fail(tell(&error));
            Err(error)
        }
        Err(panic) => {
            ranks.fail(PANICKED);
            resume_unwind(panic)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use equilibria_core::Result;

    /// Notes the codes with which all are to end.
    #[derive(Default)]
    struct Noted(Mutex<Vec<u8>>);

    impl Ranks for Noted {
        fn rank(&self) -> usize {
            1
        }

        fn size(&self) -> usize {
            2
        }

        fn gather(&self, _: &[u8]) -> Result<Vec<Vec<u8>>> {
            unreachable!("no one is asked")
        }

        fn fail(&self, code: u8) {
            self.0.lock().expect("no panic").push(code);
        }
    }

    #[test]
    fn an_error_or_a_panic_of_a_rank_ends_all_and_success_does_not() {
        let ranks = Noted::default();
        let told = Mutex::new(Vec::new());
        let tell = |error: &String| {
            told.lock().expect("no panic").push(error.clone());
            2
        };
        assert_eq!(guarded(&ranks, || Ok(7), tell), Ok(7));
        assert!(ranks.0.lock().expect("no panic").is_empty());
        let failed: std::result::Result<(), _> =
            guarded(&ranks, || Err("a reason".to_owned()), tell);
        assert!(failed.is_err());
        assert_eq!(*told.lock().expect("no panic"), ["a reason"]);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _: std::result::Result<(), String> = guarded(&ranks, || panic!("a bug"), tell);
        }));
        assert!(panicked.is_err());
        assert_eq!(*ranks.0.lock().expect("no panic"), [2, PANICKED]);
    }
}
