//! Learns the rates of predator and prey from 21 yearly counts, and asserts that it did:
//!
//! ```sh
//! cargo run --release --example rates                # counts from known rates, with an error of 5 %
//! cargo run --release --example rates -- FILE.csv    # columns year, predators, prey, as of the lynx and hare of Hudson's Bay
//! ```

use anyhow::{Context, ensure};
use fewsteps::{
    Batch, Cpu, Field, Loss, NeuralDe, Optimizer, Problem, Purpose, Random, SaveAt, Schedule, Solver, SolverOptions,
    Target, Tolerances, Trainer, TrainerConfig,
};

/// Growth of the prey and what each hunter takes of it, growth of the hunters with each prey and their decline; a year.
const RATES: [f64; 4] = [0.55, 0.028, 0.024, 0.8];

fn equations(rates: [f64; 4]) -> fewsteps::Result<Field> {
    Field::build(2, |f| {
        let (y, k) = (f.state(), f.positive("rates", &rates));
        let (prey, hunters) = (y.row(0), y.row(1));
        let meet = &prey * &hunters;
        f.stack([k.row(0) * &prey - k.row(1) * &meet, k.row(2) * &meet - k.row(3) * &hunters])
    })
}

/// Prey and hunters of each year, the first as they were.
fn simulated() -> anyhow::Result<Vec<[f64; 2]>> {
    let field = equations(RATES)?;
    let theta = field.initialize::<f64>(0);
    let times = (1..=20).map(f64::from).collect();
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-8)).save_at(SaveAt::Times(times));
    let mut solver = Solver::new(&Cpu::new()?, &Problem::ode(field, 0.0, 20.0), &options)?;
    let ys = solver.predict(&theta, &[30.0, 4.0])?.check()?.ys;
    let mut random = Random::new(1, Purpose::Data, 0);
    let counted = ys.as_chunks::<2>().0.iter().map(|y| y.map(|y| y * (1.0 + 0.05 * random.normal())));
    Ok(std::iter::once([30.0, 4.0]).chain(counted).collect())
}

fn read(path: &str) -> anyhow::Result<Vec<[f64; 2]>> {
    let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    let row = |line: &str| -> anyhow::Result<[f64; 2]> {
        let cells: Vec<&str> = line.split(',').collect();
        let [_, hunters, prey] = cells[..] else { anyhow::bail!("{path}: {line:?} has not three columns") };
        Ok([prey.trim().parse()?, hunters.trim().parse()?])
    };
    text.lines().skip(1).filter(|line| !line.trim().is_empty()).map(row).collect()
}

fn main() -> anyhow::Result<()> {
    learn(std::env::args().nth(1).as_deref())
}

/// From the counts of a file, or from simulated ones.
fn learn(file: Option<&str>) -> anyhow::Result<()> {
    let counts = file.map_or_else(simulated, read)?;
    let years = counts.len() - 1;
    // From rates that are a seventh off.
    let field = equations([0.63, 0.024, 0.0275, 0.69])?;
    let times = (1..=years).map(|year| year as f64).collect();
    let options = SolverOptions::default().tolerances(Tolerances::both(1e-6)).save_at(SaveAt::Times(times));
    let model = NeuralDe::new(Problem::ode(field.clone(), 0.0, years as f64), options);
    let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(Schedule::cosine(1e-2, 1e-4, 1500)));
    let mut trainer = Trainer::<f64>::new(&Cpu::new()?, config)?;
    let seen: Vec<f64> = counts[1..].iter().flatten().copied().collect();
    let batch = Batch { inputs: &counts[0], target: Target::States(&seen) };
    for step in 1..=1500 {
        let report = trainer.step(&batch)?;
        if step % 300 == 0 {
            println!("step {step}: root mean square error {:.3}, NFE {}", report.loss.sqrt(), report.nfe);
        }
    }
    let found = field.values("rates", trainer.parameters())?;
    println!("{:>32} {:>8} {:>8}", "", "learnt", "truth");
    let names = ["growth of the prey", "prey taken a hunter", "hunters' growth a prey", "decline of the hunters"];
    for ((name, found), truth) in names.iter().zip(&found).zip(RATES) {
        let truth = if file.is_none() { format!("{truth:.4}") } else { String::new() };
        println!("{name:>32} {found:>8.4} {truth:>8}");
    }
    if file.is_none() {
        for (found, truth) in found.iter().zip(RATES) {
            ensure!((found - truth).abs() < 0.05 * truth, "a rate was not learnt: {found}, not {truth}");
        }
    }
    Ok(())
}

#[test]
fn the_rates_are_learnt() -> anyhow::Result<()> {
    learn(None)
}
