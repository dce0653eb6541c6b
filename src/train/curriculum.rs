//! [`Curriculum`]: a horizon that grows with training.

use serde::{Deserialize, Serialize};

use super::config::TrainerConfig;
use crate::error::{Error, Result};
use crate::method::{Loss, SaveAt, Target};
use crate::problem::Times;

/// A horizon that grows with training: the first saved times alone to begin with, then more of them, in equal shares, and all
/// in the end.
///
/// The loss of a long trajectory has flat parts and narrow valleys where the model is far from the data, as an oscillation out
/// of phase has; that of its beginning has few. Which times are trained on is a function of the training step alone, so a
/// training that is gone on with has the horizon of the uninterrupted one. It changes but a few times ([`Curriculum::stages`]),
/// because an engine makes itself ready for each: a device records its steps anew.
///
/// A training step is one of [`Curriculum::config`], which [`Trainer::reconfigure`](crate::Trainer::reconfigure) takes, on
/// targets that [`Target::up_to`] has cut. Parameters, moments, the step count and what solves have taught stay. Inputs stay
/// whole, an encoder's too: it sees what it always sees.
///
/// ```
/// use fewsteps::{Batch, Cpu, Curriculum, Field, Loss, NeuralDe, Problem, SaveAt, SolverOptions, Target, Trainer, TrainerConfig};
/// # fn main() -> fewsteps::Result<()> {
/// let field = Field::build(1, |f| f.parameters("rate", &[0.1]) * f.state())?;
/// # let times: Vec<f64> = (1..=16).map(|i| 0.25 * f64::from(i)).collect();
/// # let targets: Vec<f64> = times.iter().map(|t| (-t).exp()).collect();
/// let options = SolverOptions::default().save_at(SaveAt::Times(times.clone()));
/// let whole = TrainerConfig::new(NeuralDe::new(Problem::ode(field, 0.0, 4.0), options), Loss::Mse);
/// let curriculum = Curriculum::new(2, 40)?; // from 2 of the 16 times to all by step 40
/// let mut trainer = Trainer::<f64>::new(&Cpu::new()?, whole.clone())?;
/// for step in 0..60 {
///     let slots = curriculum.slots(step, times.len());
///     if slots != trainer.config().model.output_times() {
///         trainer.reconfigure(curriculum.config(&whole, step)?)?;
///     }
///     let target = Target::States(&targets).up_to(slots, times.len());
///     trainer.step(&Batch { inputs: &[1.0], target })?;
/// }
/// assert_eq!(trainer.config(), &whole);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Curriculum {
    first: usize,
    over: u64,
    stages: u64,
}

impl Curriculum {
    /// Begins with the `first` saved times, and has all of them from training step `over` on, counted from 0; eight stages
    /// before that.
    ///
    /// # Errors
    /// [`Error::Argument`] for no times.
    pub fn new(first: usize, over: u64) -> Result<Self> {
        if first == 0 {
            return Err(Error::argument("Curriculum::first", first, "begin with one saved time at least"));
        }
        Ok(Self { first, over, stages: 8 })
    }

    /// Sets the number of horizons before the whole one, each for an equal number of steps.
    ///
    /// # Errors
    /// [`Error::Argument`] for none.
    pub fn stages(self, stages: u64) -> Result<Self> {
        if stages == 0 {
            return Err(Error::argument("Curriculum::stages", stages, "one stage is the least; or train without one"));
        }
        Ok(Self { stages, ..self })
    }

    /// The training step from which on all saved times are trained on.
    #[must_use]
    pub const fn over(&self) -> u64 {
        self.over
    }

    /// How many of `all` saved times are trained on after `step` training steps: with `s` stages and the step in the `k`-th of
    /// them, counted from 0, `first + (all - first) k / s`.
    #[must_use]
    pub fn slots(&self, step: u64, all: usize) -> usize {
        if step >= self.over || self.first >= all {
            return all;
        }
        let stage = u128::from(step) * u128::from(self.stages) / u128::from(self.over);
        let more = (all - self.first) as u128 * stage / u128::from(self.stages);
        // Less than `all - first`.
        self.first + usize::try_from(more).unwrap_or(0)
    }

    /// The configuration after `step` training steps of a training whose whole one this is: up to the last saved time that is
    /// trained on.
    ///
    /// # Errors
    /// [`Error::Argument`] where states are not saved at times, for a loss of the end alone, and for first times at which the
    /// interval has just begun.
    pub fn config(&self, whole: &TrainerConfig, step: u64) -> Result<TrainerConfig> {
        let model = &whole.model;
        let SaveAt::Times(times) = &model.options.save_at else {
            let remedy = "a horizon grows over saved times: give SaveAt::Times, or train without a curriculum";
            return Err(Error::argument("SaveAt", format!("{:?}", model.options.save_at), remedy));
        };
        if matches!(whole.loss, Loss::CrossEntropy | Loss::NegativeLogLikelihood) {
            let remedy = "it is of the last time alone, which a curriculum cannot move: train without one";
            return Err(Error::argument("TrainerConfig::loss", format!("{:?}", whole.loss), remedy));
        }
        let slots = self.slots(step, times.len());
        let mut config = whole.clone();
        if slots == times.len() {
            return Ok(config);
        }
        let (t0, t1) = (model.problem.t0, times[slots - 1]);
        if t1 == t0 {
            let remedy =
                format!("the interval begins at {t0}, and at these times nothing has happened yet: begin with more");
            return Err(Error::argument("Curriculum::first", self.first, remedy));
        }
        let (low, high) = (t0.min(t1), t0.max(t1));
        config.model.problem.t1 = t1;
        config.model.options.save_at = SaveAt::Times(times[..slots].to_vec());
        config.model.options.stop_at.retain(|stop| (low..=high).contains(stop));
        Ok(config)
    }

    /// The same of trajectories with times of their own, for [`Trainer::set_times`](crate::Trainer::set_times): each row's
    /// first times, up to the last of them. A row that has no more stays as it is. The configuration stays whole.
    ///
    /// # Errors
    /// As [`Times::within`].
    pub fn times(&self, whole: &Times, step: u64) -> Result<Times> {
        let slots = self.slots(step, whole.slots());
        let cut = |row: usize| {
            let (span, saved) = (whole.span(row), whole.saved(row));
            if saved.len() <= slots { (span, saved) } else { ([span[0], saved[slots - 1]], &saved[..slots]) }
        };
        let (spans, rows): (Vec<[f64; 2]>, Vec<&[f64]>) = (0..whole.rows()).map(cut).unzip();
        Times::within(&spans, &rows)
    }
}

impl<R> Target<'_, R> {
    /// The first `slots` of its `all` times, for a [`Curriculum`]. Labels, and nothing, are of no times, and stay.
    ///
    /// A trajectory of which nothing was observed at these times has no loss, and the step refuses it: leave it out.
    #[must_use]
    pub fn up_to(self, slots: usize, all: usize) -> Self {
        fn cut<R>(numbers: &[R], slots: usize, all: usize) -> &[R] {
            &numbers[..numbers.len() / all.max(1) * slots.min(all)]
        }
        match self {
            Self::States(states) => Self::States(cut(states, slots, all)),
            Self::Observed { states, weights } => {
                Self::Observed { states: cut(states, slots, all), weights: cut(weights, slots, all) }
            }
            Self::Moments { means, variances } => {
                Self::Moments { means: cut(means, slots, all), variances: cut(variances, slots, all) }
            }
            Self::Labels(_) | Self::Nothing => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::SolverOptions;
    use crate::problem::{Mlp, Problem};
    use crate::train::NeuralDe;

    fn whole(loss: Loss, save_at: SaveAt) -> TrainerConfig {
        let options = SolverOptions::default().save_at(save_at).stop_at([0.25, 0.75]);
        TrainerConfig::new(NeuralDe::new(Problem::ode(Mlp::new([2, 2]), 0.0, 1.0), options), loss)
    }

    fn tenths() -> SaveAt {
        SaveAt::Times((1..=10).map(|i| f64::from(i) / 10.0).collect())
    }

    #[test]
    fn horizons_grow_in_equal_shares_and_are_whole_in_the_end() {
        let curriculum = Curriculum::new(2, 80).expect("good numbers");
        let slots: Vec<usize> = (0..100).map(|step| curriculum.slots(step, 10)).collect();
        assert_eq!((slots[0], slots[9], slots[10], slots[79], slots[80]), (2, 2, 3, 9, 10), "a stage has ten steps");
        assert!(slots.is_sorted() && slots[80..].iter().all(|&n| n == 10));
        let distinct = |mut slots: Vec<usize>| {
            slots.dedup();
            slots.len()
        };
        let many: Vec<usize> = (0..1000).map(|step| Curriculum::new(1, 900).expect("good").slots(step, 5000)).collect();
        assert_eq!(distinct(many), 9, "eight, and the whole");
        let two = Curriculum::new(1, 10).and_then(|c| c.stages(2)).expect("two");
        assert_eq!([0, 4, 5, 9, 10].map(|step| two.slots(step, 9)), [1, 1, 5, 5, 9]);
        assert_eq!(Curriculum::new(20, 10).expect("more than there are").slots(0, 9), 9);
        assert_eq!(Curriculum::new(1, 0).expect("at once").slots(0, 9), 9);
        assert!(Curriculum::new(1, u64::MAX).expect("slow").slots(u64::MAX - 1, usize::MAX) > 1);
    }

    #[test]
    fn a_configuration_ends_at_its_last_time() {
        let (whole, curriculum) = (whole(Loss::Mse, tenths()), Curriculum::new(3, 8).expect("good numbers"));
        let first = curriculum.config(&whole, 0).expect("a horizon");
        assert_eq!((first.model.problem.t1, first.model.output_times()), (0.3, 3));
        assert_eq!(first.model.options.stop_at, [0.25], "stops lie in the interval");
        assert_eq!(curriculum.config(&whole, 8).expect("whole"), whole);
        let mut longer = first;
        longer.model.problem.t1 = 1.0;
        longer.model.options = whole.model.options.clone();
        assert_eq!(longer, whole, "nothing else changes");
    }

    #[test]
    fn what_has_no_growing_horizon_is_refused_by_name() {
        let error = |curriculum: Curriculum, whole| curriculum.config(&whole, 0).expect_err("refused").to_string();
        let curriculum = Curriculum::new(1, 8).expect("good numbers");
        for save_at in [SaveAt::End, SaveAt::Steps, SaveAt::Dense] {
            assert!(error(curriculum, whole(Loss::Mse, save_at)).starts_with("SaveAt = "), "by its name");
        }
        for loss in [Loss::CrossEntropy, Loss::NegativeLogLikelihood] {
            assert!(error(curriculum, whole(loss, tenths())).contains("TrainerConfig::loss"), "{loss:?}");
        }
        let begins = SaveAt::Times(vec![0.0, 0.5, 1.0]);
        assert!(error(curriculum, whole(Loss::Mse, begins)).contains("Curriculum::first = 1"), "nothing has happened");
        assert!(Curriculum::new(0, 8).is_err() && curriculum.stages(0).is_err());
    }

    #[test]
    fn targets_and_times_of_rows_are_cut_alike() {
        let numbers: Vec<f64> = (0..12).map(f64::from).collect();
        let weights = [1.0; 12];
        let target = Target::Observed { states: &numbers, weights: &weights }.up_to(2, 3);
        assert_eq!(
            target,
            Target::Observed { states: &numbers[..8], weights: &weights[..8] },
            "[2][2][2] of [3][2][2]"
        );
        assert_eq!(Target::States(&numbers).up_to(9, 3), Target::States(&numbers), "there are no more");
        let moments = Target::Moments { means: &numbers, variances: &weights };
        assert_eq!(moments.up_to(1, 3), Target::Moments { means: &numbers[..4], variances: &weights[..4] });
        assert_eq!(Target::<f64>::Labels(&[1, 2]).up_to(1, 3), Target::Labels(&[1, 2]));
        let rows = [vec![0.0, 1.0, 2.0, 3.0], vec![5.0, 6.0], vec![7.0]];
        let times = Times::series(&rows).expect("series");
        let cut = Curriculum::new(2, 8).expect("good").times(&times, 0).expect("cut");
        assert_eq!((cut.saved(0), cut.span(0)), (&[0.0, 1.0][..], [0.0, 1.0]));
        assert_eq!((cut.saved(1), cut.saved(2), cut.slots()), (&[5.0, 6.0][..], &[7.0][..], 2));
    }
}
