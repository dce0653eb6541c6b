//! [`Workers`]: the threads of the native engine, and how they meet.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// A fixed crew of threads. Worker 0 is the calling thread; the others are a rayon pool that serves one region at a
/// time, so that all workers of a region run at once and may wait for each other.
#[derive(Debug)]
pub(crate) struct Workers {
    pool: Option<rayon::ThreadPool>,
    count: usize,
    region: Mutex<()>,
}

impl Workers {
    pub(crate) fn new(threads: usize) -> Result<Self> {
        let pool = (threads > 1)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads - 1).thread_name(|i| format!("fewsteps-{i}")))
            .map(rayon::ThreadPoolBuilder::build)
            .transpose()
            .map_err(|e| Error::Threads { threads, reason: e.to_string() })?;
        Ok(Self { pool, count: threads, region: Mutex::new(()) })
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Runs `work` on each item at once, one thread an item; there are at most [`Workers::count`] items.
    pub(crate) fn run<T: Send>(&self, items: &mut [T], work: impl Fn(usize, &mut T) + Sync) {
        debug_assert!(items.len() <= self.count, "one thread an item");
        let Some((first, rest)) = items.split_first_mut() else { return };
        match &self.pool {
            Some(pool) if !rest.is_empty() => {
                let _region = self.region.lock().unwrap_or_else(PoisonError::into_inner);
                let work = &work;
                pool.in_place_scope(|scope| {
                    for (i, item) in rest.iter_mut().enumerate() {
                        scope.spawn(move |_| work(i + 1, item));
                    }
                    work(0, first);
                });
            }
            _ => work(0, first),
        }
    }
}

/// Where the workers of a region wait for each other: spinning, because a step of a small batch takes microseconds,
/// and yielding after a while, because there may be fewer processors than workers.
#[derive(Debug)]
pub(crate) struct Barrier {
    workers: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    pub(crate) const fn new(workers: usize) -> Self {
        Self { workers, arrived: AtomicUsize::new(0), generation: AtomicUsize::new(0), broken: AtomicBool::new(false) }
    }

    /// Waits until every worker has come here. What they wrote before is visible afterwards.
    pub(crate) fn wait(&self) {
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.workers {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0u32;
        while self.generation.load(Ordering::Acquire) == generation {
            assert!(!self.broken.load(Ordering::Relaxed), "another worker of this region panicked");
            spins += 1;
            if spins < 2_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// While the returned guard lives, a panic of its thread releases the others instead of leaving them waiting.
    pub(crate) fn guard(&self) -> BarrierGuard<'_> {
        BarrierGuard(self)
    }
}

/// See [`Barrier::guard`].
#[derive(Debug)]
pub(crate) struct BarrierGuard<'a>(&'a Barrier);

impl Drop for BarrierGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn everyone_sees_what_was_written_before_the_barrier() {
        for threads in [1, 2, 5] {
            let workers = Workers::new(threads).expect("threads start");
            let barrier = Barrier::new(threads);
            let slots: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
            let mut sums = vec![0u64; threads];
            workers.run(&mut sums, |i, sum| {
                for round in 1..200u64 {
                    slots[i].store(round * (i as u64 + 1), Ordering::Relaxed);
                    barrier.wait();
                    *sum += slots.iter().map(|s| s.load(Ordering::Relaxed)).sum::<u64>();
                    barrier.wait();
                }
            });
            let each: u64 = (1..200).map(|r| r * (threads * (threads + 1) / 2) as u64).sum();
            assert_eq!(sums, vec![each; threads], "sums on {threads} threads");
        }
    }
}
