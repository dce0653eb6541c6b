//! [`Workers`]: the threads of the native engine, and how they meet.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Multiply-adds of an attempt that are worth a worker: meeting the others costs about a microsecond, these take one or two.
/// With twice as many, the hundred paths of workload W3 have one thread, and a training step takes 1.7 times as long.
const WORTH: usize = 50_000;

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

    /// Workers for attempts of `work` multiply-adds on a batch in `shards` parts.
    pub(crate) fn worth(&self, work: usize, shards: usize) -> usize {
        worth(work, shards.min(self.count))
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

/// Workers for attempts of `work` multiply-adds, of at most `most`: each has work that is worth its while.
fn worth(work: usize, most: usize) -> usize {
    (work / WORTH).clamp(1, most.max(1))
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
    fn workers_are_chosen_by_the_work_of_an_attempt() {
        for (work, most, expected) in [
            (0, 8, 1),
            (WORTH, 8, 1),
            (2 * WORTH - 1, 8, 1),
            (2 * WORTH, 8, 2),
            (3 * WORTH, 8, 3),
            (3 * WORTH, 2, 2),
            (usize::MAX, 8, 8),
            (usize::MAX, 0, 1),
        ] {
            assert_eq!(worth(work, most), expected, "{work} multiply-adds, at most {most} workers");
        }
        // A field 2-50-2 on 128 trajectories: 650 multiply-adds and activations in a layer, 122 in the other, seven stages.
        assert_eq!(Workers::new(2).expect("threads start").worth(128 * 772 * 7, 4), 2, "a small field on two threads");
    }

    #[test]
    fn workers_come_again_after_a_sleep_a_panic_and_a_region_of_others() {
        // More threads than processors, and two engines at once.
        let (few, many) = (Workers::new(2).expect("threads start"), Workers::new(9).expect("threads start"));
        for round in 0..30u64 {
            for (workers, count) in [(&few, 2), (&many, 9), (&many, 3)] {
                let barrier = Barrier::new(count);
                let mut items = vec![round; count];
                workers.run(&mut items, |i, item| {
                    barrier.wait();
                    *item += i as u64;
                });
                assert_eq!(items, (0..count as u64).map(|i| round + i).collect::<Vec<_>>(), "round {round}");
            }
            if round % 10 == 9 {
                // Long enough for everybody to sleep.
                std::thread::sleep(std::time::Duration::from_millis(2));
                let panicking = std::panic::AssertUnwindSafe(|| {
                    let barrier = Barrier::new(2);
                    few.run(&mut [0, 1], |i, _| {
                        let _guard = barrier.guard();
                        assert!(i == 0, "of a worker's own");
                        barrier.wait();
                    });
                });
                std::panic::catch_unwind(panicking).expect_err("a worker's panic is the caller's");
            }
        }
    }

    #[test]
    fn regions_of_several_callers_take_turns() {
        let workers = Workers::new(3).expect("threads start");
        let total = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let barrier = Barrier::new(3);
                        workers.run(&mut [1u64, 2, 3], |_, item| {
                            barrier.wait();
                            total.fetch_add(*item, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 50 * 6, "every worker of every region");
    }

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
