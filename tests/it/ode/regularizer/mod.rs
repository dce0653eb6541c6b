//! Gradients of loss and penalty against dual numbers that hold constant exactly what each option says.

mod batches;
mod global;
mod gradients;
mod own_times;
mod pointwise;
mod quadrature;

use crate::oracle::{
    Dual, Number, Step, System, close, cpu, gradient, largest, numbers, penalty, scaled, solver, step_times,
    with_first_step,
};
use fewsteps::{
    Batch, Layout, Learnt, Local, Loss, Measure, Method, Mlp, NeuralDe, PenaltyAt, PenaltyGradient, PenaltyStep,
    Problem, Purpose, Random, Regularizer, SaveAt, SolverOptions, StepControl, StepGradients, Target, TimeInput,
    Tolerances, Trainer, TrainerConfig,
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
            let mut learnt = Learnt::default();
            learnt.ideal = Some(IDEAL);
            trainer.set_learnt(learnt).expect("what solves can teach");
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
        let encoder = self.model.encoder.as_ref().map_or(0, |_| (self.model.input_width() + 1) * dim);
        theta[encoder..].split_at(self.model.problem.field.parameter_count())
    }

    fn system(&self) -> System<'_> {
        let tolerances = Tolerances::both(TOLERANCE);
        let options = &self.model.options;
        let atol_per_feature = options.atol_per_feature.as_deref();
        System {
            field: self.model.problem.field.mlp().expect("a network"),
            method: options.method,
            tolerances,
            atol_per_feature,
        }
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
            at => panic!("no oracle for {at:?}"),
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
            step => panic!("no oracle for {step:?}"),
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
