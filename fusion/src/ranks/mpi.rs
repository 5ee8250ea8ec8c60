//! Ranks that are the processes of an MPI job: Open MPI, MPICH, or another implementation of MPI 3.

use equilibria_core::{Error, Result};
use mpi::collective::SystemOperation;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence};
use mpi::Threading;

use super::Ranks;

/// Numbers or bytes of one call of MPI, whose counts are 32-bit integers.
const MOST: usize = 1 << 26;

/// An MPI job, from its beginning to its end.
pub struct Job {
    /// Ends MPI when dropped, once all ranks do.
    _universe: Universe,
    world: World,
}

/// All processes of the job.
///
/// Its methods may be called on any thread, on one at a time.
#[derive(Debug, Clone, Copy)]
pub struct World {
    rank: usize,
    size: usize,
}

impl Job {
    /// Begins MPI; once in a process, on its main thread.
    ///
    /// # Errors
    /// [`Error::Device`] if MPI was begun before, or cannot be called on another thread than this one.
    pub fn begin() -> Result<Self> {
        let begun = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) =
            begun.ok_or_else(|| Error::device("MPI was begun before in this process"))?;
        if threading < Threading::Serialized {
            return Err(Error::device(format!(
                "this MPI has no more than {threading:?} threads, and `Serialized` is needed; use one that was built with threads"
            )));
        }
        let world = universe.world();
        let count = |number: i32| usize::try_from(number).unwrap_or_default();
        Ok(Self {
            world: World {
                rank: count(world.rank()),
                size: count(world.size()),
            },
            _universe: universe,
        })
    }

    /// Its ranks.
    pub fn world(&self) -> &World {
        &self.world
    }
}

impl World {
    /// Replaces numbers by their sums over ranks.
    fn sum<T: Equivalence + Default + Clone + Copy>(&self, numbers: &mut [T]) {
        let world = SimpleCommunicator::world();
        let mut sums = vec![T::default(); numbers.len().min(MOST)];
        for part in numbers.chunks_mut(MOST) {
            let sums = &mut sums[..part.len()];
            world.all_reduce_into(&*part, sums, SystemOperation::sum());
            part.copy_from_slice(sums);
        }
    }
}

impl Ranks for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let world = SimpleCommunicator::world();
        let mut lengths = vec![0u64; self.size];
        world.all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let mut all: Vec<Vec<u8>> = (lengths.iter())
            .map(|&length| Vec::with_capacity(length as usize))
            .collect();
        // Every rank gives a piece of what it has at a time.
        let most = MOST / self.size;
        let longest = lengths.iter().max().map_or(0, |&length| length as usize);
        for start in (0..longest).step_by(most) {
            let piece = |length: usize| start.min(length)..(start + most).min(length);
            let counts: Vec<usize> = (lengths.iter())
                .map(|&length| piece(length as usize).len())
                .collect();
            let mut received = vec![0u8; counts.iter().sum()];
            let mut end = 0;
            let displacements = counts.iter().map(|&count| {
                end += count;
                (end - count) as i32
            });
            let displacements: Vec<i32> = displacements.collect();
            let sizes: Vec<i32> = counts.iter().map(|&count| count as i32).collect();
            let own = &own[piece(own.len())];
            let mut places = PartitionMut::new(&mut received[..], sizes, displacements);
            world.all_gather_varcount_into(own, &mut places);
            let mut rest = &received[..];
            for (all, count) in all.iter_mut().zip(counts) {
                let (given, next) = rest.split_at(count);
                all.extend_from_slice(given);
                rest = next;
            }
        }
        Ok(all)
    }

    fn sum_singles(&self, numbers: &mut [f32]) -> Result<()> {
        self.sum(numbers);
        Ok(())
    }

    fn sum_doubles(&self, numbers: &mut [f64]) -> Result<()> {
        self.sum(numbers);
        Ok(())
    }

    fn fail(&self, code: u8) {
        SimpleCommunicator::world().abort(code.into());
    }
}
