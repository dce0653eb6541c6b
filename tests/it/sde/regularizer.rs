//! Local regularization of problems with noise: value and gradient against dual numbers that hold constant exactly what
//! each option says, with fresh noise and with the path's.

use crate::oracle::{
    Course, LAYOUTS, Noisy, NoisyStep, Number, Pair, channel, close, courses, cpu, gradient, increments, numbers,
    shared,
};
use fewsteps::{
    Activation, Batch, Brownian, Calculus, Controller, Diffusion, Increment, InitialStep, Layout, Learnt, Local, Loss,
    Measure, Method, Mlp, NeuralDe, Paths, PenaltyAt, PenaltyGradient, PenaltyNoise, PenaltyStep, Problem, Purpose,
    Random, Real, Regularizer, SaveAt, SavedTimes, Solver, SolverOptions, StepControl, StepGradients, Target,
    TimeInput, Tolerances, Trainer, TrainerConfig, philox4x32,
};

const SEED: u64 = 23;
const TOLERANCE: f64 = 0.05;
const BATCH: usize = 4;
const DIM: usize = 3;
const SPAN: f64 = 1.5;
/// Steps of an ideal controller that earlier training steps have found.
const IDEAL: f64 = 4.2;

/// What a model does without a regularizer: the same whatever is regularized.
struct Plain {
    gradient: Vec<f64>,
    courses: Vec<Course>,
}

struct Case {
    model: NeuralDe,
    local: Local,
}

/// A trajectory's noise over a step, one a feature.
type Increments = Vec<Increment<f64>>;

/// A probe: where a trajectory's penalised step lies, and its noise.
struct Probe {
    /// Step of the solve that it starts in (unbiased), or with (biased), and how far into it.
    step: usize,
    theta: f64,
    t0: f64,
    t1: f64,
    increments: Increments,
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

    /// With one Wiener process for all features.
    fn shared(mut self) -> Self {
        self.model.problem = shared(self.model.problem);
        self
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

    fn oracle(&self) -> Noisy<'_> {
        let tolerances = Tolerances::both(TOLERANCE);
        Noisy { tolerances, ..Noisy::new(&self.model.problem, self.model.options.method) }
    }

    /// The accepted steps of each trajectory.
    fn courses(&self) -> Vec<Course> {
        let options = self.model.options.clone().save_at(SaveAt::Steps);
        let mut solver = Solver::<f64>::new(&cpu(1), &self.model.problem, &options).expect("a valid problem");
        solver.set_paths(Self::paths());
        let ends = match solver.solve(&self.theta(), &self.y0()).expect("solved").check().expect("done").ts {
            SavedTimes::Shared(ts) => vec![ts; BATCH],
            SavedTimes::PerTrajectory(ts) => ts,
            SavedTimes::Own(ts) => panic!("no steps: {ts:?}"),
        };
        courses(&self.model.problem, &self.path(), &ends)
    }

    /// The draw of where the step lies, in `[0, 1)`.
    fn position(&self, row: usize) -> f64 {
        let own = self.local.at == PenaltyAt::Biased && self.model.options.layout == Layout::Ensemble;
        let index = if own { 1 + row as u64 } else { 0 };
        Random::new(SEED, Purpose::RegularizationTime, index).uniform()
    }

    /// Increments apart from the path: normal numbers of node 2^31, scaled by the step's length.
    fn fresh(&self, row: usize, h: f64) -> Increments {
        let seed = Self::paths().seed;
        (0..DIM)
            .map(|feature| {
                let channel = channel(&self.model.problem, feature);
                let counter = [0, 1 << 31, row as u32, Purpose::Noise as u32 | (channel / 2) << 8];
                let words = philox4x32(counter, [seed as u32, (seed >> 32) as u32]);
                let first = 2 * (channel as usize % 2);
                let [a, b] = f64::normal_pair(words[first], words[first + 1]);
                let mut increment = Increment::default();
                (increment.w, increment.levy) = (h.sqrt() * a, (h / 12.0).sqrt() * b);
                increment
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
        let problem = &self.model.problem;
        let increments =
            if follows { increments(problem, &path, row as u32, t0, t1) } else { self.fresh(row, t1 - t0) };
        let theta = (t0 - ends[step]) / taken;
        Probe { step, theta, t0, t1, increments }
    }

    /// Where a probe starts.
    fn start<S: Number>(&self, theta: &[S], row: usize, course: &Course, probe: &Probe) -> Pair<S> {
        let y0: Vec<S> = self.y0()[row * DIM..(row + 1) * DIM].iter().map(|&y| S::new(y)).collect();
        let steps = self.oracle().walk(theta, &course.until(probe.step + 1), &y0);
        let step = &steps[probe.step];
        if self.local.at == PenaltyAt::Biased {
            return step.start.clone();
        }
        let share = S::new(probe.theta);
        Pair::of(step.start.y.iter().zip(&step.end.y).map(|(a, b)| *a + share * (*b - *a)).collect())
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
    fn fresh_length(&self, group: &[usize], courses: &[Course]) -> f64 {
        let theta = self.theta();
        let probe = |row: usize| self.probe(row, &courses[row].times, None);
        let starts: Vec<Pair<f64>> =
            group.iter().map(|&row| self.start(&theta, row, &courses[row], &probe(row))).collect();
        SPAN * self.oracle().initial_step(&theta, probe(group[0]).t0, SPAN, &starts)
    }

    /// Each trajectory's probe, and where it starts.
    fn probes(&self, courses: &[Course]) -> Vec<(Probe, Pair<f64>)> {
        let probes = self.groups().into_iter().flat_map(|group| {
            let fresh = (self.local.step == PenaltyStep::FreshInitial).then(|| self.fresh_length(&group, courses));
            group.into_iter().map(move |row| {
                let probe = self.probe(row, &courses[row].times, fresh);
                let start = self.start(&self.theta(), row, &courses[row], &probe);
                (probe, start)
            })
        });
        probes.collect()
    }

    /// The step of a probe, of whose start and first slopes is constant what the option says.
    fn step<S: Number>(
        &self,
        theta: &[S],
        row: usize,
        course: &Course,
        (probe, start): &(Probe, Pair<f64>),
    ) -> NoisyStep<S> {
        let constants = |x: &[f64]| x.iter().map(|&x| S::new(x)).collect::<Vec<S>>();
        let start = match self.local.gradient {
            PenaltyGradient::Full => self.start(theta, row, course, probe),
            _ => Pair { y: constants(&start.y), z: constants(&start.z) },
        };
        let slopes = || self.oracle().slopes(&constants(&self.theta()), probe.t0, &start.z);
        let first = (self.local.gradient == PenaltyGradient::Published).then(slopes);
        self.oracle().step(theta, (probe.t0, probe.t1 - probe.t0), &start, &probe.increments, first.as_ref())
    }

    fn penalty<S: Number>(&self, theta: &[S], courses: &[Course], probes: &[(Probe, Pair<f64>)]) -> S {
        let groups = self.groups();
        groups.iter().fold(S::new(0.0), |total, group| {
            let steps: Vec<_> = group.iter().map(|&row| self.step(theta, row, &courses[row], &probes[row])).collect();
            let norm: S = self.oracle().error_norm(&steps);
            // Trajectories that share a step have one of the same length.
            let Probe { t0, t1, .. } = probes[group[0]].0;
            let q = self.model.options.method.tableau().error_power();
            let value = match self.local.measure {
                Measure::Error => norm * S::new(t1 - t0),
                _ => norm.power(1.0 / q) * S::new(SPAN / (t1 - t0)),
            };
            total + value / S::new(groups.len() as f64)
        })
    }

    fn plain(&self) -> Plain {
        Plain { gradient: self.run(Regularizer::None).gradient, courses: self.courses() }
    }

    fn check(&self, name: &str, plain: &Plain) {
        let with = self.run(self.local.clone().into());
        let courses = &plain.courses;
        let probes = self.probes(courses);
        let theta = self.theta();
        let value: f64 = self.penalty(&theta, courses, &probes);
        assert!((with.report.penalty / value - 1.0).abs() < 1e-9, "{name}: {} not {}", with.report.penalty, value);
        let found: Vec<f64> = with.gradient.iter().zip(&plain.gradient).map(|(a, b)| (a - b) / 0.7).collect();
        let expected = gradient(&theta, |theta| self.penalty(theta, courses, &probes));
        close(name, &found, &expected, 1e-8);
    }
}

/// Checks those options of a method in both layouts.
fn check(method: Method, locals: impl Iterator<Item = Local> + Clone) {
    for layout in LAYOUTS {
        let plain = Case::new(method, layout, Local::unbiased()).plain();
        for local in locals.clone() {
            let name = format!("{method}, {layout:?}, {local:?}");
            Case::new(method, layout, local).check(&name, &plain);
        }
    }
}

fn locals() -> impl Iterator<Item = Local> + Clone {
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
    check(Method::Sosri, locals());
}

#[test]
fn the_other_methods() {
    for method in [Method::Sriw1, Method::StratonovichHeun, Method::ReversibleHeun] {
        check(method, locals().filter(|l| l.measure == Measure::StepCount && l.step != PenaltyStep::Ideal));
    }
}

#[test]
fn scalar_noise() {
    for method in [Method::Sosri, Method::ReversibleHeun] {
        for layout in LAYOUTS {
            let plain = Case::new(method, layout, Local::unbiased()).shared().plain();
            let of_method = |l: &Local| method == Method::Sosri || l.step == PenaltyStep::Taken;
            let some = |l: &Local| l.gradient != PenaltyGradient::Step && l.measure == Measure::StepCount;
            for local in locals().filter(|l| of_method(l) && some(l)) {
                let name = format!("scalar noise, {method}, {layout:?}, {local:?}");
                Case::new(method, layout, local).shared().check(&name, &plain);
            }
        }
    }
}
