//! From options of the command line to a [`Regularizer`].

use anyhow::ensure;
use fewsteps::{Budget, EndTime, Global, Local, PointMeasure, Pointwise, Regularizer, Schedule};

use crate::args::RegularizerArgs;
use crate::method::Training;
use crate::task::TaskName;

/// What a method adds to the loss of a task that is trained for `steps` steps.
pub(crate) fn of(training: Training, args: &RegularizerArgs, task: TaskName, steps: u64) -> Regularizer {
    training.parts().fold(Regularizer::None, |sum, part| sum.and(of_part(part, args, task, steps)))
}

/// What one of them adds.
fn of_part(training: Training, args: &RegularizerArgs, task: TaskName, steps: u64) -> Regularizer {
    let [unbiased, biased] = task.defaults().coefficients.map_or([None; 2], |own| own.map(Some));
    match training {
        Training::Baseline | Training::Vanilla | Training::Sum(_) => Regularizer::None,
        Training::LocalUnbiased => with_options(Local::unbiased(), args, (task, unbiased), steps).into(),
        Training::LocalBiased => with_options(Local::biased(), args, (task, biased), steps).into(),
        Training::PublishedUnbiased => task.published(false, steps).into(),
        Training::PublishedBiased => task.published(true, steps).into(),
        Training::GlobalError => weighted(Global::error(), args, steps).into(),
        Training::GlobalStepCount => weighted(Global::step_count(), args, steps).into(),
        Training::GlobalStiffness => weighted(Global::stiffness(), args, steps).into(),
        Training::Steer => STEER.into(),
        Training::Taynode2 => measured(PointMeasure::SecondDerivative, args, steps).into(),
        Training::Taynode3 => measured(PointMeasure::ThirdDerivative, args, steps).into(),
        Training::Rnode => Regularizer::from(measured(PointMeasure::Kinetic, args, steps)).and(measured(
            PointMeasure::Jacobian,
            args,
            steps,
        )),
        Training::Straightness => measured(PointMeasure::Straightness, args, steps).into(),
    }
}

/// As Pal, Ma, Shah and Rackauckas have it on MNIST.
const STEER: EndTime = EndTime::within(0.5);

/// The weight that the command line asks for, in place of the one that there is.
fn weight(args: &RegularizerArgs, own: Option<f64>, default: &Schedule, steps: u64) -> Schedule {
    match (args.coefficient.or(own), args.coefficient_to) {
        (None, None) => default.clone(),
        (Some(from), None) => Schedule::Constant(from),
        (from, Some(to)) => Schedule::exponential(from.unwrap_or_else(|| default.value(0)), to, steps),
    }
}

/// A penalty with the weight that the command line asks for, and the target for NFE that it follows: from a tenth of the usual
/// weight, or from the one that is asked for.
macro_rules! weighed {
    ($penalty:expr, $args:expr, $own:expr, $steps:expr) => {{
        let mut penalty = $penalty;
        penalty.coefficient = weight($args, $own, &penalty.coefficient, $steps);
        match $args.target_nfe.map(|nfe| Budget::nfe(nfe).for_steps($steps)) {
            Some(budget) if $args.coefficient.is_some() => penalty.budget = Some(budget),
            Some(budget) => penalty = penalty.budget(budget),
            None => {}
        }
        penalty
    }};
}

fn measured(measure: PointMeasure, args: &RegularizerArgs, steps: u64) -> Pointwise {
    let pointwise = weighed!(Pointwise::new(measure), args, None, steps);
    if args.quadrature { pointwise.quadrature() } else { pointwise }
}

fn weighted(global: Global, args: &RegularizerArgs, steps: u64) -> Global {
    weighed!(global, args, None, steps)
}

/// Local regularization with what the command line asks for; `own` is the task's coefficient, if it has one.
fn with_options(local: Local, args: &RegularizerArgs, (task, own): (TaskName, Option<f64>), steps: u64) -> Local {
    let local = weighed!(local, args, own, steps);
    let mut local = args.measure.map_or(local.clone(), |measure| local.measure(measure));
    local.step = args.penalty_step.unwrap_or(local.step);
    local.gradient = args.gradient.unwrap_or(task.defaults().gradient);
    local.noise = args.noise.unwrap_or(local.noise);
    local.times = args.times.unwrap_or(local.times);
    local.fraction = args.fraction.unwrap_or(local.fraction);
    local
}

impl RegularizerArgs {
    /// Refuses options that no method would take: a comparison without them is not what was asked for.
    pub(crate) fn ensure_used(&self, task: TaskName, methods: &[Training]) -> anyhow::Result<()> {
        let given = [
            ("--measure", self.measure.is_some()),
            ("--penalty-step", self.penalty_step.is_some()),
            ("--noise", self.noise.is_some()),
            ("--gradient", self.gradient.is_some()),
            ("--times", self.times.is_some()),
            ("--fraction", self.fraction.is_some()),
        ];
        if let Some((option, _)) = given.into_iter().find(|(_, given)| *given) {
            let used = methods.iter().any(|method| method.takes_options());
            ensure!(used, "{option} applies to local-unbiased and local-biased: add one of them, or leave it out");
        }
        let weight = [
            ("--coefficient", self.coefficient.is_some()),
            ("--coefficient-to", self.coefficient_to.is_some()),
            ("--target-nfe", self.target_nfe.is_some()),
        ];
        if let Some((option, _)) = weight.into_iter().find(|(_, given)| *given) {
            let used = methods.iter().any(|method| method.takes_coefficient());
            ensure!(
                used,
                "{option} applies to methods with a penalty of their own, such as local-* and global-*: add one, or leave it out"
            );
        }
        ensure!(
            !self.quadrature || methods.iter().any(|method| method.measures_dynamics()),
            "--quadrature applies to taynode-2, taynode-3, rnode and straightness: add one of them, or leave it out"
        );
        ensure!(
            self.noise.is_none() || task.stochastic(),
            "--noise: {} has no noise; leave it out, or take spiral-sde or mnist-sde",
            task.name()
        );
        Ok(())
    }
}
