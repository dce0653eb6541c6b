//! [`Cost`]: what an evaluation of a program costs a trajectory.

use super::Program;
use super::operation::{Arithmetic, Operation};

/// What one evaluation costs for one trajectory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Cost {
    /// Multiplications with an addition each, in dense layers and elsewhere.
    pub multiply_adds: usize,
    /// Evaluations of functions that take more than an operation or two, and quotients.
    pub functions: usize,
    /// Rows of all values.
    pub rows: usize,
}

impl Program {
    /// Multiply-adds of its dense layers for one trajectory, those of time and bias not counted.
    pub(crate) fn products(&self) -> u64 {
        let product = |operation: &Operation| match operation {
            Operation::Dense { block, .. } => (block.inputs as u64).saturating_mul(block.outputs as u64),
            _ => 0,
        };
        self.operations().fold(0, |sum: u64, (_, operation)| sum.saturating_add(product(operation)))
    }

    /// What one evaluation costs for one trajectory.
    pub(crate) fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        for (node, operation) in self.operations() {
            let rows = self.rows(node);
            cost.rows += rows;
            match operation {
                Operation::Dense { block, affine: true, .. } => cost.multiply_adds += block.layer().parameter_count(),
                Operation::Dense { block, .. } | Operation::Transposed { block, .. } => {
                    cost.multiply_adds += block.inputs * block.outputs;
                }
                Operation::Map(f, _) | Operation::Slope(f, _) => match f.is_cheap() {
                    true => cost.multiply_adds += rows,
                    false => cost.functions += rows,
                },
                Operation::Zip(Arithmetic::Div, ..) => cost.functions += rows,
                Operation::Zip(..) => cost.multiply_adds += rows,
                Operation::Sum(x) | Operation::Dot(x, _) => cost.multiply_adds += self.rows(*x),
                _ => {}
            }
        }
        cost
    }
}
