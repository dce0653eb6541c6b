//! The tasks: data, model and the settings that suit them.

use std::path::Path;

use clap::ValueEnum;
use fewsteps::{InputMap, Loss, Mlp, NeuralDe, Optimizer, Problem, SaveAt, SolverOptions, TimeInput};
use serde::{Deserialize, Serialize};

use crate::data::{self, Data, IdxFiles};

/// What is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskName {
    /// 1,797 handwritten digits of 8 x 8 pixels, embedded
    Digits,
    /// 70,000 handwritten digits of 28 x 28 pixels, with the papers' model
    Mnist,
    /// 70,000 pieces of clothing of 28 x 28 pixels, with the papers' model
    Fashion,
    /// Trajectories of a cubic spiral, generated
    Spiral,
}

/// What a task is trained with unless the command line says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Defaults {
    pub(crate) seeds: usize,
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    pub(crate) learning_rate: f64,
    pub(crate) tolerance: f64,
    /// Price of one solver step in units of the loss, if not the library's.
    pub(crate) coefficient: Option<f64>,
}

impl TaskName {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::Fashion => "fashion",
            Self::Spiral => "spiral",
        }
    }

    pub(crate) const fn defaults(self) -> Defaults {
        let published =
            Defaults { seeds: 1, steps: 1500, batch: 512, learning_rate: 1e-3, tolerance: 1e-5, coefficient: None };
        match self {
            Self::Digits => Defaults { seeds: 3, steps: 600, batch: 128, learning_rate: 6e-3, ..published },
            Self::Mnist | Self::Fashion => published,
            // The trajectories are given, so there is little NFE to save: a higher price is paid in accuracy.
            Self::Spiral => Defaults {
                steps: 1000,
                batch: 128,
                learning_rate: 1e-2,
                tolerance: 1e-6,
                coefficient: Some(1e-3),
                seeds: 3,
            },
        }
    }

    /// Whether the outputs are classes, of which a share is right.
    pub(crate) const fn classifies(self) -> bool {
        !matches!(self, Self::Spiral)
    }

    pub(crate) const fn loss(self) -> Loss {
        if self.classifies() { Loss::CrossEntropy } else { Loss::Mae }
    }

    /// The model, solved with `options`, of which it determines the save times.
    pub(crate) fn model(self, options: SolverOptions) -> NeuralDe {
        let images = |width: usize, hidden: usize, options| {
            let field = Mlp::new([width, hidden, width]).time_input(TimeInput::Every);
            NeuralDe::new(Problem::ode(field, 0.0, 1.0), options).head(10)
        };
        match self {
            Self::Digits => images(64, 64, options),
            Self::Mnist | Self::Fashion => images(784, 100, options),
            Self::Spiral => {
                let field = Mlp::new([2, 50, 2]).input_map(InputMap::Cube);
                let interval = (data::SPIRAL_TIMES - 1) as f64;
                let times = (0..data::SPIRAL_TIMES).map(|i| data::SPIRAL_END * i as f64 / interval).collect();
                NeuralDe::new(Problem::ode(field, 0.0, data::SPIRAL_END), options.save_at(SaveAt::Times(times)))
            }
        }
    }

    pub(crate) fn optimizer(self, learning_rate: f64) -> Optimizer {
        Optimizer::adam(learning_rate)
    }

    /// Reads or generates the data; `folder` is what `--data` names.
    pub(crate) fn load(self, folder: Option<&Path>) -> anyhow::Result<Data> {
        match self {
            Self::Digits => data::digits(),
            Self::Mnist => IdxFiles::find(folder, "mnist")?.load(),
            Self::Fashion => IdxFiles::find(folder, "fashion-mnist")?.load(),
            Self::Spiral => Ok(data::spiral()),
        }
    }
}
