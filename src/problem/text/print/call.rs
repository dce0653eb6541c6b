//! [`Calls`]: the layers of a program that are networks, applied to a value.

use super::words::refusal;
use crate::error::Result;
use crate::problem::field::program::Program;
use crate::problem::field::program::operation::{Block, Node, Operation};
use crate::problem::text::parser::{ACTIVATIONS, INITIALIZATIONS};
use crate::problem::{Activation, Field, Group};

#[derive(Debug)]
pub(super) struct Calls {
    /// Of each last layer, its network's group and what that is applied to.
    calls: Vec<Option<(usize, Node)>>,
    /// Values within a network.
    parts: Vec<bool>,
    /// The activations of the groups' networks.
    activations: Vec<Option<Activation>>,
}

impl Calls {
    pub(super) fn new(field: &Field, program: &Program) -> Result<Self> {
        let groups = field.groups();
        let mut found = Self {
            calls: vec![None; program.len()],
            parts: vec![false; program.len()],
            activations: vec![None; groups.len()],
        };
        for (n, group) in groups.iter().enumerate() {
            let blocks: Vec<Block> = group.layers().into_iter().flatten().map(|layer| Block::of(&layer)).collect();
            for (node, operation) in program.operations() {
                if let Operation::Dense { x, block, affine: true } = operation
                    && blocks.last() == Some(block)
                {
                    found.follow(program, (n, group), &blocks, (node, *x))?;
                }
            }
        }
        found.check(program)?;
        Ok(found)
    }

    /// Goes from a network's last layer to what it is applied to.
    fn follow(
        &mut self,
        program: &Program,
        (n, group): (usize, &Group),
        blocks: &[Block],
        (last, mut x): (Node, Node),
    ) -> Result<()> {
        let apart = || refusal(format!("{:?}", group.name), "its layers are no network as a whole");
        for block in blocks.iter().rev().skip(1) {
            let (layer, activation) = match program.operation(x) {
                Operation::Map(f, z) => (*z, f.activation().ok_or_else(apart)?),
                _ => (x, Activation::Identity),
            };
            match program.operation(layer) {
                Operation::Dense { x: before, block: of, affine: true } if of == block => {
                    self.parts[x.index()] = true;
                    self.parts[layer.index()] = true;
                    x = *before;
                }
                _ => return Err(apart()),
            }
            if *self.activations[n].get_or_insert(activation) != activation {
                return Err(refusal(format!("{:?}", group.name), "it has an activation here and another one there"));
            }
        }
        self.calls[last.index()] = Some((n, x));
        Ok(())
    }

    /// Every layer is one of a network's, and nothing else looks into a network.
    fn check(&self, program: &Program) -> Result<()> {
        for (node, operation) in program.operations() {
            let called = self.calls[node.index()].is_some();
            if matches!(operation, Operation::Dense { .. } | Operation::Transposed { .. })
                && !called
                && !self.is_part(node)
            {
                return Err(refusal(operation.name(), "it is no layer of a network, with time and bias"));
            }
            let looks = operation.operands().any(|operand| self.is_part(operand));
            if looks && !called && !self.is_part(node) {
                return Err(refusal(operation.name(), "it looks at a value within a network"));
            }
        }
        match program.outputs().iter().find(|output| self.is_part(**output)) {
            Some(output) => Err(refusal(program.operation(*output).name(), "the field is a value within a network")),
            None => Ok(()),
        }
    }

    /// Whether a value is within a network.
    pub(super) fn is_part(&self, node: Node) -> bool {
        self.parts[node.index()]
    }

    /// What a value is computed from; of a network, what that is applied to.
    pub(super) fn operands(&self, node: Node, operation: &Operation) -> Vec<Node> {
        match self.calls[node.index()] {
            Some((_, x)) => vec![x],
            None => operation.operands().collect(),
        }
    }

    /// The group of the network that a value is of.
    pub(super) fn group(&self, node: Node) -> Result<usize> {
        let call = self.calls[node.index()].map(|(group, _)| group);
        call.ok_or_else(|| refusal("dense", "it is no layer of a network"))
    }

    /// `mlp(2, 16, 2) relu`, of a group that is a network.
    pub(super) fn network(&self, n: usize, group: &Group) -> Result<Option<String>> {
        let (Some(layers), Some(initialization)) = (group.layers(), group.initialization()) else { return Ok(None) };
        let layers: Vec<_> = layers.collect();
        let mut widths: Vec<String> = layers.iter().take(1).map(|layer| layer.inputs.to_string()).collect();
        widths.extend(layers.iter().map(|layer| layer.outputs.to_string()));
        let mut text = format!("mlp({})", widths.join(", "));
        let activation = self.activations[n].unwrap_or_default();
        for (of, word) in Activation::ALL.into_iter().zip(ACTIVATIONS) {
            if of == activation && activation != Activation::default() {
                text += &format!(" {word}");
            }
        }
        let times: Vec<bool> = layers.iter().map(|layer| layer.time).collect();
        match &times[..] {
            [true, rest @ ..] if rest.iter().all(|time| !time) => text += " time",
            times if times.iter().all(|time| *time) => text += " time_everywhere",
            times if times.iter().all(|time| !time) => {}
            _ => {
                return Err(refusal(format!("{:?}", group.name), "some of its later layers see the time, and not all"));
            }
        }
        for (word, of) in INITIALIZATIONS {
            if of == initialization && of != Default::default() {
                text += &format!(" {word}");
            }
        }
        Ok(Some(text))
    }
}
