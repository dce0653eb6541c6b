//! [`Corrected`]: few equal steps with a learnt correction, which a trained model was given to predict with.

use fewsteps::{Hypersolver, NeuralDe, TrainerConfig};
use serde::{Deserialize, Serialize};

use crate::record::Measured;

/// Equal steps with a learnt correction. The model that they make is Euler's method on another field: it lies in the
/// settings of its checkpoint in place of the one that was trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Corrected {
    pub(crate) hypersolver: Hypersolver,
    pub(crate) steps: usize,
    /// The model whose steps they are, as it was trained.
    pub(crate) model: NeuralDe,
}

impl Corrected {
    /// In few words.
    pub(crate) fn name(&self) -> String {
        let steps = if self.steps == 1 { "1 step".to_owned() } else { format!("{} equal steps", self.steps) };
        format!("hyper-{}, {steps}", self.hypersolver.base)
    }

    /// Evaluations of the field and of the correction in place of those of the field that both make.
    pub(crate) fn counted(&self, measured: Measured) -> Measured {
        let [nfe, corrections] = self.hypersolver.evaluations(self.steps).map(|count| count as f64);
        Measured { nfe, nfe_correction: Some(corrections), ..measured }
    }

    /// The model as it was trained, with its parameters among those of the corrected one of `config`.
    pub(crate) fn before<R: Copy>(&self, config: &TrainerConfig, theta: &[R]) -> (TrainerConfig, Vec<R>) {
        let own = config.model.layout().into_iter().filter(|tensor| !tensor.name.starts_with("field.correction."));
        let theta = own.flat_map(|tensor| theta[tensor.range()].to_vec()).collect();
        let mut config = config.clone();
        config.model = self.model.clone();
        (config, theta)
    }
}
