//! What helps training along: horizons that grow, segments, weights that validation chose; on either engine.

use std::collections::BTreeMap;

use fewsteps::{
    Batch, Blocking, Curriculum, EarlyStopping, Error, Field, Layout, Learner, Local, Loss, Method, Mlp, NeuralDe,
    Optimizer, Problem, Real, SaveAt, Scalar, Series, Shooting, SolverOptions, StepControl, Target, Times, Trainer,
    TrainerConfig, Verdict,
};

use super::cpu;
use crate::oracle::{cast, numbers};

/// Trajectories of a batch: one more than a tile has lanes.
const ROWS: usize = 33;
const SLOTS: usize = 9;

fn long() -> TrainerConfig {
    let times = (1..=SLOTS).map(|i| 0.25 * i as f64).collect();
    let options = SolverOptions::default().save_at(SaveAt::Times(times));
    let model = NeuralDe::new(Problem::ode(Mlp::new([2, 8, 2]), 0.0, 2.25), options);
    TrainerConfig::new(model, Loss::Mse)
        .optimizer(Optimizer::adam(1e-2))
        .regularizer(Local::unbiased().coefficient(1e-3))
}

/// Goes on with a curriculum up to a step; the losses.
pub(crate) fn follow<L: Learner<Scalar = R>, R: Scalar>(
    learner: &mut Blocking<L>,
    whole: &TrainerConfig,
    curriculum: &Curriculum,
    until: u64,
) -> Vec<u64> {
    let (inputs, states): (Vec<R>, Vec<R>) = (cast(&numbers(1, 2 * ROWS)), cast(&numbers(2, 2 * ROWS * SLOTS)));
    let mut losses = Vec::new();
    while learner.steps() < until {
        let slots = curriculum.slots(learner.steps(), SLOTS);
        if slots != learner.config().model.output_times() {
            let config = curriculum.config(whole, learner.steps()).expect("a horizon");
            learner.reconfigure(config).expect("the same tensors");
        }
        let target = Target::States(&states).up_to(slots, SLOTS);
        losses.push(learner.step(&Batch { inputs: &inputs, target }).expect("a step").loss.to_bits());
    }
    losses
}

fn bits<L: Learner>(learner: &mut Blocking<L>) -> Vec<u64> {
    learner.parameters().expect("parameters").iter().map(|x| x.to_f64().to_bits()).collect()
}

/// From its last stage on a curriculum is plain training from where that began, and a training that is gone on with in the
/// middle of a stage is the uninterrupted one.
pub(crate) fn curricula_end_as_plain_training<L: Learner<Scalar = R>, R: Scalar>(engine: &L::Engine) {
    let (whole, curriculum) = (long(), Curriculum::new(2, 8).and_then(|c| c.stages(4)).expect("good numbers"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut learner = Blocking::<L>::new(engine, whole.clone()).expect("a valid model");
    let mut losses = follow(&mut learner, &whole, &curriculum, 3);
    assert_eq!(learner.config().model.output_times(), 3, "the second stage");
    learner.save(&path("middle"), &BTreeMap::new()).expect("saved");
    losses.extend(follow(&mut learner, &whole, &curriculum, 8));
    learner.reconfigure(curriculum.config(&whole, 8).expect("whole")).expect("the same tensors");
    assert_eq!(learner.config(), &whole);
    learner.save(&path("edge"), &BTreeMap::new()).expect("saved");
    let plain_part = follow(&mut learner, &whole, &curriculum, 11);
    let end = bits(&mut learner);

    let (mut plain, _) = Blocking::<L>::resume(engine, &path("edge")).expect("a checkpoint");
    let none = Curriculum::new(1, 0).expect("whole at once");
    assert_eq!(follow(&mut plain, &whole, &none, 11), plain_part, "losses of plain training");
    assert_eq!(bits(&mut plain), end, "parameters of plain training");

    let (mut resumed, _) = Blocking::<L>::resume(engine, &path("middle")).expect("a checkpoint");
    let rest = follow(&mut resumed, &whole, &curriculum, 11);
    losses.extend(plain_part);
    assert_eq!(rest, losses[3..], "losses of the uninterrupted training");
    assert_eq!(bits(&mut resumed), end, "its parameters");
}

/// A training that overshoots, so that its validation loss rises and falls: the weights of the smallest are kept, and so by one
/// that is gone on with from a checkpoint.
pub(crate) fn the_best_weights_are_kept<L: Learner<Scalar = R>, R: Scalar>(engine: &L::Engine) {
    let mut config = long();
    config.optimizer = Optimizer::adam(0.3);
    config.model.options.save_at = SaveAt::End;
    let of = |seed, count| numbers(seed, count).into_iter().map(R::from_f64).collect::<Vec<R>>();
    let (inputs, states) = (of(3, 2 * ROWS), of(4, 2 * ROWS));
    let (held_inputs, held_states) = (of(5, 2 * ROWS), of(6, 2 * ROWS));
    let batch = Batch { inputs: &inputs, target: Target::States(&states) };
    let held_out = Batch { inputs: &held_inputs, target: Target::States(&held_states) };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("middle");
    type Kept<R> = (EarlyStopping, Vec<R>, u64, Vec<f64>);
    let train = |mut learner: Blocking<L>, mut stopping: EarlyStopping, mut best: Vec<R>, save_at: u64| -> Kept<R> {
        let mut told = Vec::new();
        while learner.steps() < 60 && !stopping.stopped() {
            learner.step(&batch).expect("a step");
            let loss = learner.evaluate(&held_out).expect("an evaluation").loss;
            told.push(loss);
            if stopping.judge(learner.steps(), loss) == Verdict::Better {
                best = learner.parameters().expect("parameters");
            }
            if learner.steps() == save_at {
                let state = serde_json::to_string(&stopping).expect("plain data");
                learner.save(&path, &BTreeMap::from([("stopping".to_owned(), state)])).expect("saved");
            }
        }
        (stopping, best, learner.steps(), told)
    };
    let patient = EarlyStopping::new().patience(6).expect("6");
    let open = || Blocking::<L>::new(engine, config.clone()).expect("a valid model");
    let (stopping, best, ended, told) = train(open(), patient, Vec::new(), 4);
    let found = stopping.best().expect("a loss that is finite");
    assert!(ended < 60 && stopping.stopped() && found.step + 6 == ended, "patience ended it: {stopping:?} at {ended}");
    assert!(told.iter().all(|loss| *loss >= found.loss) && *told.last().expect("some") > found.loss, "{told:?}");
    let mut kept = open();
    kept.set_parameters(&best).expect("parameters");
    let learnt = kept.evaluate(&held_out).expect("an evaluation").loss;
    assert!((learnt / found.loss - 1.0).abs() < 1e-5, "the weights of that loss: {learnt} and {}", found.loss);
    let (again, metadata) = Blocking::<L>::resume(engine, &path).expect("a checkpoint");
    let state = serde_json::from_str(&metadata["stopping"]).expect("as written");
    let (same, _, at, rest) = train(again, state, Vec::new(), 0);
    assert_eq!((same, at, &rest[..]), (stopping, ended, &told[4..]), "as if never interrupted");
}

#[test]
fn a_curriculum_ends_as_plain_training() {
    curricula_end_as_plain_training::<Trainer<f64>, f64>(&cpu());
    curricula_end_as_plain_training::<Trainer<f32>, f32>(&cpu());
}

#[test]
fn early_stopping_keeps_the_best_weights() {
    the_best_weights_are_kept::<Trainer<f64>, f64>(&cpu());
    the_best_weights_are_kept::<Trainer<f32>, f32>(&cpu());
}

#[test]
fn a_curriculum_of_rows_with_times_of_their_own() {
    let rows = [vec![0.0, 0.5, 1.0, 2.0], vec![3.0, 3.5], vec![1.0, 1.5, 4.0]];
    let (times, curriculum) = (Times::series(&rows).expect("series"), Curriculum::new(2, 4).expect("good numbers"));
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let mut config = long();
        config.model.options = SolverOptions::default().layout(layout);
        config.model.problem.t1 = 1.0;
        let mut trainer = Trainer::<f64>::new(&cpu(), config.clone()).expect("a valid model");
        let mut short = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
        let cut = curriculum.times(&times, 0).expect("cut");
        trainer.set_times(Some(cut)).expect("own times");
        let two = [vec![0.0, 0.5], vec![3.0, 3.5], vec![1.0, 1.5]];
        short.set_times(Some(Times::series(&two).expect("series"))).expect("own times");
        let (inputs, states) = (numbers(7, 6), numbers(8, 4 * 6));
        let target = Target::States(&states).up_to(2, 4);
        let found = trainer.gradients(&Batch { inputs: &inputs, target }).expect("a gradient");
        let expected = short.gradients(&Batch { inputs: &inputs, target: Target::States(&states[..12]) });
        assert_eq!(found, expected.expect("a gradient"), "{layout:?}: the first two times of each");
    }
}

/// Observations of `x'' = -w^2 x` from 1 at rest, twenty a unit of time.
fn oscillation(frequency: f64, units: usize) -> [Vec<f64>; 2] {
    let times: Vec<f64> = (0..=20 * units).map(|i| i as f64 / 20.0).collect();
    let state = |t: &f64| [(frequency * t).cos(), -frequency * (frequency * t).sin()];
    let states = times.iter().flat_map(state).collect();
    [times, states]
}

/// An oscillator whose frequency is to be learnt, from 1 on.
pub(crate) fn oscillator(save_at: SaveAt, t1: f64, layout: Layout) -> TrainerConfig {
    let field = Field::parse("state x, v\nparameter w = 1\nx' = v\nv' = -w^2 * x").expect("a field");
    let options = SolverOptions::default().method(Method::Rk4).step_control(StepControl::Fixed { steps: 20 });
    let model = NeuralDe::new(Problem::ode(field, 0.0, t1), options.save_at(save_at).layout(layout));
    TrainerConfig::new(model, Loss::Mse).optimizer(Optimizer::adam(0.05))
}

/// The frequency after so many steps on segments of five intervals, as one batch that shares its times.
pub(crate) fn learnt_on_segments<L: Learner<Scalar = R>, R: Scalar>(
    engine: &L::Engine,
    frequency: f64,
    steps: usize,
) -> f64 {
    let [times, states] = oscillation(frequency, 6);
    let shooting = Shooting::new(5).and_then(|s| s.continuity(1.0)).expect("good numbers");
    let segments = shooting.cut(&[Series { times: &times, states: &states }], 2).expect("segments");
    assert_eq!(segments.len(), 24);
    let grid = segments.grid();
    let config = oscillator(SaveAt::Times(grid.clone()), grid[grid.len() - 1], Layout::Lockstep);
    let mut learner = Blocking::<L>::new(engine, config).expect("a valid model");
    let batch = segments.batch_on_grid::<R>();
    for _ in 0..steps {
        learner.step(&batch.as_batch()).expect("a step");
    }
    learner.parameters().expect("parameters")[0].to_f64()
}

/// Over six units of time, four periods and more, a frequency that is a quarter of the data's falls to where the model does
/// best by standing still; over segments it is found.
#[test]
fn segments_find_what_a_single_solve_does_not() {
    const FREQUENCY: f64 = 4.5;
    let [times, states] = oscillation(FREQUENCY, 6);
    let mut config = oscillator(SaveAt::Times(times[1..].to_vec()), 6.0, Layout::Lockstep);
    config.model.options.step_control = StepControl::Fixed { steps: 240 };
    let mut single = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
    let batch = Batch { inputs: &[1.0, 0.0], target: Target::States(&states[2..]) };
    let mut last = f64::NAN;
    for _ in 0..400 {
        last = single.step(&batch).expect("a step").loss;
    }
    let stuck = single.parameters()[0].abs();
    let variance = states[2..].iter().map(|x| x * x).sum::<f64>() / (states.len() - 2) as f64;
    assert!((stuck - FREQUENCY).abs() > 1.0, "a single solve finds {stuck}");
    assert!(last > 0.8 * variance, "as bad as standing still: {last} of {variance}");
    let found = learnt_on_segments::<Trainer<f64>, f64>(&cpu(), FREQUENCY, 400);
    assert!((found.abs() - FREQUENCY).abs() < 1e-2, "segments find {found}");
}

/// Segments on one grid are those with times of their own, where the field does not see the time.
#[test]
fn a_shared_grid_is_what_own_times_are() {
    let [mut times, states] = oscillation(2.0, 2);
    // Uneven, and of a series that does not begin at 0.
    times
        .iter_mut()
        .enumerate()
        .for_each(|(i, t)| *t += 7.0 + 0.3 * f64::from(u32::try_from(i % 3).expect("small")) / 20.0);
    let states: Vec<f64> = states.iter().enumerate().map(|(i, x)| if i % 7 == 5 { f64::NAN } else { *x }).collect();
    let shooting = Shooting::new(4).and_then(|s| s.continuity(2.0)).expect("good numbers");
    let segments = shooting.cut(&[Series { times: &times, states: &states }], 2).expect("segments");
    let grid = segments.grid();
    for layout in [Layout::Lockstep, Layout::Ensemble] {
        let gradients = |config: TrainerConfig, own: Option<Times>| {
            let is_own = own.is_some();
            let mut trainer = Trainer::<f64>::new(&cpu(), config).expect("a valid model");
            trainer.set_times(own).expect("own times");
            let batch = if is_own { segments.batch::<f64>() } else { segments.batch_on_grid() };
            trainer.gradients(&batch.as_batch()).expect("a gradient")
        };
        // Steps fine enough that where they lie does not matter.
        let mut config = oscillator(SaveAt::Times(grid.clone()), grid[grid.len() - 1], layout);
        config.model.options.step_control = StepControl::Fixed { steps: 200 };
        let shared = gradients(config.clone(), None);
        config.model.options.save_at = SaveAt::End;
        let own = gradients(config, Some(segments.times().expect("times")));
        for (a, b) in [(shared.report.loss, own.report.loss), (shared.gradient[0], own.gradient[0])] {
            assert!((a / b - 1.0).abs() < 1e-5, "{layout:?}: {a} and {b}");
        }
    }
}

#[test]
fn a_curriculum_refuses_what_it_cannot_shorten() {
    let mut config = long();
    config.model.options.save_at = SaveAt::End;
    let error = Curriculum::new(1, 4).and_then(|c| c.config(&config, 0)).expect_err("refused");
    assert!(matches!(error, Error::Argument { .. }) && error.to_string().contains("SaveAt"), "{error}");
}
