//! [`Names`]: what the names of a text mean, and in what order their values can be computed.

use std::collections::HashMap;

use super::place::{Fault, Span, line_of, meant};
use super::syntax::{Act, Definition, Equation, Expression, Meaning, Named, Text};
use crate::problem::program::function::Function;

/// The time.
const TIME: &str = "t";

/// Numbers with names, which a text may give another meaning.
const CONSTANTS: [(&str, f64); 2] = [("pi", std::f64::consts::PI), ("e", std::f64::consts::E)];

/// A function of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// Of one value, row by row.
    Map(Function),
    Sum,
    Mean,
    Dot,
    Min,
    Max,
    /// A single row, so many times.
    Repeat,
    /// The network of a definition.
    Network(usize),
}

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meant {
    Time,
    Constant(f64),
    /// That of a definition.
    Defined(usize),
}

/// The names of a text.
#[derive(Debug)]
pub(super) struct Names<'a> {
    places: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    /// No names but those that every text has.
    pub(super) fn none() -> Self {
        Self { places: HashMap::new() }
    }

    /// Those that a text defines, each once.
    pub(super) fn of(said: &Text<'a>, text: &str) -> Result<Self, Fault> {
        let mut places = HashMap::new();
        for (place, Definition { name, .. }) in said.definitions.iter().enumerate() {
            let Named { name, at } = name;
            if *name == TIME {
                return Err(Fault::new(at, "`t` is the time: choose another name"));
            }
            if function(name).is_some() {
                return Err(Fault::new(at, format!("`{name}` is a function: choose another name")));
            }
            if let Some(before) = places.insert(*name, place) {
                let line = line_of(text, said.definitions[before].name.at.start);
                return Err(Fault::new(
                    at,
                    format!("`{name}` is defined twice, first in line {line}: rename one of them"),
                ));
            }
        }
        Ok(Self { places })
    }

    /// The definition of a state that an equation is of.
    pub(super) fn state(&self, said: &Text<'a>, state: &Named<'a>) -> Result<usize, Fault> {
        let Named { name, at } = state;
        let Some(place) = self.places.get(name) else {
            let states = said.definitions.iter().filter(|d| matches!(d.meaning, Meaning::State { .. }));
            let near = meant(name, states.map(|d| d.name.name));
            return Err(Fault::new(at, format!("`{name}` is no state{near} States are defined by `state {name}`")));
        };
        match said.definitions[*place].meaning.kind() {
            "state" => Ok(*place),
            kind => Err(Fault::new(at, format!("`{name}` is a {kind}: equations are of states"))),
        }
    }

    /// What a name means that stands for a value.
    pub(super) fn value(&self, said: &Text<'a>, name: &str, at: &Span) -> Result<Meant, Fault> {
        if let Some(place) = self.places.get(name) {
            return match said.definitions[*place].meaning {
                Meaning::Network { .. } => {
                    Err(Fault::new(at, format!("`{name}` is a network: give it a value, as in {name}(...)")))
                }
                _ => Ok(Meant::Defined(*place)),
            };
        }
        if name == TIME {
            return Ok(Meant::Time);
        }
        if let Some((_, x)) = CONSTANTS.iter().find(|(constant, _)| *constant == name) {
            return Ok(Meant::Constant(*x));
        }
        if function(name).is_some() {
            return Err(Fault::new(at, format!("`{name}` is a function: give it a value, as in {name}(...)")));
        }
        let known = self.places.keys().copied().chain(CONSTANTS.map(|(name, _)| name));
        Err(Fault::new(at, format!("unknown name `{name}`{}", meant(name, known))))
    }

    /// What a name means that has arguments.
    pub(super) fn called(&self, said: &Text<'a>, name: &str, count: usize, at: &Span) -> Result<Called, Fault> {
        if let Some(place) = self.places.get(name) {
            return match said.definitions[*place].meaning.kind() {
                "network" => Ok(Called::Network(*place)),
                kind => {
                    let reason = format!("`{name}` is a {kind}, no function: a product is written `{name} * (...)`");
                    Err(Fault::new(at, reason))
                }
            };
        }
        let Some(called) = function(name) else {
            let networks = said.definitions.iter().filter(|d| matches!(d.meaning, Meaning::Network { .. }));
            let known = networks.map(|d| d.name.name).chain(functions().map(|(name, _)| name));
            let hint = instead(name).map_or_else(|| meant(name, known), str::to_owned);
            return Err(Fault::new(at, format!("unknown function `{name}`{hint}")));
        };
        let (fits, wanted) = match called {
            Called::Map(_) | Called::Sum | Called::Mean => (count == 1, "one value; several are one as [a, b]"),
            Called::Dot => (count == 2, "two values"),
            Called::Repeat => (count == 2, "a value of one row, and how often"),
            _ => (count >= 2, "two values or more"),
        };
        if fits { Ok(called) } else { Err(Fault::new(at, format!("{name} takes {wanted}; here it has {count}"))) }
    }

    /// The definitions that an expression reads.
    fn read(&self, said: &Text<'a>, expression: &Expression<'a>) -> Result<Vec<usize>, Fault> {
        let mut read = Vec::new();
        for step in &expression.steps {
            match step.act {
                Act::Name(name) => match self.value(said, name, &step.at)? {
                    Meant::Defined(place) => read.push(place),
                    Meant::Time | Meant::Constant(_) => {}
                },
                Act::Call(name, count) => {
                    if let Called::Network(place) = self.called(said, name, count, &step.at)? {
                        read.push(place);
                    }
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// What each shorthand and output reads; of other definitions, nothing.
    fn reads(&self, said: &Text<'a>) -> Result<Vec<Vec<usize>>, Fault> {
        let read = |definition: &Definition<'a>| match definition.meaning.expression() {
            Some(expression) => self.read(said, expression),
            None => Ok(Vec::new()),
        };
        said.definitions.iter().map(read).collect()
    }

    /// The definitions in an order in which each one's value follows those that it reads, and which of them drift and noise
    /// need.
    ///
    /// # Errors
    /// Names that are unknown, that are defined by themselves, or that nothing needs.
    pub(super) fn order(&self, said: &Text<'a>) -> Result<Order, Fault> {
        let reads = self.reads(said)?;
        let needed = |equations: &[Equation<'a>], mut open: Vec<usize>| {
            let mut needed = vec![false; reads.len()];
            for equation in equations {
                open.extend(self.read(said, &equation.value)?);
            }
            while let Some(place) = open.pop() {
                if !std::mem::replace(&mut needed[place], true) {
                    open.extend(&reads[place]);
                }
            }
            Ok(needed)
        };
        let order = sorted(said, &reads)?;
        let outputs = (0..reads.len()).filter(|place| matches!(said.definitions[*place].meaning, Meaning::Output(_)));
        let (drift, noise) = (needed(&said.drift, outputs.collect())?, needed(&said.noise, Vec::new())?);
        let of = |needed: &[bool]| order.iter().copied().filter(|place| needed[*place]).collect();
        let all = Order { drift: of(&drift), noise: of(&noise) };
        let mut read = vec![false; reads.len()];
        reads.iter().flatten().for_each(|place| read[*place] = true);
        for (place, Definition { name: Named { name, at }, meaning }) in said.definitions.iter().enumerate() {
            let kind = meaning.kind();
            if meaning.state_rows().is_some() {
                continue;
            }
            if !drift[place] && !noise[place] && !read[place] {
                let reason =
                    format!("nothing uses the {kind} `{name}`: use it, or take it away (`#` begins a comment)");
                return Err(Fault::new(at, reason));
            }
            if drift[place] && noise[place] && matches!(kind, "parameter" | "network") {
                let reason = format!(
                    "drift and noise both use the {kind} `{name}`, and have parameters of their own: define one for each"
                );
                return Err(Fault::new(at, reason));
            }
        }
        Ok(all)
    }
}

/// Definitions in the order in which they are computed.
#[derive(Debug)]
pub(super) struct Order {
    /// Those that the drift needs.
    pub(super) drift: Vec<usize>,
    /// Those that the noise needs.
    pub(super) noise: Vec<usize>,
}

/// The definitions, each after those that it reads; otherwise as they stand in the text.
fn sorted(said: &Text<'_>, reads: &[Vec<usize>]) -> Result<Vec<usize>, Fault> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; reads.len()];
    let mut order = Vec::with_capacity(reads.len());
    // A definition, and how many of those that it reads were looked at. A chain may be as long as the text.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for root in 0..reads.len() {
        if marks[root] == Mark::New {
            marks[root] = Mark::Open;
            path.push((root, 0));
        }
        while let Some((place, looked)) = path.last_mut() {
            let place = *place;
            let Some(next) = reads[place].get(*looked).copied() else {
                marks[place] = Mark::Done;
                order.push(place);
                path.pop();
                continue;
            };
            *looked += 1;
            match marks[next] {
                Mark::New => {
                    marks[next] = Mark::Open;
                    path.push((next, 0));
                }
                Mark::Open => return Err(circle(said, &path, next)),
                Mark::Done => {}
            }
        }
    }
    Ok(order)
}

/// That a shorthand is defined by itself, and by which way.
fn circle(said: &Text<'_>, path: &[(usize, usize)], first: usize) -> Fault {
    const SHOWN: usize = 8;
    let name = |place: usize| said.definitions[place].name.name;
    let start = path.iter().position(|(place, _)| *place == first).unwrap_or(0);
    let mut names: Vec<&str> = path[start..].iter().map(|(place, _)| name(*place)).collect();
    if names.len() > SHOWN {
        names.truncate(SHOWN);
        names.push("...");
    }
    names.push(name(first));
    let reason = format!("`{}` is defined by itself: {}", name(first), names.join(" -> "));
    Fault::new(&said.definitions[first].name.at, reason)
}

/// Functions that are not applied row by row.
const OF_ROWS: [(&str, Called); 6] = [
    ("sum", Called::Sum),
    ("mean", Called::Mean),
    ("dot", Called::Dot),
    ("min", Called::Min),
    ("max", Called::Max),
    ("repeat", Called::Repeat),
];

/// Functions that every text has.
fn functions() -> impl Iterator<Item = (&'static str, Called)> {
    Function::ALL.into_iter().map(|f| (f.name(), Called::Map(f))).chain(OF_ROWS)
}

fn function(name: &str) -> Option<Called> {
    functions().find(|(other, _)| *other == name).map(|(_, called)| called)
}

/// Whether a text may give a name a meaning of its own.
pub(super) fn is_free(name: &str) -> bool {
    name != TIME && function(name).is_none()
}

/// What to write for a function that other languages have.
fn instead(name: &str) -> Option<&'static str> {
    Some(match name {
        "log" => ": the natural logarithm is ln",
        "log10" | "log2" => ": write ln(x) / ln(10)",
        "tan" => ": write sin(x) / cos(x)",
        "sinh" => ": write 0.5 * (exp(x) - exp(-x))",
        "cosh" => ": write 0.5 * (exp(x) + exp(-x))",
        "pow" | "power" => ": powers are written x^2",
        "cbrt" => ": write exp(ln(x) / 3)",
        "swish" => ": it is called silu",
        "logistic" | "expit" => ": it is called sigmoid",
        "norm" => ": write sqrt(sum(square(x)))",
        _ => return None,
    })
}
