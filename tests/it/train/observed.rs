//! States that are observed in part, and likelihoods of observations.

use std::f64::consts::TAU;

use super::cpu;
use super::gradients::check_gradient;
use crate::oracle::{LAYOUTS, close, numbers};
use fewsteps::{
    Batch, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, SaveAt, SolverOptions, StepControl, Target, TimeInput,
    Tolerances, Trainer, TrainerConfig,
};

const TIMES: [f64; 4] = [0.0, 0.21, 0.5, 1.0];
const OUTPUTS: usize = 2;

/// The losses on states.
const LOSSES: [Loss; 3] = [Loss::Mse, Loss::Mae, Loss::Gaussian { std: 0.3 }];

fn model(head: bool, options: SolverOptions) -> NeuralDe {
    let width = if head { 3 } else { OUTPUTS };
    let field = Mlp::new([width, 5, width]).time_input(TimeInput::First);
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options.save_at(SaveAt::Times(TIMES.to_vec())));
    if head { model.encoder(2).head(OUTPUTS) } else { model }
}

fn fixed() -> SolverOptions {
    SolverOptions::default().step_control(StepControl::Fixed { steps: 3 })
}

/// States and weights of so many trajectories; what is not observed, a third, is NaN. Every trajectory has its last number.
fn observed(batch: usize) -> (Vec<f64>, Vec<f64>) {
    let count = TIMES.len() * batch * OUTPUTS;
    let mut weights: Vec<f64> = (0..count).map(|i| [1.0, 0.0, 2.5, 0.5, 1.0, 0.0][i * 7 % 6]).collect();
    for row in weights[count - batch * OUTPUTS..].chunks_exact_mut(OUTPUTS) {
        row[1] = 1.0;
    }
    let states = numbers(8, count).into_iter().zip(&weights).map(|(x, w)| if *w == 0.0 { f64::NAN } else { x });
    (states.collect(), weights)
}

/// The loss of the definition, of outputs `[times][batch][outputs]`.
fn expected(loss: Loss, outputs: &[f64], states: &[f64], weights: &[f64], batch: usize) -> f64 {
    let of = |d: f64| match loss {
        Loss::Mae => d.abs(),
        Loss::Gaussian { std } => 0.5 * (d / std).powi(2) + std.ln() + 0.5 * TAU.ln(),
        _ => d * d,
    };
    let row = |b: usize| {
        let cells = (0..states.len()).filter(|i| i / OUTPUTS % batch == b && weights[*i] > 0.0);
        let sum = |f: &dyn Fn(usize) -> f64| cells.clone().map(f).sum::<f64>();
        sum(&|i| weights[i] * of(outputs[i] - states[i])) / sum(&|i| weights[i])
    };
    (0..batch).map(row).sum::<f64>() / batch as f64
}

#[test]
fn what_is_observed_has_the_loss_of_the_definition_and_its_gradient() {
    for (n, loss) in LOSSES.into_iter().enumerate() {
        for head in [true, false] {
            let name = format!("{loss:?}, head {head}");
            let config = TrainerConfig::new(model(head, fixed().layout(LAYOUTS[n % 2])), loss).seed(2);
            let inputs = numbers(3, 35 * 2);
            let (states, weights) = observed(35);
            let batch = Batch { inputs: &inputs, target: Target::Observed { states: &states, weights: &weights } };
            let mut trainer = Trainer::<f64>::new(&cpu(), config.clone()).expect("a valid model");
            let outputs = trainer.predict(&inputs).expect("outputs");
            let expected = expected(loss, &outputs, &states, &weights, 35);
            let found = trainer.gradients(&batch).expect("a gradient").report.loss;
            let evaluated = trainer.evaluate(&batch).expect("an evaluation").loss;
            let mean = trainer.evaluate_mean(&batch, 2).expect("an evaluation").loss;
            close(&name, &[found, evaluated, mean], &[expected; 3], 1e-13);
            check_gradient(config, &batch, &name);
        }
    }
}

#[test]
fn equal_weights_weigh_nothing() {
    for loss in LOSSES {
        let config = TrainerConfig::new(model(true, fixed()), loss);
        let inputs = numbers(3, 40 * 2);
        let states = numbers(4, TIMES.len() * 40 * OUTPUTS);
        let weights = vec![0.7; states.len()];
        let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
        let plain = trainer.gradients(&Batch { inputs: &inputs, target: Target::States(&states) }).expect("a gradient");
        let target = Target::Observed { states: &states, weights: &weights };
        let weighed = trainer.gradients(&Batch { inputs: &inputs, target }).expect("a gradient");
        close("loss", &[weighed.report.loss], &[plain.report.loss], 1e-13);
        close("gradient", &weighed.gradient, &plain.gradient, 1e-13);
    }
}

/// Rows of a target's array, `[times][batch][outputs]`.
fn rows(all: &[f64], batch: usize, wanted: &[usize]) -> Vec<f64> {
    let time = |time: &[f64]| wanted.iter().flat_map(|b| time[b * OUTPUTS..][..OUTPUTS].to_vec()).collect::<Vec<_>>();
    all.chunks_exact(batch * OUTPUTS).flat_map(time).collect()
}

/// However much of it is observed, a trajectory counts as much as any other, whatever else is in the batch.
#[test]
fn a_trajectorys_loss_is_its_own() {
    let inputs = numbers(3, 33 * 2);
    let (states, weights) = observed(33);
    let mut trainer =
        Trainer::<f64>::new(&cpu(), TrainerConfig::new(model(true, fixed()), Loss::Mse)).expect("a valid model");
    let mut loss = |wanted: &[usize]| {
        let inputs: Vec<f64> = wanted.iter().flat_map(|b| inputs[2 * b..][..2].to_vec()).collect();
        let [states, weights] = [&states, &weights].map(|all| rows(all, 33, wanted));
        let batch = Batch { inputs: &inputs, target: Target::Observed { states: &states, weights: &weights } };
        trainer.evaluate(&batch).expect("an evaluation").loss
    };
    let alone: Vec<f64> = (0..33).map(|b| loss(&[b])).collect();
    let order: Vec<usize> = (0..33).map(|i| i * 5 % 33).collect();
    close("all", &[loss(&order)], &[alone.iter().sum::<f64>() / 33.0], 1e-13);
    close("three", &[loss(&[32, 4, 0])], &[(alone[32] + alone[4] + alone[0]) / 3.0], 1e-13);
}

#[test]
fn what_cannot_be_weighed_is_refused_by_its_place() {
    let inputs = numbers(3, 3 * 2);
    let (states, weights) = observed(3);
    let mut trainer =
        Trainer::<f64>::new(&cpu(), TrainerConfig::new(model(true, fixed()), Loss::Mse)).expect("a valid model");
    let mut refused = |states: &[f64], weights: &[f64]| {
        let batch = Batch { inputs: &inputs, target: Target::Observed { states, weights } };
        trainer.step(&batch).expect_err("refused").to_string()
    };
    let with = |all: &[f64], i: usize, x: f64| {
        let mut all = all.to_vec();
        all[i] = x;
        all
    };
    // Time 2, trajectory 1, output 1.
    let cell = (2 * 3 + 1) * OUTPUTS + 1;
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        let error = refused(&states, &with(&weights, cell, weight));
        assert!(error.contains("weights") && error.contains("time 2, trajectory 1, output 1"), "{error}");
    }
    let seen = with(&weights, cell, 1.0);
    let error = refused(&with(&states, cell, f64::NAN), &seen);
    assert!(error.contains("Target::Observed::states = NaN: time 2, trajectory 1, output 1"), "{error}");
    let mut none = weights.clone();
    (0..none.len()).filter(|i| i / OUTPUTS % 3 == 2).for_each(|i| none[i] = 0.0);
    let error = refused(&states, &none);
    assert!(error.contains("trajectory 2: its weights add up"), "{error}");
    let error = refused(&states[1..], &weights);
    assert!(error.contains("Target::Observed::states") && error.contains("[4][3][2]"), "{error}");
    let error = refused(&states, &weights[1..]);
    assert!(error.contains("Target::Observed::weights"), "{error}");

    let labelled = TrainerConfig::new(model(true, fixed()), Loss::CrossEntropy);
    let mut trainer = Trainer::<f64>::new(&cpu(), labelled).expect("a valid model");
    let target = Target::Observed { states: &states, weights: &weights };
    let error = trainer.step(&Batch { inputs: &inputs, target }).expect_err("refused").to_string();
    assert!(error.contains("Target::Observed = CrossEntropy"), "{error}");
    for std in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-200] {
        let config = TrainerConfig::new(model(true, fixed()), Loss::Gaussian { std });
        let error = Trainer::<f64>::new(&cpu(), config).expect_err("refused").to_string();
        assert!(error.contains("Loss::Gaussian::std"), "{error}");
    }
}

/// Half of what is there is never seen, and yet learnt: the rest follows from it.
#[test]
fn a_model_learns_from_what_is_observed() {
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-5));
    let config = TrainerConfig::new(model(false, options), Loss::Mse)
        .optimizer(Optimizer::adam(0.02))
        .regularizer(Local::unbiased().coefficient(1e-4));
    let inputs = numbers(3, 64 * 2);
    // A rotation by the time.
    let turned: Vec<f64> = TIMES
        .iter()
        .flat_map(|t| {
            let (s, c) = t.sin_cos();
            inputs.chunks_exact(2).flat_map(move |y| [c * y[0] - s * y[1], s * y[0] + c * y[1]])
        })
        .collect();
    let weights: Vec<f64> = (0..turned.len()).map(|i| if (i / 2 + i) % 2 == 0 { 1.0 } else { 0.0 }).collect();
    let seen: Vec<f64> = turned.iter().zip(&weights).map(|(x, w)| if *w > 0.0 { *x } else { f64::NAN }).collect();
    let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let batch = Batch { inputs: &inputs, target: Target::Observed { states: &seen, weights: &weights } };
    for _ in 0..300 {
        trainer.step(&batch).expect("a step");
    }
    let all = trainer.evaluate(&Batch { inputs: &inputs, target: Target::States(&turned) }).expect("an evaluation");
    assert!(all.loss < 1e-3, "{}", all.loss);
}
