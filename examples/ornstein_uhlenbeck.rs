//! Learns the rates of an equation with noise that is written down, `dy = rate (mean - y) dt + sigma dW`, from the means
//! and variances of paths that were measured, and asserts that it did:
//! `cargo run --release --example ornstein_uhlenbeck`.
//!
//! The equation is Ornstein and Uhlenbeck's, of a velocity under friction or of a rate of interest. The data are drawn
//! from its exact transitions with rates that the learner does not see.

use fewsteps::{
    Batch, Cpu, Diffusion, Field, Loss, Method, NeuralDe, Optimizer, Problem, Purpose, Random, SaveAt, Schedule,
    SolverOptions, StepControl, Target, Trainer, TrainerConfig,
};

const RATE: f64 = 1.7;
const MEAN: f64 = 0.5;
const SIGMA: f64 = 0.6;
const START: f64 = -1.0;
/// Paths that were measured, and at how many times.
const MEASURED: usize = 20_000;
const TIMES: usize = 10;
const SPAN: f64 = 2.0;

/// Means and variances of the measured paths at equal times.
fn measure() -> (Vec<f32>, Vec<f32>) {
    let mut random = Random::new(3, Purpose::Data, 0);
    let decay = (-RATE * SPAN / TIMES as f64).exp();
    let spread = SIGMA * ((1.0 - decay * decay) / (2.0 * RATE)).sqrt();
    let mut ys = vec![START; MEASURED];
    let moments = (0..TIMES).map(|_| {
        ys.iter_mut().for_each(|y| *y = MEAN + (*y - MEAN) * decay + spread * random.normal());
        let mean = ys.iter().sum::<f64>() / MEASURED as f64;
        let variance = ys.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / MEASURED as f64;
        (mean as f32, variance as f32)
    });
    moments.unzip()
}

fn main() -> anyhow::Result<()> {
    let drift = Field::build(1, |f| f.positive("rate", &[0.5]) * (f.parameters("mean", &[0.0]) - f.state()))?;
    let noise = Field::build(1, |f| f.positive("sigma", &[0.2]))?;
    // Noise that does not read the state is the same in both calculi.
    let problem = Problem::sde(drift.clone(), Diffusion::stratonovich(noise.clone()), 0.0, SPAN);

    let times = (1..=TIMES).map(|i| SPAN * i as f64 / TIMES as f64).collect();
    let options = SolverOptions::default()
        .method(Method::StratonovichHeun)
        .step_control(StepControl::Fixed { steps: 2 * TIMES })
        .save_at(SaveAt::Times(times));
    let config = TrainerConfig::new(NeuralDe::new(problem, options), Loss::Moments)
        // Every step has paths of its own: what they leave to chance averages out as the rate falls.
        .optimizer(Optimizer::adam(Schedule::cosine(5e-2, 1e-4, 500)));
    let mut trainer = Trainer::<f32>::new(&Cpu::new()?, config)?;

    let (means, variances) = measure();
    let inputs = [START as f32; 1024]; // as many paths from one state
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
    for step in 1..=500 {
        let report = trainer.step(&batch)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.2e}, NFE {} and {}", report.loss, report.nfe, report.nfe_diffusion);
        }
    }

    let (of_drift, of_noise) = trainer.parameters().split_at(drift.parameter_count());
    println!("\n        truth  learnt");
    for (name, truth, field, theta) in
        [("rate", RATE, &drift, of_drift), ("mean", MEAN, &drift, of_drift), ("sigma", SIGMA, &noise, of_noise)]
    {
        let learnt = field.values(name, theta)?[0];
        println!("{name:5}  {truth:6.3}  {learnt:6.3}");
        anyhow::ensure!((learnt - truth).abs() < 0.03 * truth, "{name} is {learnt}, not {truth}");
    }
    Ok(())
}

#[test]
fn the_process_is_learnt() -> anyhow::Result<()> {
    main()
}
