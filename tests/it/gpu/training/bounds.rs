//! The bounds that models learn by whose initial states are drawn, as sums and weighted by importance, on the device beside the
//! native engine.

use super::own_times::target_of;
use crate::oracle::{LAYOUTS, bits, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, Elbo, FailurePolicy, Field, Gpu, GpuTrainer, Local, Loss, Method, Mlp, NeuralDe, Problem, Reduction, SaveAt,
    Schedule, SolverOptions, StepControl, Target, TimeInput, Times, Trainer, TrainerConfig,
};

const TIMES: [f64; 2] = [0.5, 1.0];
const OUTPUTS: usize = 2;

fn config(n: usize, loss: Loss, elbo: Elbo) -> TrainerConfig {
    let options = SolverOptions::default().method(Method::Bosh3).layout(LAYOUTS[n % 2]);
    let options = options.step_control(StepControl::Fixed { steps: 3 }).save_at(SaveAt::Times(TIMES.to_vec()));
    let field = Mlp::new([3, 6, 3]).time_input(TimeInput::First);
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).encoder(Mlp::new([4, 7, 6])).latent();
    TrainerConfig::new(model.head(OUTPUTS), loss)
        .elbo(elbo.kl(Schedule::annealed(0.8, 0.6, 0)))
        .regularizer(Local::unbiased().coefficient(0.01))
        .seed(3)
}

/// Sums, weighted samples, and both.
fn bounds(samples: usize) -> [Elbo; 3] {
    let elbo = Elbo::default().samples(samples);
    let sums = elbo.clone().reduction(Reduction::Sum);
    [sums.clone(), elbo.importance(), sums.importance()]
}

/// A target of so many numbers, or of as many labels as samples.
struct Owned {
    loss: Loss,
    states: Vec<f32>,
    weights: Option<Vec<f32>>,
    labels: Vec<u32>,
    wide: [Vec<f64>; 2],
}

impl Owned {
    /// States for `n` 0, those that are observed in part for 1, and labels for 2.
    fn new(n: usize, samples: usize) -> Self {
        let loss = [Loss::Gaussian { std: 0.6 }, Loss::Mse, Loss::CrossEntropy][n];
        let count = TIMES.len() * samples * OUTPUTS;
        let weights: Vec<f32> = (0..count).map(|i| [1.0, 0.0, 2.5, 0.5, 3.0][i * 3 % 5]).collect();
        let seen = |(x, w): (f64, &f32)| if n == 1 && *w == 0.0 { f32::NAN } else { x as f32 };
        let states: Vec<f32> = numbers(6, count).into_iter().zip(&weights).map(seen).collect();
        let wide = [widen(&states), widen(&weights)];
        let labels = (0..samples).map(|i| (i * 5 / 3 % OUTPUTS) as u32).collect();
        Self { loss, states, weights: (n == 1).then_some(weights), labels, wide }
    }

    fn targets(&self) -> (Target<'_, f32>, Target<'_, f64>) {
        let (states, [wide, wide_weights]) = (&self.states, &self.wide);
        match &self.weights {
            _ if self.loss == Loss::CrossEntropy => (Target::Labels(&self.labels), Target::Labels(&self.labels)),
            None => (Target::States(states), Target::States(wide)),
            Some(weights) => {
                (Target::Observed { states, weights }, Target::Observed { states: wide, weights: wide_weights })
            }
        }
    }
}

/// Both trainers of a configuration, at parameters of some size.
fn pair(gpu: &Gpu, config: &TrainerConfig) -> (GpuTrainer, Trainer<f64>) {
    let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a model");
    let mut device = GpuTrainer::new(gpu, config.clone()).expect("a model");
    let theta: Vec<f32> = native.parameters().iter().map(|x| (1.5 * x) as f32).collect();
    native.set_parameters(&widen(&theta)).expect("as many");
    device.set_parameters(&theta).expect("as many");
    (device, native)
}

/// Six steps of both, and what they tell on the way.
fn compare(
    gpu: &Gpu,
    name: &str,
    (device, native): (&mut GpuTrainer, &mut Trainer<f64>),
    (batch, wide): (Batch<'_, f32>, Batch<'_, f64>),
) {
    for step in 0..6 {
        let name = format!("{name}, step {step}");
        let found = gpu.block_on(device.gradients(&batch)).expect("a gradient");
        let again = gpu.block_on(device.gradients(&batch)).expect("a gradient");
        assert_eq!(bits(&found.gradient), bits(&again.gradient), "{name}: the same bits");
        let expected = native.gradients(&wide).expect("a gradient");
        let numbers = |report: &fewsteps::StepReport| [report.loss, report.divergence.expect("it is drawn")];
        close(&name, &numbers(&found.report), &numbers(&expected.report), 2e-5);
        close(&format!("{name}: gradient"), &widen(&found.gradient), &expected.gradient, 1e-3);
        // Evaluations tell means, whatever is trained.
        let evaluated = gpu.block_on(device.evaluate(&batch)).expect("a loss").loss;
        close(&name, &[evaluated], &[native.evaluate(&wide).expect("a loss").loss], 2e-5);
        native.step(&wide).expect("a step");
        gpu.block_on(device.step(&batch)).expect("a step");
    }
    let after = gpu.block_on(device.parameters()).expect("parameters");
    close(name, &widen(&after), native.parameters(), 2e-4);
}

#[test]
fn every_bound_is_the_native_engines() {
    let Some(gpu) = gpu() else { return };
    // Three hundred are more than lanes that weight them.
    for (n, (samples, copies)) in [(1, 4), (33, 3), (70, 5), (300, 2), (33, 1)].into_iter().enumerate() {
        let inputs: Vec<f32> = cast(&numbers(5, samples * 4));
        let wide = widen(&inputs);
        for (m, elbo) in bounds(copies).into_iter().enumerate() {
            let owned = Owned::new((n + m) % 3, samples);
            let config = config(n + m, owned.loss, elbo);
            let name = format!("{samples} samples of {copies}, {:?}, {:?}", config.elbo, owned.loss);
            let (mut device, mut native) = pair(&gpu, &config);
            let (target, wide_target) = owned.targets();
            let batches = (Batch { inputs: &inputs, target }, Batch { inputs: &wide, target: wide_target });
            compare(&gpu, &name, (&mut device, &mut native), batches);
        }
    }
}

/// Where rows have different numbers of times, sums are of each one's.
#[test]
fn bounds_of_series_with_their_own_times_are_the_native_engines() {
    let Some(gpu) = gpu() else { return };
    let series: Vec<Vec<f64>> = (0..33).map(|row| (0..=row * 7 % 5).map(|i| 0.3 * i as f64).collect()).collect();
    let times = Times::series(&series).expect("series");
    let states = target_of(&times, OUTPUTS, 4, f32::NAN);
    let (inputs, wide_states) = (cast::<f32>(&numbers(3, 4 * 33)), widen(&states));
    let wide = widen(&inputs);
    for (n, elbo) in bounds(3).into_iter().enumerate() {
        let mut config = config(n, Loss::Gaussian { std: 0.6 }, elbo);
        config.model.options.save_at = SaveAt::End;
        let (mut device, mut native) = pair(&gpu, &config);
        device.set_times(Some(times.clone())).expect("own times");
        native.set_times(Some(times.clone())).expect("own times");
        let batch = Batch { inputs: &inputs, target: Target::States(&states) };
        let wide = Batch { inputs: &wide, target: Target::States(&wide_states) };
        compare(&gpu, &format!("{:?}", config.elbo), (&mut device, &mut native), (batch, wide));
    }
}

/// The weighted bound moves along its gradient as it says.
#[test]
fn the_weighted_bound_s_gradient_is_its_slope() {
    let Some(gpu) = gpu() else { return };
    let owned = Owned::new(0, 33);
    let [.., elbo] = bounds(4);
    let mut config = config(0, owned.loss, elbo);
    config.regularizer = fewsteps::Regularizer::None;
    let (mut device, native) = pair(&gpu, &config);
    let theta = native.parameters().to_vec();
    let inputs: Vec<f32> = cast(&numbers(5, 33 * 4));
    let batch = Batch { inputs: &inputs, target: owned.targets().0 };
    let gradient = widen(&gpu.block_on(device.gradients(&batch)).expect("a gradient").gradient);
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let mut bound = |step: f64| {
        let moved: Vec<f32> = theta.iter().zip(&gradient).map(|(x, g)| (x + step * g / norm) as f32).collect();
        device.set_parameters(&moved).expect("as many");
        gpu.block_on(device.gradients(&batch)).expect("a loss").report.loss
    };
    let slope = (bound(5e-3) - bound(-5e-3)) / 1e-2;
    close("slope", &[slope], &[norm], 3e-3);
}

/// With `z ~ N(0, 1)` and `x ~ N(z, s^2)` each weight is the density itself where the encoder gives the posterior.
#[test]
fn the_weighted_bound_is_tight_where_the_posterior_is_known() {
    let Some(gpu) = gpu() else { return };
    let (std, x) = (0.7f64, 1.3f64);
    let total = 1.0 + std * std;
    let marginal = 0.5 * (x * x / total + (std::f64::consts::TAU * total).ln());
    let zero = Field::build(1, |f| 0.0 * f.state()).expect("a field");
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 1 });
    let model = NeuralDe::new(Problem::ode(zero, 0.0, 1.0), options).encoder(1).latent();
    let theta = [0.0, 0.0, (x / total) as f32, (std * std / total).ln() as f32];
    for samples in [1, 70] {
        let [.., elbo] = bounds(samples);
        let config = TrainerConfig::new(model.clone(), Loss::Gaussian { std }).elbo(elbo);
        let mut trainer = GpuTrainer::new(&gpu, config).expect("a model");
        trainer.set_parameters(&theta).expect("as many");
        let batch = Batch { inputs: &[0.0; 5], target: Target::States(&[x as f32; 5]) };
        let found = gpu.block_on(trainer.gradients(&batch)).expect("a gradient").report.loss;
        close(&format!("{samples} samples"), &[found], &[marginal], 1e-6);
    }
}

#[test]
fn draws_that_fail_are_in_no_sample() {
    let Some(gpu) = gpu() else { return };
    // y' = sqrt(y) has solutions from positive numbers alone: of a mean of 9 all are solved, of -9 none, of 0.6 some.
    let root = Field::build(1, |f| f.state().sqrt()).expect("a field");
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 3 });
    let model = NeuralDe::new(Problem::ode(root, 0.0, 1.0), options).encoder(1).latent();
    for elbo in bounds(8) {
        let name = format!("{elbo:?}");
        let config = TrainerConfig::new(model.clone(), Loss::Mse).elbo(elbo).failure(FailurePolicy::Skip).seed(1);
        let (mut device, mut native) = pair(&gpu, &config);
        native.set_parameters(&[1.0, 0.0, 0.0, -1.0]).expect("as many");
        device.set_parameters(&[1.0, 0.0, 0.0, -1.0]).expect("as many");
        for inputs in [[9.0, -9.0, 0.6], [-9.0; 3]] {
            let wide = inputs.map(f64::from);
            let expected = Batch { inputs: &wide, target: Target::States(&[9.0, 1.0, 2.0]) };
            let expected = native.gradients(&expected).expect("a gradient");
            let found = Batch { inputs: &inputs, target: Target::States(&[9.0, 1.0, 2.0]) };
            let found = gpu.block_on(device.gradients(&found)).expect("a gradient");
            assert_eq!(found.report.failed, expected.report.failed, "{name}");
            if found.report.failed == 24 {
                assert!(found.report.loss.is_nan() && expected.report.loss.is_nan(), "{name}: there is no sample");
                continue;
            }
            assert!(found.report.failed > 8, "{name}: some of the last one's too");
            let numbers = |report: &fewsteps::StepReport| [report.loss, report.divergence.expect("it is drawn")];
            close(&name, &numbers(&found.report), &numbers(&expected.report), 1e-5);
            close(&format!("{name}: gradient"), &widen(&found.gradient), &expected.gradient, 1e-4);
        }
    }
}

/// Samples of a data set on the device, one of them twice.
#[test]
fn bounds_of_a_held_data_set_are_those_of_its_samples() {
    let Some(gpu) = gpu() else { return };
    let all = 40;
    let (of_a_sample, inputs) = (TIMES.len() * OUTPUTS, cast::<f32>(&numbers(5, all * 4)));
    let states: Vec<f32> = cast(&numbers(6, all * of_a_sample));
    let weights: Vec<f32> = (0..states.len()).map(|i| [1.0, 0.0, 2.5, 0.5, 3.0][i * 3 % 5]).collect();
    let samples: Vec<u32> = (0..34).map(|i| i * 7 % 33).collect();
    let of = |numbers: &[f32]| -> Vec<f32> {
        let slot = |slot: usize| {
            samples.iter().flat_map(move |&i| &numbers[i as usize * of_a_sample + slot * OUTPUTS..][..OUTPUTS])
        };
        (0..TIMES.len()).flat_map(slot).copied().collect()
    };
    let chosen: Vec<f32> = samples.iter().flat_map(|&i| inputs[i as usize * 4..][..4].to_vec()).collect();
    let (some, some_weights) = (of(&states), of(&weights));
    for (n, elbo) in bounds(2).into_iter().enumerate() {
        for observed in [false, true] {
            let config = config(n, Loss::Mse, elbo.clone());
            let mut held = GpuTrainer::new(&gpu, config.clone()).expect("a model");
            let mut sent = GpuTrainer::new(&gpu, config).expect("a model");
            let target = |states, weights| {
                if observed { Target::Observed { states, weights } } else { Target::States(states) }
            };
            let data = gpu.block_on(held.upload(&inputs, target(&states, &weights))).expect("data that fit");
            let batch = Batch { inputs: &chosen, target: target(&some, &some_weights) };
            for _ in 0..2 {
                let found = gpu.block_on(held.step_on(&data, &samples)).expect("a step");
                assert_eq!(found, gpu.block_on(sent.step(&batch)).expect("a step"), "{elbo:?}, observed: {observed}");
            }
            let found = gpu.block_on(held.evaluate_on(&data, &samples)).expect("a loss");
            assert_eq!(found, gpu.block_on(sent.evaluate(&batch)).expect("a loss"), "{elbo:?}, observed: {observed}");
            let [found, expected] = [held, sent].map(|mut trainer| gpu.block_on(trainer.parameters()).expect("read"));
            assert_eq!(bits(&found), bits(&expected), "{elbo:?}, observed: {observed}");
        }
    }
}
