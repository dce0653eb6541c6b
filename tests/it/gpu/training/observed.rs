//! States that are observed in part, on the device beside the native engine.

use crate::oracle::{LAYOUTS, cast, close, cpu, gpu, numbers, widen};
use fewsteps::{
    Batch, GpuTrainer, Local, Loss, Method, Mlp, NeuralDe, Problem, SaveAt, SolverOptions, StepControl, Target,
    Trainer, TrainerConfig,
};

const TIMES: [f64; 3] = [0.25, 0.5, 1.0];
const OUTPUTS: usize = 2;
const BATCH: usize = 70;

fn config(loss: Loss, n: usize) -> TrainerConfig {
    let options = SolverOptions::default().method(Method::Bosh3).layout(LAYOUTS[n % 2]);
    let options = options.step_control(StepControl::Fixed { steps: 4 }).save_at(SaveAt::Times(TIMES.to_vec()));
    let model = NeuralDe::new(Problem::ode(Mlp::new([3, 6, 3]), 0.0, 1.0), options);
    TrainerConfig::new(model.encoder(4).head(OUTPUTS), loss).regularizer(Local::unbiased().coefficient(0.01)).seed(3)
}

/// States and weights of so many samples, `[batch][times][outputs]`; what is not observed is NaN.
fn observed(batch: usize) -> [Vec<f32>; 2] {
    let weights: Vec<f32> =
        (0..batch * TIMES.len() * OUTPUTS).map(|i| [1.0, 0.0, 2.5, 0.5, 0.0, 3.0, 0.0][i * 3 % 7]).collect();
    let states = cast::<f32>(&numbers(8, weights.len()));
    let states = states.into_iter().zip(&weights).map(|(x, w)| if *w == 0.0 { f32::NAN } else { x }).collect();
    [states, weights]
}

/// Of these samples, `[times][batch][outputs]`.
fn gathered(all: &[f32], samples: &[u32]) -> Vec<f32> {
    let of = |time: usize| {
        samples.iter().flat_map(move |&i| all[(i as usize * TIMES.len() + time) * OUTPUTS..][..OUTPUTS].to_vec())
    };
    (0..TIMES.len()).flat_map(of).collect()
}

#[test]
fn a_device_weighs_as_the_native_engine_does() {
    let Some(gpu) = gpu() else { return };
    for (n, loss) in [Loss::Mse, Loss::Mae, Loss::Gaussian { std: 0.4 }].into_iter().enumerate() {
        let name = format!("{loss:?}");
        let mut native = Trainer::<f64>::new(&cpu(1), config(loss, n)).expect("a model");
        let mut device = GpuTrainer::new(&gpu, config(loss, n)).expect("a model");
        let theta: Vec<f32> = native.parameters().iter().map(|x| (1.5 * x) as f32).collect();
        native.set_parameters(&widen(&theta)).expect("as many");
        device.set_parameters(&theta).expect("as many");
        let order: Vec<u32> = (0..BATCH as u32).collect();
        let inputs: Vec<f32> = cast(&numbers(5, BATCH * 4));
        let [states, weights] = observed(BATCH).map(|all| gathered(&all, &order));
        let (wide, wide_states, wide_weights) = (widen(&inputs), widen(&states), widen(&weights));
        let all = vec![0.5; states.len()];
        let wide_all = widen(&all);
        let mut bytes = Vec::new();
        // Observed, whole, and observed again: plans are of either kind.
        for step in 0..3 {
            let (found_of, expected_of) = if step == 1 {
                (Target::States(&all), Target::States(&wide_all))
            } else {
                let found = Target::Observed { states: &states, weights: &weights };
                (found, Target::Observed { states: &wide_states, weights: &wide_weights })
            };
            let found_of = Batch { inputs: &inputs, target: found_of };
            let expected_of = Batch { inputs: &wide, target: expected_of };
            let evaluated = gpu.block_on(device.evaluate(&found_of)).expect("a loss").loss;
            let expected = native.evaluate(&expected_of).expect("a loss").loss;
            close(&name, &[evaluated], &[expected], 1e-5);
            let mean = gpu.block_on(device.evaluate_mean(&found_of, 2)).expect("a loss").loss;
            close(&name, &[mean], &[expected], 1e-5);
            let found = gpu.block_on(device.gradients(&found_of)).expect("a gradient");
            let expected = native.gradients(&expected_of).expect("a gradient");
            close(&name, &[found.report.loss], &[expected.report.loss], 1e-5);
            close(&format!("{name}, step {step}"), &widen(&found.gradient), &expected.gradient, 1e-3);
            native.step(&expected_of).expect("a step");
            gpu.block_on(device.step(&found_of)).expect("a step");
            bytes.push(device.bytes());
        }
        let of_weights = 4 * TIMES.len() * BATCH * OUTPUTS;
        assert_eq!([bytes[0], bytes[2]], [bytes[1] + of_weights; 2], "{name}: weights are told of");
        let after = gpu.block_on(device.parameters()).expect("parameters");
        close(&name, &widen(&after), native.parameters(), 1e-4);
    }
}

#[test]
fn a_held_data_set_keeps_its_weights() {
    let Some(gpu) = gpu() else { return };
    let inputs: Vec<f32> = cast(&numbers(5, BATCH * 4));
    let [states, weights] = observed(BATCH);
    let mut held = GpuTrainer::new(&gpu, config(Loss::Mse, 0)).expect("a model");
    let target = Target::Observed { states: &states, weights: &weights };
    let data = gpu.block_on(held.upload(&inputs, target)).expect("data that fit");
    let mut sent = GpuTrainer::new(&gpu, config(Loss::Mse, 0)).expect("a model");
    let samples: Vec<u32> = (0..33).map(|i| i * 7 % BATCH as u32).collect();
    let inputs: Vec<f32> = samples.iter().flat_map(|&i| inputs[i as usize * 4..][..4].to_vec()).collect();
    let [chosen, chosen_weights] = [&states, &weights].map(|all| gathered(all, &samples));
    let batch = Batch { inputs: &inputs, target: Target::Observed { states: &chosen, weights: &chosen_weights } };
    for _ in 0..2 {
        let found = gpu.block_on(held.step_on(&data, &samples)).expect("a step");
        assert_eq!(found, gpu.block_on(sent.step(&batch)).expect("a step"), "the same batch");
    }
    let found = gpu.block_on(held.evaluate_on(&data, &samples)).expect("a loss");
    assert_eq!(found, gpu.block_on(sent.evaluate(&batch)).expect("a loss"), "the same batch");

    // A sample of which nothing is observed is refused by its number.
    let mut none = weights;
    none[5 * TIMES.len() * OUTPUTS..6 * TIMES.len() * OUTPUTS].fill(0.0);
    let target = Target::Observed { states: &states, weights: &none };
    let all: Vec<f32> = cast(&numbers(5, BATCH * 4));
    let error = gpu.block_on(held.upload(&all, target)).expect_err("refused").to_string();
    assert!(error.contains("trajectory 5: its weights add up"), "{error}");
}
