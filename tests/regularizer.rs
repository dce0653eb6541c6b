//! Gradients of loss and penalty against dual numbers that hold constant exactly what each option says.

mod common;

use common::{
    Dual, LAYOUTS, Number, Step, System, adaptive, bits, cast, close, cpu, gradient, largest, numbers, penalty, scaled,
    solver, step_times, widen, with_first_step,
};
use fewsteps::{
    Adjoint, Batch, Checkpoints, FailurePolicy, InputMap, Layout, Learnt, Local, Loss, Measure, Method, Mlp, NeuralDe,
    PenaltyAt, PenaltyGradient, PenaltyStep, Problem, Purpose, Random, Regularizer, SaveAt, Scalar, SolverOptions,
    StepControl, StepGradients, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};

const SEED: u64 = 17;
const TOLERANCE: f64 = 1e-3;
/// Steps of an ideal controller that earlier training steps have found.
const IDEAL: f64 = 4.2;
const MEASURES: [Measure; 3] = [Measure::Error, Measure::Stiffness, Measure::StepCount];
const GRADIENTS: [PenaltyGradient; 3] = [PenaltyGradient::Published, PenaltyGradient::Step, PenaltyGradient::Full];

/// The first step is no shorter than the others: the error of the automatic one is so small that most of it is
/// rounding, and the penalty there has few digits.
fn options(method: Method) -> SolverOptions {
    with_first_step(method, TOLERANCE, 0.2)
}

#[derive(Clone, Debug)]
struct Case {
    model: NeuralDe,
    loss: Loss,
    local: Local,
    batch: usize,
}

/// A linear layer of the model: `[x, 1] @ block`.
fn linear<S: Number>(block: &[S], x: &[S], outputs: usize) -> Vec<S> {
    let ones = [S::new(1.0)];
    (0..outputs)
        .map(|o| {
            x.iter().chain(&ones).zip(block.chunks_exact(outputs)).fold(S::new(0.0), |z, (&x, row)| z + x * row[o])
        })
        .collect()
}

fn constant<S: Number>(x: &[S]) -> Vec<S> {
    x.iter().map(|x| S::new(x.value())).collect()
}

impl Case {
    fn new() -> Self {
        let field = Mlp::new([3, 5, 3]).time_input(TimeInput::Every);
        let model = NeuralDe::new(Problem::ode(field, 0.2, 1.7), options(Method::Tsit5));
        let local = Local::unbiased().coefficient(0.3).fraction(1.0);
        Self { model, loss: Loss::Mse, local, batch: 3 }
    }

    fn options(mut self, change: impl FnOnce(SolverOptions) -> SolverOptions) -> Self {
        self.model.options = change(self.model.options);
        self
    }

    fn layout(self, layout: Layout) -> Self {
        self.options(|options| options.layout(layout))
    }

    fn theta(&self) -> Vec<f64> {
        scaled(1.2, &numbers(3, self.model.parameter_count()))
    }

    fn inputs(&self) -> Vec<f64> {
        scaled(1.4, &numbers(4, self.batch * self.model.input_width()))
    }

    fn states(&self) -> Vec<f64> {
        numbers(5, self.model.output_times() * self.batch * self.model.output_width())
    }

    fn labels(&self) -> Vec<u32> {
        let classes = u32::try_from(self.model.output_width()).expect("few classes");
        (0u32..).map(|i| (7 * i + i / 2) % classes).take(self.batch).collect()
    }

    fn run(&self, regularizer: Regularizer) -> StepGradients<f64> {
        let config = TrainerConfig::new(self.model.clone(), self.loss).seed(SEED).regularizer(regularizer);
        let mut trainer = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
        trainer.set_parameters(&self.theta()).expect("finite parameters");
        if self.local.step == PenaltyStep::Ideal {
            trainer.set_learnt(Learnt { ideal: Some(IDEAL), ..Learnt::default() }).expect("what solves can teach");
        }
        let (inputs, states, labels) = (self.inputs(), self.states(), self.labels());
        let target = if self.loss == Loss::CrossEntropy { Target::Labels(&labels) } else { Target::States(&states) };
        trainer.gradients(&Batch { inputs: &inputs, target }).expect("a valid batch")
    }

    /// Initial states, from the inputs.
    fn y0<S: Number>(&self, theta: &[S]) -> Vec<Vec<S>> {
        let inputs: Vec<S> = self.inputs().into_iter().map(S::new).collect();
        let dim = self.model.problem.dim();
        let rows = inputs.chunks_exact(self.model.input_width());
        rows.map(|x| if self.model.encoder.is_some() { linear(theta, x, dim) } else { x.to_vec() }).collect()
    }

    /// The parts of the parameters: the field's and the head's.
    fn parts<'a, S>(&self, theta: &'a [S]) -> (&'a [S], &'a [S]) {
        let dim = self.model.problem.dim();
        let encoder = self.model.encoder.map_or(0, |inputs| (inputs + 1) * dim);
        theta[encoder..].split_at(self.model.problem.field.parameter_count())
    }

    fn system(&self) -> System<'_> {
        let tolerances = Tolerances::both(TOLERANCE);
        let options = &self.model.options;
        let atol_per_feature = options.atol_per_feature.as_deref();
        System { field: &self.model.problem.field, method: options.method, tolerances, atol_per_feature }
    }

    /// Ends of each trajectory's accepted steps.
    fn steps(&self) -> Vec<Vec<f64>> {
        let (theta, y0) = (self.theta(), self.y0(&self.theta()).concat());
        let mut solver = solver::<f64>(&self.model.problem, &self.model.options.clone().save_at(SaveAt::Steps));
        let solution = solver.solve(self.parts(&theta).0, &y0).expect("a valid call").check().expect("all are done");
        (0..self.batch).map(|row| step_times(&solution, row)).collect()
    }

    /// The task's loss along steps that are constant.
    fn loss<S: Number>(&self, steps: &[Vec<f64>], theta: &[S]) -> S {
        let (field, head) = self.parts(theta);
        let system = self.system();
        let (states, labels, outputs) = (self.states(), self.labels(), self.model.output_width());
        let times = match &self.model.options.save_at {
            SaveAt::Times(times) => times.clone(),
            _ => vec![self.model.problem.t1],
        };
        let mut loss = S::new(0.0);
        for (row, y0) in self.y0(theta).iter().enumerate() {
            let walk = system.walk(field, &steps[row], y0);
            for (slot, &t) in times.iter().enumerate() {
                let y = system.state_at(&walk, t);
                let out = if self.model.head.is_some() { linear(head, &y, outputs) } else { y };
                let scale = S::new(1.0 / (times.len() * self.batch * outputs) as f64);
                match self.loss {
                    Loss::CrossEntropy if slot + 1 < times.len() => {}
                    Loss::CrossEntropy => {
                        let exponentials = out.iter().map(|z| z.chain(z.value().exp(), z.value().exp()));
                        let sum = exponentials.fold(S::new(0.0), |sum, e| sum + e);
                        let log = sum.chain(sum.value().ln(), 1.0 / sum.value());
                        loss = loss + (log - out[labels[row] as usize]) * S::new(1.0 / self.batch as f64);
                    }
                    Loss::Mse | Loss::Mae => {
                        let targets = &states[(slot * self.batch + row) * outputs..][..outputs];
                        for (&z, &target) in out.iter().zip(targets) {
                            let difference = z - S::new(target);
                            let square = self.loss == Loss::Mse;
                            loss = loss + scale * if square { difference * difference } else { difference.abs() };
                        }
                    }
                    other => panic!("{other:?} is not of single trajectories"),
                }
            }
        }
        loss
    }

    /// Trajectories that the penalty is measured on: whole tiles of 32.
    fn penalised(&self) -> usize {
        let tiles = (self.local.fraction * self.batch.div_ceil(32) as f64).ceil() as usize;
        (32 * tiles).min(self.batch)
    }

    /// Position of the n-th probe in the interval, in `[0, 1)`; a trajectory's own where it draws for itself.
    fn position(&self, n: usize, own: Option<usize>) -> f64 {
        let mut random = Random::new(SEED, Purpose::RegularizationTime, own.map_or(0, |row| 1 + row as u64));
        let uniform: Vec<f64> = (0..=n).map(|_| random.uniform()).collect();
        (n as f64 + uniform[n]) / self.local.times as f64
    }

    /// The n-th probe of trajectories that share a step.
    fn probe<S: Number>(&self, n: usize, group: &[usize], steps: &[Vec<f64>], theta: &[S]) -> S {
        let system = self.system();
        let field = self.parts(theta).0;
        let Problem { t0, t1, .. } = self.model.problem;
        let times = &steps[group[0]];
        let own =
            (self.model.options.layout == Layout::Ensemble && self.local.at == PenaltyAt::Biased).then(|| group[0]);
        let position = self.position(n, own);
        let (t, i) = match self.local.at {
            PenaltyAt::Unbiased => {
                let t = t0 + position * (t1 - t0);
                let covers = |w: &[f64]| (w[0] - t) * (w[1] - t) <= 0.0;
                (t, times.windows(2).position(covers).expect("a step that covers the time"))
            }
            PenaltyAt::Biased => {
                let i = (position * (times.len() - 1) as f64) as usize;
                (times[i], i)
            }
        };
        let mut taken = times[i + 1] - times[i];
        // The last step, or one that ends at a stop, counts as no shorter than the one before it.
        let cut = times[i + 1] == t1 || self.model.options.stop_at.contains(&times[i + 1]);
        if cut && i > 0 && !matches!(self.model.options.step_control, StepControl::Fixed { .. }) {
            let before = times[i] - times[i - 1];
            taken = if before.abs() > taken.abs() { before } else { taken };
        }
        let y0 = self.y0(theta);
        let states: Vec<Vec<S>> = group
            .iter()
            .map(|&row| {
                let y = system.state_at(&system.walk(field, times, &y0[row]), t);
                if self.local.gradient == PenaltyGradient::Full { y } else { constant(&y) }
            })
            .collect();
        let values = |x: &[S]| x.iter().map(|x| x.value()).collect::<Vec<f64>>();
        let h = match self.local.step {
            PenaltyStep::Taken => taken,
            PenaltyStep::Ideal => (t1 - t0) * (0.7 / IDEAL).min(1.0),
            PenaltyStep::FreshInitial => {
                let rows: Vec<Vec<f64>> = states.iter().map(|y| values(y)).collect();
                system.initial_step(&values(field), t, &rows, t1 - t0)
            }
        };
        let published = self.local.gradient == PenaltyGradient::Published;
        let steps: Vec<Step<S>> = states
            .iter()
            .map(|y| {
                let k1 = published.then(|| constant(&system.f(field, t, y)));
                system.step(field, t, t + h, y, k1)
            })
            .collect();
        penalty(&system, self.local.measure, t1 - t0, &steps)
    }

    /// The penalty without its coefficient: a mean over probes, and over trajectories where each has its own step.
    fn penalty<S: Number>(&self, steps: &[Vec<f64>], theta: &[S]) -> S {
        let rows: Vec<usize> = (0..self.penalised()).collect();
        let groups: Vec<&[usize]> =
            if self.model.options.layout == Layout::Lockstep { vec![&rows] } else { rows.chunks(1).collect() };
        let mut sum = S::new(0.0);
        for n in 0..self.local.times {
            for group in &groups {
                sum = sum + self.probe(n, group, steps, theta);
            }
        }
        sum / S::new((self.local.times * groups.len()) as f64)
    }
}

/// Asserts that loss, penalty and their gradients are those of the oracle. The error estimate is a difference of nearly
/// equal numbers, which loses up to nine of sixteen digits over the short steps at the end of an interval.
fn check(name: &str, case: &Case) {
    let name = format!("{name}, {:?}, {:?}", case.model.options.layout, case.local);
    let (steps, theta) = (case.steps(), case.theta());
    let found = case.run(case.local.clone().into());
    let plain = case.run(Regularizer::None);
    let coefficient = case.local.coefficient.value(0);
    close(&format!("{name}: loss"), &[found.report.loss], &[case.loss(&steps, &theta)], 1e-11);
    close(&format!("{name}: penalty"), &[found.report.penalty], &[case.penalty(&steps, &theta)], 1e-6);
    assert_eq!(found.report.coefficient, coefficient, "{name}: coefficient");
    assert_eq!(plain.report.penalty, 0.0, "{name}: nothing is penalised without a regularizer");
    assert_eq!(found.report.nfe, plain.report.nfe, "{name}: a penalty costs the solve nothing");
    assert_eq!(found.report.loss, plain.report.loss, "{name}: the loss is apart from the penalty");
    let loss_bar = gradient(&theta, |theta| case.loss(&steps, theta));
    close(&format!("{name}: gradient of the loss"), &plain.gradient, &loss_bar, 1e-10);
    let penalty_bar = gradient(&theta, |theta: &[Dual]| case.penalty(&steps, theta));
    assert!(largest(&penalty_bar) > 1e-9, "{name}: the truth is not zero");
    let share: Vec<f64> = found.gradient.iter().zip(&plain.gradient).map(|(a, b)| (a - b) / coefficient).collect();
    close(&format!("{name}: gradient of the penalty"), &share, &penalty_bar, 1e-6);
}

#[test]
fn every_penalty() {
    for layout in LAYOUTS {
        for measure in MEASURES {
            for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken, PenaltyStep::Ideal] {
                if step == PenaltyStep::Ideal && measure != Measure::StepCount {
                    continue; // Refused: its length follows that measure.
                }
                for gradient in GRADIENTS {
                    for (at, times) in
                        [PenaltyAt::Unbiased, PenaltyAt::Biased].into_iter().flat_map(|at| [(at, 1), (at, 3)])
                    {
                        let mut case = Case::new().layout(layout);
                        case.local =
                            Local { at, ..case.local.measure(measure).step(step).gradient(gradient).times(times) };
                        check("every penalty", &case);
                    }
                }
            }
        }
    }
}

#[test]
fn features_with_absolute_tolerances_of_their_own() {
    for layout in LAYOUTS {
        for measure in [Measure::Error, Measure::StepCount] {
            for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken] {
                let case = |atol: [f64; 3]| {
                    let mut case = Case::new().layout(layout).options(|options| options.atol_per_feature(atol));
                    case.local = case.local.measure(measure).step(step).gradient(PenaltyGradient::Full);
                    case
                };
                check("tolerances of features", &case([1e-2, 1e-3, 1e-4]));
                let each = case([TOLERANCE; 3]);
                let one = each.clone().options(|options| SolverOptions { atol_per_feature: None, ..options });
                let [each, one] = [each, one].map(|case| case.run(case.local.clone().into()));
                assert_eq!(bits(&each.gradient), bits(&one.gradient), "{layout:?}, {measure:?}, {step:?}");
                assert_eq!(each.report.penalty, one.report.penalty, "{layout:?}, {measure:?}, {step:?}");
            }
        }
    }
}

/// What is held constant matters: otherwise the check above would not tell the options apart.
#[test]
fn what_is_differentiated_changes_the_gradient() {
    for measure in MEASURES {
        let shares = GRADIENTS.map(|gradient| {
            let mut case = Case::new();
            case.local = case.local.measure(measure).gradient(gradient);
            case.run(case.local.clone().into()).gradient
        });
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            let change: Vec<f64> = shares[a].iter().zip(&shares[b]).map(|(a, b)| a - b).collect();
            assert!(largest(&change) > 1e-6, "{measure:?}: {:?} and {:?} agree", GRADIENTS[a], GRADIENTS[b]);
        }
    }
}

#[test]
fn other_methods() {
    for layout in LAYOUTS {
        for (method, measures) in [
            (Method::Heun, &[Measure::Error, Measure::StepCount][..]),
            (Method::Bosh3, &[Measure::Error, Measure::StepCount]),
            (Method::Dopri5, &MEASURES),
        ] {
            for &measure in measures {
                for gradient in GRADIENTS {
                    let mut case = Case::new().options(|_| options(method)).layout(layout);
                    case.local = Local { at: PenaltyAt::Biased, ..case.local.measure(measure).gradient(gradient) };
                    check(&format!("{method}"), &case);
                    case.local.at = PenaltyAt::Unbiased;
                    check(&format!("{method}"), &case);
                }
            }
        }
    }
}

#[test]
fn backwards_and_with_few_checkpoints() {
    for layout in LAYOUTS {
        for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
            for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken] {
                let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
                let mut case = Case::new().layout(layout).options(|o| o.adjoint(adjoint));
                (case.model.problem.t0, case.model.problem.t1) = (1.1, -0.4);
                case.local = Local { at, ..case.local.step(step).gradient(PenaltyGradient::Full).times(4) };
                check("backwards", &case);
            }
        }
    }
}

#[test]
fn a_share_of_the_batch() {
    for layout in LAYOUTS {
        for (fraction, rows) in [(0.25, 32), (0.5, 64), (1.0, 70)] {
            for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
                for gradient in [PenaltyGradient::Step, PenaltyGradient::Full] {
                    let mut case = Case::new().layout(layout);
                    case.model.problem.field = Mlp::new([2, 3, 2]);
                    case.batch = 70;
                    // Of 70 trajectories some end with a short step, whose error is mostly rounding. The step count, a root of
                    // it, would have few digits there; the error itself counts for nothing.
                    let local = case.local.measure(Measure::Error).fraction(fraction).gradient(gradient).times(2);
                    case.local = Local { at, ..local };
                    assert_eq!(case.penalised(), rows, "whole tiles");
                    check("a share of the batch", &case);
                }
            }
        }
    }
}

#[test]
fn whole_models_and_every_loss() {
    for layout in LAYOUTS {
        for loss in [Loss::Mse, Loss::Mae, Loss::CrossEntropy] {
            for (encoder, head) in [(None, None), (Some(4), None), (None, Some(2)), (Some(2), Some(4))] {
                for times in [vec![], vec![0.2, 0.9, 1.7]] {
                    let save_at = if times.is_empty() { SaveAt::End } else { SaveAt::Times(times) };
                    let mut case = Case::new().layout(layout).options(|o| o.save_at(save_at));
                    (case.model.encoder, case.model.head, case.loss) = (encoder, head, loss);
                    case.local = case.local.gradient(PenaltyGradient::Full).times(2);
                    check(&format!("{loss:?} with encoder {encoder:?}, head {head:?}"), &case);
                    case.local.at = PenaltyAt::Biased;
                    check(&format!("{loss:?} with encoder {encoder:?}, head {head:?}"), &case);
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for layout in LAYOUTS {
        for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
            let field = Mlp::new([6, 60, 6]);
            let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), adaptive(Method::Tsit5, 1e-4).layout(layout));
            let local = Local { at, ..Local::unbiased() }.gradient(PenaltyGradient::Full).fraction(0.5).times(2);
            let (inputs, states) = (numbers(6, 200 * 6), numbers(7, 200 * 6));
            let run = |threads: usize| {
                let config = TrainerConfig::new(model.clone(), Loss::Mse).regularizer(local.clone());
                let mut trainer = Trainer::<f64>::new(&cpu(threads), config).expect("a valid configuration");
                let batch = Batch { inputs: &inputs, target: Target::States(&states) };
                for _ in 0..2 {
                    trainer.step(&batch).expect("a step");
                }
                let found = trainer.gradients(&batch).expect("a valid batch");
                (bits(&found.gradient), found.report)
            };
            let one = run(1);
            for threads in [2, 3] {
                assert!(run(threads) == one, "{layout:?}, {at:?}: {threads} threads and 1 differ");
            }
        }
    }
}

#[test]
fn an_evaluation_never_regularizes() {
    for layout in LAYOUTS {
        let case = Case::new().layout(layout);
        let evaluate = |regularizer: Regularizer| {
            let config = TrainerConfig::new(case.model.clone(), case.loss).seed(SEED).regularizer(regularizer);
            let mut trainer = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
            trainer.set_parameters(&case.theta()).expect("finite parameters");
            let (inputs, states) = (case.inputs(), case.states());
            trainer.evaluate(&Batch { inputs: &inputs, target: Target::States(&states) }).expect("a valid batch")
        };
        let (with, without) = (evaluate(case.local.clone().coefficient(1e6).into()), evaluate(Regularizer::None));
        assert_eq!(with, without, "{layout:?}: an evaluation");
        assert_eq!(with.loss, case.run(Regularizer::None).report.loss, "{layout:?}: the loss that training sees");
    }
}

/// Trajectories that fail leave loss, penalty and gradient to the others, a tile of nothing but failures included.
#[test]
fn failures_are_left_out() {
    let field = Mlp::new([1, 1]).input_map(InputMap::Cube);
    let good: Vec<f64> = (0..40).map(|i| 0.2 + 0.008 * f64::from(i)).collect();
    for layout in LAYOUTS {
        for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
            for gradient in GRADIENTS {
                for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken] {
                    let name = format!("{layout:?}, {at:?}, {gradient:?}, {step:?}");
                    let options = options(Method::Tsit5).layout(layout);
                    let model = NeuralDe::new(Problem::ode(field.clone(), 0.0, 1.0), options);
                    let local = Local { at, ..Local::unbiased() }.gradient(gradient).step(step).fraction(1.0);
                    let config = TrainerConfig::new(model, Loss::Mse).regularizer(local).failure(FailurePolicy::Skip);
                    let mut trainer = Trainer::<f64>::new(&cpu(1), config).expect("a valid configuration");
                    trainer.set_parameters(&[1.0, 0.0]).expect("finite parameters");
                    let mut run = |inputs: &[f64]| {
                        let states = vec![0.3; inputs.len()];
                        trainer.gradients(&Batch { inputs, target: Target::States(&states) }).expect("a valid batch")
                    };
                    // The cube of these is not finite.
                    let bad = [[1e200; 33].as_slice(), &good].concat();
                    let found = run(&bad);
                    assert_eq!(found.report.failed, 33, "{name}: failures");
                    assert!(found.gradient.iter().all(|g| g.is_finite()), "{name}: {:?}", found.gradient);
                    let expected = run(&good);
                    close(&format!("{name}: loss"), &[found.report.loss], &[expected.report.loss], 1e-13);
                    if layout == Layout::Lockstep || at == PenaltyAt::Unbiased {
                        // A biased draw of an ensemble is the trajectory's own, and these have moved.
                        close(&format!("{name}: penalty"), &[found.report.penalty], &[expected.report.penalty], 1e-9);
                        close(&format!("{name}: gradient"), &found.gradient, &expected.gradient, 1e-6);
                    }
                }
            }
        }
    }
}

/// Value and gradient of the stiffness of one step of length `h`, which is the whole solve.
fn stiffness<R: Scalar>(case: &Case, h: f64, theta: &[f64], y0: &[f64]) -> (f64, Vec<f64>) {
    let mut model = case.model.clone();
    model.problem.t1 = model.problem.t0 + h;
    model.options.step_control = StepControl::Fixed { steps: 1 };
    let mut solver = solver::<R>(&model.problem, &model.options);
    solver.regularize(&case.local.clone().into(), SEED, 0).expect("a valid regularizer");
    solver.solve(&cast::<R>(theta), &cast::<R>(y0)).expect("a valid call");
    let found = solver.gradients(&vec![R::ZERO; y0.len()]).expect("solved before");
    (found.penalty, widen(&found.theta))
}

/// Of short steps nothing but rounding is measured: at `f32` both layouts once gave a thousand times the gradient.
#[test]
fn stiffness_is_right_or_none_however_short_the_step() {
    let single = |numbers: &[f64]| widen(&cast::<f32>(numbers));
    for method in [Method::Tsit5, Method::Dopri5] {
        for (field, weight, size) in [
            (Mlp::new([3, 16, 3]), 1.2, 1.0),
            (Mlp::new([3, 16, 3]).time_input(TimeInput::Every), 1.2, 1.0),
            (Mlp::new([3, 16, 3]), 1.2, 1e-3),
            (Mlp::new([3, 16, 3]), 0.3, 10.0),
            (Mlp::new([8, 64, 8]), 0.3, 1.0),
        ] {
            let theta = single(&scaled(weight, &numbers(3, field.parameter_count())));
            let dim = field.layers().next().expect("a layer").inputs;
            for layout in LAYOUTS {
                for gradient in GRADIENTS {
                    let (mut right, mut none) = (0, 0);
                    for i in 0..=18 {
                        let h = f64::from(10f64.powf(-f64::from(i) / 3.0) as f32);
                        let mut case = Case::new().options(|o| o.method(method)).layout(layout);
                        case.model.problem.field = field.clone();
                        case.model.problem.t0 = 0.0;
                        case.local = Local::biased().measure(Measure::Stiffness).gradient(gradient).coefficient(1.0);
                        let y0 = single(&scaled(size, &numbers(4, dim)));
                        let (value, slope) = stiffness::<f64>(&case, h, &theta, &y0);
                        let found = stiffness::<f32>(&case, h, &theta, &y0);
                        let name = format!("{method}, {dim} features of {size}, {layout:?}, {gradient:?}, h = {h:.1e}");
                        if found.0 == 0.0 {
                            assert!(found.1.iter().all(|&g| g == 0.0), "{name}: a gradient of nothing");
                            none += 1;
                            continue;
                        }
                        assert_eq!(none, 0, "{name}: a shorter step has no more digits");
                        assert!(0.5 < found.0 / value && found.0 / value < 2.0, "{name}: {} for {value}", found.0);
                        close(&name, &found.1, &slope, 1.0);
                        right += 1;
                    }
                    assert!(right >= 1 && none >= 10, "{method}, {dim} features of {size}: {right} and {none}");
                }
            }
        }
    }
}

/// A trajectory so large that its step is lost in rounding leaves the measure to the others.
#[test]
fn stiffness_leaves_out_trajectories_without_digits() {
    let field = Mlp::new([3, 16, 3]);
    let theta = scaled(0.5, &numbers(3, field.parameter_count()));
    let (near, far) = (numbers(4, 3), scaled(3e4, &numbers(5, 3)));
    for layout in LAYOUTS {
        for gradient in GRADIENTS {
            let mut case = Case::new().layout(layout);
            (case.model.problem.field, case.model.problem.t0) = (field.clone(), 0.0);
            case.local = Local::biased().measure(Measure::Stiffness).gradient(gradient).coefficient(1.0);
            let name = format!("{layout:?}, {gradient:?}");
            let lost = stiffness::<f32>(&case, 0.3, &theta, &far);
            assert!(lost.0 == 0.0 && lost.1.iter().all(|&g| g == 0.0), "{name}: {lost:?}");
            let alone = stiffness::<f32>(&case, 0.3, &theta, &near);
            let both = stiffness::<f32>(&case, 0.3, &theta, &[near.clone(), far.clone()].concat());
            // An ensemble's is the mean of its trajectories' own.
            let share = if layout == Layout::Ensemble { 0.5 } else { 1.0 };
            close(&name, &[both.0], &[share * alone.0], 1e-6);
            close(&name, &both.1, &scaled(share, &alone.1), 1e-5);
            let wide = stiffness::<f64>(&case, 0.3, &theta, &near);
            close(&name, &[alone.0], &[wide.0], 1e-3);
            close(&name, &alone.1, &wide.1, 1e-2);
        }
    }
}
