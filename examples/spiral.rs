//! Learns a spiral from 10 points a trajectory, and asserts that it did: `cargo run --release --example spiral`.

use anyhow::ensure;
use fewsteps::{
    Batch, Cpu, InputMap, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, Random, SaveAt, Schedule, SolverOptions,
    Target, Tolerances, Trainer, TrainerConfig,
};

/// The truth, `dy1/dt = -0.1 y1^3 - 2 y2^3`, `dy2/dt = 2 y1^3 - 0.1 y2^3`, by many small Runge-Kutta steps.
fn truth(mut y: [f64; 2], t: f64) -> [f64; 2] {
    let f = |y: [f64; 2]| {
        let [a, b] = y.map(|y| y * y * y);
        [-0.1 * a - 2.0 * b, 2.0 * a - 0.1 * b]
    };
    let ahead = |y: [f64; 2], k: [f64; 2], h: f64| [y[0] + h * k[0], y[1] + h * k[1]];
    let h = t / 200.0;
    for _ in 0..200 {
        let k1 = f(y);
        let k2 = f(ahead(y, k1, h / 2.0));
        let k3 = f(ahead(y, k2, h / 2.0));
        let k4 = f(ahead(y, k3, h));
        y = std::array::from_fn(|i| y[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]));
    }
    y
}

fn main() -> anyhow::Result<()> {
    let ts: Vec<f64> = (0..10).map(|i| f64::from(i) / 6.0).collect();
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-6)).save_at(SaveAt::Times(ts.clone()));
    let field = Mlp::new([2, 50, 2]).input_map(InputMap::Cube);
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.5), options);
    let config = TrainerConfig::new(model, Loss::Mae)
        // At a constant rate the loss goes up and down to the end.
        .optimizer(Optimizer::adam(Schedule::cosine(2e-2, 1e-4, 800)))
        .regularizer(Local::unbiased().coefficient(1e-3));
    let mut trainer = Trainer::<f32>::new(&Cpu::new()?, config)?;

    let mut random = Random::new(0, fewsteps::Purpose::Data, 0);
    let starts: Vec<[f64; 2]> =
        (0..128).map(|_| [4.0 * random.uniform() - 2.0, 4.0 * random.uniform() - 2.0]).collect();
    let inputs: Vec<f32> = starts.iter().flatten().map(|&y| y as f32).collect();
    let states: Vec<f32> =
        ts.iter().flat_map(|&t| starts.iter().flat_map(move |&y| truth(y, t))).map(|y| y as f32).collect();
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    let mut last = trainer.evaluate(&batch)?;
    println!("before: loss {:.4}, NFE {}", last.loss, last.nfe);
    for step in 1..=800 {
        let report = trainer.step(&batch)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.4}, NFE {}", report.loss, report.nfe);
        }
    }
    last = trainer.evaluate(&batch)?;
    // Sixteen seeds end between 0.033 and 0.042.
    ensure!(last.loss < 0.05, "the spiral was not learned: loss {}", last.loss);
    Ok(())
}
