//! The fewest steps with a learnt correction that predict as well as the training's solver.

use std::time::Instant;

use anyhow::Context;
use fewsteps::{Backend, Blocking, HyperTraining, Hypersolver, Learner, Method, Regularizer};

use super::candidates::STEPS;
use super::cheapest::{allowed, tested};
use super::judge::{Judge, held_out};
use crate::choice::CORRECTION_UNITS;
use crate::corrected::Corrected;
use crate::data::{BatchBuffer, Data};
use crate::record::{Hypersolved, Tested};
use crate::settings::Settings;

/// The hypersolver of a run's model.
///
/// # Errors
/// For models that it cannot solve: with noise, driven, of a density, or with a loss of states on the way.
pub(crate) fn hypersolver(base: Method, settings: &Settings) -> anyhow::Result<Hypersolver> {
    let model = &settings.config.model;
    let hyper = Hypersolver::new(base, model.problem.dim(), CORRECTION_UNITS.get())?;
    hyper.apply(model, 1)?;
    Ok(hyper)
}

/// Learns a correction for the learner's model, and tests it with the fewest steps whose predictions are as good as those of
/// the training's solver, judged on training samples; where none are, with the most that are tried. The learner is as it was
/// afterwards.
pub(crate) fn hypersolved<L: Learner>(
    engine: &L::Engine,
    learner: &mut Blocking<L>,
    data: &Data,
    settings: &Settings,
    base: Method,
) -> anyhow::Result<Hypersolved> {
    let hyper = hypersolver(base, settings)?;
    let (config, theta) = (learner.config().clone(), learner.parameters()?);
    let Settings { batch, hold_out, seed, training, .. } = *settings;
    let updates = HyperTraining::default().seed(seed);
    let started = Instant::now();
    let first: Vec<usize> = (0..(data.train.len() - hold_out).min(updates.trajectories)).collect();
    // Inputs alone: labels have no part in it.
    let inputs = BatchBuffer::default().gather(&data.train, &first).inputs.to_vec();
    let learnt = hyper.train(&engine.native()?, &config.model, &theta, &inputs, &updates)?;
    let training_seconds = started.elapsed().as_secs_f64();
    let theta = hyper.parameters(&config.model, &theta, &learnt.parameters)?;

    let mut judge =
        Judge::new(engine, learner, &data.train, held_out(&data.train, hold_out, batch, None), batch, None)?;
    let limits = allowed(&judge.trained()?, judge.samples(), settings);
    let mut found = None;
    for steps in STEPS {
        let mut config = config.clone();
        (config.model, config.regularizer) = (hyper.apply(&config.model, steps)?, Regularizer::None);
        let mut fast = Blocking::<L>::new(engine, config)?;
        fast.set_parameters(&theta)?;
        let as_good = limits.allow(&judge.score_of(&mut fast)?);
        found = Some((steps, fast, as_good));
        if as_good {
            break;
        }
    }
    judge.end()?;
    let (steps, mut fast, as_good) = found.context("some steps are tried")?;
    let corrected = Corrected { hypersolver: hyper, steps, model: config.model };
    let found = tested(engine, &mut fast, &data.test, batch, Some(&corrected))?;
    let multiply_adds = corrected.hypersolver.multiply_adds(&corrected.model.problem.field, steps)?;
    Ok(Hypersolved {
        training,
        seed,
        base: base.to_string(),
        hidden: CORRECTION_UNITS.get(),
        training_steps: updates.steps,
        training_seconds,
        residual: learnt.residual,
        left: learnt.left,
        steps,
        as_good,
        multiply_adds,
        tested: Tested { solver: corrected.name(), test: corrected.counted(found.test), ..found },
    })
}
