//! Where values are computed, and how long their rooms are needed.

use super::{Asked, Compiler, Home};
use crate::problem::program::operation::{Node, Operation};

impl Compiler<'_> {
    /// Marks what the main values need: a field's value, or what sinks take.
    pub(super) fn find_main(&mut self) {
        match self.asked {
            Asked::Field { .. } => self.main[self.program.outputs()[0].index()] = true,
            Asked::Product { .. } => {
                for node in self.sinks.keys() {
                    self.main[node.index()] = true;
                }
            }
        }
        for (node, operation) in self.program.operations().rev() {
            if self.main[node.index()] {
                for operand in operation.operands() {
                    self.main[operand.index()] = true;
                }
            }
        }
    }

    pub(super) fn find_homes(&mut self) {
        self.find_main();
        for (node, operation) in self.program.operations() {
            let is_view = matches!(
                operation,
                Operation::Input { .. }
                    | Operation::Literal(_)
                    | Operation::Parameter { .. }
                    | Operation::Rows { .. }
                    | Operation::Repeat { .. }
            );
            if is_view {
                self.homes[node.index()] = Home::View;
            }
            if let Operation::Dense { x, block, affine: true } = operation {
                let extension = &mut self.extended[x.index()];
                // Another layer's extension is that of a copy.
                extension.get_or_insert(block.time);
            }
        }
        for (node, operation) in self.program.operations() {
            match operation {
                Operation::Stack(parts) => {
                    let mut first = 0;
                    for part in parts {
                        if self.is_used_once(*part) && self.homes[part.index()] == Home::Own {
                            self.homes[part.index()] = Home::Inside(node, first);
                        }
                        first += self.rows(*part);
                    }
                }
                Operation::Map(f, x) if f.activation().is_some() && self.is_product(*x) => {
                    let slope = self.slopes.get(&(*f, *x)).map(|slope| Some(slope.index()));
                    let alone = |user: &Option<usize>| *user == Some(node.index()) || slope == Some(*user);
                    if self.uses[x.index()].iter().all(alone) {
                        self.homes[x.index()] = Home::Inside(node, 0);
                    }
                }
                Operation::Zip(_, x, _)
                    if self.is_product(*x) && self.is_used_once(*x) && self.rows(*x) == self.rows(node) =>
                {
                    self.homes[x.index()] = Home::Inside(node, 0);
                }
                _ => {}
            }
        }
        if let Some(output) = self.output()
            && self.homes[output.index()] == Home::Own
            && self.is_used_once(output)
            && !self.sinks.contains_key(&output)
        {
            self.homes[output.index()] = Home::Output;
        }
    }

    pub(super) fn is_used_once(&self, node: Node) -> bool {
        self.uses[node.index()].len() == 1
    }

    pub(super) fn is_product(&self, node: Node) -> bool {
        matches!(self.program.operation(node), Operation::Dense { .. } | Operation::Transposed { .. })
    }

    /// The value in whose rows a computed value or a view lies; none if that is not in the scratch room by an own value.
    pub(super) fn root(&self, node: Node) -> Node {
        match (self.homes[node.index()], self.program.operation(node)) {
            (Home::Inside(owner, _), _) => self.root(owner),
            (Home::View, Operation::Rows { x, .. } | Operation::Repeat { x, .. }) => self.root(*x),
            _ => node,
        }
    }

    /// How long the rooms are needed. A value that is kept, or that a dense layer extends, is never in another's way.
    pub(super) fn find_lives(&mut self) {
        let n = self.program.len();
        for index in 0..n {
            let root = self.root(Node::new(index));
            let users = self.uses[index].iter().map(|user| user.unwrap_or(n)).max().unwrap_or(index);
            self.last[root.index()] = self.last[root.index()].max(users).max(index);
            self.pinned[root.index()] |= self.extended[index].is_some();
        }
        // A value inside another one is there before that is computed.
        if matches!(self.asked, Asked::Field { .. }) {
            for output in &self.program.outputs()[1..] {
                let root = self.root(*output);
                self.pinned[root.index()] = true;
            }
        }
    }
}
