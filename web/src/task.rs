//! [`Task`]: what is learnt, from which data.

use fewsteps::{
    Batch, Local, Loss, Mlp, NeuralDe, Optimizer, Problem, Purpose, Random, Regularizer, SolverOptions, StepControl,
    Target, TimeInput, Tolerances, TrainerConfig, models,
};

/// Samples to train on and to test on.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) config: TrainerConfig,
    pub(crate) train: Samples,
    pub(crate) test: Samples,
    /// Samples of a training step.
    pub(crate) batch: usize,
}

/// Inputs `[n][width]`, and what the outputs should be.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) width: usize,
    pub(crate) inputs: Vec<f32>,
    pub(crate) targets: Targets,
}

#[derive(Debug)]
pub(crate) enum Targets {
    /// `[n][width]`.
    States(Vec<f32>),
    Labels(Vec<u32>),
}

/// Half the side of the square that the spiral's points start in.
pub(crate) const SQUARE: f64 = 1.5;

/// Decay and turn of the spiral in a unit of time.
const SPIRAL: [f64; 2] = [0.4, 1.2];

/// Where a spiral takes the points of a square in a unit of time. The way there is the model's own: only ends are given, so
/// that there are ways which take a solver fewer steps.
pub(crate) fn spiral(seed: u64, price: Option<f64>) -> Task {
    let field = Mlp::new([2, 32, 2]).time_input(TimeInput::Every);
    let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options(1e-5));
    let points = |count: usize, stream: u64| {
        let mut random = Random::new(0, Purpose::Data, stream);
        let mut uniform = || SQUARE * (2.0 * random.uniform() - 1.0);
        let starts: Vec<[f64; 2]> = (0..count).map(|_| [uniform(), uniform()]).collect();
        let numbers = |of: fn([f64; 2]) -> [f64; 2]| starts.iter().flat_map(|&y| of(y).map(|y| y as f32)).collect();
        Samples { width: 2, inputs: numbers(|y| y), targets: Targets::States(numbers(spiral_end)) }
    };
    let config = TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(1e-2)).seed(seed);
    Task { config: config.regularizer(penalty(price)), train: points(1024, 0), test: points(256, 1), batch: 128 }
}

/// Where the spiral takes a point.
pub(crate) fn spiral_end([x, y]: [f64; 2]) -> [f64; 2] {
    let [decay, turn] = SPIRAL;
    let ((sin, cos), size) = (turn.sin_cos(), (-decay).exp());
    [size * (cos * x - sin * y), size * (sin * x + cos * y)]
}

/// Handwritten digits, rows of 64 pixels from 0 to 16 and a label: four of five, drawn at random, to train on.
pub(crate) fn digits(rows: &[u8], seed: u64, price: Option<f64>) -> Result<Task, String> {
    let whole = rows.len().is_multiple_of(65) && rows.len() >= 5 * 65;
    if !whole || rows.chunks_exact(65).any(|row| row[64] > 9) {
        return Err(format!("{} numbers are no digits: 64 pixels and a label from 0 to 9 each", rows.len()));
    }
    let mut order: Vec<&[u8]> = rows.chunks_exact(65).collect();
    Random::new(0, Purpose::Split, 0).shuffle(&mut order);
    let (train, test) = order.split_at(order.len() * 4 / 5);
    let samples = |rows: &[&[u8]]| Samples {
        width: 64,
        inputs: rows.iter().flat_map(|row| row[..64].iter().map(|&pixel| f32::from(pixel) / 16.0)).collect(),
        targets: Targets::Labels(rows.iter().map(|row| u32::from(row[64])).collect()),
    };
    let model = models::images(64, 64, 10, options(1e-5));
    let config = TrainerConfig::new(model, Loss::CrossEntropy).optimizer(Optimizer::adam(6e-3)).seed(seed);
    Ok(Task { config: config.regularizer(penalty(price)), train: samples(train), test: samples(test), batch: 128 })
}

fn options(tolerance: f64) -> SolverOptions {
    SolverOptions::default().step_control(StepControl::prompt(Tolerances::both(tolerance)))
}

/// One step of the solver at a random time, at that price; or nothing.
fn penalty(price: Option<f64>) -> Regularizer {
    price.map_or_else(Regularizer::default, |price| Local::unbiased().coefficient(price).into())
}

impl Samples {
    pub(crate) fn count(&self) -> usize {
        self.inputs.len() / self.width
    }

    /// Those of a training step, drawn by its number.
    pub(crate) fn draw(&self, seed: u64, step: u64, count: usize) -> Self {
        let mut random = Random::new(seed, Purpose::Data, step + 2);
        let chosen: Vec<usize> = (0..count).map(|_| random.below(self.count() as u64) as usize).collect();
        let rows =
            |numbers: &[f32]| chosen.iter().flat_map(|&i| &numbers[i * self.width..][..self.width]).copied().collect();
        let targets = match &self.targets {
            Targets::States(states) => Targets::States(rows(states)),
            Targets::Labels(labels) => Targets::Labels(chosen.iter().map(|&i| labels[i]).collect()),
        };
        Self { width: self.width, inputs: rows(&self.inputs), targets }
    }

    pub(crate) fn batch(&self) -> Batch<'_, f32> {
        let target = match &self.targets {
            Targets::States(states) => Target::States(states),
            Targets::Labels(labels) => Target::Labels(labels),
        };
        Batch { inputs: &self.inputs, target }
    }
}
