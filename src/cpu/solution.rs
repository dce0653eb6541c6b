//! [`Solution`]: what a solve returns.

use super::Scalar;
use super::dense::LANES;
use super::engine::Engine;
use super::lanes::scatter;
use super::lockstep::within;
use crate::error::{Error, Result, Status};
use crate::spec::{Layout, SaveAt, Tableau};

/// What a solve cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Evaluations of the vector field: stages of all attempts, less those shared by successive steps, plus those of
    /// the automatic initial step. Of the whole batch in lockstep, of one trajectory in an ensemble.
    pub nfe: usize,
    /// Evaluations of the diffusion, counted likewise; 0 without noise.
    pub nfe_diffusion: usize,
    /// Accepted steps.
    pub accepted: usize,
    /// Rejected attempts.
    pub rejected: usize,
}

/// Times of the saved states.
#[derive(Clone, Debug, PartialEq)]
pub enum SavedTimes {
    /// The same for all trajectories; states are `[times][B][D]`.
    Shared(Vec<f64>),
    /// Each trajectory's own (accepted steps of an ensemble); states are those of the first trajectory, `[times][D]`,
    /// then those of the second, and so on.
    PerTrajectory(Vec<Vec<f64>>),
}

impl SavedTimes {
    /// Number of saved states, of all trajectories together.
    #[must_use]
    pub fn count(&self, batch: usize) -> usize {
        match self {
            Self::Shared(times) => times.len() * batch,
            Self::PerTrajectory(times) => times.iter().map(Vec::len).sum(),
        }
    }
}

/// What a solve returns.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Solution<R> {
    /// Times of the saved states.
    pub ts: SavedTimes,
    /// Saved states, in the order that [`SavedTimes`] describes. NaN from where a trajectory failed.
    pub ys: Vec<R>,
    /// One entry for a lockstep batch, one a trajectory for an ensemble.
    pub stats: Vec<Stats>,
    /// How each trajectory ended.
    pub status: Vec<Status>,
    /// With [`SaveAt::Dense`], the solution at any time.
    pub dense: Option<DenseSolution<R>>,
}

impl<R: Scalar> Solution<R> {
    /// Evaluations of the vector field that the costliest trajectory took.
    #[must_use]
    pub fn nfe(&self) -> usize {
        self.stats.iter().map(|s| s.nfe).max().unwrap_or(0)
    }

    /// The solution, or the first failure.
    ///
    /// # Errors
    /// [`Error::Trajectory`] when any trajectory failed.
    pub fn check(self) -> Result<Self> {
        let batch = self.status.len();
        let failed = self.status.iter().filter(|&&s| s != Status::Done).count();
        match self.status.iter().copied().enumerate().find(|(_, s)| *s != Status::Done) {
            None => Ok(self),
            Some((index, status)) => Err(Error::Trajectory { failed, batch, index, status }),
        }
    }

    pub(super) fn assemble(engine: &Engine<R>) -> Self {
        let status: Vec<Status> = engine.statuses().collect();
        let times = Times::of(engine);
        let (ts, ys) = match &engine.options.save_at {
            SaveAt::End => (SavedTimes::Shared(vec![engine.problem.t1]), slots(engine, 1)),
            SaveAt::Times(times) => (SavedTimes::Shared(times.clone()), slots(engine, times.len())),
            SaveAt::Steps | SaveAt::Dense => (times.saved(), times.states(engine)),
        };
        let dense = (engine.options.save_at == SaveAt::Dense).then(|| DenseSolution::of(engine, &times));
        Self { ts, ys, stats: times.stats, status, dense }
    }
}

/// States of the save slots, `[slots][B][D]`, NaN where a trajectory failed.
fn slots<R: Scalar>(engine: &Engine<R>, slots: usize) -> Vec<R> {
    let (batch, dim) = (engine.batch(), engine.dim());
    let mut ys = vec![R::ZERO; slots * batch * dim];
    for (slot, ys) in ys.chunks_exact_mut(batch * dim).enumerate() {
        for tile in engine.tiles() {
            let rows = &mut ys[tile.index * LANES * dim..][..tile.used * dim];
            scatter(tile.save(slot), rows, dim);
            for (row, _) in rows.chunks_exact_mut(dim).zip(tile.status).filter(|(_, s)| *s != Status::Done) {
                row.fill(R::from_f64(f64::NAN));
            }
        }
    }
    ys
}

/// Accepted steps of each trajectory.
struct Times {
    shared: bool,
    /// Ends of the steps: one list for a lockstep batch, one a trajectory for an ensemble.
    steps: Vec<Vec<[f64; 2]>>,
    stats: Vec<Stats>,
}

impl Times {
    fn of<R: Scalar>(engine: &Engine<R>) -> Self {
        if engine.options.layout == Layout::Lockstep {
            let run = engine.run();
            let stats = run.map(super::lockstep::Run::stats).unwrap_or_default();
            return Self {
                shared: true,
                steps: run.map(|r| r.steps.clone()).into_iter().collect(),
                stats: vec![stats],
            };
        }
        let lanes = || engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        let stats = lanes().map(|(t, l)| t.stats(l)).collect();
        let steps = lanes()
            .map(|(t, l)| {
                t.steps.iter().take(t.clock.accepted[l] as usize).map(|ends| [ends[0][l], ends[1][l]]).collect()
            })
            .collect();
        Self { shared: false, steps, stats }
    }

    fn saved(&self) -> SavedTimes {
        let ends = |steps: &Vec<[f64; 2]>| {
            steps.first().map(|s| s[0]).into_iter().chain(steps.iter().map(|s| s[1])).collect::<Vec<f64>>()
        };
        if self.shared {
            SavedTimes::Shared(self.steps.first().map(ends).unwrap_or_default())
        } else {
            SavedTimes::PerTrajectory(self.steps.iter().map(ends).collect())
        }
    }

    fn states<R: Scalar>(&self, engine: &Engine<R>) -> Vec<R> {
        let (batch, dim) = (engine.batch(), engine.dim());
        let mut ys = Vec::new();
        let lanes = engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        if self.shared {
            let count = self.steps.first().map_or(0, |s| if s.is_empty() { 0 } else { s.len() + 1 });
            ys.resize(count * batch * dim, R::ZERO);
            for (i, ys) in ys.chunks_exact_mut(batch * dim).enumerate() {
                for tile in engine.tiles() {
                    let state = tile.tape.get(i).unwrap_or(&tile.y);
                    let rows = &mut ys[tile.index * LANES * dim..][..tile.used * dim];
                    scatter(state, rows, dim);
                    for (row, _) in rows.chunks_exact_mut(dim).zip(tile.status).filter(|(_, s)| *s == Status::NonFinite)
                    {
                        row.fill(R::from_f64(f64::NAN));
                    }
                }
            }
        } else {
            for ((tile, lane), steps) in lanes.zip(&self.steps) {
                let count = if steps.is_empty() { 0 } else { steps.len() + 1 };
                for i in 0..count {
                    let state = if i == steps.len() { &tile.y } else { &tile.tape[i] };
                    ys.extend(state[lane..].iter().step_by(LANES).take(dim));
                }
            }
        }
        ys
    }
}

/// A solution that can be evaluated at any time, by the method's interpolant.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseSolution<R> {
    dim: usize,
    shared: bool,
    /// Ends of the accepted steps, one list for all trajectories or one for each.
    steps: Vec<Vec<[f64; 2]>>,
    /// Per trajectory and step: the state before it, then its stages, `[1 + stages][D]`.
    nodes: Vec<Vec<R>>,
    tableau: &'static str,
}

impl<R: Scalar> DenseSolution<R> {
    fn of(engine: &Engine<R>, times: &Times) -> Self {
        let (dim, tableau) = (engine.dim(), engine.options.method.tableau());
        let lanes = engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        let nodes = lanes
            .enumerate()
            .map(|(trajectory, (tile, lane))| {
                // In lockstep a trajectory that was given up rests; the steps it is carried along through are not its own.
                let lost = times.shared && !tile.alive[lane];
                let count = if lost { 0 } else { times.steps[if times.shared { 0 } else { trajectory }].len() };
                let column = |tile: &[R]| tile[lane..].iter().step_by(LANES).copied().collect::<Vec<R>>();
                (0..count).flat_map(|i| [column(&tile.tape[i]), column(&tile.stage_tape[i])].concat()).collect()
            })
            .collect();
        Self { dim, shared: times.shared, steps: times.steps.clone(), nodes, tableau: tableau.name }
    }

    /// From the ends of the accepted steps, and each trajectory's states and stages.
    pub(crate) const fn from_parts(
        dim: usize,
        shared: bool,
        steps: Vec<Vec<[f64; 2]>>,
        nodes: Vec<Vec<R>>,
        tableau: &'static Tableau,
    ) -> Self {
        Self { dim, shared, steps, nodes, tableau: tableau.name }
    }

    fn tableau(&self) -> &'static Tableau {
        let method = crate::spec::Method::ODE.into_iter().find(|m| m.tableau().name == self.tableau);
        method.unwrap_or_default().tableau()
    }

    /// The state of a trajectory at time `t`, `[D]`.
    ///
    /// # Errors
    /// [`Error::Argument`] when there is no such trajectory, or it did not come by that time.
    pub fn evaluate(&self, trajectory: usize, t: f64) -> Result<Vec<R>> {
        let Some(nodes) = self.nodes.get(trajectory) else {
            let remedy = format!("the batch has {} trajectories", self.nodes.len());
            return Err(Error::argument("trajectory", trajectory, remedy));
        };
        let steps = &self.steps[if self.shared { 0 } else { trajectory }];
        let found = steps.iter().position(|s| t == s[0] || within(t, s[0], s[1])).filter(|_| !nodes.is_empty());
        let Some(i) = found else {
            let range = steps.first().zip(steps.last()).filter(|_| !nodes.is_empty());
            let remedy = range.map_or_else(
                || "the trajectory failed".into(),
                |(a, b)| format!("the trajectory was integrated from {} to {}", a[0], b[1]),
            );
            return Err(Error::argument("t", t, remedy));
        };
        let tableau = self.tableau();
        let [t0, t1] = steps[i];
        let weights = tableau.interpolant_weights((t - t0) / (t1 - t0));
        let size = (1 + tableau.stages()) * self.dim;
        let (y, stages) = nodes[i * size..][..size].split_at(self.dim);
        let mut out: Vec<f64> = y.iter().map(|y| y.to_f64()).collect();
        for (k, weight) in stages.chunks_exact(self.dim).zip(weights) {
            for (out, k) in out.iter_mut().zip(k) {
                *out += (t1 - t0) * weight * k.to_f64();
            }
        }
        Ok(out.into_iter().map(R::from_f64).collect())
    }
}
