//! [`Line`]: one operation on rows of a tile, and the loop that runs a list of them.

use crate::cpu::kernel::activation::formula;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::dispatch::multiversion;
use crate::cpu::kernel::lanes::Lanes;
use crate::math::Real;
use crate::problem::program::function::Function;
use crate::problem::program::operation::Arithmetic;

/// Where rows of numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// What the evaluation works in.
    Scratch,
    /// What a forward evaluation left, on the way back.
    Kept,
    /// The cotangent that is taken back.
    Bar,
    /// Numbers that are the same in all lanes.
    Scalars,
    /// What is asked for: the field's value, or the state's cotangent.
    Output,
}

/// Rows of an operand from `at` on; without `many` the first one again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) room: Room,
    pub(crate) at: usize,
    pub(crate) many: bool,
}

/// What a line computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Copy,
    Map(Function),
    Slope(Function),
    Zip(Arithmetic),
    /// The sum of an operand's rows, into one.
    Sum,
    /// The sum of the products of two operands' rows, into one.
    Dot,
}

/// One operation on `rows` rows of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) code: Code,
    pub(crate) rows: usize,
    pub(crate) operands: [Operand; 2],
    /// Where it goes: [`Room::Scratch`] or [`Room::Output`].
    pub(crate) target: (Room, usize),
}

multiversion! {
    /// Runs lines in their order. Rows are `LANES` long. It is one long function, so that what chooses the instruction set is
    /// called once for many lines, and every operation's loop is compiled for each set.
    pub(crate) fn run<R>(lines: &[Line], scratch: &mut [R], kept: &[R], bar: &[R], scalars: &[R], output: &mut [R]) {
        for line in lines {
            let [a, b] = line.operands;
            // Numbers that are the same in all lanes, as a row.
            let mut splats = [[R::ZERO; LANES]; 2];
            macro_rules! row {
                ($operand:ident, $row:ident, $splat:literal) => {{
                    let at = $operand.at + if $operand.many { $row } else { 0 };
                    if $operand.room == Room::Scalars {
                        splats[$splat] = [scalars[at]; LANES];
                        &splats[$splat]
                    } else {
                        let rows: &[R] = match $operand.room {
                            Room::Scratch => scratch,
                            Room::Kept => kept,
                            Room::Bar => bar,
                            _ => output,
                        };
                        &rows.as_chunks::<LANES>().0[at]
                    }
                }};
            }
            macro_rules! store {
                ($row:expr, $lanes:expr) => {{
                    let (room, at) = line.target;
                    let rows: &mut [R] = if room == Room::Output { output } else { scratch };
                    rows.as_chunks_mut::<LANES>().0[at + $row] = $lanes;
                }};
            }
            macro_rules! rows {
                (|$x:ident| $value:expr) => {
                    for row in 0..line.rows {
                        let mut values = [R::ZERO; LANES];
                        for (value, &$x) in values.iter_mut().zip(row!(a, row, 0)) {
                            *value = $value;
                        }
                        store!(row, values);
                    }
                };
                (|$x:ident, $y:ident| $value:expr) => {
                    for row in 0..line.rows {
                        let mut values = [R::ZERO; LANES];
                        let lefts: Lanes<R> = *row!(a, row, 0);
                        let rights = row!(b, row, 1);
                        for (value, (&$x, &$y)) in values.iter_mut().zip(lefts.iter().zip(rights)) {
                            *value = $value;
                        }
                        store!(row, values);
                    }
                };
            }
            match line.code {
                Code::Copy => rows!(|x| x),
                Code::Map(f) => match f {
                    Function::Neg => rows!(|x| -x),
                    Function::Abs => rows!(|x| x.abs()),
                    Function::Square => rows!(|x| x * x),
                    Function::Cube => rows!(|x| x * x * x),
                    Function::Sqrt => rows!(|x| x.sqrt()),
                    Function::Recip => rows!(|x| R::ONE / x),
                    Function::Exp => rows!(|x| x.exp_full()),
                    Function::Ln => rows!(|x| x.ln()),
                    Function::Sin => rows!(|x| x.sin()),
                    Function::Cos => rows!(|x| x.cos()),
                    Function::Tanh => rows!(|x| formula::tanh(x).0),
                    Function::Sigmoid => rows!(|x| formula::sigmoid(x).0),
                    Function::Softplus => rows!(|x| formula::softplus(x).0),
                    Function::Relu => rows!(|x| formula::relu(x).0),
                    Function::Silu => rows!(|x| formula::silu(x).0),
                    Function::Gelu => rows!(|x| formula::gelu(x).0),
                },
                Code::Slope(f) => match f {
                    Function::Neg => rows!(|_x| -R::ONE),
                    Function::Abs => rows!(|x| sign(x)),
                    Function::Square => rows!(|x| x + x),
                    Function::Cube => rows!(|x| R::from_f64(3.0) * x * x),
                    Function::Sqrt => rows!(|x| R::from_f64(0.5) / x.sqrt()),
                    Function::Recip => rows!(|x| -(R::ONE / (x * x))),
                    Function::Exp => rows!(|x| x.exp_full()),
                    Function::Ln => rows!(|x| R::ONE / x),
                    Function::Sin => rows!(|x| x.cos()),
                    Function::Cos => rows!(|x| -x.sin()),
                    Function::Tanh => rows!(|x| formula::tanh(x).1),
                    Function::Sigmoid => rows!(|x| formula::sigmoid(x).1),
                    Function::Softplus => rows!(|x| formula::softplus(x).1),
                    Function::Relu => rows!(|x| formula::relu(x).1),
                    Function::Silu => rows!(|x| formula::silu(x).1),
                    Function::Gelu => rows!(|x| formula::gelu(x).1),
                },
                Code::Zip(op) => match op {
                    Arithmetic::Add => rows!(|x, y| x + y),
                    Arithmetic::Sub => rows!(|x, y| x - y),
                    Arithmetic::Mul => rows!(|x, y| x * y),
                    Arithmetic::Div => rows!(|x, y| x / y),
                    // A comparison with what is not a number is false: take the sum then.
                    Arithmetic::Min => rows!(|x, y| if y < x { y } else if x <= y { x } else { x + y }),
                    Arithmetic::Max => rows!(|x, y| if y > x { y } else if x >= y { x } else { x + y }),
                },
                Code::Sum => {
                    let mut sum: Lanes<R> = [R::ZERO; LANES];
                    for row in 0..line.rows {
                        for (sum, &x) in sum.iter_mut().zip(row!(a, row, 0)) {
                            *sum += x;
                        }
                    }
                    store!(0, sum);
                }
                Code::Dot => {
                    let mut sum: Lanes<R> = [R::ZERO; LANES];
                    for row in 0..line.rows {
                        let lefts: Lanes<R> = *row!(a, row, 0);
                        for (sum, (&x, &y)) in sum.iter_mut().zip(lefts.iter().zip(row!(b, row, 1))) {
                            *sum = x.mul_add(y, *sum);
                        }
                    }
                    store!(0, sum);
                }
            }
        }
    }
}

#[inline(always)]
fn sign<R: Real>(x: R) -> R {
    if x > R::ZERO {
        R::ONE
    } else if x < R::ZERO {
        -R::ONE
    } else {
        // 0 at 0, and not a number where it is none
        x
    }
}
