//! [`FieldCost`]: what a field costs a trajectory, and what its vector-Jacobian product does.

use super::Field;
use super::program::cost::Cost;
use super::program::linearize::Gradient;
use crate::error::Result;

/// What a field costs a trajectory; see [`Field::cost`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct FieldCost {
    /// Its value.
    pub value: Cost,
    /// Its vector-Jacobian product, that of the parameters included.
    pub gradient: Cost,
    /// Rows of values that are kept between the two.
    pub kept: usize,
}

impl Field {
    /// What an evaluation costs, and the way back through it.
    ///
    /// ```
    /// # fn main() -> fewsteps::Result<()> {
    /// let cost = fewsteps::Field::from(fewsteps::Mlp::new([2, 16, 2])).cost()?;
    /// assert_eq!((cost.value.multiply_adds, cost.value.functions), (3 * 16 + 17 * 2, 16));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Field::validate`], and [`Error::Argument`](crate::Error::Argument) for a field whose derivatives are too
    /// many operations.
    pub fn cost(&self) -> Result<FieldCost> {
        let linearized = self.program()?.linearize(&self.frozen())?;
        let (forward, mut gradient) = (&linearized.forward, linearized.backward.cost());
        // Outer products, which no program has.
        gradient.multiply_adds += linearized.gradients.iter().fold(0, |sum, part| match part {
            Gradient::Block { block, affine: true, .. } => sum + block.layer().parameter_count(),
            Gradient::Block { block, .. } => sum + block.inputs * block.outputs,
            Gradient::Rows { .. } => sum,
        });
        let kept = forward.outputs()[linearized.values..].iter().map(|node| forward.rows(*node)).sum();
        Ok(FieldCost { value: self.program()?.cost(), gradient, kept })
    }
}
