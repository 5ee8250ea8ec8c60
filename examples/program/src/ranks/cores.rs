//! The cores of a machine, shared by the ranks on it.

use std::collections::BTreeSet;

use equilibria_fusion::ranks::parcel::{Parcel, Unpacked};
use equilibria_fusion::ranks::Ranks;

use crate::error::{Error, Result};

/// The variable of rayon with the number of threads.
const THREADS: &str = "RAYON_NUM_THREADS";

/// A machine, known by what no other has, and the cores on it that a process may use.
struct Place {
    machine: String,
    cores: BTreeSet<usize>,
}

/// Gives this rank its share of the cores it may use: as many threads as cores, divided by the ranks that may use them as well. The
/// environment variable `RAYON_NUM_THREADS` goes before that.
///
/// # Errors
/// [`Error::Threads`].
pub fn share(ranks: &dyn Ranks) -> Result<()> {
    let own = Place::here();
    let mut parcel = Parcel::default();
    parcel.text(&own.machine);
    parcel.count(own.cores.len());
    own.cores.iter().for_each(|&core| parcel.count(core));
    let mut all = Vec::new();
    for bytes in ranks.gather(&parcel.into_bytes())? {
        let mut unpacked = Unpacked::new(&bytes);
        let machine = unpacked.text()?;
        let cores = (0..unpacked.count()?).map(|_| unpacked.count());
        let cores = cores.collect::<Result<_, _>>()?;
        all.push(Place { machine, cores });
    }
    if std::env::var_os(THREADS).is_some() {
        return Ok(());
    }
    // The system may allow less time than the cores have.
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = own.threads(&all, most);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global()
        .map_err(|source| Error::Threads { threads, source })
}

impl Place {
    /// Where this process is.
    fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let machine = read("/proc/sys/kernel/random/boot_id");
        let status = read("/proc/self/status");
        let allowed = status.and_then(|status| allowed(&status));
        let all = || (0..std::thread::available_parallelism().map_or(1, usize::from)).collect();
        Self {
            machine: machine.unwrap_or_default(),
            cores: allowed.unwrap_or_else(all),
        }
    }

    /// Threads of the process here, of processes at these places, itself among them, where the system allows `most`.
    fn threads(&self, all: &[Self], most: usize) -> usize {
        let shares =
            |other: &&Self| self.machine == other.machine && !self.cores.is_disjoint(&other.cores);
        let sharers = all.iter().filter(shares).count().max(1);
        (self.cores.len().min(most) / sharers).max(1)
    }
}

/// The cores that Linux allows a process, by the file `status` of it: `Cpus_allowed_list: 0-3,8`.
fn allowed(status: &str) -> Option<BTreeSet<usize>> {
    let lines = &mut status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = BTreeSet::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(machine: &str, list: &str) -> Place {
        let status = format!("Name:\tequilibria\nCpus_allowed_list:\t{list}\nThreads:\t1\n");
        Place {
            machine: machine.to_owned(),
            cores: allowed(&status).expect("a list"),
        }
    }

    #[test]
    fn ranks_share_the_cores_that_both_may_use() {
        let whole = || place("a", "0-15");
        let all = [whole(), whole(), place("b", "0-15")];
        assert_eq!(all[0].threads(&all, 16), 8);
        assert_eq!(all[2].threads(&all, 16), 16);
        // A quota is shared like cores.
        assert_eq!(all[0].threads(&all, 2), 1);
        // Those that are bound to cores of their own share none.
        let bound = [place("a", "0-7"), place("a", "8-11,14")];
        assert_eq!(bound[0].threads(&bound, 8), 8);
        assert_eq!(bound[1].threads(&bound, 5), 5);
        // More ranks than cores have a thread each.
        let crowded: Vec<Place> = (0..4).map(|_| place("a", "0-1")).collect();
        assert_eq!(crowded[0].threads(&crowded, 2), 1);
    }

    #[test]
    fn the_own_cores_are_known_on_linux() {
        let here = Place::here();
        assert!(!here.cores.is_empty());
        assert!(allowed("Name:\tequilibria\n").is_none());
    }
}
