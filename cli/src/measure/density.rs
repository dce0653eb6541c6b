//! What a flow has learnt: samples of it, what they cost, and its density in the plane.

use anyhow::Context;
use fewsteps::{Blocking, Learner, Loss, Paths, Real, Target, TrainerConfig};

use crate::data::{BatchBuffer, Data, Rows, Samples, Wanted};
use crate::record::{LearntDensity, Picture};

/// Points that are shown, of the data and of the model.
const POINTS: usize = 1000;

/// Squares along a side of the picture.
const SIDE: usize = 64;

/// Where densities are learnt: samples, evaluations that they cost, and in the plane a picture of the density.
pub(crate) fn density<L: Learner>(
    engine: &L::Engine,
    learner: &mut Blocking<L>,
    data: &Data,
    buffer: &mut BatchBuffer<L::Scalar>,
) -> anyhow::Result<Option<LearntDensity>> {
    let Samples::Rows(Rows { width, wanted: Wanted::Nothing, .. }) = data.test else { return Ok(None) };
    let (model, seed) = (learner.config().model.clone(), learner.config().seed);
    let mut sampler = Blocking::<L>::new(engine, TrainerConfig::new(model.sampler()?, Loss::Mse).seed(seed))?;
    sampler.set_parameters(&learner.parameters()?)?;
    let base = model.base::<L::Scalar>(POINTS, seed);
    let found = sampler.predict_along(&base, Paths::of_evaluation(seed, 0)).context("samples")?;
    let cost = sampler.evaluate(&fewsteps::Batch { inputs: &base, target: Target::States(&base) })?;
    let mut learnt = LearntDensity { nfe: cost.nfe, failed: cost.failed, picture: None };
    if width == 2 {
        let order: Vec<usize> = (0..data.test.len().min(POINTS)).collect();
        let given = wide(buffer.gather(&data.test, &order).inputs);
        learnt.picture = Some(picture(learner, given, wide(&found))?);
    }
    Ok(Some(learnt))
}

/// Numbers as they are drawn, in few digits.
fn wide<R: Real>(numbers: &[R]) -> Vec<f64> {
    numbers.iter().map(|x| drawn(x.to_f64())).collect()
}

fn drawn(x: f64) -> f64 {
    (1e4 * x).round() / 1e4
}

/// The density on squares around the data.
fn picture<L: Learner>(learner: &mut Blocking<L>, given: Vec<f64>, samples: Vec<f64>) -> anyhow::Result<Picture> {
    let ends = |d: usize| {
        let ends = (f64::INFINITY, f64::NEG_INFINITY);
        let (low, high) = given.iter().skip(d).step_by(2).fold(ends, |(low, high), x| (low.min(*x), high.max(*x)));
        let margin = (0.1 * (high - low)).max(1e-6);
        [low - margin, high + margin]
    };
    let (x, y) = (ends(0), ends(1));
    let at = |[low, high]: [f64; 2], i: usize| low + (high - low) * (i as f64 + 0.5) / SIDE as f64;
    let centres = (0..SIDE * SIDE).flat_map(|i| [at(x, i % SIDE), at(y, i / SIDE)]);
    let points: Vec<L::Scalar> = centres.map(L::Scalar::from_f64).collect();
    let mut log_density = Vec::new();
    for row in points.chunks(2 * SIDE * 8) {
        log_density.extend(learner.log_density(row).context("the density")?.into_iter().map(drawn));
    }
    Ok(Picture { x, y, side: SIDE, log_density, given, samples })
}
