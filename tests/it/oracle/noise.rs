//! The oracle for noise: stochastic steps in the plainest words, over given increments. It shares no code with the
//! engines but the tableaus and the paths.

use fewsteps::{
    Attempt, Brownian, Controller, Diffusion, Increment, InputMap, Layout, Method, Mlp, Noise, NoiseScale,
    NoiseTableau, Paths, Problem, SaveAt, SolverOptions, Tableau, TimeInput, Tolerances,
};

use super::dual::Number;
use super::system::System;

/// A stochastic problem under a method.
#[derive(Clone, Debug)]
pub(crate) struct Noisy<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) tableau: &'static Tableau,
    pub(crate) tolerances: Tolerances,
}

/// State, and second state of a reversible method.
#[derive(Clone, Debug)]
pub(crate) struct Pair<S> {
    pub(crate) y: Vec<S>,
    pub(crate) z: Vec<S>,
}

impl<S: Clone> Pair<S> {
    /// Where a solve starts: the second state is the first.
    pub(crate) fn of(y: Vec<S>) -> Self {
        Self { z: y.clone(), y }
    }
}

/// A step with its error.
#[derive(Clone, Debug)]
pub(crate) struct NoisyStep<S> {
    pub(crate) start: Pair<S>,
    pub(crate) end: Pair<S>,
    pub(crate) error: Vec<S>,
}

impl<'a> Noisy<'a> {
    /// With tolerances that steps along given times do not ask for.
    pub(crate) fn new(problem: &'a Problem, method: Method) -> Self {
        Self { problem, tableau: method.tableau(), tolerances: Tolerances::default() }
    }

    fn noise(&self) -> &'static NoiseTableau {
        self.tableau.noise.expect("a stochastic method")
    }

    /// `f(t, y; theta)`, of which `theta` begins with the drift's parameters.
    pub(crate) fn f<S: Number>(&self, theta: &[S], t: f64, y: &[S]) -> Vec<S> {
        self.network(self.problem.field.mlp().expect("a network")).f(theta, t, y)
    }

    /// `g(t, y; theta)`, whose parameters follow the drift's.
    pub(crate) fn g<S: Number>(&self, theta: &[S], t: f64, y: &[S]) -> Vec<S> {
        let network = &self.problem.diffusion.as_ref().expect("noise").network;
        self.network(network.mlp().expect("a network")).f(&theta[self.problem.field.parameter_count()..], t, y)
    }

    fn network<'b>(&self, field: &'b Mlp) -> System<'b> {
        System { field, method: Method::Euler, tolerances: self.tolerances, atol_per_feature: None }
    }

    /// Drift and diffusion at a point.
    pub(crate) fn slopes<S: Number>(&self, theta: &[S], t: f64, y: &[S]) -> [Vec<S>; 2] {
        [self.f(theta, t, y), self.g(theta, t, y)]
    }

    /// The step from `t` of length `h`, on which the path does `increments`, one a feature. The slopes of its first stages
    /// are evaluated unless given.
    pub(crate) fn step<S: Number>(
        &self,
        theta: &[S],
        (t, h): (f64, f64),
        start: &Pair<S>,
        increments: &[Increment<f64>],
        first: Option<&[Vec<S>; 2]>,
    ) -> NoisyStep<S> {
        if self.noise().reversible {
            return self.reversible_step(theta, (t, h), start, increments, first);
        }
        let (tableau, noise) = (self.tableau, self.noise());
        let scale = |kind: NoiseScale, i: usize| match kind {
            NoiseScale::Increment => increments[i].w,
            NoiseScale::Mean => integrals(increments[i], h)[2],
            NoiseScale::Root => h.sqrt(),
            kind => panic!("no oracle for {kind:?}"),
        };
        let y = &start.y;
        let (mut f, mut g): (Vec<Vec<S>>, Vec<Vec<S>>) = (Vec::new(), Vec::new());
        for stage in 0..tableau.stages().max(noise.stages()) {
            let state = |a: &[f64], b: &[f64], kind: NoiseScale| -> Vec<S> {
                (0..y.len())
                    .map(|i| y[i] + S::new(h) * sum(a, &f, i) + S::new(scale(kind, i)) * sum(b, &g, i))
                    .collect()
            };
            let drift = tableau.a.get(stage).map(|a| state(a, noise.drift_b[stage], noise.drift_scale));
            let diffusion = noise.a.get(stage).map(|a| state(a, noise.b[stage], noise.scale));
            let first = first.filter(|_| stage == 0);
            let slope = |state: Vec<S>| self.f(theta, t + tableau.c[stage] * h, &state);
            f.extend(drift.map(|state| first.map_or_else(|| slope(state), |slopes| slopes[0].clone())));
            let slope = |state: Vec<S>| self.g(theta, t + noise.c[stage] * h, &state);
            g.extend(diffusion.map(|state| first.map_or_else(|| slope(state), |slopes| slopes[1].clone())));
        }
        let noisy = |weights: &[&[f64]; 4], i: usize| {
            let terms = weights.iter().zip(integrals(increments[i], h));
            terms.fold(S::new(0.0), |total, (weights, integral)| total + S::new(integral) * sum(weights, &g, i))
        };
        let moved = |b: &[f64], weights: &[&[f64]; 4]| -> Vec<S> {
            (0..y.len()).map(|i| S::new(h) * sum(b, &f, i) + noisy(weights, i)).collect()
        };
        let change = moved(tableau.b, &noise.weights);
        let error = moved(tableau.b_error.unwrap_or(&[]), &noise.error);
        let end: Vec<S> = y.iter().zip(change).map(|(&y, change)| y + change).collect();
        NoisyStep { start: start.clone(), end: Pair { z: end.clone(), y: end }, error }
    }

    /// `z+ = 2 y - z + f(z) h + g(z) dW`, `y+ = y + (f(z) + f(z+)) h / 2 + (g(z) + g(z+)) dW / 2`.
    fn reversible_step<S: Number>(
        &self,
        theta: &[S],
        (t, h): (f64, f64),
        start: &Pair<S>,
        increments: &[Increment<f64>],
        first: Option<&[Vec<S>; 2]>,
    ) -> NoisyStep<S> {
        let Pair { y, z } = start;
        let [two, half, length] = [2.0, 0.5, h].map(S::new);
        let w = |i: usize| S::new(increments[i].w);
        let [f0, g0] = first.cloned().unwrap_or_else(|| self.slopes(theta, t, z));
        let z1: Vec<S> = (0..y.len()).map(|i| two * y[i] - z[i] + f0[i] * length + g0[i] * w(i)).collect();
        let [f1, g1] = self.slopes(theta, t + h, &z1);
        let mean = |i: usize| half * (length * (f0[i] + f1[i]) + w(i) * (g0[i] + g1[i]));
        let error = |i: usize| half * (length * (f1[i] - f0[i]) + w(i) * (g1[i] - g0[i]));
        let end = (0..y.len()).map(|i| y[i] + mean(i)).collect();
        NoisyStep { start: start.clone(), end: Pair { y: end, z: z1 }, error: (0..y.len()).map(error).collect() }
    }

    /// The steps of a course one after the other.
    pub(crate) fn walk<S: Number>(&self, theta: &[S], course: &Course, y0: &[S]) -> Vec<NoisyStep<S>> {
        let mut steps: Vec<NoisyStep<S>> = Vec::new();
        for (ends, increments) in course.times.windows(2).zip(&course.increments) {
            let start = steps.last().map_or_else(|| Pair::of(y0.to_vec()), |s| s.end.clone());
            steps.push(self.step(theta, (ends[0], ends[1] - ends[0]), &start, increments, None));
        }
        steps
    }

    /// The scaled error norm of one step of several trajectories.
    pub(crate) fn error_norm<S: Number>(&self, steps: &[NoisyStep<S>]) -> S {
        let Tolerances { atol, rtol } = self.tolerances;
        let (mut total, mut count) = (S::new(0.0), 0.0);
        for step in steps {
            for (i, &error) in step.error.iter().enumerate() {
                let (y, end) = (step.start.y[i].abs(), step.end.y[i].abs());
                let larger = if end.value() > y.value() { end } else { y };
                let r = error / (S::new(atol) + S::new(rtol) * larger);
                (total, count) = (total + r * r, count + 1.0);
            }
        }
        (total / S::new(count)).power(0.5)
    }

    /// The automatic initial step as a share of an interval of length `span` from `t`, for trajectories that share it. The
    /// networks are seen at second states, which the Euler step begins with too; scales are those of first ones.
    pub(crate) fn initial_step(&self, theta: &[f64], t: f64, span: f64, rows: &[Pair<f64>]) -> f64 {
        let Tolerances { atol, rtol } = self.tolerances;
        let norm = |values: &dyn Fn(usize, usize) -> f64| {
            let mut squares = Vec::new();
            for (row, Pair { y, .. }) in rows.iter().enumerate() {
                squares.extend(y.iter().enumerate().map(|(i, y)| (values(row, i) / (atol + rtol * y.abs())).powi(2)));
            }
            (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
        };
        let slopes = |t: f64, rows: &[Vec<f64>]| -> Vec<[Vec<f64>; 2]> {
            rows.iter().map(|y| [self.f(theta, t, y), self.g(theta, t, y).iter().map(|g| 3.0 * g).collect()]).collect()
        };
        let points: Vec<Vec<f64>> = rows.iter().map(|row| row.z.clone()).collect();
        let start = slopes(t, &points);
        let d0 = norm(&|row, i| rows[row].y[i]);
        let d1 = span
            * norm(&|row, i| {
                let [f, g] = [start[row][0][i], start[row][1][i]];
                (f + g).abs().max((f - g).abs())
            });
        let h0 = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { (0.01 * d0 / d1).min(1.0) };
        let moved = |(y, [f, _]): (&Vec<f64>, &[Vec<f64>; 2])| -> Vec<f64> {
            y.iter().zip(f).map(|(y, f)| y + h0 * span * f).collect()
        };
        let moved: Vec<Vec<f64>> = points.iter().zip(&start).map(moved).collect();
        let there = slopes(t + h0 * span, &moved);
        let d2 = span / h0
            * norm(&|row, i| {
                let change = there[row][0][i] - start[row][0][i];
                let [g0, g1] = [start[row][1][i], there[row][1][i]];
                let spread = (g0 - g1).abs().max((g0 + g1).abs());
                (change + spread).abs().max((change - spread).abs())
            });
        let largest = d1.max(d2);
        let power = 1.0 / (self.noise().strong_order + 0.5);
        let h1 = if largest <= 1e-15 { (h0 * 1e-3).max(1e-6) } else { (0.01 / largest).powf(power) };
        (100.0 * h0).min(h1).min(1.0)
    }
}

/// The steps of a trajectory: the times between them, both ends too, and the noise of each.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) times: Vec<f64>,
    increments: Vec<Vec<Increment<f64>>>,
}

impl Course {
    /// The steps between the given times on the path of that trajectory.
    pub(crate) fn new(problem: &Problem, path: &Brownian, trajectory: usize, times: &[f64]) -> Self {
        let trajectory = u32::try_from(trajectory).expect("few trajectories");
        let increments = times.windows(2).map(|t| increments(problem, path, trajectory, t[0], t[1])).collect();
        Self { times: times.to_vec(), increments }
    }

    /// The first so many steps.
    pub(crate) fn until(&self, steps: usize) -> Self {
        Self { times: self.times[..=steps].to_vec(), increments: self.increments[..steps].to_vec() }
    }
}

/// What the path does from `s` to `t`, one a feature.
pub(crate) fn increments(problem: &Problem, path: &Brownian, trajectory: u32, s: f64, t: f64) -> Vec<Increment<f64>> {
    (0..problem.dim()).map(|feature| path.increment(trajectory, channel(problem, feature), s, t)).collect()
}

/// The channel of the path that a feature follows: its own, or the first, which all share.
pub(crate) fn channel(problem: &Problem, feature: usize) -> u32 {
    match problem.diffusion.as_ref().expect("noise").noise {
        Noise::Scalar => 0,
        _ => feature as u32,
    }
}

/// The same problem with one Wiener process for all features.
pub(crate) fn shared(mut problem: Problem) -> Problem {
    problem.diffusion = problem.diffusion.map(Diffusion::shared);
    problem
}

/// `dW`, `chi1`, `chi2` and `chi3`.
fn integrals(increment: Increment<f64>, h: f64) -> [f64; 4] {
    let w = increment.w;
    let z = 2.0 * 3f64.sqrt() * increment.levy;
    [w, (w * w - h) / (2.0 * h.sqrt()), 0.5 * (w + z / 3f64.sqrt()), (w.powi(3) - 3.0 * w * h) / (6.0 * h)]
}

fn sum<S: Number>(weights: &[f64], stages: &[Vec<S>], i: usize) -> S {
    weights.iter().zip(stages).fold(S::new(0.0), |total, (&weight, stage)| total + S::new(weight) * stage[i])
}

/// The states of a walk, the initial one first.
pub(crate) fn states<S: Number>(steps: &[NoisyStep<S>]) -> Vec<Vec<S>> {
    let first = std::iter::once(steps[0].start.y.clone());
    first.chain(steps.iter().map(|s| s.end.y.clone())).collect()
}

/// The state at time `t` of a walk over steps that end at `times[1..]`: on the chord between the ends of a step.
pub(crate) fn on_chord<S: Number>(times: &[f64], steps: &[NoisyStep<S>], t: f64) -> Vec<S> {
    if t == times[0] {
        return steps[0].start.y.clone();
    }
    let n = (0..steps.len()).find(|&n| times[n] < t && t <= times[n + 1]).expect("a time that the walk covers");
    let theta = S::new((t - times[n]) / (times[n + 1] - times[n]));
    let chord = |(&y, &end): (&S, &S)| y + theta * (end - y);
    steps[n].start.y.iter().zip(&steps[n].end.y).map(chord).collect()
}

/// An adaptive solve of trajectories that share their steps.
#[derive(Clone, Debug)]
pub(crate) struct Adapted {
    pub(crate) times: Vec<f64>,
    pub(crate) rejected: usize,
    /// Rows' states after each step, `[step][row]`.
    pub(crate) states: Vec<Vec<Vec<f64>>>,
    /// How near the attempts came to another decision: the smallest relative distance of an error from 1, and of a step's
    /// end from the next tick in ticks of its grain.
    pub(crate) margin: f64,
}

impl Noisy<'_> {
    /// Solves from `rows` with the controller's steps, which end on ticks of the path. Row `i` is trajectory `first + i`.
    pub(crate) fn adapt(
        &self,
        controller: Controller,
        theta: &[f64],
        rows: &[Vec<f64>],
        first: u32,
        path: Brownian,
    ) -> Adapted {
        let (t0, t1) = (self.problem.t0, self.problem.t1);
        let starts: Vec<_> = rows.iter().cloned().map(Pair::of).collect();
        let mut h = (t1 - t0) * self.initial_step(theta, t0, t1 - t0, &starts);
        let mut memory = controller.memory::<f64>();
        let mut at: Vec<Pair<f64>> = rows.iter().cloned().map(Pair::of).collect();
        let mut solved = Adapted { times: vec![t0], rejected: 0, states: vec![rows.to_vec()], margin: f64::INFINITY };
        let mut t = t0;
        while t < t1 {
            let (end, margin) = end_of_step(&path, t, h);
            solved.margin = solved.margin.min(margin);
            let take = |(row, start): (usize, &Pair<f64>)| {
                let trajectory = first + u32::try_from(row).expect("few rows");
                let increments = increments(self.problem, &path, trajectory, t, end);
                self.step(theta, (t, end - t), start, &increments, None)
            };
            let steps: Vec<NoisyStep<f64>> = at.iter().enumerate().map(take).collect();
            let error = self.error_norm(&steps);
            solved.margin = solved.margin.min((error - 1.0).abs());
            let attempt = Attempt { error, ratio: 1.0, first: false };
            let decision = controller.adapt(self.tableau.error_power(), &mut memory, attempt);
            h = (end - t) * decision.factor;
            if decision.accept {
                t = end;
                at = steps.into_iter().map(|step| step.end).collect();
                solved.times.push(t);
                solved.states.push(at.iter().map(|pair| pair.y.clone()).collect());
            } else {
                solved.rejected += 1;
            }
        }
        solved
    }
}

/// Where a step of wanted length `h` from `t` ends: on a tick of which it holds 16 to 32. And how far it is, as a share of
/// itself, from ending on another one.
fn end_of_step(path: &Brownian, t: f64, h: f64) -> (f64, f64) {
    let (from, whole) = (path.tick(t), path.ticks() as f64);
    let wanted = h / (path.time(path.ticks()) - path.time(0)) * whole;
    let rest = (path.ticks() - from) as f64;
    if wanted >= rest {
        return (path.time(path.ticks()), wanted / rest - 1.0);
    }
    let grain = 2f64.powi((wanted.log2().floor() as i32 - 4).max(0));
    let end = (from as f64 + wanted) / grain;
    let margin = (end - end.round()).abs().min(rest / wanted - 1.0) * grain / wanted;
    (path.time((end.floor() * grain) as u64), margin)
}

/// The states that a solve saves, by the oracle over the accepted steps of each trajectory, in the order of a solution.
pub(crate) fn replay(
    problem: &Problem,
    options: &SolverOptions,
    path: &Brownian,
    steps: &[Vec<f64>],
    theta: &[f64],
    y0: &[f64],
) -> Vec<f64> {
    saves(problem, options, &courses(problem, path, steps), theta, y0)
}

/// The courses of trajectories that end their steps at those times.
pub(crate) fn courses(problem: &Problem, path: &Brownian, steps: &[Vec<f64>]) -> Vec<Course> {
    steps.iter().enumerate().map(|(row, times)| Course::new(problem, path, row, times)).collect()
}

/// As [`replay`], over given courses.
pub(crate) fn saves<S: Number>(
    problem: &Problem,
    options: &SolverOptions,
    courses: &[Course],
    theta: &[S],
    y0: &[S],
) -> Vec<S> {
    let oracle = Noisy::new(problem, options.method);
    let rows = courses.iter().zip(y0.chunks_exact(problem.dim()));
    let walks: Vec<_> = rows.map(|(course, y0)| oracle.walk(theta, course, y0)).collect();
    let every = |row: usize| states(&walks[row]);
    let times = match &options.save_at {
        SaveAt::Times(times) => times.clone(),
        SaveAt::Steps if options.layout == Layout::Ensemble => {
            return (0..walks.len()).flat_map(every).flatten().collect();
        }
        SaveAt::Steps => {
            let rows: Vec<Vec<Vec<S>>> = (0..walks.len()).map(every).collect();
            return (0..rows[0].len()).flat_map(|n| rows.iter().flat_map(move |row| row[n].clone())).collect();
        }
        _ => vec![problem.t1],
    };
    let rows = || courses.iter().zip(&walks);
    times.iter().flat_map(|&t| rows().flat_map(move |(course, walk)| on_chord(&course.times, walk, t))).collect()
}

/// Paths that are not the default ones.
pub(crate) const PATHS: Paths = Paths { seed: 0x1234_5678_9abc_def0, first: 5 };

/// The stochastic methods that estimate their error.
pub(crate) const NOISY_ADAPTIVE: [Method; 4] =
    [Method::StratonovichHeun, Method::ReversibleHeun, Method::Sriw1, Method::Sosri];

/// A problem of `dim` features with two layers in the drift and in the diffusion, in the method's calculus.
pub(crate) fn noisy_problem(method: Method, dim: usize) -> Problem {
    let drift = Mlp::new([dim, 7, dim]).input_map(InputMap::Cube).time_input(TimeInput::Every);
    let network = Mlp::new([dim, 5, dim]).time_input(TimeInput::First);
    let calculus = method.tableau().noise.expect("a stochastic method").calculus;
    Problem::sde(drift, Diffusion::new(network, calculus), 0.25, 1.75)
}
