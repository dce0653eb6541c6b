//! [`Schedule`]: the dispatches that compute a program for a batch: its products, and runs of the operations between them.
//!
//! Operations are put into phases: runs of a phase, then products that need no other product of it. Each is computed as late as
//! what needs it allows, so that there are few runs and little is stored. An activation after a layer, and the multiplication
//! with its slope on the way back, are part of the product.

use super::super::controls::Seat;
use super::run::{Memory, Place, Printer, Run, Target, Way, is_loop};
use crate::error::{Error, Result};
use crate::problem::program::Program;
use crate::problem::program::operation::{Arithmetic, Block, Node, Operation, Source};
use crate::problem::{Activation, Layer};

/// Rows of a value from which on an invocation has one of them, not all.
const WIDE: usize = 32;

/// One dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Product(Product),
    Run(Run),
}

/// A dense layer, or the cotangent of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) kind: Kind,
    /// The layer, with the activation of what is written.
    pub(crate) layer: Layer,
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// Where the activation's slope goes, or what the cotangent is multiplied by.
    pub(crate) slope: Option<Place>,
}

/// What a product does with its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `[x, t, 1] W`
    Affine,
    /// `x W`
    Linear,
    /// `W z_bar`
    Transposed,
}

/// The dispatches of a program, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) actions: Vec<Action>,
    /// Numbers of a trajectory in either part of its own memory.
    pub(crate) widths: [usize; 2],
    /// Where the outputs are, but for the first one of a schedule with a result.
    pub(crate) outputs: Vec<Place>,
}

/// What a program is scheduled for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) way: Way,
    /// Rows of what it begins with: the state, or the cotangent of the field's value.
    pub(crate) rows: usize,
    /// Where the values are that the forward schedule has kept.
    pub(crate) kept: &'a [Place],
    /// Whether the first output is the result.
    pub(crate) result: bool,
    /// Whether slopes of activations are kept.
    pub(crate) keeps: bool,
    /// Where the field's controls are.
    pub(crate) seats: &'a [Seat],
}

impl Schedule {
    /// Schedules a program.
    ///
    /// # Errors
    /// [`Error::Argument`] for what a device does not compute.
    pub(crate) fn new(program: &Program, frame: Frame<'_>) -> Result<Self> {
        let mut compiler = Compiler::new(program, frame);
        compiler.fuse();
        compiler.wide = compiler.has_wide_runs();
        compiler.phase();
        compiler.allocate();
        compiler.actions()
    }
}

#[cfg(test)]
impl Schedule {
    /// What is printed for its runs.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().filter_map(|action| match action {
            Action::Run(run) => Some(run.text.as_str()),
            Action::Product(_) => None,
        })
    }
}

/// A product and the values that it makes.
#[derive(Clone, Copy, Debug)]
struct Draft {
    node: Node,
    /// The product itself, its activation, or its multiplication with a slope.
    value: Node,
    /// The activation's slope, or what the product is multiplied by.
    slope: Option<Node>,
}

/// How a value comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It is in memory from the beginning.
    Input,
    /// The same for all trajectories, of the time alone, or a control: computed wherever it is used.
    Free,
    /// A product makes it, the n-th.
    Product(usize),
    /// A run computes it.
    Run,
}

#[derive(Debug)]
struct Compiler<'a> {
    program: &'a Program,
    frame: Frame<'a>,
    users: Vec<Vec<Node>>,
    origins: Vec<Origin>,
    products: Vec<Draft>,
    /// Whether rows are not told apart.
    wide: bool,
    phases: Vec<usize>,
    /// The last phase with a run.
    last: usize,
    /// Where values are stored that are, in runs' and products' memory.
    places: Vec<Option<Place>>,
    widths: [usize; 2],
}

impl<'a> Compiler<'a> {
    fn new(program: &'a Program, frame: Frame<'a>) -> Self {
        let mut users = vec![Vec::new(); program.len()];
        let mut origins: Vec<Origin> = Vec::with_capacity(program.len());
        for (node, operation) in program.operations() {
            for operand in operation.operands() {
                users[operand.index()].push(node);
            }
            let free = operation.operands().all(|operand| origins[operand.index()] == Origin::Free);
            origins.push(match operation {
                Operation::Input {
                    source: Source::State | Source::Cotangent | Source::Direction | Source::Kept(_),
                    ..
                } => Origin::Input,
                Operation::Dense { .. } | Operation::Transposed { .. } => Origin::Run,
                Operation::Sum(_) | Operation::Dot(..) | Operation::Stack(_) => Origin::Run,
                _ if free => Origin::Free,
                _ => Origin::Run,
            });
        }
        let direction = program.operations().find_map(|(node, operation)| match operation {
            Operation::Input { source: Source::Direction, .. } => Some(program.rows(node)),
            _ => None,
        });
        Self {
            program,
            frame,
            users,
            origins,
            products: Vec::new(),
            wide: false,
            phases: vec![0; program.len()],
            last: 0,
            places: vec![None; program.len()],
            // A direction lies behind the state.
            widths: [frame.rows + direction.unwrap_or(0), 0],
        }
    }

    fn is_output(&self, node: Node) -> bool {
        self.program.outputs().contains(&node)
    }

    /// Joins products with the activations and slopes that follow them.
    fn fuse(&mut self) {
        for (node, operation) in self.program.operations() {
            let draft = match operation {
                Operation::Dense { .. } => self.activated(node),
                Operation::Transposed { .. } => self.sloped(node),
                _ => continue,
            };
            let draft = draft.unwrap_or(Draft { node, value: node, slope: None });
            let origin = Origin::Product(self.products.len());
            self.origins[node.index()] = origin;
            self.origins[draft.value.index()] = origin;
            if let Some(slope) = draft.slope.filter(|_| matches!(operation, Operation::Dense { .. })) {
                self.origins[slope.index()] = origin;
            }
            self.products.push(draft);
        }
    }

    /// A layer of which nothing is needed but its activation and, where that is kept, the slope.
    fn activated(&self, node: Node) -> Option<Draft> {
        let (mut value, mut slope) = (None, None);
        for user in &self.users[node.index()] {
            match self.program.operation(*user) {
                Operation::Map(..) => value = Some(*user),
                Operation::Slope(..) if self.frame.keeps => slope = Some(*user),
                _ => return None,
            }
        }
        let &Operation::Map(f, _) = self.program.operation(value?) else { return None };
        let same = |user: &Node| matches!(self.program.operation(*user), Operation::Map(g, _) | Operation::Slope(g, _) if *g == f);
        let fits = f.activation().is_some() && self.users[node.index()].iter().all(same) && !self.is_output(node);
        fits.then_some(Draft { node, value: value?, slope })
    }

    /// A cotangent of which nothing is needed but its product with a kept value.
    fn sloped(&self, node: Node) -> Option<Draft> {
        let &[value] = &self.users[node.index()][..] else { return None };
        let &Operation::Zip(Arithmetic::Mul, a, b) = self.program.operation(value) else { return None };
        let slope = if a == node { b } else { a };
        let kept = matches!(self.program.operation(slope), Operation::Input { source: Source::Kept(_), .. });
        let fits = kept && self.program.rows(slope) == self.program.rows(node) && !self.is_output(node);
        fits.then_some(Draft { node, value, slope: Some(slope) })
    }

    /// Whether a run has values of many rows.
    fn has_wide_runs(&self) -> bool {
        let is_wide = |node: Node| self.program.rows(node) >= WIDE;
        let copies = |node: Node| self.result() == Some(node) || self.origins[node.index()] == Origin::Free;
        self.program.operations().any(|(node, operation)| match operation {
            _ if copies(node) && is_wide(node) => true,
            _ if !self.is_run(node) => false,
            // Of what it is a part of, the other rows are nothing to it.
            Operation::Rows { .. } => is_wide(node),
            _ => is_wide(node) || operation.operands().any(is_wide),
        })
    }

    /// Whether runs of its own phase cannot use it: an invocation does not have what others compute.
    fn breaks(&self, node: Node) -> bool {
        self.wide
            && match self.program.operation(node) {
                Operation::Sum(x) | Operation::Dot(x, _) => is_loop(self.program.rows(*x)),
                Operation::Stack(_) => true,
                _ => false,
            }
    }

    /// Whether a product begins at the node.
    fn product_at(&self, node: Node) -> Option<&Draft> {
        match self.origins[node.index()] {
            Origin::Product(n) if self.products[n].node == node => Some(&self.products[n]),
            _ => None,
        }
    }

    fn is_run(&self, node: Node) -> bool {
        self.origins[node.index()] == Origin::Run
    }

    /// The phase in which a value can first be used, by a run or by a product.
    fn ready(&self, node: Node, by_run: bool) -> usize {
        let phase = self.phases[node.index()];
        match self.origins[node.index()] {
            Origin::Input | Origin::Free => 0,
            Origin::Product(_) => phase + 1,
            Origin::Run => phase + usize::from(by_run && self.breaks(node)),
        }
    }

    /// Puts products and runs into phases: first as early as can be, then runs as late.
    fn phase(&mut self) {
        for (node, operation) in self.program.operations() {
            let ready = |by_run| operation.operands().map(|operand| self.ready(operand, by_run)).max().unwrap_or(0);
            let phase = match self.origins[node.index()] {
                Origin::Input | Origin::Free => 0,
                Origin::Product(n) if self.products[n].node != node => self.phases[self.products[n].node.index()],
                Origin::Product(_) => ready(false),
                Origin::Run => ready(true),
            };
            self.phases[node.index()] = phase;
        }
        let runs = self.program.operations().filter(|(node, _)| self.is_run(*node));
        let result = self.result().map_or(0, |node| self.ready(node, false));
        self.last = runs.map(|(node, _)| self.phases[node.index()]).max().unwrap_or(0).max(result);
        for (node, _) in self.program.operations().rev() {
            if !self.is_run(node) {
                continue;
            }
            let wanted = self.users[node.index()].iter().map(|user| {
                let phase = self.phases[user.index()];
                if self.is_run(*user) { phase - usize::from(self.breaks(node)) } else { phase }
            });
            self.phases[node.index()] = wanted.min().unwrap_or(self.last);
        }
    }

    /// The output that is the result, where a product does not write it itself.
    fn result(&self) -> Option<Node> {
        let node = *self.program.outputs().first().filter(|_| self.frame.result)?;
        (!self.is_direct(node)).then_some(node)
    }

    /// Whether a value is the result, made by a product, and nothing else.
    fn is_direct(&self, node: Node) -> bool {
        let outputs = self.program.outputs();
        let Origin::Product(n) = self.origins[node.index()] else { return false };
        // Forward the product of a transposed block has no stage to write to.
        let transposed = matches!(self.program.operation(self.products[n].node), Operation::Transposed { .. });
        self.frame.result
            && outputs.first() == Some(&node)
            && outputs.iter().filter(|output| **output == node).count() == 1
            && self.products[n].value == node
            && self.users[node.index()].iter().all(|user| self.products[n].slope == Some(*user))
            && (self.frame.way == Way::Back || !transposed)
    }

    /// Whether a run stores a value.
    fn is_stored(&self, node: Node) -> bool {
        let kept = self.program.outputs().iter().skip(usize::from(self.frame.result)).any(|output| *output == node);
        let for_product = self.users[node.index()].iter().any(|user| self.product_at(*user).is_some());
        let later = |user: &Node| self.is_run(*user) && self.phases[user.index()] > self.phases[node.index()];
        match self.origins[node.index()] {
            Origin::Free => kept || for_product,
            Origin::Run => kept || for_product || self.users[node.index()].iter().any(later),
            Origin::Input | Origin::Product(_) => false,
        }
    }

    /// The phase in whose run a value is stored.
    fn stored_in(&self, node: Node) -> usize {
        if self.is_run(node) {
            return self.phases[node.index()];
        }
        let products = self.users[node.index()].iter().filter(|user| self.product_at(**user).is_some());
        products.map(|user| self.phases[user.index()]).min().unwrap_or(self.last)
    }

    fn take(&mut self, part: usize, rows: usize) -> Place {
        let first = self.widths[part];
        self.widths[part] += rows;
        Place { memory: Memory::Own(part), first, rows }
    }

    /// Gives values their places. What a product makes lies in the other part of the memory than what it is made from; there
    /// is always a way, because a value is made by one product at most.
    fn allocate(&mut self) {
        for (node, operation) in self.program.operations() {
            let rows = self.program.rows(node);
            if let Some(draft) = self.product_at(node).copied() {
                let from = operation.operands().next().and_then(|x| self.places[x.index()]);
                let part = match from.map(|place| place.memory) {
                    Some(Memory::Own(part)) => 1 - part,
                    _ => 0,
                };
                let to = if self.is_direct(draft.value) {
                    Place { memory: Memory::Result, first: 0, rows }
                } else {
                    self.take(part, rows)
                };
                self.places[draft.value.index()] = Some(to);
                if let Some(slope) = draft.slope.filter(|_| matches!(operation, Operation::Dense { .. })) {
                    self.places[slope.index()] = Some(self.take(part, rows));
                }
            } else if self.is_stored(node) {
                self.places[node.index()] = Some(self.take(0, rows));
            } else if self.origins[node.index()] == Origin::Input {
                self.places[node.index()] = Some(match operation {
                    Operation::Input { source: Source::Kept(n), .. } => self.frame.kept[*n],
                    Operation::Input { source: Source::Direction, .. } => {
                        Place { memory: Memory::Own(0), first: self.frame.rows, rows }
                    }
                    _ => Place { memory: Memory::Own(0), first: 0, rows },
                });
            }
        }
    }

    /// The dispatches of all phases.
    fn actions(&self) -> Result<Schedule> {
        let mut actions = Vec::new();
        let phases = self.phases.iter().copied().max().unwrap_or(0).max(self.last);
        for phase in 0..=phases {
            let place = |node: Node| {
                let here = match self.origins[node.index()] {
                    Origin::Free => true,
                    Origin::Run => self.phases[node.index()] == phase,
                    Origin::Input | Origin::Product(_) => false,
                };
                self.places[node.index()].filter(|_| !here)
            };
            let Frame { way, seats, .. } = self.frame;
            let printer = Printer { program: self.program, way, wide: self.wide, place: &place, seats };
            actions.extend(printer.print(&self.targets(phase))?.into_iter().map(Action::Run));
            for draft in self.products.iter().filter(|draft| self.phases[draft.node.index()] == phase) {
                actions.push(Action::Product(self.product(draft)?));
            }
        }
        let outputs = self.program.outputs().iter().skip(usize::from(self.frame.result));
        let outputs = outputs.map(|output| self.place(*output)).collect::<Result<_>>()?;
        Ok(Schedule { actions, widths: self.widths, outputs })
    }

    /// What the run of a phase stores.
    fn targets(&self, phase: usize) -> Vec<Target> {
        let stored = |node: &Node| self.is_stored(*node) && self.stored_in(*node) == phase;
        let nodes = self.program.operations().map(|(node, _)| node).filter(stored);
        let mut targets: Vec<Target> =
            nodes.filter_map(|node| Some(Target { node, place: self.places[node.index()]? })).collect();
        if let Some(node) = self.result() {
            let at = if self.is_run(node) { self.phases[node.index()] } else { self.last };
            let place = Place { memory: Memory::Result, first: 0, rows: self.program.rows(node) };
            targets.extend((at == phase).then_some(Target { node, place }));
        }
        targets
    }

    fn product(&self, draft: &Draft) -> Result<Product> {
        let (kind, x, block): (Kind, Node, Block) = match *self.program.operation(draft.node) {
            Operation::Dense { x, block, affine: true } => (Kind::Affine, x, block),
            Operation::Dense { x, block, affine: false } => (Kind::Linear, x, block),
            Operation::Transposed { z_bar, block } => (Kind::Transposed, z_bar, block),
            ref other => return Err(Error::argument("Field", other.name(), "it is no product")),
        };
        let activation = match self.program.operation(draft.value) {
            Operation::Map(f, _) => f.activation().unwrap_or(Activation::Identity),
            _ => Activation::Identity,
        };
        Ok(Product {
            kind,
            layer: Layer { activation, ..block.layer() },
            from: self.place(x)?,
            to: self.place(draft.value)?,
            slope: draft.slope.map(|slope| self.place(slope)).transpose()?,
        })
    }

    /// Where a value is that something needs, and so has a place.
    fn place(&self, node: Node) -> Result<Place> {
        let reason = || format!("no place for a value of {}", self.program.operation(node).name());
        self.places[node.index()].ok_or_else(|| Error::Device { reason: reason() })
    }
}
