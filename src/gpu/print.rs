//! Operations of programs as WGSL text, one row at a time. Operands are expressions; the functions are those of
//! `shaders/lib/functions.wgsl`, which a kernel has with [`OF_PROGRAMS`](super::kernel::OF_PROGRAMS).

use super::kernel::literal;
use crate::error::{Error, Result};
use crate::problem::program::Program;
use crate::problem::program::function::Function;
use crate::problem::program::operation::{Arithmetic, Number, Operation};

/// `f(x)`.
pub(crate) fn map(f: Function, x: &str) -> String {
    format!("map_{}({x})", f.name())
}

/// `f'(x)`.
pub(crate) fn slope(f: Function, x: &str) -> String {
    format!("slope_{}({x})", f.name())
}

/// `a op b`, in brackets where an operator would be torn apart.
pub(crate) fn zip(op: Arithmetic, a: &str, b: &str) -> String {
    match op {
        Arithmetic::Add | Arithmetic::Sub | Arithmetic::Mul => format!("({a} {} {b})", op.name()),
        Arithmetic::Div => format!("own_divide({a}, {b})"),
        Arithmetic::Min => format!("smaller({a}, {b})"),
        Arithmetic::Max => format!("larger({a}, {b})"),
    }
}

/// A number of a literal, which [`check_literals`] has passed.
pub(crate) fn number(x: Number) -> String {
    literal(x.0)
}

/// Refuses a program with a number that is finite at `f64` and not at `f32`: WGSL has no such literal.
pub(crate) fn check_literals(argument: &'static str, program: &Program) -> Result<()> {
    for (_, operation) in program.operations() {
        let Operation::Literal(numbers) = operation else { continue };
        if let Some(number) = numbers.iter().find(|number| number.0.abs() > f64::from(f32::MAX)) {
            let remedy = "a device computes at f32, which ends at 3.4e38: scale the equation, or use Solver at f64";
            return Err(Error::argument(argument, format!("the number {:e}", number.0), remedy));
        }
    }
    Ok(())
}
