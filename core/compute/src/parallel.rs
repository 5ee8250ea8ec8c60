//! Shares work among threads, of which the calling one is one.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a thread stays awake: one that has helped, for more; the calling one, for those who help. A training step is a
/// chain of shared jobs with short work between them; to wake up for each takes longer than that work.
const LINGER: Duration = Duration::from_micros(100);

/// Calls of [`map`] that are under way.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Threads that wait for the next one.
static LINGERING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is one of them.
    static WAITING: Cell<bool> = const { Cell::new(false) };
}

/// `job` of every item, in their order.
///
/// The calling thread takes part: handing everything to rayon's threads would let it sleep and wake up, which costs more
/// than a small job does.
pub fn map<T: Send, R: Send>(
    items: impl ExactSizeIterator<Item = T> + Send,
    job: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let count = items.len();
    let helpers = count.min(rayon::current_num_threads()).saturating_sub(1);
    if helpers == 0 {
        return items.map(job).collect();
    }
    let queue = Mutex::new(items.enumerate());
    let results = Mutex::new(Vec::with_capacity(count));
    let ready = AtomicUsize::new(0);
    let work = || {
        while let Some((index, item)) = next(&queue) {
            let result = job(item);
            lock(&results).push((index, result));
        }
    };
    let call = Entered::new(&CALLS);
    rayon::in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| {
                work();
                ready.fetch_add(1, Ordering::Relaxed);
            });
        }
        work();
        stay_awake(|| ready.load(Ordering::Relaxed) < helpers);
    });
    drop(call);
    let_linger(helpers);
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|&(index, _)| index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Lets so many threads wait for the next call, unless another one is under way.
fn let_linger(helpers: usize) {
    if CALLS.load(Ordering::Relaxed) == 0 {
        let caller = rayon::current_thread_index();
        let more = helpers.saturating_sub(LINGERING.load(Ordering::Relaxed));
        for _ in 0..more {
            rayon::spawn(move || linger(caller));
        }
    }
}

/// Waits for the next call without going to sleep, and does other work of rayon's meanwhile. Not on the thread that is to make
/// this call, nor on one that waits already.
fn linger(caller: Option<usize>) {
    let calls = caller.is_some() && caller == rayon::current_thread_index();
    if calls || WAITING.replace(true) {
        return;
    }
    let lingering = Entered::new(&LINGERING);
    stay_awake(|| CALLS.load(Ordering::Relaxed) == 0);
    drop(lingering);
    WAITING.set(false);
}

/// Does other work of rayon's as long as there is something to wait for, but not for too long.
fn stay_awake(wait: impl Fn() -> bool) {
    let start = Instant::now();
    while wait() && start.elapsed() < LINGER {
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            std::hint::spin_loop();
        }
    }
}

/// Counts one more until it is dropped, by a panic as well.
struct Entered(&'static AtomicUsize);

impl Entered {
    fn new(count: &'static AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes the lock for no longer than this.
fn next<I: Iterator>(queue: &Mutex<I>) -> Option<I::Item> {
    lock(queue).next()
}

/// Locks what is whole whenever the lock is free, so that it does not matter if a thread has panicked with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build();
        let squares = |count: u64| map(0..count as usize, |item| item * item);
        for count in [0, 1, 2, 100] {
            let expected: Vec<usize> = (0..count as usize).map(|item| item * item).collect();
            assert_eq!(squares(count), expected);
            let inside = pool
                .as_ref()
                .expect("three threads")
                .install(|| squares(count));
            assert_eq!(inside, expected);
        }
    }
}
