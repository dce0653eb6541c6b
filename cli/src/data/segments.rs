//! Series cut into segments to train on.

use anyhow::{Context, ensure};
use fewsteps::Shooting;

use super::cut::Cut;
use super::observations::Observations;
use super::samples::{Rows, Wanted};
use super::series::Series;

/// Times of a grid that segments share, at most: each costs a state of every segment.
const MOST: usize = 4096;

impl Series {
    /// Segments of series at their first `times` times, as if each began where the first does; scaled.
    pub(super) fn segmented(
        &self,
        observed: &Observations,
        series: &[usize],
        times: usize,
        cut: Cut,
    ) -> anyhow::Result<Rows> {
        let Cut { intervals, continuity } = cut;
        let shooting = Shooting::new(intervals.get()).and_then(|shooting| shooting.continuity(continuity));
        let shooting = shooting.with_context(|| format!("--continuity {continuity}"))?;
        let (tables, width): (Vec<_>, _) =
            (series.iter().map(|&s| self.table(observed, s, times)).collect(), self.states.len());
        let given: Vec<_> = tables.iter().map(|(times, states)| fewsteps::Series { times, states }).collect();
        let segments = shooting.cut(&given, width).with_context(|| format!("--segments {intervals}"))?;
        let grid = segments.grid();
        ensure!(
            grid.len() <= MOST,
            "--segments {intervals}: the times of {} segments, counted from their starts, are {} different ones, and {MOST} are \
             the most; round the times, or give fewer intervals",
            segments.len(),
            grid.len()
        );
        log::info!(
            "{} segments; {} with more intervals, to the next row that was observed whole; {} rows before the first such row are \
             in none",
            segments.len(),
            segments.stretched(),
            segments.skipped()
        );
        let (batch, count) = (segments.batch_on_grid::<f64>(), segments.len());
        // From [time][segment][width] to [segment][time][width].
        let turned = |all: &[f64]| -> Vec<f64> {
            let row = |segment: usize, time: usize| &all[(time * count + segment) * width..][..width];
            (0..count).flat_map(|segment| (0..grid.len()).flat_map(move |time| row(segment, time))).copied().collect()
        };
        let weights =
            if batch.weights.iter().all(|weight| *weight == 1.0) { Vec::new() } else { turned(&batch.weights) };
        let wanted = Wanted::Numbers { times: grid.len(), width, numbers: turned(&batch.states), weights };
        let begin = self.counted(observed.times[0]);
        let times = [0.0].iter().chain(&grid).map(|time| begin + time).collect();
        Ok(Rows { width, inputs: batch.inputs, wanted, times })
    }

    /// The rows of a series in which anything was observed: their times, as the model counts them, and states, scaled.
    fn table(&self, observed: &Observations, series: usize, times: usize) -> (Vec<f64>, Vec<f64>) {
        let seen: Vec<usize> = (0..times).filter(|&t| observed.is_seen(series, t..t + 1)).collect();
        let state = |&t: &usize| observed.state(series, t).iter().zip(&self.states).map(|(&x, c)| c.scaled(x));
        (seen.iter().map(|&t| self.counted(observed.times[t])).collect(), seen.iter().flat_map(state).collect())
    }
}
