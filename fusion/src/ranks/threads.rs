//! Ranks that are threads of one process.

use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use equilibria_core::parallel::lock;
use equilibria_core::{Error, Result};

use super::{guarded, Ranks};

/// One of several threads that are ranks.
pub struct Thread<'a> {
    rank: usize,
    all: &'a Shared,
}

/// What the threads share.
struct Shared {
    size: usize,
    round: Mutex<Round>,
    changed: Condvar,
}

/// One exchange: every thread gives, and when all have given every thread takes.
#[derive(Default)]
struct Round {
    given: Vec<Option<Vec<u8>>>,
    /// Threads that are to take yet; above 0 once all have given.
    takers: usize,
    failed: Option<usize>,
}

/// Does the same on so many ranks, each a thread. Returns what comes of it on each, in their order.
///
/// Where one fails, all others do that wait for it: with [`Error::OtherRank`].
///
/// # Panics
/// If one of them does, once all have ended.
pub fn run<T: Send, F: Send + From<Error>>(
    size: usize,
    work: impl Fn(&Thread<'_>) -> Result<T, F> + Sync,
) -> Vec<Result<T, F>> {
    let all = Shared {
        size,
        round: Mutex::new(Round {
            given: (0..size).map(|_| None).collect(),
            ..Round::default()
        }),
        changed: Condvar::new(),
    };
    let own = |rank| {
        let ranks = Thread { rank, all: &all };
        guarded(&ranks, || work(&ranks), |_| 1)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..size)
            .map(|rank| scope.spawn(move || own(rank)))
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let results = ended.into_iter();
        results
            .map(|ended| ended.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

impl Shared {
    /// Waits as long as `waits` says so; not for one that has failed.
    fn wait<'r>(
        &self,
        mut round: MutexGuard<'r, Round>,
        waits: impl Fn(&Round) -> bool,
    ) -> Result<MutexGuard<'r, Round>> {
        loop {
            if !waits(&round) {
                return Ok(round);
            }
            if let Some(rank) = round.failed {
                return Err(Error::OtherRank { rank });
            }
            let changed = self.changed.wait(round);
            round = changed.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

impl Ranks for Thread<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.all.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        // The round before may not be over.
        let mut round = self
            .all
            .wait(lock(&self.all.round), |round| round.takers > 0)?;
        round.given[self.rank] = Some(own.to_vec());
        if round.given.iter().all(Option::is_some) {
            round.takers = self.all.size;
            self.all.changed.notify_all();
        }
        let mut round = self.all.wait(round, |round| round.takers == 0)?;
        let all = round.given.iter().flatten().cloned().collect();
        round.takers -= 1;
        if round.takers == 0 {
            round.given.fill(None);
        }
        self.all.changed.notify_all();
        Ok(all)
    }

    fn fail(&self, _code: u8) {
        lock(&self.all.round).failed.get_or_insert(self.rank);
        self.all.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_gets_what_all_give_round_after_round() {
        let gathered = run::<_, Error>(3, |ranks| {
            let rounds = (0..50u8).map(|round| ranks.gather(&[round, ranks.rank() as u8]));
            rounds.collect::<Result<Vec<_>>>()
        });
        for rounds in gathered {
            for (round, all) in rounds.expect("no rank fails").into_iter().enumerate() {
                let expected: Vec<Vec<u8>> = (0..3).map(|rank| vec![round as u8, rank]).collect();
                assert_eq!(all, expected);
            }
        }
    }

    #[test]
    fn sums_are_over_ranks_in_both_precisions() {
        let sums = run::<_, Error>(4, |ranks| {
            let ranks: &dyn Ranks = ranks;
            let own = ranks.rank() as f32;
            let (mut single, mut double) = (vec![own, 1.0], vec![f64::from(own) / 2.0]);
            ranks.sum(&mut single)?;
            ranks.sum(&mut double)?;
            Ok((single, double))
        });
        for sum in sums {
            assert_eq!(sum.expect("no rank fails"), (vec![6.0, 4.0], vec![3.0]));
        }
    }

    #[test]
    fn an_error_of_one_rank_ends_all_that_wait_for_it() {
        let ended = run::<(), Error>(3, |ranks| {
            ranks.gather(&[])?;
            if ranks.rank() == 1 {
                return Err(Error::device("out of memory"));
            }
            // Forever, if nobody said so.
            loop {
                ranks.gather(&[])?;
            }
        });
        for (rank, ended) in ended.into_iter().enumerate() {
            let error = ended.expect_err("all end");
            match rank {
                1 => assert!(matches!(error, Error::Device { .. })),
                _ => assert!(matches!(error, Error::OtherRank { rank: 1 }), "{error}"),
            }
        }
    }

    #[test]
    fn a_panic_of_one_rank_ends_all_and_goes_on() {
        let outcome = std::panic::catch_unwind(|| {
            run::<(), Error>(2, |ranks| match ranks.rank() {
                0 => panic!("a bug"),
                _ => loop {
                    ranks.gather(&[])?;
                },
            })
        });
        assert!(outcome.is_err());
    }

    #[test]
    fn ranks_that_differ_are_told_on_every_rank() {
        let outcomes = run::<(), Error>(3, |ranks| {
            let ranks: &dyn Ranks = ranks;
            let own = [u8::from(ranks.rank() == 2)];
            ranks.require_same(&own, "the data", "give every rank the same files")
        });
        for outcome in outcomes {
            let error = outcome.expect_err("one differs").to_string();
            let expected = "rank 2 differs from rank 0 in the data; give every rank the same files";
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn sums_of_other_lengths_are_refused_on_every_rank() {
        let outcomes = run::<(), Error>(3, |ranks| {
            let mut numbers = vec![1.0; 2 + usize::from(ranks.rank() == 1)];
            ranks.sum_doubles(&mut numbers)
        });
        for outcome in outcomes {
            let error = outcome.expect_err("one has more").to_string();
            let expected = "rank 1 differs from rank 0 in how many numbers are to be added up";
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
