//! Ranks: processes, or threads, that train one model together.
//!
//! Every rank runs the same program on the same data and takes its rows of every batch. What they have to tell each other goes through
//! [`Ranks`]: [`Alone`] is one process by itself, [`threads`] are ranks within a process, and `mpi`, with the feature of this name,
//! those of an MPI job.

mod division;
mod guard;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod parcel;
pub mod threads;

use std::any::Any;
use std::ops::Range;

use equilibria_core::{Error, Result, Scalar};

pub(crate) use division::Chunk;
pub use division::Division;
pub use guard::{guarded, PANICKED};

/// How a rank reaches the others. All ranks call the same methods in the same order; each waits for the others.
pub trait Ranks: Sync {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;

    /// How many there are, at least 1.
    fn size(&self) -> usize;

    /// What every rank gives, in the order of ranks, on every rank.
    ///
    /// # Errors
    /// [`Error::OtherRank`] where another rank has failed.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Replaces numbers by their sums over ranks, which have the same bits on every rank. Default: in the order of ranks.
    ///
    /// # Errors
    /// [`Error::RanksDiffer`] where ranks give other counts of numbers, and those of [`gather`](Self::gather).
    fn sum_singles(&self, numbers: &mut [f32]) -> Result<()> {
        let own: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let all = self.gather(&own)?;
        numbers.fill(0.0);
        for given in of_one_length(all)? {
            let given = given.as_chunks().0.iter().copied().map(f32::from_le_bytes);
            numbers.iter_mut().zip(given).for_each(|(sum, x)| *sum += x);
        }
        Ok(())
    }

    /// [`sum_singles`](Self::sum_singles) of numbers in double precision.
    ///
    /// # Errors
    /// Those of [`gather`](Self::gather).
    fn sum_doubles(&self, numbers: &mut [f64]) -> Result<()> {
        let own: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let all = self.gather(&own)?;
        numbers.fill(0.0);
        for given in of_one_length(all)? {
            let given = given.as_chunks().0.iter().copied().map(f64::from_le_bytes);
            numbers.iter_mut().zip(given).for_each(|(sum, x)| *sum += x);
        }
        Ok(())
    }

    /// Ends all other ranks, because this one has failed: with this exit code, where they are processes; those of MPI end here and now, this
    /// one among them. Default: there are no others.
    fn fail(&self, _code: u8) {}
}

/// One process by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![own.to_vec()])
    }

    fn sum_singles(&self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn sum_doubles(&self, _: &mut [f64]) -> Result<()> {
        Ok(())
    }
}

impl dyn Ranks + '_ {
    /// Whether this is the rank that writes and shows what comes of it.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there are others.
    pub fn are_several(&self) -> bool {
        self.size() > 1
    }

    /// The own ones of so many things that follow one another, of which every rank has as many as the others, or one more.
    pub fn share(&self, things: usize) -> Range<usize> {
        share_of(self.rank(), self.size(), things)
    }

    /// Replaces numbers by their sums over ranks, as [`sum_singles`](Ranks::sum_singles) has them.
    ///
    /// # Errors
    /// Those of [`gather`](Ranks::gather).
    #[allow(clippy::ptr_arg)] // A slice has no type that could be asked for.
    pub fn sum<E: Scalar>(&self, numbers: &mut Vec<E>) -> Result<()> {
        let numbers: &mut dyn Any = numbers;
        if let Some(singles) = numbers.downcast_mut::<Vec<f32>>() {
            return self.sum_singles(singles);
        }
        match numbers.downcast_mut::<Vec<f64>>() {
            Some(doubles) => self.sum_doubles(doubles),
            None => Ok(()),
        }
    }

    /// Whether it is so on any rank.
    ///
    /// # Errors
    /// Those of [`gather`](Ranks::gather).
    pub fn any(&self, own: bool) -> Result<bool> {
        if !self.are_several() {
            return Ok(own);
        }
        let all = self.gather(&[u8::from(own)])?;
        Ok(all.iter().any(|given| given == &[1]))
    }

    /// What rank 0 has, which it gives; what the others give does not matter.
    ///
    /// # Errors
    /// Those of [`gather`](Ranks::gather).
    pub fn of_leader(&self, own: Vec<u8>) -> Result<Vec<u8>> {
        if !self.are_several() {
            return Ok(own);
        }
        let given = if self.leads() { &own[..] } else { &[] };
        Ok(self.gather(given)?.swap_remove(0))
    }

    /// Makes sure that all ranks have the same.
    ///
    /// # Errors
    /// [`Error::RanksDiffer`] with `what` and `remedy`, on every rank, and those of [`gather`](Ranks::gather).
    pub fn require_same(&self, own: &[u8], what: &str, remedy: &'static str) -> Result<()> {
        if !self.are_several() {
            return Ok(());
        }
        let all = self.gather(own)?;
        let other = all.iter().position(|given| *given != all[0]);
        other.map_or(Ok(()), |rank| {
            Err(Error::RanksDiffer {
                rank,
                what: what.to_owned(),
                remedy,
            })
        })
    }
}

/// What all ranks give, if it has as many bytes for each.
fn of_one_length(all: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    let other = (all.iter()).position(|given| given.len() != all[0].len());
    match other {
        None => Ok(all),
        Some(rank) => Err(Error::RanksDiffer {
            rank,
            what: "how many numbers are to be added up".to_owned(),
            remedy: "run the same version of the program, with the same configuration and data, on every machine",
        }),
    }
}

fn share_of(rank: usize, size: usize, things: usize) -> Range<usize> {
    let start = |rank: usize| rank * (things / size) + rank.min(things % size);
    start(rank)..start(rank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_one_another_and_differ_by_one_at_most() {
        for size in 1..=7 {
            for things in 0..30 {
                let shares: Vec<_> = (0..size).map(|rank| share_of(rank, size, things)).collect();
                let all: Vec<usize> = shares.iter().cloned().flatten().collect();
                assert_eq!(all, (0..things).collect::<Vec<_>>(), "{size}, {things}");
                let lengths = shares.iter().map(ExactSizeIterator::len);
                let (least, most) = (lengths.clone().min(), lengths.max());
                assert!(most.unwrap_or(0) - least.unwrap_or(0) <= 1);
            }
        }
    }
}
