//! Training on series that were observed at times of their own.

use super::cpu;
use crate::oracle::{LAYOUTS, bits, close, differences, numbers};
use fewsteps::{
    Batch, Elbo, EndTime, Error, Field, Layout, Loss, Method, Mlp, NeuralDe, Optimizer, PenaltyGradient, Pointwise,
    Problem, SaveAt, Schedule, SolverOptions, StepControl, Target, TimeInput, Times, Trainer, TrainerConfig,
};

const ROWS: usize = 37;

fn options(layout: Layout) -> SolverOptions {
    SolverOptions::default().method(Method::Bosh3).step_control(StepControl::Fixed { steps: 3 }).layout(layout)
}

fn model(layout: Layout, outputs: usize) -> NeuralDe {
    let field = Mlp::new([3, 5, 3]).time_input(TimeInput::First);
    NeuralDe::new(Problem::ode(field, 0.0, 1.0), options(layout)).encoder(4).head(outputs)
}

/// Series of one to five times, some of one time at their start.
fn series() -> Vec<Vec<f64>> {
    let row = |row: usize| {
        let mut times = numbers(row as u64, 1 + row * 7 % 5);
        times.sort_by(f64::total_cmp);
        times
    };
    (0..ROWS).map(row).collect()
}

/// Numbers `[slots][B][outputs]`, NaN where a row has no time.
fn target_of(times: &Times, outputs: usize, seed: u64) -> Vec<f64> {
    let rows = times.rows();
    let has = |i: usize| i / outputs / rows < times.saved(i / outputs % rows).len();
    let numbers = numbers(seed, times.slots() * rows * outputs).into_iter().enumerate();
    numbers.map(|(i, x)| if has(i) { x } else { f64::NAN }).collect()
}

/// The cells of a row of `[slots][B][outputs]`.
fn of_row(cells: &[f64], row: usize, times: &Times, outputs: usize) -> Vec<f64> {
    let cell = |slot: usize| cells[(slot * times.rows() + row) * outputs..][..outputs].to_vec();
    (0..times.saved(row).len()).flat_map(cell).collect()
}

#[test]
fn losses_are_the_means_of_each_row_alone() {
    let (rows, inputs) = (series(), numbers(3, 4 * ROWS));
    let times = Times::series(&rows).expect("series");
    let (states, labels) = (target_of(&times, 2, 4), (0..37).map(|i| i % 2).collect::<Vec<u32>>());
    let weights: Vec<f64> = target_of(&times, 2, 5).iter().map(|x| (x + 0.4).max(0.0)).collect();
    // A row of no weight is refused, of whatever numbers it has no time for.
    let weights: Vec<f64> = weights.iter().enumerate().map(|(i, w)| if i < 2 * ROWS { 0.5 } else { *w }).collect();
    for layout in LAYOUTS {
        for (loss, target) in [
            (Loss::Mse, Target::States(&states)),
            (Loss::Mae, Target::Observed { states: &states, weights: &weights }),
            (Loss::Gaussian { std: 0.3 }, Target::Observed { states: &states, weights: &weights }),
            (Loss::CrossEntropy, Target::Labels(&labels)),
        ] {
            let name = format!("{layout:?}, {loss:?}");
            let config = TrainerConfig::new(model(layout, 2), loss);
            let mut together = Trainer::<f64>::new(&cpu(), config.clone()).expect("a valid model");
            together.set_times(Some(times.clone())).expect("own times");
            let found = together.gradients(&Batch { inputs: &inputs, target }).expect("a gradient");
            let (mut expected, mut gradient) = (0.0, vec![0.0; found.gradient.len()]);
            for (row, saved) in rows.iter().enumerate() {
                let mut config = config.clone();
                let problem = &mut config.model.problem;
                (problem.t0, problem.t1) = (saved[0], saved[saved.len() - 1]);
                config.model.options.save_at = SaveAt::Times(saved.clone());
                let mut alone = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
                let [states, weights] = [&states, &weights].map(|cells| of_row(cells, row, &times, 2));
                let target = match target {
                    Target::States(_) => Target::States(&states),
                    Target::Labels(labels) => Target::Labels(&labels[row..][..1]),
                    _ => Target::Observed { states: &states, weights: &weights },
                };
                let alone = alone.gradients(&Batch { inputs: &inputs[4 * row..][..4], target }).expect("a gradient");
                expected += alone.report.loss / ROWS as f64;
                gradient.iter_mut().zip(&alone.gradient).for_each(|(sum, g)| *sum += g / ROWS as f64);
            }
            // Equal shares of one's own interval are the same steps in either layout.
            close(&name, &[found.report.loss], &[expected], 1e-12);
            close(&name, &found.gradient, &gradient, 1e-10);
        }
    }
}

#[test]
fn what_earlier_batches_left_at_times_that_a_row_has_not_reaches_no_weight() {
    let inputs = numbers(3, 8);
    // Of the first row, which starts out infinite, two states are saved at its start; later it has one time alone.
    let first = Times::series(&[vec![0.0, 0.0, 1.0], vec![0.0, 0.5, 1.0]]).expect("series");
    let then = Times::series(&[vec![0.0], vec![0.0, 0.5, 1.0]]).expect("series");
    let [states, others] = [&first, &then].map(|times| target_of(times, 2, 4));
    for layout in LAYOUTS {
        let config = TrainerConfig::new(model(layout, 2), Loss::Mse);
        let fresh = || Trainer::<f64>::new(&cpu(), config.clone()).expect("a valid model");
        let gradient = |trainer: &mut Trainer<f64>| {
            trainer.set_times(Some(then.clone())).expect("own times");
            trainer.gradients(&Batch { inputs: &inputs, target: Target::States(&others) }).expect("a gradient").gradient
        };
        let mut used = fresh();
        let theta = used.parameters().to_vec();
        used.set_parameters(&theta.iter().map(|x| 1e10 * x).collect::<Vec<f64>>()).expect("large ones");
        used.set_times(Some(first.clone())).expect("own times");
        let large: Vec<f64> =
            inputs.iter().enumerate().map(|(i, x)| if i < 4 { 1e302 * x } else { 1e-9 * x }).collect();
        let failed = used.step(&Batch { inputs: &large, target: Target::States(&states) });
        assert!(matches!(failed, Err(Error::Trajectory { index: 0, .. })), "{layout:?}: {failed:?}");
        used.set_parameters(&theta).expect("the model's");
        let found = gradient(&mut used);
        assert!(found.iter().all(|g| g.is_finite()), "{layout:?}");
        assert_eq!(bits(&found), bits(&gradient(&mut fresh())), "{layout:?}");
    }
}

#[test]
fn gradients_of_encoder_field_and_head_are_exact() {
    let inputs = numbers(3, 4 * ROWS);
    let times = Times::series(&series()).expect("series");
    let states = target_of(&times, 2, 4);
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    for layout in LAYOUTS {
        let kinetic = Pointwise::kinetic().gradient(PenaltyGradient::Full).coefficient(0.2);
        let config = TrainerConfig::new(model(layout, 2), Loss::Mse).regularizer(kinetic);
        let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
        trainer.set_times(Some(times.clone())).expect("own times");
        let found = trainer.gradients(&batch).expect("a gradient");
        assert!(found.report.penalty > 0.0);
        let theta = trainer.parameters().to_vec();
        let expected = differences(&theta, |theta| {
            trainer.set_parameters(theta).expect("the model's parameters");
            let report = trainer.gradients(&batch).expect("a gradient").report;
            report.loss + 0.2 * report.penalty
        });
        close(&format!("{layout:?}"), &found.gradient, &expected, 1e-7);
    }
}

/// Trajectories that are drawn of a sample have its times.
#[test]
fn gradients_of_drawn_initial_states_are_exact() {
    let inputs = numbers(3, 4 * ROWS);
    let times = Times::series(&series()).expect("series");
    let states = target_of(&times, 2, 4);
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    for layout in LAYOUTS {
        for elbo in [Elbo::default().samples(2), Elbo::default().samples(2).importance()] {
            let field = Mlp::new([3, 4, 3]).time_input(TimeInput::First);
            let model = NeuralDe::new(Problem::ode(field, 0.0, 1.0), options(layout));
            let model = model.encoder(Mlp::new([4, 6])).latent().head(2);
            let config = TrainerConfig::new(model, Loss::Gaussian { std: 0.4 }).elbo(elbo);
            let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
            trainer.set_times(Some(times.clone())).expect("own times");
            let found = trainer.gradients(&batch).expect("a gradient").gradient;
            let theta = trainer.parameters().to_vec();
            let expected = differences(&theta, |theta| {
                trainer.set_parameters(theta).expect("the model's parameters");
                trainer.gradients(&batch).expect("a gradient").report.loss
            });
            close(&format!("{layout:?}"), &found, &expected, 1e-7);
            // An evaluation has a trajectory a sample again.
            assert!(trainer.evaluate(&batch).expect("evaluated").loss.is_finite());
        }
    }
}

#[test]
fn outputs_are_where_the_times_are() {
    let (rows, inputs) = (series(), numbers(3, 4 * ROWS));
    let times = Times::series(&rows).expect("series");
    for layout in LAYOUTS {
        let mut trainer =
            Trainer::<f64>::new(&cpu(), TrainerConfig::new(model(layout, 2), Loss::Mse)).expect("a valid model");
        let shared = trainer.predict(&inputs).expect("at the end");
        trainer.set_times(Some(times.clone())).expect("own times");
        let outputs = trainer.predict(&inputs).expect("predicted");
        assert_eq!(outputs.len(), times.slots() * ROWS * 2);
        for (cell, output) in outputs.chunks_exact(2).enumerate() {
            let there = cell / ROWS < rows[cell % ROWS].len();
            assert!(output.iter().all(|x| x.is_finite() == there), "{layout:?}: row {}", cell % ROWS);
        }
        let target: Vec<f64> = outputs.iter().map(|x| if x.is_nan() { 3.0 } else { *x }).collect();
        let batch = Batch { inputs: &inputs, target: Target::States(&target) };
        assert_eq!(trainer.evaluate(&batch).expect("evaluated").loss, 0.0, "{layout:?}: of what it says itself");
        // A step along the gradient of one batch, then another one's times, then none.
        trainer.step(&Batch { inputs: &inputs, target: Target::States(&vec![0.1; target.len()]) }).expect("a step");
        trainer.set_times(Some(times.select(&[4, 2]).expect("rows"))).expect("own times");
        assert_eq!(trainer.predict(&inputs[..8]).expect("two rows").len(), rows[4].len().max(rows[2].len()) * 4);
        trainer.set_times(None).expect("none");
        assert_eq!(trainer.predict(&inputs).expect("at the end").len(), shared.len());
    }
}

#[test]
fn a_rate_is_learnt_from_series() {
    let field = Field::build(1, |f| -f.positive("rate", &[0.3]) * f.state()).expect("a field");
    let times = Times::series(&[vec![0.0, 0.2, 1.5], vec![4.0, 4.1], vec![2.0], vec![-1.0, 0.5, 0.5, 0.8]]);
    let times = times.expect("series");
    let mut target = vec![f64::NAN; times.slots() * 4];
    for row in 0..4 {
        for (slot, t) in times.saved(row).iter().enumerate() {
            target[slot * 4 + row] = 2.0 * (-1.1 * (t - times.span(row)[0])).exp();
        }
    }
    for layout in LAYOUTS {
        let options = SolverOptions::default().layout(layout);
        let config = TrainerConfig::new(NeuralDe::new(Problem::ode(field.clone(), 0.0, 1.0), options), Loss::Mse)
            .optimizer(Optimizer::adam(Schedule::constant(0.05)));
        let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
        trainer.set_times(Some(times.clone())).expect("own times");
        for _ in 0..400 {
            trainer.step(&Batch { inputs: &[2.0; 4], target: Target::States(&target) }).expect("a step");
        }
        let rate = trainer.config().model.problem.field.values("rate", trainer.parameters()).expect("a rate")[0];
        assert!((rate - 1.1).abs() < 2e-3, "{layout:?}: {rate}");
    }
}

#[test]
fn threads_and_padding_change_no_bit() {
    let (rows, inputs) = (series(), numbers(3, 4 * ROWS));
    let times = Times::series(&rows).expect("series");
    let states = target_of(&times, 2, 4);
    for layout in LAYOUTS {
        let gradient = |threads: usize, padding: f64| {
            let padded: Vec<f64> = states.iter().map(|x| if x.is_nan() { padding } else { *x }).collect();
            let cpu = fewsteps::Cpu::with_threads(threads).expect("threads");
            let mut trainer =
                Trainer::<f64>::new(&cpu, TrainerConfig::new(model(layout, 2), Loss::Mse)).expect("a model");
            trainer.set_times(Some(times.clone())).expect("own times");
            let batch = Batch { inputs: &inputs, target: Target::States(&padded) };
            let found = trainer.gradients(&batch).expect("a gradient");
            (bits(&found.gradient), found.report.loss.to_bits())
        };
        let first = gradient(1, f64::NAN);
        assert_eq!(first, gradient(3, 1e300), "{layout:?}");
    }
}

#[test]
fn what_knows_no_own_times_says_so() {
    let times = Times::series(&[vec![0.0, 1.0], vec![0.5, 0.7, 2.0]]).expect("series");
    let mut trainer =
        Trainer::<f64>::new(&cpu(), TrainerConfig::new(model(Layout::Lockstep, 2), Loss::Mse)).expect("a valid model");
    trainer.set_times(Some(times.clone())).expect("own times");
    let inputs = [0.1; 12];
    let mut states = vec![0.5; 12];
    for (at, row, outcome) in [(10, 1, Err(10)), (8, 0, Ok(()))] {
        let before = std::mem::replace(&mut states[at], f64::INFINITY);
        let result = trainer.evaluate(&Batch { inputs: &inputs[..8], target: Target::States(&states) });
        match (result, outcome) {
            (Ok(_), Ok(())) => {}
            (Err(Error::NonFinite { argument: "Target::States", index, .. }), Err(at)) => assert_eq!(index, at),
            (result, _) => panic!("row {row}: {result:?}"),
        }
        states[at] = before;
    }
    let error = trainer.evaluate(&Batch { inputs: &inputs, target: Target::States(&states) }).expect_err("three rows");
    assert!(error.to_string().contains("Times = 2 rows"), "{error}");
    let batch = Batch { inputs: &inputs[..8], target: Target::States(&states[..8]) };
    assert!(matches!(trainer.step(&batch), Err(Error::Shape { expected: 12, .. })), "two slots of three");
    let batch = Batch { inputs: &inputs[..8], target: Target::States(&states) };
    let error = trainer.evaluate_mean(&batch, 3).expect_err("paths").to_string();
    assert!(error.starts_with("samples = 3"), "{error}");

    let mut config = TrainerConfig::new(model(Layout::Lockstep, 2), Loss::Moments);
    let mut moments = Trainer::<f64>::new(&cpu(), config.clone()).expect("a valid model");
    let error = moments.set_times(Some(times.clone())).expect_err("moments").to_string();
    assert!(error.starts_with("TrainerConfig::loss = Moments"), "{error}");
    config.loss = Loss::Mse;
    let mut steer = Trainer::<f64>::new(&cpu(), config.clone().regularizer(EndTime::within(0.2))).expect("a model");
    steer.set_times(Some(times)).expect("own times");
    let error = steer.step(&batch).expect_err("a drawn end").to_string();
    assert!(error.starts_with("Regularizer::EndTime"), "{error}");
    // A change of the configuration that own times do not go with leaves the trainer as it is.
    let mut other = config;
    other.loss = Loss::Moments;
    let error = trainer.reconfigure(other).expect_err("moments").to_string();
    assert!(error.starts_with("TrainerConfig::loss"), "{error}");
    trainer.step(&batch).expect("as before");
}
