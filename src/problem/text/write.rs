//! [`Writer`]: a text's equations, written with the builder of fields.

use super::names::{Called, Meant, Names};
use super::place::{Fault, Span, counted};
use super::syntax::{Act, Definition, Equation, Expression, Meaning, Text};
use crate::error::Result;
use crate::problem::field::Network;
use crate::problem::{Bound, Field, FieldBuilder, Value};

/// The largest power that is written out as products.
const MAX_POWER: f64 = 64.0;

/// The field whose rows are given by one equation a state; where there is none, they are zero. That of a map are its
/// outputs.
pub(super) fn field(
    text: &str,
    said: &Text<'_>,
    names: &Names<'_>,
    order: &[usize],
    equations: &[Equation<'_>],
) -> Result<Field> {
    let mut fault = None;
    let field = Field::build(rows(said), |f| {
        let mut writer = Writer { f, said, names, values: said.definitions.iter().map(|_| None).collect() };
        writer.states();
        let written = writer.definitions(order).and_then(|()| match writer.outputs() {
            outputs if outputs.is_empty() => writer.output(equations),
            outputs => Ok(f.stack(outputs)),
        });
        written.unwrap_or_else(|found| {
            fault = Some(found);
            f.state()
        })
    });
    match fault {
        Some(fault) => Err(fault.error(text)),
        None => field,
    }
}

/// Rows of all states together.
fn rows(said: &Text<'_>) -> usize {
    said.definitions.iter().filter_map(|definition| definition.meaning.state_rows()).sum()
}

/// What a definition is worth.
enum Worth {
    Value(Value),
    Network(Network),
}

struct Writer<'b, 't, 'a> {
    f: &'b FieldBuilder,
    said: &'t Text<'a>,
    names: &'t Names<'a>,
    /// Of each definition that was written.
    values: Vec<Option<Worth>>,
}

impl Writer<'_, '_, '_> {
    /// That the builder refused what was written last, which stands at `at`.
    fn allowed(&self, at: &Span) -> Result<(), Fault> {
        self.f.refusal().map_or(Ok(()), |error| Err(Fault::new(at, error)))
    }

    fn states(&mut self) {
        let state = self.f.state();
        let mut first = 0;
        for (place, definition) in self.said.definitions.iter().enumerate() {
            if let Some(rows) = definition.meaning.state_rows() {
                self.values[place] = Some(Worth::Value(state.slice(first..first + rows)));
                first += rows;
            }
        }
    }

    /// Parameters lie as they stand in the text, whatever is computed first.
    fn definitions(&mut self, order: &[usize]) -> Result<(), Fault> {
        let mut standing = order.to_vec();
        standing.sort_unstable();
        let said = self.said;
        let shorthand = |place: &&usize| said.definitions[**place].meaning.expression().is_some();
        let plain = standing.iter().filter(|place| !shorthand(place));
        for place in plain.chain(order.iter().filter(shorthand)) {
            let definition = &said.definitions[*place];
            if definition.meaning.state_rows().is_none() {
                self.values[*place] = Some(self.definition(definition)?);
                self.allowed(&definition.name.at)?;
            }
        }
        Ok(())
    }

    fn definition(&self, definition: &Definition<'_>) -> Result<Worth, Fault> {
        let name = definition.name.name;
        match &definition.meaning {
            Meaning::State { rows } | Meaning::Input { rows } | Meaning::Control { rows } => {
                Ok(Worth::Value(self.f.controls(name, *rows)))
            }
            Meaning::Let(expression) | Meaning::Output(expression) => self.value(expression).map(Worth::Value),
            Meaning::Parameter { rows, start, bound, frozen } => {
                let numbers = widened(constant(start)?, *rows, name, &start.at)?;
                if let Some(x) = numbers.iter().find(|x| !bound.parameter(**x).is_finite()) {
                    let reason = format!("`{name}` is positive, and would start at {x}: start it above 0");
                    return Err(Fault::new(&start.at, reason));
                }
                let value = match bound {
                    Bound::None => self.f.parameters(name, &numbers),
                    bound => self.f.bounded_parameters(name, &numbers, *bound),
                };
                self.freeze(name, *frozen);
                Ok(Worth::Value(value))
            }
            Meaning::Network { mlp, frozen } => {
                let network = self.f.network(name, mlp);
                self.freeze(name, *frozen);
                Ok(Worth::Network(network))
            }
        }
    }

    fn freeze(&self, name: &str, frozen: bool) {
        if frozen {
            self.f.freeze(name);
        }
    }

    /// The outputs of a map.
    fn outputs(&self) -> Vec<Value> {
        let outputs = self.said.definitions.iter().zip(&self.values).filter_map(|(definition, worth)| match worth {
            Some(Worth::Value(value)) if matches!(definition.meaning, Meaning::Output(_)) => Some(value.clone()),
            _ => None,
        });
        outputs.collect()
    }

    /// The states' equations, one below the other.
    fn output(&self, equations: &[Equation<'_>]) -> Result<Value, Fault> {
        let mut values = vec![None; self.said.definitions.len()];
        for Equation { state, value } in equations {
            let place = self.names.state(self.said, state)?;
            let Meaning::State { rows } = self.said.definitions[place].meaning else { continue };
            let written = self.value(value)?;
            let found = written.rows();
            if found != rows && found != 1 {
                let (has, name) = (counted(found, "row"), state.name);
                return Err(Fault::new(&value.at, format!("this has {has}, and the state `{name}` has {rows}")));
            }
            values[place] = Some(if found == rows { written } else { written.repeat(rows) });
            self.allowed(&value.at)?;
        }
        let parts =
            self.said.definitions.iter().zip(values).filter_map(|(definition, value)| match definition.meaning {
                Meaning::State { rows } => Some(value.unwrap_or_else(|| self.f.literal(&[0.0]).repeat(rows))),
                _ => None,
            });
        Ok(self.f.stack(parts.collect::<Vec<_>>()))
    }

    fn value(&self, expression: &Expression<'_>) -> Result<Value, Fault> {
        let mut stack: Vec<Value> = Vec::new();
        for step in &expression.steps {
            let value = self.step(&step.act, &step.at, &mut stack)?;
            self.allowed(&step.at)?;
            stack.push(value);
        }
        stack.pop().ok_or_else(|| Fault::new(&expression.at, "there is no value here"))
    }

    /// The value of a step, whose operands it takes from the stack.
    fn step(&self, act: &Act<'_>, at: &Span, stack: &mut Vec<Value>) -> Result<Value, Fault> {
        let mut pop = || stack.pop().ok_or_else(|| Fault::new(at, "an operand is missing"));
        Ok(match act {
            Act::Number(x) => self.f.literal(&[*x]),
            Act::Name(name) => match self.names.value(self.said, name, at)? {
                Meant::Time => self.f.time(),
                Meant::Constant(x) => self.f.literal(&[x]),
                Meant::Defined(place) => match &self.values[place] {
                    Some(Worth::Value(value)) => value.clone(),
                    _ => return Err(Fault::new(at, format!("`{name}` has no value here"))),
                },
            },
            Act::Rows { first, count } => pop()?.slice(*first..first.saturating_add(*count)),
            Act::Negate => -pop()?,
            Act::Arithmetic(op) => {
                let (b, a) = (pop()?, pop()?);
                a.zip(*op, &b)
            }
            Act::Power => {
                let (exponent, base) = (pop()?, pop()?);
                power(&base, &self.exponent(&exponent, at)?, at)?
            }
            Act::Stack(count) => self.f.stack(taken(stack, *count)),
            Act::Call(name, count) => {
                let arguments = taken(stack, *count);
                self.call(self.names.called(self.said, name, *count, at)?, name, &arguments, at)?
            }
        })
    }

    fn exponent(&self, exponent: &Value, at: &Span) -> Result<f64, Fault> {
        match self.f.numbers(exponent).as_deref() {
            Some([exponent]) => Ok(*exponent),
            _ => Err(Fault::new(at, "an exponent is one number: write a^b as exp(b * ln(a)), for a above 0")),
        }
    }

    fn call(&self, called: Called, name: &str, arguments: &[Value], at: &Span) -> Result<Value, Fault> {
        let [first, rest @ ..] = arguments else { return Err(Fault::new(at, "an argument is missing")) };
        Ok(match (called, rest) {
            (Called::Map(f), _) => first.map(f),
            (Called::Sum, _) => first.sum(),
            (Called::Mean, _) => first.mean(),
            (Called::Dot, [second, ..]) => first.dot(second),
            (Called::Dot, []) => return Err(Fault::new(at, "an argument is missing")),
            (Called::Repeat, rest) => match rest.first().and_then(|count| self.f.numbers(count)).as_deref() {
                Some([count]) if count.fract() == 0.0 && (1.0..=FieldBuilder::MAX_ROWS as f64).contains(count) => {
                    first.repeat(*count as usize)
                }
                _ => {
                    let reason =
                        format!("repeat takes a whole number from 1 to {}, as in repeat(x, 3)", FieldBuilder::MAX_ROWS);
                    return Err(Fault::new(at, reason));
                }
            },
            (Called::Min, rest) => rest.iter().fold(first.clone(), |least, value| least.min(value)),
            (Called::Max, rest) => rest.iter().fold(first.clone(), |most, value| most.max(value)),
            (Called::Network(place), _) => {
                let Some(Worth::Network(network)) = &self.values[place] else {
                    return Err(Fault::new(at, format!("`{name}` has no value here")));
                };
                let x = self.f.stack(arguments.iter().cloned());
                let (wanted, found) = (network.inputs(), x.rows());
                if wanted != found {
                    let reason = format!("`{name}` takes {}; here it has {found}", counted(wanted, "row"));
                    return Err(Fault::new(at, reason));
                }
                self.f.applied(network, &x)
            }
        })
    }
}

/// The last values of a stack.
fn taken(stack: &mut Vec<Value>, count: usize) -> Vec<Value> {
    stack.split_off(stack.len().saturating_sub(count))
}

/// `base^exponent` by products, quotients and roots.
fn power(base: &Value, exponent: &f64, at: &Span) -> Result<Value, Fault> {
    let twice = 2.0 * exponent;
    if twice.fract() != 0.0 || exponent.abs() > MAX_POWER {
        let reason = format!(
            "the exponent {exponent} is no whole number or half of one up to {MAX_POWER}: write a^b as exp(b * ln(a)), for a above 0"
        );
        return Err(Fault::new(at, reason));
    }
    let whole = exponent.abs().floor() as u32;
    let root = exponent.fract() != 0.0;
    let value = match (root, whole) {
        (true, 0) => base.sqrt(),
        (true, whole) => product(base, whole) * base.sqrt(),
        (false, whole) => product(base, whole),
    };
    Ok(if *exponent < 0.0 { value.recip() } else { value })
}

/// A power by squares and cubes.
fn product(base: &Value, exponent: u32) -> Value {
    match exponent {
        0 => base * 0.0 + 1.0,
        1 => base.clone(),
        2 => base.square(),
        3 => base.cube(),
        even if even % 2 == 0 => product(base, even / 2).square(),
        odd => product(base, odd - 1) * base,
    }
}

/// The numbers that an expression comes to which reads nothing that a text defines.
fn constant(expression: &Expression<'_>) -> Result<Vec<f64>, Fault> {
    let said = Text::default();
    let names = Names::none();
    let mut numbers = Err(Fault::new(&expression.at, "parameters start as numbers that are known, and finite"));
    let _ = Field::build(1, |f| {
        let writer = Writer { f, said: &said, names: &names, values: Vec::new() };
        match writer.value(expression) {
            Ok(value) => {
                if let Some(known) = f.numbers(&value) {
                    numbers = Ok(known);
                }
            }
            Err(fault) => numbers = Err(fault),
        }
        f.state()
    });
    numbers
}

/// A number for each row of a parameter.
fn widened(numbers: Vec<f64>, rows: Option<usize>, name: &str, at: &Span) -> Result<Vec<f64>, Fault> {
    match rows {
        Some(rows) if numbers.len() == 1 && rows <= FieldBuilder::MAX_ROWS => Ok(vec![numbers[0]; rows]),
        Some(rows) if rows != numbers.len() => {
            let (found, most) = (counted(numbers.len(), "number"), FieldBuilder::MAX_ROWS);
            let reason = format!("`{name}` has {}, of at most {most}, and starts as {found}", counted(rows, "row"));
            Err(Fault::new(at, reason))
        }
        _ => Ok(numbers),
    }
}
