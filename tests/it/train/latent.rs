//! Models whose initial states are drawn: the bounds that they are trained by, against closed forms and differences.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use super::cpu;
use crate::oracle::{LAYOUTS, close, differences, numbers};
use fewsteps::{
    Batch, Elbo, FailurePolicy, Field, Loss, Mlp, NeuralDe, Optimizer, Problem, Reduction, SaveAt, Schedule,
    SolverOptions, StepControl, Target, TimeInput, Trace, Trainer, TrainerConfig,
};

const STD: f64 = 0.7;

fn fixed() -> SolverOptions {
    SolverOptions::default().step_control(StepControl::Fixed { steps: 3 })
}

/// A state of `dim` numbers that stands still, drawn from what an encoder's bias says.
fn still(dim: usize, elbo: Elbo) -> TrainerConfig {
    let zero = Field::build(dim, |f| 0.0 * f.state()).expect("a field");
    let model = NeuralDe::new(Problem::ode(zero, 0.0, 1.0), fixed()).encoder(1).latent();
    TrainerConfig::new(model, Loss::Gaussian { std: STD }).elbo(elbo)
}

/// A trainer of it at these means and log-variances.
fn at(config: TrainerConfig, given: &[f64]) -> Trainer<f64> {
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let theta: Vec<f64> = vec![0.0; given.len()].into_iter().chain(given.iter().copied()).collect();
    trainer.set_parameters(&theta).expect("weights of the input, and biases");
    trainer
}

/// `(mean^2 + variance - log-variance - 1) / 2`, summed or in the mean.
#[test]
fn the_divergence_is_that_of_normal_distributions() {
    let inputs = [0.0; 40];
    let states = vec![0.0; 40 * 2];
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    let of = |given: [f64; 4]| {
        let one = |m: f64, l: f64| 0.5 * (m * m + l.exp() - l - 1.0);
        one(given[0], given[2]) + one(given[1], given[3])
    };
    for (given, mean) in [([0.0; 4], Some(0.0)), ([1.0, 1.0, 0.0, 0.0], Some(0.5)), ([0.3, -1.2, 0.4, -2.0], None)] {
        let expected = of(given);
        assert!(mean.is_none_or(|mean| (0.5 * expected - mean).abs() < 1e-15));
        for (reduction, share) in [(Reduction::Mean, 0.5), (Reduction::Sum, 1.0)] {
            for weight in [1.0, 0.25] {
                let elbo = Elbo::default().reduction(reduction).kl(weight);
                let found = at(still(2, elbo), &given).gradients(&batch).expect("a gradient").report;
                let without = at(still(2, Elbo::default().reduction(reduction).kl(0.0)), &given);
                let without = { without }.gradients(&batch).expect("a gradient").report;
                let divergence = found.divergence.expect("it is drawn");
                close("divergence", &[divergence + 1.0], &[share * expected + 1.0], 1e-14);
                close("the rest", &[found.loss - weight * divergence], &[without.loss], 1e-13);
            }
        }
    }
}

/// A state that stands still is what was drawn, so that the loss is known.
#[test]
fn the_normal_numbers_of_a_step_are_those_that_it_draws_by() {
    let given = [0.3, -1.2, 0.4, -2.0];
    let (inputs, states) = ([0.0; 35], [0.0; 70]);
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    for samples in [1, 3] {
        let elbo = Elbo::default().kl(0.0).samples(samples);
        let config = still(2, elbo).seed(7).optimizer(Optimizer::sgd(1e-3));
        let mut trainer = at(config.clone(), &given);
        for step in 0..2 {
            let normals = config.initial_normals(step, 35 * samples);
            let square = |(i, e): (usize, &f64)| (given[i % 2] + (0.5 * given[2 + i % 2]).exp() * e).powi(2);
            let mean = normals.iter().enumerate().map(square).sum::<f64>() / normals.len() as f64;
            let found = trainer.gradients(&batch).expect("a gradient").report.loss;
            let expected = 0.5 * mean / (STD * STD) + STD.ln() + 0.5 * TAU.ln();
            close(&format!("step {step} of {samples} samples"), &[found], &[expected], 1e-13);
            trainer.apply(&[0.0; 8]).expect("an update that changes nothing");
        }
    }
}

/// With `z ~ N(0, 1)` and `x ~ N(z, std^2)` all is known: `x ~ N(0, 1 + std^2)`, and `z` given `x` is normal with mean
/// `x / (1 + std^2)` and variance `std^2 / (1 + std^2)`.
#[test]
fn bounds_are_tight_where_the_posterior_is_known() {
    let total = 1.0 + STD * STD;
    let x = 1.3;
    let marginal = 0.5 * (x * x / total + (TAU * total).ln());
    let given = [x / total, (STD * STD / total).ln()];
    let states = [x; 5];
    let batch = Batch { inputs: &[0.0; 5], target: Target::States(&states) };
    let sums = Elbo::default().reduction(Reduction::Sum);
    let noise = [1, 70].map(|samples| {
        let config = still(1, sums.clone().samples(samples).importance());
        let found = at(config, &given).gradients(&batch).expect("a gradient");
        close("each weight is the density itself", &[found.report.loss], &[marginal], 1e-13);
        found.gradient.iter().fold(0.0f64, |most, g| most.max(g.abs()))
    });
    assert!(noise[0] > 1e-3 && noise[1] < 0.5 * noise[0], "the path's derivative is noise, less of many: {noise:?}");
    // The bound itself is tight too, in the mean over many samples: a standard error is 0.7 / sqrt(n) here at most.
    let found = at(still(1, sums.clone().samples(4000)), &given).gradients(&batch).expect("a gradient").report;
    assert!((found.loss - marginal).abs() < 4.0 * 0.7 / f64::sqrt(20_000.0), "{} and not {marginal}", found.loss);

    // From another distribution the weighted bound comes closer, and with many samples there.
    let other = [0.2, 0.1];
    let loss = |elbo: Elbo| at(still(1, elbo), &other).gradients(&batch).expect("a gradient").report.loss;
    let plain = loss(sums.clone().samples(4000));
    let weighted = loss(sums.clone().samples(4000).importance());
    let expected = 0.5 * ((other[0] - x).powi(2) + other[1].exp()) / (STD * STD)
        + STD.ln()
        + 0.5 * TAU.ln()
        + 0.5 * (other[0].powi(2) + other[1].exp() - 1.0 - other[1]);
    assert!((plain - expected).abs() < 0.06, "{plain} and not {expected}");
    assert!(plain > marginal + 0.5 && (weighted - marginal).abs() < 0.03, "{plain}, {weighted}, {marginal}");
}

fn lively(layout: usize, loss: Loss, elbo: Elbo) -> TrainerConfig {
    let field = Mlp::new([3, 5, 3]).time_input(TimeInput::First);
    let options = fixed().layout(LAYOUTS[layout % 2]).save_at(SaveAt::Times(vec![0.3, 1.0]));
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).encoder(Mlp::new([4, 7, 6])).latent().head(2);
    TrainerConfig::new(model, loss).elbo(elbo).seed(4)
}

#[test]
fn gradients_of_every_bound_are_exact() {
    let inputs = numbers(3, 35 * 4);
    let states: Vec<f64> = numbers(4, 2 * 35 * 2);
    let weights: Vec<f64> = (0..states.len()).map(|i| [1.0, 0.0, 2.0, 0.5, 1.0][i * 3 % 5]).collect();
    let labels: Vec<u32> = (0..35).map(|i| i % 2).collect();
    let observed = Target::Observed { states: &states, weights: &weights };
    let gaussian = Loss::Gaussian { std: 0.4 };
    let sums = Elbo::default().reduction(Reduction::Sum).kl(0.3);
    let cases = [
        (gaussian, observed, Elbo::default()),
        (gaussian, observed, sums.clone().samples(3)),
        (Loss::Mae, Target::States(&states), Elbo::default().kl(0.1).samples(2)),
        (gaussian, observed, sums.clone().samples(5).importance()),
        (Loss::Mse, Target::States(&states), Elbo::default().samples(3).importance()),
        (Loss::CrossEntropy, Target::Labels(&labels), Elbo::default().samples(2)),
        (Loss::CrossEntropy, Target::Labels(&labels), Elbo::default().samples(2).importance()),
    ];
    for (n, (loss, target, elbo)) in cases.into_iter().enumerate() {
        let name = format!("{loss:?}, {elbo:?}");
        let mut trainer = Trainer::<f64>::new(&cpu(), lively(n, loss, elbo)).expect("a valid model");
        let batch = Batch { inputs: &inputs, target };
        // Those of the second step, whose draws are others.
        let first = trainer.gradients(&batch).expect("a gradient").report.loss;
        trainer.step(&batch).expect("a step");
        let found = trainer.gradients(&batch).expect("a gradient");
        assert_ne!(first, found.report.loss, "{name}");
        let theta = trainer.parameters().to_vec();
        let expected = differences(&theta, |theta| {
            trainer.set_parameters(theta).expect("the model's parameters");
            trainer.gradients(&batch).expect("a loss").report.loss
        });
        close(&name, &found.gradient, &expected, 1e-7);
    }
}

#[test]
fn evaluations_begin_at_the_mean_and_draws_are_their_own() {
    let inputs = numbers(3, 33 * 4);
    let states: Vec<f64> = numbers(4, 2 * 33 * 2);
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    let config = lively(0, Loss::Mse, Elbo::default().samples(4).kl(0.5).reduction(Reduction::Sum));
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let square =
        |outputs: &[f64]| outputs.iter().zip(&states).map(|(x, y)| (x - y).powi(2)).sum::<f64>() / states.len() as f64;
    let mean = trainer.predict(&inputs).expect("outputs");
    let evaluated = trainer.evaluate(&batch).expect("an evaluation");
    close("the mean's loss", &[evaluated.loss], &[square(&mean)], 1e-13);
    assert_eq!(evaluated.count, 33);
    let drawn: Vec<Vec<f64>> = (0..3).map(|sample| trainer.predict_drawn(&inputs, sample).expect("outputs")).collect();
    assert!(drawn[0] != mean && drawn[0] != drawn[1], "they are drawn");
    assert_eq!(trainer.predict_drawn(&inputs, 1).expect("outputs"), drawn[1], "and the same again");
    assert_eq!(trainer.predict_drawn(&inputs[..8], 1).expect("outputs")[..4], drawn[1][..4], "whatever the batch");
    let averaged: Vec<f64> = (0..mean.len()).map(|i| drawn.iter().map(|d| d[i]).sum::<f64>() / 3.0).collect();
    let found = trainer.evaluate_mean(&batch, 3).expect("an evaluation").loss;
    close("the loss of the mean over draws", &[found], &[square(&averaged)], 1e-13);
    // A step counts every trajectory that it draws.
    let report = trainer.step(&batch).expect("a step");
    assert!(!report.skipped && report.failed == 0 && report.divergence.is_some_and(|d| d > 0.0), "{report:?}");
}

/// A model of constant data learns to be certain: of what is drawn only what the divergence pays for is left.
#[test]
fn constant_data_are_learnt() {
    let elbo = Elbo::default().kl(Schedule::annealed(1e-8, 0.99, 10));
    let config = lively(0, Loss::Mse, elbo).optimizer(Optimizer::adam(Schedule::exponential(5e-2, 1e-4, 2000)));
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let inputs = [0.5; 16 * 4];
    let states = [0.25; 2 * 16 * 2];
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    for _ in 0..2000 {
        trainer.step(&batch).expect("a step");
    }
    let found = trainer.evaluate(&batch).expect("an evaluation").loss;
    assert!(found < 1e-5, "{found}");
}

#[test]
fn a_latent_model_comes_back_from_its_checkpoint() {
    let inputs = numbers(3, 9 * 4);
    let states: Vec<f64> = numbers(4, 2 * 9 * 2);
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    let elbo = Elbo::default().samples(2).kl(Schedule::annealed(0.5, 0.9, 1)).importance();
    let mut trainer = Trainer::<f64>::new(&cpu(), lively(1, Loss::Mse, elbo)).expect("a valid model");
    trainer.step(&batch).expect("a step");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latent.safetensors");
    trainer.save(&path, &BTreeMap::new()).expect("a file");
    let (mut again, _) = Trainer::<f64>::resume(&cpu(), &path).expect("the checkpoint");
    assert_eq!(again.config(), trainer.config());
    for _ in 0..2 {
        assert_eq!(again.step(&batch).expect("a step"), trainer.step(&batch).expect("a step"));
    }
    assert_eq!(again.parameters(), trainer.parameters());
}

/// A trajectory that fails is left out of its sample's, and a sample whose all fail is left out of the batch.
#[test]
fn draws_that_fail_are_left_out() {
    // y' = sqrt(y) has solutions from positive numbers alone: of a mean of 9 all are solved, of -9 none, of 0.6 some.
    let root = Field::build(1, |f| f.state().sqrt()).expect("a field");
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 3 });
    let model = NeuralDe::new(Problem::ode(root, 0.0, 1.0), options).encoder(1).latent();
    for importance in [false, true] {
        let elbo = Elbo::default().samples(8);
        let elbo = if importance { elbo.importance() } else { elbo };
        let config = TrainerConfig::new(model.clone(), Loss::Mse).elbo(elbo).failure(FailurePolicy::Skip).seed(1);
        let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
        // mean = x, log-variance = -1.
        trainer.set_parameters(&[1.0, 0.0, 0.0, -1.0]).expect("as many");
        let batch = Batch { inputs: &[9.0, -9.0, 0.6], target: Target::States(&[9.0, 1.0, 2.0]) };
        let found = trainer.gradients(&batch).expect("a gradient");
        assert!(found.report.failed > 8 && found.report.failed < 16, "{:?}", found.report);
        assert!(found.report.loss.is_finite() && found.gradient.iter().all(|g| g.is_finite()), "{:?}", found.report);
        let theta = [1.0, 0.0, 0.0, -1.0];
        let failed = found.report.failed;
        let expected = differences(&theta, |theta| {
            trainer.set_parameters(theta).expect("as many");
            let report = trainer.gradients(&batch).expect("a loss").report;
            assert_eq!(report.failed, failed, "the same ones");
            report.loss
        });
        close("the others' gradient", &found.gradient, &expected, 1e-6);
    }
}

#[test]
fn what_is_not_drawn_is_refused_by_name() {
    let equation = Problem::ode(Mlp::new([3, 5, 3]), 0.0, 1.0);
    let refused = |config: TrainerConfig| Trainer::<f64>::new(&cpu(), config).expect_err("refused").to_string();
    let plain = NeuralDe::new(equation.clone(), fixed());
    let error = refused(TrainerConfig::new(plain.clone().latent(), Loss::Mse));
    assert!(error.contains("NeuralDe::latent") && error.contains("encoder"), "{error}");
    let error = refused(TrainerConfig::new(plain.clone().encoder(Mlp::new([4, 3])).latent(), Loss::Mse));
    assert!(error.contains("NeuralDe::encoder") && error.contains("6 numbers"), "{error}");
    let flow = Field::from(Mlp::new([3, 5, 3])).with_log_density(Trace::Exact).expect("a flow");
    let flow = NeuralDe::new(Problem::ode(flow, 0.0, 1.0), fixed()).encoder(4).latent();
    let error = refused(TrainerConfig::new(flow, Loss::Mse));
    assert!(error.contains("NeuralDe::latent") && error.contains("flow"), "{error}");
    let model = plain.clone().encoder(4).latent();
    let error = refused(TrainerConfig::new(model.clone(), Loss::Moments));
    assert!(error.contains("TrainerConfig::loss = Moments"), "{error}");
    let error = refused(TrainerConfig::new(model.clone(), Loss::Mse).elbo(Elbo::default().samples(0)));
    assert!(error.contains("Elbo::samples = 0"), "{error}");
    let error = refused(TrainerConfig::new(model, Loss::Mse).elbo(Elbo::default().kl(-1.0)));
    assert!(error.contains("Elbo::kl"), "{error}");
    let error = refused(TrainerConfig::new(plain.encoder(4), Loss::Mse).elbo(Elbo::default().samples(2)));
    assert!(error.contains("TrainerConfig::elbo") && error.contains("NeuralDe::latent"), "{error}");
}
