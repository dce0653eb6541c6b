//! [`Hypersolver`]: equal steps of a simple method with a correction that is learnt after the model.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::config::{FailurePolicy, TrainerConfig};
use super::model::NeuralDe;
use super::optimizer::Optimizer;
use super::{Batch, Batches, Trainer};
use crate::cpu::{Cpu, Scalar, Solver};
use crate::error::{Error, Result};
use crate::math::{Purpose, Random, Real};
use crate::method::{Adjoint, Loss, Method, SaveAt, Schedule, SolverOptions, StepControl, Target, Tolerances};
use crate::problem::{Field, FieldBuilder, Mlp, Problem, Subfield, Value};

/// Equal steps of Euler's, the midpoint or Heun's method with a learnt correction of their leading error (M. Poli, S. Massaroli,
/// A. Yamashita, H. Asama, J. Park, Hypersolvers: toward fast continuous-depth models, 2020):
///
/// `y+ = y + h psi(t, y) + h^(p+1) g(y, f(t, y), h, t)`
///
/// with `psi` the slope of the method, of order `p`, and `g` a network. The correction is [trained](Hypersolver::train) on the
/// residuals `(y(t + h) - y - h psi) / h^(p+1)` of a model that stays as it is, with steps of many lengths, by inputs alone.
///
/// What is solved so is a [model of its own](Hypersolver::apply): Euler's method on the field `psi + h^p g`. So both engines
/// solve it, in files it is a checkpoint like others, and its gradients are exact. An Euler step of it costs the method's
/// evaluations of the field and one of the correction; [`Hypersolver::evaluations`] counts them.
///
/// ```
/// # fn main() -> fewsteps::Result<()> {
/// use fewsteps::{Cpu, HyperTraining, Hypersolver, Method, Mlp, NeuralDe, Problem, SolverOptions, Trainer, TrainerConfig};
///
/// let field = Mlp::new([2, 16, 2]);
/// let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default());
/// let theta = model.initialize::<f32>(0);
/// let inputs: Vec<f32> = (0..64).map(|i| (i as f32 / 7.0).sin()).collect();
///
/// let cpu = Cpu::new()?;
/// let hyper = Hypersolver::new(Method::Heun, 2, 16)?;
/// let learnt = hyper.train(&cpu, &model, &theta, &inputs, &HyperTraining::default().steps(50))?;
/// let fast = hyper.apply(&model, 2)?; // two steps on [0, 1]
/// let mut trainer = Trainer::<f32>::new(&cpu, TrainerConfig::new(fast, fewsteps::Loss::Mse))?;
/// trainer.set_parameters(&hyper.parameters(&model, &theta, &learnt.parameters)?)?;
/// let outputs = trainer.predict(&inputs)?;
/// # assert_eq!(outputs.len(), 64);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hypersolver {
    /// [`Method::Euler`], [`Method::Midpoint`] or [`Method::Heun`].
    pub base: Method,
    /// From `[y, f, h, t]`, two rows more than twice the state's, to a row a feature.
    pub correction: Mlp,
}

/// How a correction is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HyperTraining {
    /// Updates of the optimizer, Adam at 3e-3 with a cosine to 1e-4 and gradients clipped to norm 1.
    pub steps: u64,
    /// Residuals in an update.
    pub batch: usize,
    /// Trajectories whose residuals are learnt, of the inputs the first.
    pub trajectories: usize,
    /// Steps whose residuals are learnt, the same for all trajectories: lengths are log-uniform, starts uniform.
    pub pairs: usize,
    /// The shortest of them, as a share of the interval; the longest is the whole.
    pub shortest: f64,
    /// Of the steps, of the order of the residuals and of the weights before.
    pub seed: u64,
}

impl Default for HyperTraining {
    fn default() -> Self {
        Self { steps: 1500, batch: 128, trajectories: 256, pairs: 32, shortest: 1.0 / 16.0, seed: 0 }
    }
}

impl HyperTraining {
    /// Sets the number of updates.
    #[must_use]
    pub const fn steps(mut self, steps: u64) -> Self {
        self.steps = steps;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn validate(&self) -> Result<()> {
        let counts = [
            ("HyperTraining::batch", self.batch),
            ("HyperTraining::trajectories", self.trajectories),
            ("HyperTraining::pairs", self.pairs),
        ];
        if let Some((argument, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(Error::argument(argument, 0, "take one at least"));
        }
        if !(self.shortest > 0.0 && self.shortest <= 1.0) {
            let remedy = "choose a share of the interval in (0, 1]";
            return Err(Error::argument("HyperTraining::shortest", self.shortest, remedy));
        }
        Ok(())
    }
}

/// What came of training a correction.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HyperReport<R> {
    /// The correction's parameters.
    pub parameters: Vec<R>,
    /// Root mean square of the residuals: what is left without a correction.
    pub residual: f64,
    /// What is left of them with it.
    pub left: f64,
}

/// Residuals, a row each.
#[derive(Debug, Default)]
struct Residuals<R> {
    /// `[y, f, h, t]`.
    inputs: Vec<R>,
    targets: Vec<R>,
}

impl Hypersolver {
    /// That of a method for states of `dim` features, with one hidden layer of `hidden` units in its correction.
    ///
    /// # Errors
    /// [`Error::Argument`] for another method, and for widths that there are not.
    pub fn new(base: Method, dim: usize, hidden: usize) -> Result<Self> {
        let inputs = dim.saturating_mul(2).saturating_add(2);
        let hyper = Self { base, correction: Mlp::new([inputs, hidden, dim]) };
        hyper.validate(dim)?;
        Ok(hyper)
    }

    fn validate(&self, dim: usize) -> Result<()> {
        if !matches!(self.base, Method::Euler | Method::Midpoint | Method::Heun) {
            let remedy = "the residuals of Euler's, the midpoint and Heun's method are learnt: take one of these";
            return Err(Error::argument("Hypersolver::base", self.base, remedy));
        }
        self.correction.validate()?;
        let sizes = self.correction.sizes();
        let [first, last] = [sizes[0], sizes[sizes.len() - 1]];
        if (first, last) != (2 * dim + 2, dim) {
            let remedy = format!("of a state of {dim} features it takes y, f, h and t: from {} to {dim}", 2 * dim + 2);
            return Err(Error::argument("Hypersolver::correction", format!("{sizes:?}"), remedy));
        }
        Ok(())
    }

    fn check(&self, model: &NeuralDe) -> Result<()> {
        self.validate(model.problem.dim())?;
        model.validate::<f64>()?;
        let refused = |value: &str, remedy| Err(Error::argument("Hypersolver", value, remedy));
        if model.problem.diffusion.is_some() {
            return refused(
                "a problem with noise",
                "a step's residual there is another for each path: take one without",
            );
        }
        if let Some((name, _)) = model.problem.field.driven_by().next() {
            return refused(name, "a correction knows no controls: take a field that is not driven");
        }
        if model.problem.field.trace().is_some() {
            return refused(
                "a log-density",
                "it follows the field, which a correction is not of: take a model without one",
            );
        }
        if model.options.save_at != SaveAt::End {
            return refused("states at given times", "few equal steps have states at their ends: save at the end");
        }
        Ok(())
    }

    /// The order of the method, whose steps' residuals are of `h^(order + 1)`.
    fn order(&self) -> i32 {
        if self.base == Method::Euler { 1 } else { 2 }
    }

    /// Evaluations of the field and of the correction that so many steps take.
    #[must_use]
    pub fn evaluations(&self, steps: usize) -> [usize; 2] {
        [steps.saturating_mul(self.order().unsigned_abs() as usize), steps]
    }

    /// Multiplications with an addition that so many steps take for a trajectory, of field and correction.
    ///
    /// # Errors
    /// Those of [`Field::cost`].
    pub fn multiply_adds(&self, field: &Field, steps: usize) -> Result<usize> {
        let each = [field.cost()?.value.multiply_adds, Field::from(&self.correction).cost()?.value.multiply_adds];
        Ok(self.evaluations(steps).into_iter().zip(each).map(|(count, each)| count * each).sum())
    }

    /// The model that so many equal steps of it solve: the same encoder and head, Euler's method on `psi + h^p g`. Its
    /// field's groups of parameters are those of the model's field, called `field` or `field.` with their name, and
    /// `correction`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a model with noise, controls, a log-density or states at given times, and for no steps.
    pub fn apply(&self, model: &NeuralDe, steps: usize) -> Result<NeuralDe> {
        self.check(model)?;
        if steps == 0 {
            return Err(Error::argument("steps", steps, "take one at least"));
        }
        let mut hyper = model.clone();
        let h = (model.problem.t1 - model.problem.t0) / steps as f64;
        hyper.problem.field = Field::build(model.problem.dim(), |f| self.slope(f, &model.problem.field, h))?;
        hyper.options = model.options.clone().method(Method::Euler).step_control(StepControl::Fixed { steps });
        hyper.options.adjoint = Adjoint::default();
        (hyper.options.largest_step, hyper.options.stop_at, hyper.options.atol_per_feature) = (None, Vec::new(), None);
        hyper.validate::<f64>()?;
        Ok(hyper)
    }

    /// `psi + h^p g`.
    fn slope(&self, f: &FieldBuilder, field: &Field, h: f64) -> Value {
        let (y, t, inner) = (f.state(), f.time(), f.subfield("field", field));
        let first = inner.at(f, &y, &t);
        let slope = self.second(f, &inner, h, [&y, &t, &first]);
        let g = f.mlp("correction", &self.correction, &f.stack([y, first, f.literal(&[h]), t]));
        slope + h.powi(self.order()) * g
    }

    /// The method's slope, from the first.
    fn second(&self, f: &FieldBuilder, inner: &Subfield, h: f64, [y, t, first]: [&Value; 3]) -> Value {
        match self.base {
            Method::Midpoint => inner.at(f, &(y + 0.5 * h * first), &(t + 0.5 * h)),
            Method::Heun => 0.5 * (first + inner.at(f, &(y + h * first), &(t + h))),
            _ => first.clone(),
        }
    }

    /// The parameters of [`Hypersolver::apply`]: the model's, with the correction's after those of the field.
    ///
    /// # Errors
    /// [`Error::Shape`] for slices of the wrong length.
    pub fn parameters<R: Real>(&self, model: &NeuralDe, theta: &[R], correction: &[R]) -> Result<Vec<R>> {
        Error::check_len("theta", theta.len(), model.parameter_count(), || "the model's parameter_count()".into())?;
        let count = self.correction.parameter_count();
        Error::check_len("correction", correction.len(), count, || "the correction's parameter_count()".into())?;
        let (before, after) = theta.split_at(model.head_offset());
        Ok([before, correction, after].concat())
    }

    /// Trains the correction for a trained model with parameters `theta`, on the steps of trajectories from `inputs`
    /// `[B][inputs]`, whose solution is Tsit5's at `f64` within 1e-9. It begins as no correction at all.
    ///
    /// # Errors
    /// Those of [`Hypersolver::apply`], [`Error::Shape`] and [`Error::NonFinite`] for slices that do not fit the model, and
    /// [`Error::Argument`] where no trajectory can be solved.
    pub fn train<R: Scalar>(
        &self,
        cpu: &Cpu,
        model: &NeuralDe,
        theta: &[R],
        inputs: &[R],
        training: &HyperTraining,
    ) -> Result<HyperReport<R>> {
        self.check(model)?;
        training.validate()?;
        let wide = |numbers: &[R]| numbers.iter().map(|x| x.to_f64()).collect::<Vec<f64>>();
        let used = (inputs.len() / model.input_width().max(1)).min(training.trajectories) * model.input_width();
        let residuals = self.residuals(cpu, model, &wide(theta), &wide(&inputs[..used]), training)?;
        self.learn(cpu, &residuals.narrowed::<R>(), training)
    }

    /// The residuals of steps of many lengths.
    fn residuals(
        &self,
        cpu: &Cpu,
        model: &NeuralDe,
        theta: &[f64],
        inputs: &[f64],
        training: &HyperTraining,
    ) -> Result<Residuals<f64>> {
        let dim = model.problem.dim();
        let pairs = pairs([model.problem.t0, model.problem.t1], training);
        let (times, states) = solution(cpu, model, theta, inputs, &pairs)?;
        let field = &theta[model.field_offset()..model.head_offset()];
        let at = |t: f64| -> &[f64] {
            let slot = times.iter().position(|time| *time == t).unwrap_or(0);
            let len = states.len() / times.len();
            &states[slot * len..][..len]
        };
        let mut found = Residuals::default();
        for [t, end] in pairs {
            let (h, y, right) = (end - t, at(t), at(end));
            let step = |method: Method| -> Result<Vec<f64>> {
                let problem = Problem::ode(model.problem.field.clone(), t, end);
                let options = SolverOptions::default().method(method).step_control(StepControl::Fixed { steps: 1 });
                Ok(Solver::<f64>::new(cpu, &problem, &options)?.predict(field, y)?.ys)
            };
            let (base, euler) = (step(self.base)?, step(Method::Euler)?);
            for row in (0..y.len()).step_by(dim).map(|first| first..first + dim) {
                let slope = row.clone().map(|i| (euler[i] - y[i]) / h).collect::<Vec<f64>>();
                let target = row.clone().map(|i| (right[i] - base[i]) / h.powi(self.order() + 1));
                found.push(&y[row.clone()], &slope, [h, t], target);
            }
        }
        if found.targets.is_empty() {
            let remedy = "no trajectory can be solved within 1e-9, so that there is nothing to learn: take a model that was trained";
            return Err(Error::argument("theta", "a field without a solution", remedy));
        }
        Ok(found)
    }

    /// Learns the residuals: the correction is the encoder of an equation in which nothing moves.
    fn learn<R: Scalar>(&self, cpu: &Cpu, data: &Residuals<R>, training: &HyperTraining) -> Result<HyperReport<R>> {
        let dim = self.correction.sizes().last().copied().unwrap_or(1);
        let still = Field::build(dim, |f| 0.0 * f.state())?;
        let options = SolverOptions::default().method(Method::Euler).step_control(StepControl::Fixed { steps: 1 });
        let model = NeuralDe::new(Problem::ode(still, 0.0, 1.0), options).encoder(self.correction.clone());
        let rate = Schedule::cosine(3e-3, 1e-4, training.steps.max(1));
        let config = TrainerConfig::new(model, Loss::Mse)
            .optimizer(Optimizer::adam(rate).clip_norm(1.0))
            .failure(FailurePolicy::Skip)
            .seed(training.seed);
        let mut trainer = Trainer::<R>::new(cpu, config)?;
        let mut start = trainer.parameters().to_vec();
        start[self.last_layer()].fill(R::ZERO);
        trainer.set_parameters(&start)?;
        let mut batches = Batches::new(data.targets.len() / dim, training.batch, training.seed)?;
        let mut batch = Residuals::default();
        for step in 0..training.steps {
            batch.gather(data, batches.at(step), dim);
            trainer.step(&Batch { inputs: &batch.inputs, target: Target::States(&batch.targets) })?;
        }
        let found = trainer.predict(&data.inputs)?;
        let mean = |of: &dyn Fn(usize) -> f64| {
            ((0..found.len()).map(|i| of(i).powi(2)).sum::<f64>() / found.len() as f64).sqrt()
        };
        Ok(HyperReport {
            residual: mean(&|i| data.targets[i].to_f64()),
            left: mean(&|i| data.targets[i].to_f64() - found[i].to_f64()),
            parameters: trainer.parameters().to_vec(),
        })
    }

    fn last_layer(&self) -> Range<usize> {
        self.correction.layers().last().map_or(0..0, |layer| layer.range())
    }
}

/// Starts and ends of the steps whose residuals are learnt.
fn pairs([t0, t1]: [f64; 2], training: &HyperTraining) -> Vec<[f64; 2]> {
    let mut random = Random::new(training.seed, Purpose::ResidualSteps, 0);
    let pair = |_| {
        let share = training.shortest.powf(1.0 - random.uniform());
        let start = random.uniform() * (1.0 - share);
        [t0 + start * (t1 - t0), t0 + (start + share) * (t1 - t0)]
    };
    (0..training.pairs).map(pair).collect()
}

/// The model's solution at all these times, which come with it: `[times][B][D]`.
fn solution(
    cpu: &Cpu,
    model: &NeuralDe,
    theta: &[f64],
    inputs: &[f64],
    pairs: &[[f64; 2]],
) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut times: Vec<f64> = pairs.concat();
    times.sort_by(f64::total_cmp);
    times.dedup();
    if model.problem.t1 < model.problem.t0 {
        times.reverse();
    }
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-9)).save_at(SaveAt::Times(times.clone()));
    let mut accurate = NeuralDe::new(model.problem.clone(), options);
    accurate.encoder.clone_from(&model.encoder);
    let mut trainer = Trainer::<f64>::new(cpu, TrainerConfig::new(accurate, Loss::Mse))?;
    let used = trainer.parameters().len();
    let len = model.parameter_count();
    Error::check_len("theta", theta.len(), len, || "the model's parameter_count()".into())?;
    trainer.set_parameters(&theta[..used])?;
    let states = trainer.predict(inputs)?;
    Ok((times, states))
}

impl Residuals<f64> {
    /// Adds one, unless its trajectory failed.
    fn push(&mut self, y: &[f64], slope: &[f64], step: [f64; 2], target: impl Iterator<Item = f64>) {
        let (inputs, targets) = (self.inputs.len(), self.targets.len());
        self.inputs.extend(y.iter().chain(slope).chain(&step));
        self.targets.extend(target);
        let finite = |numbers: &[f64]| numbers.iter().all(|x| x.is_finite());
        if !finite(&self.inputs[inputs..]) || !finite(&self.targets[targets..]) {
            self.inputs.truncate(inputs);
            self.targets.truncate(targets);
        }
    }

    fn narrowed<R: Real>(&self) -> Residuals<R> {
        let [inputs, targets] =
            [&self.inputs, &self.targets].map(|numbers| numbers.iter().map(|x| R::from_f64(*x)).collect());
        Residuals { inputs, targets }
    }
}

impl<R: Copy> Residuals<R> {
    /// Some of the rows of others.
    fn gather(&mut self, all: &Self, rows: &[usize], dim: usize) {
        self.inputs.clear();
        self.targets.clear();
        for row in rows {
            self.inputs.extend_from_slice(&all.inputs[row * (2 * dim + 2)..][..2 * dim + 2]);
            self.targets.extend_from_slice(&all.targets[row * dim..][..dim]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{TimeInput, Trace};

    fn cpu() -> Cpu {
        Cpu::with_threads(1).expect("a thread")
    }

    /// `y' = a y`, of which each method's residual is a constant times y.
    fn linear() -> (NeuralDe, Vec<f64>) {
        let field = Field::build(1, |f| f.parameters("a", &[-1.0]) * f.state()).expect("a field");
        (NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default()), vec![-1.0])
    }

    /// Residuals over y at h = 0.1 and h = 0.5: `(e^(ah) - 1 - ah) / h^2` and so on.
    const KNOWN: [(Method, [f64; 2]); 3] = [
        (Method::Euler, [0.483_741_803_595_952_2, 0.426_122_638_850_533_7]),
        (Method::Midpoint, [-0.162_581_964_040_477_8, -0.147_754_722_298_932_6]),
        (Method::Heun, [-0.162_581_964_040_477_8, -0.147_754_722_298_932_6]),
    ];

    #[test]
    fn residuals_of_a_linear_equation_are_known() {
        let (model, theta) = linear();
        for (base, known) in KNOWN {
            let hyper = Hypersolver::new(base, 1, 4).expect("widths");
            for (h, known) in [0.1, 0.5].into_iter().zip(known) {
                let training = HyperTraining { pairs: 1, shortest: 1.0, ..HyperTraining::default() };
                let short = NeuralDe { problem: Problem::ode(model.problem.field.clone(), 0.0, h), ..model.clone() };
                let found = hyper.residuals(&cpu(), &short, &theta, &[2.0, -0.3], &training).expect("solved");
                for (input, target) in found.inputs.chunks(4).zip(&found.targets) {
                    let [y, slope, step, t] = *input else { panic!("four rows") };
                    assert!((slope + y).abs() < 1e-9 && step == h && t == 0.0, "{input:?}");
                    // The solution is known to 1e-9, which 1 / h^3 makes more of.
                    assert!((target / y - known).abs() < 3e-6, "{base}, {h}: {} not {known}", target / y);
                }
            }
        }
    }

    #[test]
    fn with_its_residual_every_step_is_exact() {
        let (model, theta) = linear();
        for (base, [_, known]) in KNOWN {
            let hyper = Hypersolver { base, correction: Mlp::new([4, 1]) };
            let fast = hyper.apply(&model, 2).expect("two steps");
            assert_eq!(fast.problem.field.parameter_count(), 1 + 5);
            let all = hyper.parameters(&model, &theta, &[known, 0.0, 0.0, 0.0, 0.0]).expect("lengths");
            let mut trainer = Trainer::<f64>::new(&cpu(), TrainerConfig::new(fast, Loss::Mse)).expect("a model");
            trainer.set_parameters(&all).expect("lengths");
            let found = trainer.predict(&[2.0]).expect("solved")[0];
            assert!((found - 2.0 * (-1f64).exp()).abs() < 1e-14, "{base}: {found}");
        }
    }

    #[test]
    fn without_its_correction_it_is_the_method() {
        let field: Field = Mlp::new([2, 7, 2]).time_input(TimeInput::Every).into();
        for [t0, t1] in [[0.0, 1.0], [0.8, -0.4]] {
            let model = NeuralDe::new(Problem::ode(field.clone(), t0, t1), SolverOptions::default()).encoder(3).head(2);
            let theta = model.initialize::<f64>(1);
            let inputs = [0.3, -0.8, 1.1, 0.2, 0.5, -0.9];
            for (base, _) in KNOWN {
                let hyper = Hypersolver::new(base, 2, 4).expect("widths");
                let none = vec![0.0; hyper.correction.parameter_count()];
                let predicted = |model: NeuralDe, theta: &[f64]| {
                    let mut trainer = Trainer::<f64>::new(&cpu(), TrainerConfig::new(model, Loss::Mse)).expect("fits");
                    trainer.set_parameters(theta).expect("lengths");
                    trainer.predict(&inputs).expect("solved")
                };
                let mut plain = model.clone();
                plain.options = plain.options.method(base).step_control(StepControl::Fixed { steps: 3 });
                let all = hyper.parameters(&model, &theta, &none).expect("lengths");
                let [a, b] = [predicted(hyper.apply(&model, 3).expect("three steps"), &all), predicted(plain, &theta)];
                for (a, b) in a.iter().zip(&b) {
                    assert!((a - b).abs() < 1e-13, "{base} on [{t0}, {t1}]: {a} not {b}");
                }
            }
        }
    }

    #[test]
    fn training_takes_most_of_the_error() {
        let field = Mlp::new([2, 16, 2]);
        let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), SolverOptions::default());
        let theta: Vec<f32> = model.initialize::<f32>(5).iter().map(|x| 2.0 * x).collect();
        let mut random = Random::new(1, Purpose::Data, 0);
        let inputs: Vec<f32> = (0..256).map(|_| (2.0 * random.uniform() - 1.0) as f32).collect();
        for base in [Method::Euler, Method::Heun] {
            let hyper = Hypersolver::new(base, 2, 24).expect("widths");
            let learnt =
                hyper.train(&cpu(), &model, &theta, &inputs, &HyperTraining::default().steps(600)).expect("trained");
            assert!(learnt.left < 0.3 * learnt.residual, "{base}: {} of {}", learnt.left, learnt.residual);
            let fast = hyper.apply(&model, 2).expect("two steps");
            let error = |correction: &[f32]| {
                let all = hyper.parameters(&model, &theta, correction).expect("lengths");
                let run = |model: NeuralDe, theta: &[f32]| {
                    let mut trainer = Trainer::<f32>::new(&cpu(), TrainerConfig::new(model, Loss::Mse)).expect("fits");
                    trainer.set_parameters(theta).expect("lengths");
                    trainer.predict(&inputs).expect("solved")
                };
                let (fast, right) = (run(fast.clone(), &all), run(model.clone(), &theta));
                fast.iter().zip(&right).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
            };
            let (with, without) = (error(&learnt.parameters), error(&vec![0.0; learnt.parameters.len()]));
            assert!(with < 0.4 * without, "{base}: an error of {with}, {without} without the correction");
        }
    }

    #[test]
    fn what_it_cannot_solve_is_refused() {
        assert!(Hypersolver::new(Method::Rk4, 2, 4).expect_err("of order 4").to_string().contains("Hypersolver::base"));
        let hyper = Hypersolver::new(Method::Euler, 3, 4).expect("widths");
        let (model, theta) = linear();
        assert!(hyper.apply(&model, 1).expect_err("one feature").to_string().contains("from 4 to 1"));
        let hyper = Hypersolver::new(Method::Euler, 1, 4).expect("widths");
        assert!(hyper.apply(&model, 0).expect_err("none").to_string().contains("steps"));
        let saving = NeuralDe { options: model.options.clone().save_at(SaveAt::Times(vec![0.5])), ..model.clone() };
        assert!(hyper.apply(&saving, 1).expect_err("times").to_string().contains("save at the end"));
        let flow = model.problem.field.clone().with_log_density(Trace::Exact).expect("a flow");
        let flow = NeuralDe { problem: Problem::ode(flow, 0.0, 1.0), ..model.clone() };
        let hyper = Hypersolver::new(Method::Euler, 2, 4).expect("widths");
        assert!(hyper.apply(&flow, 1).expect_err("a density").to_string().contains("log-density"));
        let hyper = Hypersolver::new(Method::Euler, 1, 4).expect("widths");
        let train = |training| hyper.train(&cpu(), &model, &theta, &[1.0], &training).expect_err("refused").to_string();
        assert!(train(HyperTraining { pairs: 0, ..HyperTraining::default() }).contains("HyperTraining::pairs"));
        assert!(train(HyperTraining { shortest: 0.0, ..HyperTraining::default() }).contains("HyperTraining::shortest"));
        let empty = hyper.train(&cpu(), &model, &theta, &[], &HyperTraining::default());
        assert!(empty.expect_err("nothing").to_string().contains("inputs"), "no inputs");
    }
}
