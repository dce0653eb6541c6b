//! [`Program`]: a straight line of operations on the rows of one trajectory.
//!
//! A vector field is a program of state and time. Programs are plain data without control flow, closed under
//! differentiation: their vector-Jacobian products ([`linearize`]) and their derivatives along a solution ([`tangent`])
//! are programs again. So engines only execute programs, and no derivative is written by hand.

pub(crate) mod cost;
pub(crate) mod emitter;
mod file;
pub(crate) mod function;
pub(crate) mod interpret;
pub(crate) mod linearize;
pub(crate) mod listing;
pub(crate) mod operation;
pub(crate) mod tangent;
#[cfg(test)]
pub(crate) mod tests;
mod trace;

use operation::{Node, Operation};

/// Operations in an order in which each one's operands come before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    operations: Vec<Operation>,
    /// Rows of each value.
    rows: Vec<usize>,
    outputs: Vec<Node>,
}

impl Program {
    /// The operations, each with its place and rows.
    pub(crate) fn operations(&self) -> impl DoubleEndedIterator<Item = (Node, &Operation)> + ExactSizeIterator {
        self.operations.iter().enumerate().map(|(index, operation)| (Node::new(index), operation))
    }

    pub(crate) fn operation(&self, node: Node) -> &Operation {
        &self.operations[node.index()]
    }

    pub(crate) const fn len(&self) -> usize {
        self.operations.len()
    }

    pub(crate) fn rows(&self, node: Node) -> usize {
        self.rows[node.index()]
    }

    /// Its values; of a field there is one.
    pub(crate) fn outputs(&self) -> &[Node] {
        &self.outputs
    }

    /// Rows of all its values.
    pub(crate) fn output_rows(&self) -> usize {
        self.outputs.iter().map(|output| self.rows(*output)).sum()
    }

    /// Without what no output needs.
    fn pruned(self) -> Self {
        let mut needed = vec![false; self.operations.len()];
        for output in &self.outputs {
            needed[output.index()] = true;
        }
        for index in (0..self.operations.len()).rev() {
            if needed[index] {
                for operand in self.operations[index].operands() {
                    needed[operand.index()] = true;
                }
            }
        }
        let mut names = vec![Node::new(0); needed.len()];
        for (count, (name, _)) in names.iter_mut().zip(&needed).filter(|(_, needed)| **needed).enumerate() {
            *name = Node::new(count);
        }
        let name = |node: Node| names[node.index()];
        let kept = |index: &usize| needed[*index];
        Self {
            operations: (0..needed.len()).filter(kept).map(|i| self.operations[i].renamed(name)).collect(),
            rows: (0..needed.len()).filter(kept).map(|i| self.rows[i]).collect(),
            outputs: self.outputs.iter().map(|output| name(*output)).collect(),
        }
    }
}
