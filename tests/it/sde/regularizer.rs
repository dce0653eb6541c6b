//! Local regularization of problems with noise: value and gradient against dual numbers that hold constant exactly what
//! each option says, with fresh noise and with the path's.

use crate::oracle::{Draws, LAYOUTS, Number, Stochastic, close, cpu, draws, gradient, numbers};
use fewsteps::{
    Activation, Batch, Brownian, Calculus, Controller, Diffusion, InitialStep, Layout, Learnt, Local, Loss, Measure,
    Method, Mlp, NeuralDe, Paths, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, Problem, Purpose, Random,
    Real, Regularizer, SaveAt, SavedTimes, Solver, SolverOptions, StepControl, StepGradients, Target, TimeInput,
    Tolerances, Trainer, TrainerConfig, philox4x32,
};

const SEED: u64 = 23;
const TOLERANCE: f64 = 0.05;
const BATCH: usize = 4;
const DIM: usize = 3;
const SPAN: f64 = 1.5;
/// Steps of an ideal controller that earlier training steps have found.
const IDEAL: f64 = 4.2;

struct Case {
    model: NeuralDe,
    local: Local,
}

/// A trajectory's accepted steps: their ends, and the path's increments over each.
struct Walk {
    ends: Vec<f64>,
    draws: Vec<Draws>,
}

/// A probe: where a trajectory's penalised step lies, and its noise.
struct Probe {
    /// Step of the solve that it starts in (unbiased), or with (biased), and how far into it.
    step: usize,
    theta: f64,
    t0: f64,
    t1: f64,
    draws: Draws,
}

impl Case {
    fn new(method: Method, layout: Layout, local: Local) -> Self {
        let drift = Mlp::new([DIM, 4, DIM]).time_input(TimeInput::Every);
        let network = Mlp::new([DIM, 3, DIM]).activation(Activation::Sigmoid).time_input(TimeInput::First);
        let calculus: Calculus = method.tableau().noise.expect("stochastic").calculus;
        let problem = Problem::sde(drift, Diffusion::new(network, calculus), 0.0, SPAN);
        let options = SolverOptions::default().method(method).layout(layout).step_control(StepControl::Adaptive {
            tolerances: Tolerances::both(TOLERANCE),
            controller: Controller::SDE,
            initial_step: InitialStep::Length(0.15),
        });
        Self { model: NeuralDe::new(problem, options), local: local.fraction(1.0).coefficient(0.7) }
    }

    fn theta(&self) -> Vec<f64> {
        numbers(3, self.model.parameter_count())
    }

    fn y0(&self) -> Vec<f64> {
        numbers(4, BATCH * DIM)
    }

    fn run(&self, regularizer: Regularizer) -> StepGradients<f64> {
        let config = TrainerConfig::new(self.model.clone(), Loss::Mse).seed(SEED).regularizer(regularizer);
        let mut trainer = Trainer::<f64>::new(&cpu(2), config).expect("a valid configuration");
        trainer.set_parameters(&self.theta()).expect("finite parameters");
        let mut learnt = Learnt::default();
        learnt.ideal = Some(IDEAL);
        trainer.set_learnt(learnt).expect("what solves can teach");
        let (inputs, states) = (self.y0(), numbers(5, BATCH * DIM));
        trainer.gradients(&Batch { inputs: &inputs, target: Target::States(&states) }).expect("a valid batch")
    }

    fn paths() -> Paths {
        Paths::of_step(SEED, 0)
    }

    fn path(&self) -> Brownian {
        self.model.options.path(&self.model.problem, Self::paths()).expect("a path")
    }

    fn oracle(&self) -> Stochastic<'_> {
        Stochastic { problem: &self.model.problem, method: self.model.options.method }
    }

    fn walks(&self) -> Vec<Walk> {
        let options = self.model.options.clone().save_at(SaveAt::Steps);
        let mut solver = Solver::<f64>::new(&cpu(1), &self.model.problem, &options).expect("a valid problem");
        solver.set_paths(Self::paths());
        let rows = match solver.solve(&self.theta(), &self.y0()).expect("solved").check().expect("done").ts {
            SavedTimes::Shared(ts) => vec![ts; BATCH],
            SavedTimes::PerTrajectory(ts) => ts,
        };
        let path = self.path();
        let walk = |(row, ends): (u32, Vec<f64>)| {
            let draws = ends.windows(2).map(|t| draws(&path, row, DIM, t[0], t[1])).collect();
            Walk { ends, draws }
        };
        (0..).zip(rows).map(walk).collect()
    }

    /// The draw of where the step lies, in `[0, 1)`.
    fn position(&self, row: usize) -> f64 {
        let own = self.local.at == PenaltyAt::Biased && self.model.options.layout == Layout::Ensemble;
        let index = if own { 1 + row as u64 } else { 0 };
        Random::new(SEED, Purpose::RegularizationTime, index).uniform()
    }

    /// Increments apart from the path: normal numbers of node 2^31, scaled by the step's length.
    fn fresh(row: usize, h: f64) -> Draws {
        let seed = Self::paths().seed;
        (0..DIM)
            .map(|channel| {
                let counter = [0, 1 << 31, row as u32, Purpose::Noise as u32 | (channel as u32 / 2) << 8];
                let words = philox4x32(counter, [seed as u32, (seed >> 32) as u32]);
                let first = 2 * (channel % 2);
                let [a, b] = f64::normal_pair(words[first], words[first + 1]);
                let w = h.sqrt() * a;
                [w, 0.5 * w + (h / 12.0).sqrt() * b]
            })
            .collect()
    }

    fn probe(&self, row: usize, ends: &[f64], fresh_h: Option<f64>) -> Probe {
        let (path, follows) = (self.path(), self.local.noise == PenaltyNoise::Path);
        let position = self.position(row);
        let (step, t0) = match self.local.at {
            PenaltyAt::Biased => {
                let step = (position * (ends.len() - 1) as f64) as usize;
                (step, ends[step])
            }
            PenaltyAt::Unbiased => {
                let mut t = position * SPAN;
                if follows {
                    // Multiples of 2^-16 of the interval.
                    t = (t / SPAN * 65536.0).floor() / 65536.0 * SPAN;
                }
                (ends.windows(2).position(|w| t <= w[1]).expect("inside"), t)
            }
            at => panic!("no oracle for {at:?}"),
        };
        let taken = ends[step + 1] - ends[step];
        let mut whole = taken;
        // The last step counts as no shorter than the one before it.
        if step + 2 == ends.len() && step > 0 {
            whole = whole.max(ends[step] - ends[step - 1]);
        }
        let ideal = (self.local.step == PenaltyStep::Ideal).then_some(0.7 / IDEAL * SPAN);
        let h = fresh_h.or(ideal).unwrap_or(whole);
        let mut t1 = t0 + h;
        if follows && !(self.local.at == PenaltyAt::Biased && h == taken) {
            // On a tick of which the step holds 16 to 32, and not beyond the end.
            let ticks = 2f64.powi(30);
            let wanted = (h / SPAN * ticks).floor();
            let grain = 2f64.powi(wanted.log2().floor() as i32 - 4);
            let from = (t0 / SPAN * ticks).round();
            t1 = if from + wanted >= ticks { SPAN } else { ((from + wanted) / grain).floor() * grain / ticks * SPAN };
        }
        let draws = if follows { draws(&path, row as u32, DIM, t0, t1) } else { Self::fresh(row, t1 - t0) };
        let theta = (t0 - ends[step]) / taken;
        Probe { step, theta, t0, t1, draws }
    }

    /// State and second state where a probe starts.
    fn start<S: Number>(&self, theta: &[S], row: usize, walk: &Walk, probe: &Probe) -> [Vec<S>; 2] {
        let y0: Vec<S> = self.y0()[row * DIM..(row + 1) * DIM].iter().map(|&y| S::new(y)).collect();
        let (mut y, mut z) = (y0.clone(), y0);
        for i in 0..=probe.step {
            let ends = (walk.ends[i], walk.ends[i + 1]);
            let step = self.oracle().step(theta, ends, &y, &z, &walk.draws[i], None);
            if i == probe.step {
                if self.local.at == PenaltyAt::Biased {
                    return [y, z];
                }
                let share = S::new(probe.theta);
                let chord: Vec<S> = y.iter().zip(&step.end).map(|(a, b)| *a + share * (*b - *a)).collect();
                return [chord.clone(), chord];
            }
            (y, z) = (step.end, step.second);
        }
        unreachable!("the probe's step is among the steps")
    }

    fn scale<S: Number>(y: S, end: S) -> S {
        let (y, end) = (y.abs(), end.abs());
        S::new(TOLERANCE) + S::new(TOLERANCE) * if end.value() > y.value() { end } else { y }
    }

    /// The automatic initial step from states that share it: three standard deviations of the noise count as drift.
    fn fresh_step(&self, starts: &[Vec<f64>], t: f64) -> f64 {
        let (oracle, theta) = (self.oracle(), self.theta());
        let norm = |of: &dyn Fn(&[f64]) -> Vec<f64>| {
            let terms = starts.iter().flat_map(|y| {
                of(y).into_iter().zip(y).map(|(x, &y)| (x / Self::scale(y, y)).powi(2)).collect::<Vec<f64>>()
            });
            (terms.sum::<f64>() / (starts.len() * DIM) as f64).sqrt()
        };
        let speed = |y: &[f64]| {
            let [f, g] = oracle.fields(&theta, t, y);
            f.iter().zip(&g).map(|(f, g)| (f + 3.0 * g).abs().max((f - 3.0 * g).abs())).collect::<Vec<f64>>()
        };
        let (d0, d1) = (norm(&|y: &[f64]| y.to_vec()), SPAN * norm(&speed));
        let h0 = if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { (0.01 * d0 / d1).min(1.0) } * SPAN;
        let change = |y: &[f64]| {
            let [f, g] = oracle.fields(&theta, t, y);
            let moved: Vec<f64> = y.iter().zip(&f).map(|(y, f)| y + h0 * f).collect();
            let [f1, g1] = oracle.fields(&theta, t + h0, &moved);
            (0..DIM)
                .map(|d| {
                    let spread = (3.0 * (g[d] - g1[d])).abs().max((3.0 * (g[d] + g1[d])).abs());
                    (f1[d] - f[d] + spread).abs().max((f1[d] - f[d] - spread).abs())
                })
                .collect::<Vec<f64>>()
        };
        let d2 = SPAN * norm(&change) / (h0 / SPAN);
        let order = self.model.options.method.tableau().noise.expect("noise").strong_order + 0.5;
        let h1 = (0.01 / d1.max(d2)).powf(1.0 / order);
        (100.0 * h0 / SPAN).min(h1).min(1.0) * SPAN
    }

    /// Groups of trajectories that share a step: the batch, or each by itself.
    fn groups(&self) -> Vec<Vec<usize>> {
        match self.model.options.layout {
            Layout::Lockstep => vec![(0..BATCH).collect()],
            Layout::Ensemble => (0..BATCH).map(|row| vec![row]).collect(),
            layout => panic!("no oracle for {layout:?}"),
        }
    }

    /// The length of the fresh initial step that trajectories share, from where their probes start.
    fn fresh_length(&self, group: &[usize], walks: &[Walk]) -> f64 {
        let theta = self.theta();
        let probe = |row: usize| self.probe(row, &walks[row].ends, None);
        let start = |&row: &usize| {
            let [y, z] = self.start(&theta, row, &walks[row], &probe(row));
            if self.model.options.method == Method::ReversibleHeun { z } else { y }
        };
        self.fresh_step(&group.iter().map(start).collect::<Vec<_>>(), probe(group[0]).t0)
    }

    /// Each trajectory's probe, and state and second state where it starts.
    fn probes(&self, walks: &[Walk]) -> Vec<(Probe, [Vec<f64>; 2])> {
        let probes = self.groups().into_iter().flat_map(|group| {
            let fresh = (self.local.step == PenaltyStep::FreshInitial).then(|| self.fresh_length(&group, walks));
            group.into_iter().map(move |row| {
                let probe = self.probe(row, &walks[row].ends, fresh);
                let start = self.start(&self.theta(), row, &walks[row], &probe);
                (probe, start)
            })
        });
        probes.collect()
    }

    fn penalty<S: Number>(&self, theta: &[S], walks: &[Walk], probes: &[(Probe, [Vec<f64>; 2])]) -> S {
        let constants = |x: &[f64]| x.iter().map(|&x| S::new(x)).collect::<Vec<S>>();
        let fixed = constants(&self.theta());
        let mut total = S::new(0.0);
        let groups = self.groups();
        for group in &groups {
            let (mut sum, mut h) = (S::new(0.0), 0.0);
            for &row in group {
                let (probe, start) = &probes[row];
                h = probe.t1 - probe.t0;
                let [y, z] = match self.local.gradient {
                    PenaltyGradient::Full => self.start(theta, row, &walks[row], probe),
                    _ => start.each_ref().map(|x| constants(x)),
                };
                let first = (self.local.gradient == PenaltyGradient::Published)
                    .then(|| self.oracle().fields(&fixed, probe.t0, &z));
                let step = self.oracle().step(theta, (probe.t0, probe.t1), &y, &z, &probe.draws, first.as_ref());
                for d in 0..DIM {
                    let r = step.error[d] / Self::scale(y[d], step.end[d]);
                    sum = sum + r * r;
                }
            }
            let norm = (sum / S::new((group.len() * DIM) as f64)).power(0.5);
            let q = self.model.options.method.tableau().error_power();
            let value = match self.local.measure {
                Measure::Error => norm * S::new(h),
                _ => norm.power(1.0 / q) * S::new(SPAN / h),
            };
            total = total + value / S::new(groups.len() as f64);
        }
        total
    }

    fn check(&self, name: &str) {
        let (with, without) = (self.run(self.local.clone().into()), self.run(Regularizer::None));
        let walks = self.walks();
        let probes = self.probes(&walks);
        let theta = self.theta();
        let value: f64 = self.penalty(&theta, &walks, &probes);
        assert!((with.report.penalty / value - 1.0).abs() < 1e-9, "{name}: {} not {}", with.report.penalty, value);
        let found: Vec<f64> = with.gradient.iter().zip(&without.gradient).map(|(a, b)| (a - b) / 0.7).collect();
        let expected = gradient(&theta, |theta| self.penalty(theta, &walks, &probes));
        close(name, &found, &expected, 1e-8);
    }
}

fn locals() -> impl Iterator<Item = Local> {
    let gradients = [PenaltyGradient::Published, PenaltyGradient::Step, PenaltyGradient::Full];
    [Local::unbiased(), Local::biased()].into_iter().flat_map(move |local| {
        [PenaltyNoise::Fresh, PenaltyNoise::Path].into_iter().flat_map(move |noise| {
            let local = local.clone().noise(noise);
            [PenaltyStep::Taken, PenaltyStep::FreshInitial, PenaltyStep::Ideal].into_iter().flat_map(move |step| {
                let local = local.clone().step(step);
                // An ideal step's length follows the step count.
                let measures = [Measure::StepCount, Measure::Error];
                measures.into_iter().take(if step == PenaltyStep::Ideal { 1 } else { 2 }).flat_map(move |measure| {
                    let local = local.clone().measure(measure);
                    gradients.into_iter().map(move |gradient| local.clone().gradient(gradient))
                })
            })
        })
    })
}

#[test]
fn every_option_of_the_default_method() {
    for layout in LAYOUTS {
        for local in locals() {
            let name = format!("{layout:?}, {local:?}");
            Case::new(Method::Sosri, layout, local).check(&name);
        }
    }
}

#[test]
fn the_other_methods() {
    for method in [Method::Sriw1, Method::StratonovichHeun, Method::ReversibleHeun] {
        for layout in LAYOUTS {
            for local in locals().filter(|l| l.measure == Measure::StepCount && l.step == PenaltyStep::Taken) {
                let name = format!("{method}, {layout:?}, {local:?}");
                Case::new(method, layout, local).check(&name);
            }
        }
    }
}
