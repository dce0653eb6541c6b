//! The flow that is learned, `x' = v, v' = x - x^3`: a particle in a double well, which swirls about one well or both.

use anyhow::ensure;
use fewsteps::{
    Batch, Controller, Cpu, InitialStep, Layout, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, Random, SaveAt,
    Schedule, SolverOptions, StepControl, Target, Tolerances, Trainer, TrainerConfig,
};

/// Time that a frame takes.
pub(crate) const FRAME: f64 = 0.05;

const STARTS: usize = 256;
const STEPS: usize = 800;
const BOUND: f64 = 1e-3;

pub(crate) fn field() -> Mlp {
    Mlp::new([2, 32, 2])
}

/// A frame of every particle. Its first attempt is the whole frame, which is all that a smooth field needs.
pub(crate) fn frame() -> (Problem, SolverOptions) {
    let step_control = StepControl::Adaptive {
        tolerances: Tolerances::both(1e-4),
        controller: Controller::default(),
        initial_step: InitialStep::Length(FRAME),
    };
    let options = SolverOptions::default().layout(Layout::Ensemble).step_control(step_control);
    (Problem::ode(field(), 0.0, FRAME), options)
}

/// Where the true flow takes a state in time `t`, by small Runge-Kutta steps.
fn truth([mut x, mut v]: [f64; 2], t: f64) -> [f64; 2] {
    const STEPS: usize = 50;
    let f = |x: f64, v: f64| [v, x - x * x * x];
    let h = t / STEPS as f64;
    for _ in 0..STEPS {
        let a = f(x, v);
        let b = f(x + h / 2.0 * a[0], v + h / 2.0 * a[1]);
        let c = f(x + h / 2.0 * b[0], v + h / 2.0 * b[1]);
        let d = f(x + h * c[0], v + h * c[1]);
        x += h / 6.0 * (a[0] + 2.0 * b[0] + 2.0 * c[0] + d[0]);
        v += h / 6.0 * (a[1] + 2.0 * b[1] + 2.0 * c[1] + d[1]);
    }
    [x, v]
}

/// Parameters that have learned the flow from trajectories of it: on the native engine, which is the faster one for so
/// little work.
pub(crate) fn learn() -> anyhow::Result<Vec<f32>> {
    let ts = vec![0.25, 0.5, 0.75, 1.0];
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-4)).save_at(SaveAt::Times(ts.clone()));
    let config = TrainerConfig::new(NeuralDe::new(Problem::ode(field(), 0.0, 1.0), options), Loss::Mse)
        .optimizer(Optimizer::adam(Schedule::exponential(3e-2, 1e-3, STEPS as u64)))
        .regularizer(Local::unbiased().coefficient(1e-4));
    let mut random = Random::new(0, fewsteps::Purpose::Data, 0);
    let mut uniform = |half: f64| half * (2.0 * random.uniform() - 1.0);
    let starts: Vec<[f64; 2]> = (0..STARTS).map(|_| [uniform(1.5), uniform(1.0)]).collect();
    let ends = ts.iter().flat_map(|&t| starts.iter().flat_map(move |&y| truth(y, t)));
    let states: Vec<f32> = ends.map(|y| y as f32).collect();
    let inputs: Vec<f32> = starts.iter().flatten().map(|&y| y as f32).collect();
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };

    let mut trainer = Trainer::<f32>::new(&Cpu::new()?, config)?;
    for step in 1..=STEPS {
        let report = trainer.step(&batch)?;
        if step % 200 == 0 {
            println!("step {step}: loss {:.6}, NFE {}", report.loss, report.nfe);
        }
    }
    let learned = trainer.evaluate(&batch)?;
    ensure!(learned.loss < BOUND, "the flow was not learned: loss {} is not under {BOUND}", learned.loss);
    Ok(trainer.parameters().to_vec())
}
