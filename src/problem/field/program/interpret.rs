//! A slow interpreter of programs, from the definitions: any number that has the operations, one trajectory. It shares
//! nothing with the engines, nor with the passes.

use super::Program;
use super::function::Function;
use super::linearize::{Gradient, Linearized};
use super::operation::{Arithmetic, Operation, Source};

/// A number with derivatives along some directions, or without.
pub(crate) trait Ring: Copy + std::fmt::Debug {
    fn constant(x: f64) -> Self;
    fn map(self, f: Function) -> Self;
    /// `f'` at the number.
    fn slope(self, f: Function) -> Self;
    fn zip(self, op: Arithmetic, other: Self) -> Self;
}

impl Ring for f64 {
    fn constant(x: f64) -> Self {
        x
    }

    fn map(self, f: Function) -> Self {
        f.definition(self).0
    }

    fn slope(self, f: Function) -> Self {
        f.definition(self).1
    }

    fn zip(self, op: Arithmetic, other: Self) -> Self {
        op.apply(self, other)
    }
}

/// The outputs of a program, one after the other, with parameters `theta`; `input` gives the rows of a source.
pub(crate) fn interpret<T: Ring>(program: &Program, theta: &[T], input: impl Fn(Source) -> Vec<T>) -> Vec<Vec<T>> {
    let mut values: Vec<Vec<T>> = Vec::with_capacity(program.len());
    for (node, operation) in program.operations() {
        let value: Vec<T> = match operation {
            Operation::Input { source, .. } => input(*source),
            Operation::Literal(numbers) => numbers.iter().map(|number| T::constant(number.0)).collect(),
            Operation::Parameter { offset, rows } => theta[*offset..offset + rows].to_vec(),
            Operation::Dense { x, block, affine } => {
                let mut x = values[x.index()].clone();
                if *affine {
                    x.extend(block.time.then(|| input(Source::Time)[0]));
                    x.push(T::constant(1.0));
                }
                let weight = |i: usize, o: usize| theta[block.offset + i * block.outputs + o];
                (0..block.outputs).map(|o| sum(x.iter().enumerate().map(|(i, x)| product(*x, weight(i, o))))).collect()
            }
            Operation::Transposed { z_bar, block } => {
                let z_bar = &values[z_bar.index()];
                let weight = |i: usize, o: usize| theta[block.offset + i * block.outputs + o];
                let row = |i: usize| sum(z_bar.iter().enumerate().map(|(o, z)| product(*z, weight(i, o))));
                (0..block.inputs).map(row).collect()
            }
            Operation::Map(f, x) => values[x.index()].iter().map(|x| x.map(*f)).collect(),
            Operation::Slope(f, x) => values[x.index()].iter().map(|x| x.slope(*f)).collect(),
            Operation::Zip(op, a, b) => {
                let (a, b) = (&values[a.index()], &values[b.index()]);
                let at = |rows: &[T], i: usize| rows[if rows.len() == 1 { 0 } else { i }];
                (0..program.rows(node)).map(|i| at(a, i).zip(*op, at(b, i))).collect()
            }
            Operation::Rows { x, first, count } => values[x.index()][*first..first + count].to_vec(),
            Operation::Stack(parts) => parts.iter().flat_map(|part| values[part.index()].clone()).collect(),
            Operation::Repeat { x, count } => vec![values[x.index()][0]; *count],
            Operation::Sum(x) => vec![sum(values[x.index()].iter().copied())],
            Operation::Dot(a, b) => {
                vec![sum(values[a.index()].iter().zip(&values[b.index()]).map(|(a, b)| product(*a, *b)))]
            }
        };
        debug_assert_eq!(value.len(), program.rows(node), "rows of {operation:?}");
        values.push(value);
    }
    program.outputs().iter().map(|output| values[output.index()].clone()).collect()
}

/// What a cotangent of a program's values comes to.
#[derive(Clone, Debug)]
pub(crate) struct Cotangents {
    /// Of the parameters.
    pub(crate) theta: Vec<f64>,
    /// Of the inputs that have one: what the program does not read has none.
    pub(crate) inputs: Vec<(Source, Vec<f64>)>,
}

impl Cotangents {
    /// That of an input of so many rows.
    pub(crate) fn of(&self, source: Source, rows: usize) -> Vec<f64> {
        let found = self.inputs.iter().find(|(of, _)| *of == source);
        found.map_or_else(|| vec![0.0; rows], |(_, bar)| bar.clone())
    }
}

impl Linearized {
    /// The vector-Jacobian product with a cotangent of the program's values, one below the other.
    pub(crate) fn pull_back(&self, theta: &[f64], input: impl Fn(Source) -> Vec<f64>, cotangent: &[f64]) -> Cotangents {
        let forward = interpret(&self.forward, theta, &input);
        let kept = &forward[self.values..];
        let backward = interpret(&self.backward, theta, |source| match source {
            Source::Cotangent => cotangent.to_vec(),
            Source::Kept(n) => kept[n].clone(),
            _ => input(source),
        });
        let mut sum = vec![0.0; theta.len()];
        for gradient in &self.gradients {
            let (offset, part) = match *gradient {
                Gradient::Rows { offset, bar } => (offset, backward[bar].clone()),
                Gradient::Block { block, affine, x, z_bar } => {
                    let mut x = kept[x].clone();
                    if affine {
                        x.extend(block.time.then(|| input(Source::Time)[0]));
                        x.push(1.0);
                    }
                    (block.offset, x.iter().flat_map(|x| backward[z_bar].iter().map(move |z| x * z)).collect())
                }
            };
            for (sum, part) in sum[offset..].iter_mut().zip(part) {
                *sum += part;
            }
        }
        Cotangents { theta: sum, inputs: self.inputs.iter().copied().zip(backward).collect() }
    }
}

fn product<T: Ring>(a: T, b: T) -> T {
    a.zip(Arithmetic::Mul, b)
}

fn sum<T: Ring>(terms: impl Iterator<Item = T>) -> T {
    terms.fold(T::constant(0.0), |sum, term| sum.zip(Arithmetic::Add, term))
}
