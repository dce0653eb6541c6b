//! The device's times on the shapes of the peer comparison: forward passes and training steps, cold and warm, beside the
//! native engine's on the same work. `cargo bench --bench gpu -- [W1|W2b|W5] [rows] [adapter name]`.

use std::time::Instant;

use anyhow::Result;
use fewsteps::{
    Batch, Cpu, Gpu, GpuTrainer, InputMap, Layout, Loss, Mlp, NeuralOde, OdeProblem, Optimizer, Pick, Purpose, Random,
    SaveAt, SolverOptions, Target, TimeInput, Tolerances, Trainer, TrainerConfig,
};

/// A workload and its batch size.
struct Workload {
    name: &'static str,
    config: TrainerConfig,
    rows: usize,
}

fn workloads() -> Vec<Workload> {
    let spiral = || Mlp::new([2, 50, 2]).input_map(InputMap::Cube);
    let options = |tolerance| SolverOptions::default().tolerances(Tolerances::both(tolerance));
    let times = (0..10).map(|i| 1.5 * f64::from(i) / 9.0).collect();
    let w1 = NeuralOde::new(OdeProblem::new(spiral(), 0.0, 1.5), options(1e-6).save_at(SaveAt::Times(times)));
    let field = Mlp::new([784, 100, 784]).time_input(TimeInput::Every);
    let w2b = NeuralOde::new(OdeProblem::new(field, 0.0, 1.0), options(1e-4)).head(10);
    let w5 = NeuralOde::new(OdeProblem::new(spiral(), 0.0, 1.5), options(1e-5).layout(Layout::Ensemble));
    let config = |model, loss| TrainerConfig::new(model, loss).optimizer(Optimizer::adam(1e-6));
    vec![
        Workload { name: "W1", config: config(w1, Loss::Mae), rows: 128 },
        Workload { name: "W2b", config: config(w2b, Loss::CrossEntropy), rows: 512 },
        Workload { name: "W5", config: config(w5, Loss::Mae), rows: 100_000 },
    ]
}

/// Milliseconds of the first call, and the median of some more.
fn time(mut call: impl FnMut() -> Result<()>) -> Result<[f64; 2]> {
    let mut once = || -> Result<f64> {
        let begun = Instant::now();
        call()?;
        Ok(1e3 * begun.elapsed().as_secs_f64())
    };
    let cold = once()?;
    once()?;
    let mut warm = Vec::new();
    let begun = Instant::now();
    while warm.len() < 3 || (begun.elapsed().as_secs_f64() < 2.0 && warm.len() < 200) {
        warm.push(once()?);
    }
    warm.sort_by(f64::total_cmp);
    Ok([cold, warm[warm.len() / 2]])
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = arguments.first().map(String::as_str);
    let rows = arguments.get(1).and_then(|a| a.parse().ok());
    let pick = arguments.get(2).map_or(Pick::Any, |name| Pick::Name(name.clone()));
    let gpu = Gpu::open(&pick)?.checked(false);
    let cpu = Cpu::new()?;
    println!("device {}; native engine on {} threads", gpu.adapter(), cpu.threads());
    println!("workload  engine   rows     pass     cold ms   warm ms   NFE  loss");
    for workload in workloads().into_iter().filter(|w| wanted.is_none_or(|name| name == w.name)) {
        let rows = rows.unwrap_or(workload.rows);
        let model = &workload.config.model;
        let mut random = Random::new(0, Purpose::Data, 0);
        let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| random.uniform() as f32).collect() };
        let inputs = numbers(rows * model.input_width());
        let states = numbers(rows * model.output_times() * model.output_width());
        let labels: Vec<u32> = (0..rows).map(|i| (i % model.output_width()) as u32).collect();
        let target = match workload.config.loss {
            Loss::CrossEntropy => Target::Labels(&labels),
            _ => Target::States(&states),
        };
        let batch = Batch { inputs: &inputs, target };
        let mut native = Trainer::<f32>::new(&cpu, workload.config.clone())?;
        let mut device = GpuTrainer::new(&gpu, workload.config.clone())?;
        let (mut nfe, mut loss) = (0, 0.0);
        let mut row = |engine: &str, pass: &str, call: &mut dyn FnMut() -> Result<(usize, f64)>| -> Result<()> {
            let [cold, warm] = time(|| {
                (nfe, loss) = call()?;
                Ok(())
            })?;
            println!("{:8}  {engine:6} {rows:7}  {pass:7} {cold:9.2} {warm:9.3}  {nfe:4}  {loss:.6}", workload.name);
            Ok(())
        };
        row("native", "forward", &mut || {
            let e = native.evaluate(&batch)?;
            Ok((e.nfe, e.loss))
        })?;
        row("device", "forward", &mut || {
            let e = gpu.block_on(device.evaluate(&batch))?;
            Ok((e.nfe, e.loss))
        })?;
        row("native", "train", &mut || {
            let r = native.step(&batch)?;
            Ok((r.nfe, r.loss))
        })?;
        row("device", "train", &mut || {
            let r = gpu.block_on(device.step(&batch))?;
            Ok((r.nfe, r.loss))
        })?;
    }
    Ok(())
}
