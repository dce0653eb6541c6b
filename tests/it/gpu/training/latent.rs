//! Initial states that are drawn, on the device beside the native engine.

use crate::oracle::{LAYOUTS, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, Elbo, FailurePolicy, Field, GpuTrainer, Local, Loss, Method, Mlp, NeuralDe, Problem, Recurrent, SaveAt,
    Schedule, SolverOptions, StateMap, StepControl, Target, Trainer, TrainerConfig,
};

const TIMES: [f64; 2] = [0.5, 1.0];
const BATCH: usize = 35;

/// Encoders from 6 numbers to means and log-variances of 3: a layer, a network, and a series of 2 observations of 3.
fn encoders() -> [StateMap; 3] {
    let series = Recurrent::gru(2, 3, 5).expect("a cell").out(Mlp::new([5, 6]));
    [6.into(), Mlp::new([6, 7, 6]).into(), series.into()]
}

fn config(encoder: StateMap, n: usize, elbo: Elbo) -> TrainerConfig {
    let options = SolverOptions::default().method(Method::Bosh3).layout(LAYOUTS[n % 2]);
    let options = options.step_control(StepControl::Fixed { steps: 4 }).save_at(SaveAt::Times(TIMES.to_vec()));
    let model = NeuralDe::new(Problem::ode(Mlp::new([3, 6, 3]), 0.0, 1.0), options);
    TrainerConfig::new(model.encoder(encoder).latent().head(2), Loss::Gaussian { std: 0.5 })
        .elbo(elbo)
        .regularizer(Local::unbiased().coefficient(0.01))
        .seed(3)
}

#[test]
fn a_device_draws_as_the_native_engine_does() {
    let Some(gpu) = gpu() else { return };
    for (n, encoder) in encoders().into_iter().enumerate() {
        let name = format!("encoder {n}");
        let elbo = Elbo::default().samples(1 + n).kl(Schedule::annealed(0.5, 0.7, 0));
        let config = config(encoder, n, elbo);
        let mut native = Trainer::<f64>::new(&cpu(1), config.clone()).expect("a model");
        let mut device = GpuTrainer::new(&gpu, config).expect("a model");
        let theta: Vec<f32> = native.parameters().iter().map(|x| (1.5 * x) as f32).collect();
        native.set_parameters(&widen(&theta)).expect("as many");
        device.set_parameters(&theta).expect("as many");
        let inputs: Vec<f32> = cast(&numbers(5, BATCH * 6));
        let states: Vec<f32> = cast(&numbers(6, TIMES.len() * BATCH * 2));
        let weights: Vec<f32> = (0..states.len()).map(|i| [1.0, 0.0, 2.5, 0.5, 3.0][i * 3 % 5]).collect();
        let (wide, wide_states, wide_weights) = (widen(&inputs), widen(&states), widen(&weights));
        let target =
            if n == 1 { Target::Observed { states: &states, weights: &weights } } else { Target::States(&states) };
        let wide_target = if n == 1 {
            Target::Observed { states: &wide_states, weights: &wide_weights }
        } else {
            Target::States(&wide_states)
        };
        let (batch, wide_batch) = (Batch { inputs: &inputs, target }, Batch { inputs: &wide, target: wide_target });
        for step in 0..3 {
            let found = gpu.block_on(device.gradients(&batch)).expect("a gradient");
            let expected = native.gradients(&wide_batch).expect("a gradient");
            let numbers = |report: &fewsteps::StepReport| [report.loss, report.divergence.expect("it is drawn")];
            close(&name, &numbers(&found.report), &numbers(&expected.report), 1e-5);
            close(&format!("{name}, step {step}"), &widen(&found.gradient), &expected.gradient, 1e-3);
            let evaluated = gpu.block_on(device.evaluate(&batch)).expect("a loss").loss;
            close(&name, &[evaluated], &[native.evaluate(&wide_batch).expect("a loss").loss], 1e-5);
            let mean = gpu.block_on(device.evaluate_mean(&batch, 3)).expect("a loss").loss;
            close(&name, &[mean], &[native.evaluate_mean(&wide_batch, 3).expect("a loss").loss], 1e-5);
            native.step(&wide_batch).expect("a step");
            gpu.block_on(device.step(&batch)).expect("a step");
        }
        let after = gpu.block_on(device.parameters()).expect("parameters");
        close(&name, &widen(&after), native.parameters(), 1e-4);
        for sample in [0, 2] {
            let found = gpu.block_on(device.predict_drawn(&inputs, sample)).expect("outputs");
            close(&name, &widen(&found), &native.predict_drawn(&wide, sample).expect("outputs"), 1e-4);
        }
        let found = gpu.block_on(device.predict(&inputs)).expect("outputs");
        close(&name, &widen(&found), &native.predict(&wide).expect("outputs"), 1e-4);
    }
}

#[test]
fn a_held_data_set_is_drawn_from_as_a_batch_is() {
    let Some(gpu) = gpu() else { return };
    let config = config(6.into(), 1, Elbo::default().samples(3));
    let inputs: Vec<f32> = cast(&numbers(5, BATCH * 6));
    let states: Vec<f32> = cast(&numbers(6, BATCH * TIMES.len() * 2));
    let mut held = GpuTrainer::new(&gpu, config.clone()).expect("a model");
    let data = gpu.block_on(held.upload(&inputs, Target::States(&states))).expect("data that fit");
    let mut sent = GpuTrainer::new(&gpu, config).expect("a model");
    let samples: Vec<u32> = (0..9).map(|i| i * 7 % BATCH as u32).collect();
    let chosen: Vec<f32> = samples.iter().flat_map(|&i| inputs[i as usize * 6..][..6].to_vec()).collect();
    let of = |time: usize, states: &[f32]| -> Vec<f32> {
        samples.iter().flat_map(|&i| states[(i as usize * TIMES.len() + time) * 2..][..2].to_vec()).collect()
    };
    let gathered = [of(0, &states), of(1, &states)].concat();
    let batch = Batch { inputs: &chosen, target: Target::States(&gathered) };
    for _ in 0..2 {
        let found = gpu.block_on(held.step_on(&data, &samples)).expect("a step");
        assert_eq!(found, gpu.block_on(sent.step(&batch)).expect("a step"), "the same batch");
    }
    let found = gpu.block_on(held.evaluate_on(&data, &samples)).expect("a loss");
    assert_eq!(found, gpu.block_on(sent.evaluate(&batch)).expect("a loss"), "the same batch");
}

#[test]
fn draws_that_fail_are_left_out_on_a_device_too() {
    let Some(gpu) = gpu() else { return };
    // y' = sqrt(y) has solutions from positive numbers alone: of a mean of 9 all are solved, of -9 none, of 0.6 some.
    let root = Field::build(1, |f| f.state().sqrt()).expect("a field");
    let options = SolverOptions::default().step_control(StepControl::Fixed { steps: 3 });
    let model = NeuralDe::new(Problem::ode(root, 0.0, 1.0), options).encoder(1).latent();
    let config = TrainerConfig::new(model, Loss::Mse).elbo(Elbo::default().samples(8)).failure(FailurePolicy::Skip);
    let mut native = Trainer::<f64>::new(&cpu(1), config.clone().seed(1)).expect("a model");
    let mut device = GpuTrainer::new(&gpu, config.seed(1)).expect("a model");
    native.set_parameters(&[1.0, 0.0, 0.0, -1.0]).expect("as many");
    device.set_parameters(&[1.0, 0.0, 0.0, -1.0]).expect("as many");
    let target = Target::States(&[9.0, 1.0, 2.0]);
    let expected = native.gradients(&Batch { inputs: &[9.0, -9.0, 0.6], target }).expect("a gradient");
    let target = Target::States(&[9.0, 1.0, 2.0]);
    let found = gpu.block_on(device.gradients(&Batch { inputs: &[9.0, -9.0, 0.6], target })).expect("a gradient");
    assert_eq!(found.report.failed, expected.report.failed);
    close("gradient", &widen(&found.gradient), &expected.gradient, 1e-4);
    close("loss", &[found.report.loss], &[expected.report.loss], 1e-5);
}

#[test]
fn what_a_device_does_not_draw_is_refused_by_name() {
    let Some(gpu) = gpu() else { return };
    let mut trainer = GpuTrainer::new(&gpu, config(6.into(), 0, Elbo::default())).expect("a model");
    let error = gpu.block_on(trainer.prepare(4, 2, 8)).expect_err("the host draws").to_string();
    assert!(error.contains("NeuralDe::latent = in recorded steps"), "{error}");
}
