//! Equations as text: [`Field::parse`] and [`Problem::parse`].
//!
//! Tokens ([`token`]) become statements ([`parser`], [`syntax`]), names get their meaning ([`names`]), and the builder of
//! fields writes what they say ([`write`]). Nothing here recurses deeper than the parser allows itself, so that no text
//! takes a stack's end.

mod names;
mod parser;
mod place;
mod print;
mod syntax;
#[cfg(test)]
mod tests;
mod token;
mod write;

use std::collections::HashSet;

use super::{Calculus, Diffusion, Field, Problem};
use crate::error::{Error, Result};
use names::Names;
use place::{Fault, line_of};
use syntax::{Definition, Equation, Meaning, Named, Text};

/// Bytes that a text may have. A longer one is no text of equations.
const MAX_TEXT: usize = 1 << 20;

impl Field {
    /// A vector field from its equations, a line each; or with `input` and `output` any map, an encoder or a head.
    ///
    /// ```
    /// use fewsteps::Field;
    ///
    /// # fn main() -> fewsteps::Result<()> {
    /// let field = Field::parse("
    ///     state prey, hunters
    ///     positive parameter a = 1.1, b = 0.4
    ///     network friction = mlp(1, 16, 1) tanh
    ///     let meet = prey * hunters
    ///     prey' = a*prey - b*meet
    ///     hunters' = 0.1*meet - 0.4*hunters + friction(hunters)
    /// ")?;
    /// assert_eq!(field.group("friction").map(|group| group.range()), Some(2..51));
    ///
    /// let slip = Field::parse("prey' = 1.1*pray").unwrap_err().to_string();
    /// assert!(slip.starts_with("line 1, column 13: unknown name `pray`: did you mean `prey`?"), "{slip}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// | line | what it says |
    /// |---|---|
    /// | `y' = -0.5*y` | the derivative of a state, one line each |
    /// | `state x, v, y[64]` | states in their order, `y` of 64 rows; without such a line, the order of the equations, a row each |
    /// | `parameter a = 1.1, w[3] = 0` | parameters and what they start as: a number, as many rows of it, or `[1, 2, 3]` |
    /// | `positive parameter k = 2` | values that are `e^parameter`; `softplus parameter` for `ln(1 + e^parameter)` |
    /// | `frozen parameter g = 9.81` | no gradient; also `frozen network` |
    /// | `network f = mlp(2, 50, 1) relu` | a network, called as `f(x, v)`; further words are an activation (`tanh` if none is said), `output_sigmoid` and so on for one after the last layer, `time` or `time_everywhere`, `cube`, and `glorot_uniform`, `glorot_normal`, `he_uniform` or `he_normal` |
    /// | `control u, wind[2]` | what drives the field |
    /// | `let meet = x * v` | a shorthand, in any order |
    /// | `input x[784]`, `output z = f(x)` | in place of states and their equations: what comes into a map, and what it gives, one below the other |
    /// | `# ...` | a comment |
    ///
    /// Expressions have `+ - * / ^` (powers are whole numbers, or halves of them), the time `t`, `pi` and `e`, rows `y[0]` and
    /// `y[1..3]` (1 and 2, counted from 0), values one below the other `[a, b]`, the functions `abs square cube sqrt recip exp
    /// ln sin cos tanh sigmoid softplus relu silu gelu`, row by row, and `sum mean dot min max repeat`. A single row goes with all rows
    /// of another value. A statement ends with its line or with `;`, unless a bracket is open.
    ///
    /// # Errors
    /// [`Error::Text`] with line and column for what cannot be understood or does not fit; a name that nothing uses is an
    /// error too. [`Error::Argument`] for a text beyond 1 MiB, or parameters beyond 2^30.
    pub fn parse(text: &str) -> Result<Self> {
        let said = read(text)?;
        let noise = said.noise.first().map(|equation| &equation.state.at).or(said.calculus.as_ref().map(|(_, at)| at));
        match noise {
            Some(at) => {
                Err(Fault::new(at, "a field has no noise: read the text as a problem, Problem::parse").error(text))
            }
            None => Ok(written(text, &said)?.0),
        }
    }
}

impl Problem {
    /// A problem on the interval from `t0` to `t1` from its equations: those of [`Field::parse`], and, if it has noise,
    /// lines with `~`.
    ///
    /// `y ~ 0.2*y` is the factor of `y`'s own Wiener process, a line a state; states without one have no noise. `calculus
    /// stratonovich` says that the integral is meant so; it is Itô's otherwise. Drift and noise have parameters of their own.
    ///
    /// ```
    /// use fewsteps::Problem;
    ///
    /// # fn main() -> fewsteps::Result<()> {
    /// let walk = Problem::parse("
    ///     positive parameter pull = 0.5, spread = 0.3
    ///     y' = -pull*y
    ///     y ~ spread
    /// ", 0.0, 1.0)?;
    /// assert!(walk.diffusion.is_some());
    /// assert_eq!(walk.parameter_count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Field::parse`], and of [`Problem::validate`].
    pub fn parse(text: &str, t0: f64, t1: f64) -> Result<Self> {
        let said = read(text)?;
        if let (true, Some((_, at))) = (said.noise.is_empty(), &said.calculus) {
            return Err(Fault::new(at, "there is no noise to have a calculus: write it as `y ~ ...`").error(text));
        }
        let calculus = said.calculus.as_ref().map_or(Calculus::Ito, |(calculus, _)| *calculus);
        let (drift, noise) = written(text, &said)?;
        if let Some(Definition { name, meaning }) = said.definitions.iter().find(|definition| definition.of_map()) {
            let reason = format!(
                "`{}` is an {} of a map, and a problem has states: read the text as a field, Field::parse",
                name.name,
                meaning.kind()
            );
            return Err(Fault::new(&name.at, reason).error(text));
        }
        let problem = match noise {
            Some(noise) => Self::sde(drift, Diffusion::new(noise, calculus), t0, t1),
            None => Self::ode(drift, t0, t1),
        };
        problem.validate()?;
        Ok(problem)
    }
}

/// What a text says, with its states.
fn read(text: &str) -> Result<Text<'_>> {
    if text.len() > MAX_TEXT {
        let remedy = format!("equations are a text of at most {MAX_TEXT} bytes");
        return Err(Error::argument("text", format!("{} bytes", text.len()), remedy));
    }
    let mut said = parser::parse(text).map_err(|fault| fault.error(text))?;
    infer_states(&mut said);
    Ok(said)
}

/// Where no line defines states, equations do.
fn infer_states(said: &mut Text<'_>) {
    if said.definitions.iter().any(|definition| matches!(definition.meaning, Meaning::State { .. })) {
        return;
    }
    let mut seen = HashSet::new();
    let first = said.drift.iter().map(|equation| equation.state.clone()).filter(|state| seen.insert(state.name));
    let states: Vec<_> = first.map(|name| Definition { name, meaning: Meaning::State { rows: 1 } }).collect();
    said.definitions.splice(0..0, states);
}

/// Drift and noise of what a text says.
fn written(text: &str, said: &Text<'_>) -> Result<(Field, Option<Field>)> {
    let check = || {
        let names = Names::of(said, text)?;
        match said.definitions.iter().any(Definition::of_map) {
            true => check_map(said)?,
            false => check_equations(text, said, &names)?,
        }
        let order = names.order(said)?;
        Ok((names, order))
    };
    let (names, order) = check().map_err(|fault: Fault| fault.error(text))?;
    let drift = write::field(text, said, &names, &order.drift, &said.drift)?;
    let noise = match said.noise.is_empty() {
        true => None,
        false => Some(write::field(text, said, &names, &order.noise, &said.noise)?),
    };
    Ok((drift, noise))
}

/// Each state has one equation, and at most one line of noise.
fn check_equations(text: &str, said: &Text<'_>, names: &Names<'_>) -> Result<(), Fault> {
    for (equations, mark) in [(&said.drift, "'"), (&said.noise, " ~")] {
        let mut lines = vec![None; said.definitions.len()];
        for Equation { state, .. } in equations {
            let place = names.state(said, state)?;
            if let Some(before) = lines[place].replace(state.at.start) {
                let (name, line) = (state.name, line_of(text, before));
                return Err(Fault::new(
                    &state.at,
                    format!("`{name}{mark}` is said twice, first in line {line}: keep one"),
                ));
            }
        }
        let missing = |(definition, line): &(&Definition<'_>, Option<usize>)| {
            mark == "'" && line.is_none() && matches!(definition.meaning, Meaning::State { .. })
        };
        if let Some((Definition { name: Named { name, at }, .. }, _)) = said.definitions.iter().zip(lines).find(missing)
        {
            return Err(Fault::new(at, format!("the state `{name}` has no equation: write `{name}' = ...`")));
        }
    }
    check_states(said)
}

/// A map has inputs and outputs, and nothing of what belongs to states.
fn check_map(said: &Text<'_>) -> Result<(), Fault> {
    let of = |name: &Named<'_>, what: &str, remedy: &str| {
        Err(Fault::new(
            &name.at,
            format!("`{}` {what}, and the text has inputs or outputs of a map: {remedy}", name.name),
        ))
    };
    if let Some(Equation { state, .. }) = said.drift.iter().chain(&said.noise).next() {
        return of(state, "has an equation", "write `output ... = ...`, or `state` in place of `input`");
    }
    for Definition { name, meaning } in &said.definitions {
        match meaning {
            Meaning::State { .. } => return of(name, "is a state", "write `input`, or equations of states alone"),
            Meaning::Control { .. } => return of(name, "is a control", "nothing drives it; take it for an input"),
            _ => {}
        }
    }
    let Some(any) = said.definitions.iter().find(|definition| definition.of_map()) else { return Ok(()) };
    let has = |kind| said.definitions.iter().any(|definition| definition.meaning.kind() == kind);
    for (kind, wanted) in [("input", "input x[4]"), ("output", "output z = f(x)")] {
        if !has(kind) {
            return Err(Fault::new(&any.name.at, format!("there is no {kind} to go with it: write `{wanted}`")));
        }
    }
    check_states(said)
}

/// There are states, and not too many rows of them.
fn check_states(said: &Text<'_>) -> Result<(), Fault> {
    let most = super::FieldBuilder::MAX_ROWS;
    let mut total = 0_usize;
    for Definition { name, meaning } in &said.definitions {
        if let Meaning::State { rows } | Meaning::Input { rows } | Meaning::Control { rows } = meaning {
            let state = meaning.state_rows().is_some();
            total = total.saturating_add(if state { *rows } else { 0 });
            if *rows == 0 || *rows > most || total > most {
                let reason =
                    format!("`{}` has {rows} rows: there are 1 to {most}, of all of these together", name.name);
                return Err(Fault::new(&name.at, reason));
            }
        }
    }
    match total {
        0 => Err(Fault::new(&(0..0), "there is no equation: write one a state, as in `y' = -0.5*y`")),
        _ => Ok(()),
    }
}
