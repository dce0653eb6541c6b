//! [`Profiler`]: a timestamp after every dispatch.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a profile needs of a device. Not every one can write a timestamp between two dispatches of a pass.
pub(crate) const FEATURES: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);

/// Timestamps of a query set.
pub(super) const SET: u32 = wgpu::QUERY_SET_MAX_QUERIES;

/// Query sets at most: dispatches beyond some 60,000 are counted, not timed.
const SETS: usize = 16;

/// Where timestamps are written.
#[derive(Debug)]
pub(crate) struct Profiler {
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) sets: Vec<wgpu::QuerySet>,
    /// What ended at each timestamp; nothing, where a plan began.
    pub(super) ended: Vec<Option<&'static str>>,
    pub(super) untimed: usize,
}

impl Profiler {
    pub(super) fn new() -> Self {
        Self { marks: Mutex::default() }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was written since the last time that this was asked for.
    pub(super) fn take(&self) -> Marks {
        std::mem::take(&mut *self.marks())
    }

    /// Writes a timestamp: what `ended` names is over then; `None` begins.
    pub(crate) fn mark(&self, device: &wgpu::Device, pass: &mut wgpu::ComputePass<'_>, ended: Option<&'static str>) {
        let mut marks = self.marks();
        let (set, at) = (marks.ended.len() / SET as usize, marks.ended.len() % SET as usize);
        if set == SETS {
            marks.untimed += usize::from(ended.is_some());
            return;
        }
        if set == marks.sets.len() {
            marks.sets.push(device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count: SET,
            }));
        }
        // Below 4,096.
        pass.write_timestamp(&marks.sets[set], u32::try_from(at).unwrap_or(SET));
        marks.ended.push(ended);
    }
}
