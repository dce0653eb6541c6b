//! [`Tree`]: the way down a cell's tree of midpoints, for one channel or for many at once.

use super::cell::CELL;
use crate::math::low;

/// A cell's tree. Whoever says how increments are drawn, halved and joined is told those over any ticks of the cell.
///
/// Joining increments to nothing is not left to arithmetic, which would round.
pub(crate) trait Tree {
    /// Increments over an interval: of a channel, or of the lanes of a tile.
    type Increments: Clone;

    /// Draws those over the cell.
    fn whole(&self) -> Self::Increments;

    /// Replaces those over a node of so many ticks by those over its first half, and returns those over the second.
    fn halve(&self, node: u32, ticks: u32, increments: &mut Self::Increments) -> Self::Increments;

    /// Appends those over the next `after` ticks to those over `before` ticks.
    fn join(&self, sum: &mut Self::Increments, before: u32, other: &Self::Increments, after: u32);

    /// From tick `a` of the cell to its tick `b`, which comes later.
    fn between(&self, a: u32, b: u32) -> Self::Increments {
        let mut node = root(self);
        while (node.from, node.to) != (a, b) {
            let second = halves(self, &mut node);
            if a >= second.from {
                node = second;
            } else if b > node.to {
                let (head, tail) = (suffix(self, node, a), prefix(self, second, b));
                return append(self, Some(head), tail).increments;
            }
        }
        node.increments
    }

    /// Those from the cell's start to tick `at`, if there is a tick before it, and from there to the cell's end.
    fn cut(&self, at: u32) -> (Option<Self::Increments>, Self::Increments) {
        let mut node = root(self);
        let (mut before, mut after) = (None, None);
        // The node covers what is between the two.
        while node.from != at {
            let second = halves(self, &mut node);
            if at >= second.from {
                before = Some(append(self, before, node.part()));
                node = second;
            } else {
                after = Some(prepend(self, second.part(), after));
            }
        }
        (before.map(|part| part.increments), prepend(self, node.part(), after).increments)
    }
}

/// Increments over the ticks from one to another, cell by cell; `None` where there is no tick between them. `part` has
/// those from a cell's tick to another tick of it, and `join` appends as [`Tree::join`] does.
#[inline]
pub(crate) fn across<I>(
    from: u64,
    to: u64,
    mut part: impl FnMut(u32, u32, u32) -> I,
    mut join: impl FnMut(&mut I, u64, &I, u64),
) -> Option<I> {
    let cell = u64::from(CELL);
    let (mut sum, mut at) = (None, from);
    while at < to {
        let start = at / cell * cell;
        let end = to.min(start + cell);
        let next = part(low(at / cell), low(at - start), low(end - start));
        match &mut sum {
            None => sum = Some(next),
            Some(sum) => join(sum, at - from, &next, end - at),
        }
        at = end;
    }
    sum
}

/// A node of the tree.
#[derive(Clone)]
struct Node<I> {
    /// In heap order, the root 1.
    index: u32,
    /// The ticks it covers, from and to.
    from: u32,
    to: u32,
    increments: I,
}

impl<I> Node<I> {
    fn part(self) -> Part<I> {
        Part { ticks: self.to - self.from, increments: self.increments }
    }
}

/// Increments over so many ticks.
struct Part<I> {
    ticks: u32,
    increments: I,
}

fn root<T: Tree + ?Sized>(tree: &T) -> Node<T::Increments> {
    Node { index: 1, from: 0, to: CELL, increments: tree.whole() }
}

/// Replaces a node by its first half and returns the second.
fn halves<T: Tree + ?Sized>(tree: &T, node: &mut Node<T::Increments>) -> Node<T::Increments> {
    let increments = tree.halve(node.index, node.to - node.from, &mut node.increments);
    let middle = node.from + (node.to - node.from) / 2;
    let second = Node { index: 2 * node.index + 1, from: middle, to: node.to, increments };
    (node.index, node.to) = (2 * node.index, middle);
    second
}

fn append<T: Tree + ?Sized>(
    tree: &T,
    sum: Option<Part<T::Increments>>,
    next: Part<T::Increments>,
) -> Part<T::Increments> {
    let Some(mut sum) = sum else { return next };
    tree.join(&mut sum.increments, sum.ticks, &next.increments, next.ticks);
    sum.ticks += next.ticks;
    sum
}

fn prepend<T: Tree + ?Sized>(
    tree: &T,
    first: Part<T::Increments>,
    sum: Option<Part<T::Increments>>,
) -> Part<T::Increments> {
    match sum {
        None => first,
        Some(sum) => append(tree, Some(first), sum),
    }
}

/// From tick `a` to the node's end.
fn suffix<T: Tree + ?Sized>(tree: &T, mut node: Node<T::Increments>, a: u32) -> Part<T::Increments> {
    let mut sum = None;
    while node.from != a {
        let second = halves(tree, &mut node);
        if a >= second.from {
            node = second;
        } else {
            sum = Some(prepend(tree, second.part(), sum));
        }
    }
    prepend(tree, node.part(), sum)
}

/// From the node's start to tick `b`.
fn prefix<T: Tree + ?Sized>(tree: &T, mut node: Node<T::Increments>, b: u32) -> Part<T::Increments> {
    let mut sum = None;
    while node.to != b {
        let second = halves(tree, &mut node);
        if b > node.to {
            sum = Some(append(tree, sum, node.part()));
            node = second;
        }
    }
    append(tree, sum, node.part())
}
