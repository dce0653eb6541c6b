//! [`Solution`]: what a solve returns.

use super::Scalar;
use super::dense::LANES;
use super::engine::Engine;
use super::lanes::scatter;
use super::lockstep::within;
use super::tile::Tile;
use crate::error::{Error, Result, Status};
use crate::spec::{Layout, SaveAt, Tableau, settled};

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
    /// Those of all accepted states, from the ends of each trajectory's steps.
    pub(crate) fn of_steps(t0: f64, shared: bool, steps: &[Vec<[f64; 2]>]) -> Self {
        let ends = |steps: &Vec<[f64; 2]>| std::iter::once(t0).chain(steps.iter().map(|s| s[1])).collect::<Vec<f64>>();
        if shared {
            Self::Shared(steps.first().map(ends).unwrap_or_default())
        } else {
            Self::PerTrajectory(steps.iter().map(ends).collect())
        }
    }

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
    /// Saved states, in the order that [`SavedTimes`] describes. Of a trajectory that failed, those at times it came to
    /// are there; the others are NaN.
    pub ys: Vec<R>,
    /// One entry for a lockstep batch, one a trajectory for an ensemble.
    pub stats: Vec<Stats>,
    /// In the order of `stats`, the number of steps of an ideal controller: `sum E_j^(1/q) / safety` over the accepted steps,
    /// of error `E_j`, which hardly depends on the controller that took them. A step with an error below 2e-3, which may be
    /// rounding, counts as its neighbour does. Empty with fixed steps, which estimate no error.
    pub ideal_steps: Vec<f64>,
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
        Self { ts, ys, stats: times.stats, ideal_steps: engine.ideal_steps(), status, dense }
    }
}

/// States of the save slots, `[slots][B][D]`, NaN where a trajectory did not come to their times.
fn slots<R: Scalar>(engine: &Engine<R>, slots: usize) -> Vec<R> {
    let (batch, dim) = (engine.batch(), engine.dim());
    let direction = engine.problem.t1 - engine.problem.t0;
    let mut ys = vec![R::ZERO; slots * batch * dim];
    for (slot, ys) in ys.chunks_exact_mut(batch * dim).enumerate() {
        let point = engine.save_time(slot);
        for tile in engine.tiles() {
            let rows = &mut ys[tile.index * LANES * dim..][..tile.used * dim];
            scatter(tile.save(slot), rows, dim);
            for (row, t) in rows.chunks_exact_mut(dim).zip(tile.clock.t) {
                keep_if((point - t) * direction <= 0.0, row);
            }
        }
    }
    ys
}

/// Makes a row NaN where its trajectory did not come so far, or was not finite there.
fn keep_if<R: Scalar>(reached: bool, row: &mut [R]) {
    if !(reached && row.iter().all(|x| x.is_finite())) {
        row.fill(R::from_f64(f64::NAN));
    }
}

/// Accepted steps of each trajectory.
struct Times {
    t0: f64,
    shared: bool,
    /// Ends of the steps: one list for a lockstep batch, one a trajectory for an ensemble.
    steps: Vec<Vec<[f64; 2]>>,
    stats: Vec<Stats>,
}

impl Times {
    fn of<R: Scalar>(engine: &Engine<R>) -> Self {
        let t0 = engine.problem.t0;
        if engine.options.layout == Layout::Lockstep {
            let run = engine.run();
            let stats = run.map(super::lockstep::Run::stats).unwrap_or_default();
            return Self {
                t0,
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
        Self { t0, shared: false, steps, stats }
    }

    fn saved(&self) -> SavedTimes {
        SavedTimes::of_steps(self.t0, self.shared, &self.steps)
    }

    fn states<R: Scalar>(&self, engine: &Engine<R>) -> Vec<R> {
        let dim = engine.dim();
        let lanes = || engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        let mut ys = Vec::new();
        let mut push = |tile: &Tile<R>, lane: usize, n: usize| {
            ys.extend(tile.accepted_state(n, lane));
            let at = ys.len() - dim;
            keep_if(n <= tile.clock.accepted[lane] as usize, &mut ys[at..]);
        };
        if self.shared {
            for n in 0..=self.steps.first().map_or(0, Vec::len) {
                lanes().for_each(|(tile, lane)| push(tile, lane, n));
            }
        } else {
            for (tile, lane) in lanes() {
                (0..=tile.clock.accepted[lane] as usize).for_each(|n| push(tile, lane, n));
            }
        }
        ys
    }
}

/// A solution that can be evaluated at any time, by the method's interpolant.
#[derive(Clone, Debug, PartialEq)]
pub struct DenseSolution<R> {
    dim: usize,
    t0: f64,
    shared: bool,
    /// Ends of the accepted steps, one list for all trajectories or one for each.
    steps: Vec<Vec<[f64; 2]>>,
    /// Per trajectory and step that it took: the state before it, then its stages, `[1 + stages][D]`; after all steps its
    /// last state, `[D]`.
    nodes: Vec<Vec<R>>,
    tableau: &'static str,
}

impl<R: Scalar> DenseSolution<R> {
    fn of(engine: &Engine<R>, times: &Times) -> Self {
        let (dim, tableau) = (engine.dim(), engine.options.method.tableau());
        let lanes = engine.tiles().flat_map(|t| (0..t.used).map(move |l| (t, l)));
        let nodes = lanes
            .map(|(tile, lane)| {
                // In lockstep a trajectory that was given up is carried along through steps that are not its own.
                let count = tile.clock.accepted[lane] as usize;
                let stages = |n: usize| tile.stage_tape[n][lane..].iter().step_by(LANES).copied();
                let node = |n: usize| tile.accepted_state(n, lane).chain(stages(n));
                (0..count).flat_map(node).chain(tile.accepted_state(count, lane)).collect()
            })
            .collect();
        Self { dim, t0: times.t0, shared: times.shared, steps: times.steps.clone(), nodes, tableau: tableau.name }
    }

    /// From the ends of the accepted steps, and each trajectory's states and stages.
    pub(crate) const fn from_parts(
        dim: usize,
        t0: f64,
        shared: bool,
        steps: Vec<Vec<[f64; 2]>>,
        nodes: Vec<Vec<R>>,
        tableau: &'static Tableau,
    ) -> Self {
        Self { dim, t0, shared, steps, nodes, tableau: tableau.name }
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
        let tableau = self.tableau();
        let size = (1 + tableau.stages()) * self.dim;
        let steps = &self.steps[if self.shared { 0 } else { trajectory }][..nodes.len() / size];
        let end = steps.last().map_or(self.t0, |step| step[1]);
        let t = settled(t, [self.t0, end]);
        let last = &nodes[nodes.len() - self.dim..];
        if t == end && last.iter().all(|y| y.is_finite()) {
            return Ok(last.to_vec());
        }
        let Some(i) = steps.iter().position(|s| t == s[0] || within(t, s[0], s[1])) else {
            let remedy = format!("the trajectory was integrated from {} to {end}", self.t0);
            return Err(Error::argument("t", t, remedy));
        };
        let [t0, t1] = steps[i];
        let weights = tableau.interpolant_weights((t - t0) / (t1 - t0));
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
