//! Learns a stochastic process from its means and variances: an Ornstein-Uhlenbeck process, whose moments are known.
//! `cargo run --release --example paths`.

use fewsteps::{
    Batch, Cpu, Diffusion, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, SaveAt, SolverOptions, Target, Tolerances,
    Trainer, TrainerConfig,
};

/// `dy = -2 y dt + 0.7 dW` from `y = 1.5`.
const RATE: f32 = 2.0;
const NOISE: f32 = 0.7;
const START: f32 = 1.5;

fn main() -> fewsteps::Result<()> {
    let times: Vec<f64> = (1..=8).map(|i| f64::from(i) / 8.0).collect();
    let means: Vec<f32> = times.iter().map(|&t| START * (-RATE * t as f32).exp()).collect();
    let stationary = NOISE * NOISE / (2.0 * RATE);
    let variances: Vec<f32> = times.iter().map(|&t| stationary * (1.0 - (-2.0 * RATE * t as f32).exp())).collect();

    let problem = Problem::sde(Mlp::new([1, 16, 1]), Diffusion::ito(Mlp::new([1, 1])), 0.0, 1.0);
    let options = SolverOptions::sde(Tolerances::both(0.3)).save_at(SaveAt::Times(times.clone()));
    let config = TrainerConfig::new(NeuralDe::new(problem, options), Loss::Moments)
        .optimizer(Optimizer::adam(5e-2))
        .regularizer(Local::unbiased().coefficient(1e-4));
    let mut trainer = Trainer::<f32>::new(&Cpu::new()?, config)?;

    let inputs = [START; 256]; // as many paths from one state
    let batch = Batch { inputs: &inputs, target: Target::Moments { means: &means, variances: &variances } };
    for step in 1..=600 {
        let report = trainer.step(&batch)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.2e}, NFE {} and {}", report.loss, report.nfe, report.nfe_diffusion);
        }
    }

    let inputs = [START; 4096];
    let batch = Batch { inputs: &inputs, target: batch.target };
    let test = trainer.evaluate(&batch)?;
    let paths = trainer.predict(&inputs)?;
    println!("\n   t    mean  learnt   variance  learnt");
    for (i, ys) in paths.chunks_exact(inputs.len()).enumerate() {
        let mean = ys.iter().sum::<f32>() / ys.len() as f32;
        let variance = ys.iter().map(|y| (y - mean).powi(2)).sum::<f32>() / ys.len() as f32;
        println!("{:.3}  {:6.3}  {mean:6.3}   {:8.3}  {variance:6.3}", times[i], means[i], variances[i]);
    }
    println!("loss {:.2e} over {} paths, NFE {}", test.loss, inputs.len(), test.nfe);
    assert!(test.loss < 1e-3, "the moments are learnt");
    assert!(test.nfe < 300, "in few steps");
    Ok(())
}
