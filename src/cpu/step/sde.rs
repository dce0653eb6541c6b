//! [`Sde`]: the networks of a stochastic problem with its path, and the rooms of steps with noise.

use super::networks::Networks;
use super::stages::{KeptStages, StageBars, Stages, drift_error, middle};
use super::state::StepState;
use super::{NoiseOf, Point};
use crate::cpu::field::drive::Drive;
use crate::cpu::field::evaluate::{Field, Kept};
use crate::cpu::field::knots::Knots;
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, add_weighted};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::path::{Increments, add_noise, add_terms, speed, speed_change};
use crate::error::Result;
use crate::method::{NoiseScale, NoiseTableau, Tableau};
use crate::problem::{Brownian, Diffusion, Paths, Problem};

/// Drift and diffusion under a method, in the notation of [`NoiseTableau`], and the path that they follow.
#[derive(Debug)]
pub(crate) struct Sde<R> {
    pub(crate) tableau: &'static Tableau,
    pub(crate) noise: &'static NoiseTableau,
    pub(crate) drift: Field<R>,
    pub(crate) diffusion: Field<R>,
    /// Where the diffusion's parameters begin among the problem's.
    pub(crate) offset: usize,
    /// Wiener processes of a trajectory.
    channels: usize,
    path: Brownian,
}

/// An attempt's room. Of each network stages after the first; the last one too unless the state keeps it.
#[derive(Debug)]
pub(crate) struct SdeAttempt<R> {
    pub(crate) points: [Kept<R>; 2],
    pub(crate) middle: [Vec<Aligned<R>>; 2],
    pub(crate) increments: Increments<R>,
}

/// A kept step.
#[derive(Debug)]
pub(crate) struct SdeKept<R> {
    pub(crate) drift: KeptStages<R>,
    pub(crate) diffusion: KeptStages<R>,
    pub(crate) increments: Increments<R>,
}

/// Room for cotangents.
#[derive(Debug)]
pub(crate) struct SdeVjp<R> {
    pub(crate) drift: StageBars<R>,
    pub(crate) diffusion: StageBars<R>,
    pub(crate) k_bar: Aligned<R>,
}

impl<R: Scalar> Sde<R> {
    pub(crate) fn new(
        problem: &Problem,
        diffusion: &Diffusion,
        (tableau, noise): (&'static Tableau, &'static NoiseTableau),
        path: Brownian,
    ) -> Result<Self> {
        let (drift, offset) = (Field::new(&problem.field, &problem.controls)?, problem.field.parameter_count());
        let channels = diffusion.channels();
        Ok(Self {
            tableau,
            noise,
            drift,
            diffusion: Field::new(&diffusion.network, &problem.controls)?,
            offset,
            channels,
            path,
        })
    }

    /// Stages of each network.
    pub(crate) const fn stages(&self) -> [usize; 2] {
        [self.tableau.stages(), self.noise.stages()]
    }

    /// With so many stages between the first and the last one.
    pub(crate) fn attempt_room(&self, [drift, diffusion]: [usize; 2]) -> SdeAttempt<R> {
        SdeAttempt {
            points: self.points(),
            middle: [middle(&self.drift, drift), middle(&self.diffusion, diffusion)],
            increments: Increments::new(self.drift.dim(), self.channels),
        }
    }

    pub(crate) fn kept_step(&self) -> SdeKept<R> {
        let [drift, diffusion] = self.stages();
        SdeKept {
            drift: KeptStages::new(&self.drift, drift),
            diffusion: KeptStages::new(&self.diffusion, diffusion),
            increments: Increments::new(self.drift.dim(), self.channels),
        }
    }

    pub(crate) fn vjp_room(&self) -> SdeVjp<R> {
        let [drift, diffusion] = self.stages();
        SdeVjp {
            drift: StageBars::new(&self.drift, drift),
            diffusion: StageBars::new(&self.diffusion, diffusion),
            k_bar: Aligned::zeros(self.drift.dim() * LANES),
        }
    }

    /// Gives an attempt the path's increments. Rooms are shared by tiles, which have paths of their own.
    pub(crate) fn follow_path(&self, interval: &Interval<R>, state: &mut StepState<R>, room: &mut SdeAttempt<R>) {
        let SdeAttempt { points, increments, .. } = room;
        for point in points {
            point.seat(&state.trajectories, Some(interval));
        }
        std::mem::swap(&mut increments.cuts, &mut state.cuts);
        increments.follow(&self.path, &state.trajectories, interval);
        std::mem::swap(&mut increments.cuts, &mut state.cuts);
    }

    /// The networks' values at a point at which something starts.
    pub(crate) fn slopes_at(&self, at: &Point<'_, R>, out: &mut [R], points: &mut [Kept<R>; 2]) {
        for point in &mut *points {
            point.seat(at.trajectories, None);
        }
        self.slopes(at.t, at.y, out, points);
    }

    /// See [`Scheme::draw`](super::Scheme::draw).
    pub(crate) fn draw(
        &self,
        interval: &Interval<R>,
        trajectories: &Lanes<u32>,
        noise: NoiseOf,
        kept: &mut SdeKept<R>,
    ) {
        kept.drift.seat(trajectories, interval);
        kept.diffusion.seat(trajectories, interval);
        match noise {
            NoiseOf::Path => kept.increments.follow(&self.path, trajectories, interval),
            NoiseOf::Apart(n) => kept.increments.draw_apart(&self.path, trajectories, interval, n),
        }
    }

    /// Evaluates both networks at stage `i`, whose states are there.
    pub(crate) fn evaluate(&self, i: usize, t: &Lanes<R>, kept: &mut SdeKept<R>) {
        kept.drift.evaluate(&self.drift, i, t);
        kept.diffusion.evaluate(&self.diffusion, i, t);
    }

    /// The error estimate of both networks' stages.
    pub(crate) fn error(&self, error: &mut [R], h: &Lanes<R>, [f, g]: [Stages<'_, R>; 2], increments: &Increments<R>) {
        drift_error(self.tableau, error, h, f);
        add_noise(error, increments, &self.noise.error, &g[..self.noise.stages()]);
    }

    pub(crate) fn kept_error(&self, error: &mut [R], h: &Lanes<R>, kept: &SdeKept<R>) {
        self.error(error, h, [kept.drift.all(), kept.diffusion.all()], &kept.increments);
    }

    /// The parameters' cotangents of the drift and of the diffusion.
    pub(crate) fn split_parameters<'a>(&self, theta_bar: &'a mut [R]) -> [&'a mut [R]; 2] {
        theta_bar.split_at_mut(self.offset).into()
    }

    pub(crate) fn kept_bytes(&self) -> usize {
        let [drift, diffusion] = self.stages();
        KeptStages::bytes(&self.drift, drift)
            + KeptStages::bytes(&self.diffusion, diffusion)
            + Increments::<R>::bytes(self.drift.dim())
    }

    pub(crate) fn room_bytes(&self) -> usize {
        let array = self.drift.dim() * LANES * size_of::<R>();
        let [drift, diffusion] = self.stages();
        let noise = self.diffusion.kept_bytes() + 2 * diffusion * array + Increments::<R>::bytes(self.drift.dim());
        (self.drift.kept_bytes() + drift * array) + self.kept_bytes() + (drift + 3) * array + noise
    }
}

impl<R> SdeVjp<R> {
    /// See [`Scheme::knots`](super::Scheme::knots).
    pub(crate) fn knots(&mut self) -> [Option<&mut Knots<R>>; 2] {
        [&mut self.drift, &mut self.diffusion].map(|stages| stages.cotangents.knots.as_deref_mut())
    }
}

impl<R: Scalar> SdeKept<R> {
    /// Back over the trapezoid of two stages: `y -= (f0 + f1) h/2 + (g0 + g1) dW/2`.
    pub(crate) fn retreat(&self, y: &mut [R], h: &Lanes<R>) {
        let half = h.map(|h| -R::from_f64(0.5) * h);
        add_weighted(y, &half, &self.drift.k[0]);
        add_weighted(y, &half, &self.drift.k[1]);
        let g = [(-0.5, self.diffusion.k[0].as_slice()), (-0.5, self.diffusion.k[1].as_slice())];
        add_terms(y, NoiseScale::Increment, &self.increments, g);
    }
}

impl<R: Scalar> Networks for Sde<R> {
    type Real = R;
    type Points = [Kept<R>; 2];

    fn pack(&mut self, theta: &[R], backward: bool) {
        self.drift.pack(theta, backward);
        self.diffusion.pack(&theta[self.offset..], backward);
    }

    fn follow(&mut self, paths: Paths) {
        self.path = self.path.along(paths);
    }

    fn points(&self) -> [Kept<R>; 2] {
        [self.drift.kept(), self.diffusion.kept()]
    }

    fn slopes(&self, t: &Lanes<R>, y: &[R], out: &mut [R], points: &mut [Kept<R>; 2]) {
        let n = y.len();
        for ((network, point), out) in [&self.drift, &self.diffusion].into_iter().zip(points).zip(out.chunks_mut(n)) {
            network.slopes(t, y, out, point);
        }
    }

    fn drive(&mut self, drive: &Drive<R>) {
        self.drift.drive(drive);
        self.diffusion.drive(drive);
    }

    fn speed(&self, slopes: &[R], out: &mut [R]) {
        let (f, g) = slopes.split_at(out.len());
        speed(out, f, g);
    }

    fn speed_change(&self, first: &[R], at: &mut [R]) {
        let (f, g) = first.split_at(first.len() / 2);
        let (f1, g1) = at.split_at_mut(f.len());
        speed_change(f1, f, g, g1);
    }

    fn work(&self) -> usize {
        self.drift.work() + self.diffusion.work()
    }

    fn packed_bytes(&self) -> usize {
        self.drift.packed_bytes() + self.diffusion.packed_bytes()
    }
}
