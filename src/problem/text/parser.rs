//! [`parse`]: from tokens to a [`Text`], a statement a line.

use super::place::{Fault, line_of, meant};
use super::syntax::{Act, Definition, Equation, Expression, Meaning, Named, Step, Text};
use super::token::{Kind, Token, tokens};
use crate::problem::field::program::operation::Arithmetic;
use crate::problem::{Activation, Bound, Calculus, Initialization, InputMap, Mlp, TimeInput};

/// How deep brackets, signs and powers may nest: each level is a call, and the stack of a thread is not long.
const MAX_DEPTH: usize = 128;

/// Names that a text may define. Each is an operation or more, of which a program has fewer.
const MAX_DEFINITIONS: usize = 1 << 13;

/// Words that a statement begins with.
const WORDS: [&str; 11] = [
    "state",
    "parameter",
    "network",
    "control",
    "let",
    "input",
    "output",
    "positive",
    "softplus",
    "frozen",
    "calculus",
];

/// What a text says.
pub(super) fn parse(text: &str) -> Result<Text<'_>, Fault> {
    let mut parser = Parser { text, tokens: tokens(text)?, next: 0, open: Vec::new(), depth: 0 };
    let mut said = Text::default();
    loop {
        while parser.peek().kind == Kind::Line {
            parser.advance();
        }
        if parser.peek().kind == Kind::End {
            return Ok(said);
        }
        parser.statement(&mut said)?;
        if !matches!(parser.peek().kind, Kind::Line | Kind::End) {
            return Err(parser.unexpected("an operator or the end of the line"));
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
    /// The brackets that are open.
    open: Vec<Token<'a>>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &Token<'a> {
        &self.tokens[self.next]
    }

    /// The token, which is left behind; the end stays.
    fn advance(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn at_mark(&self, mark: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Mark && token.text == mark
    }

    /// Whether a mark is there, which is left behind then.
    fn takes(&mut self, mark: &str) -> bool {
        let there = self.at_mark(mark);
        if there {
            self.advance();
        }
        there
    }

    fn expect(&mut self, mark: &str) -> Result<Token<'a>, Fault> {
        if self.at_mark(mark) { Ok(self.advance()) } else { Err(self.unexpected(&format!("`{mark}`"))) }
    }

    /// That something else was expected, and which bracket is open.
    fn unexpected(&self, wanted: &str) -> Fault {
        let token = self.peek();
        let found = match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::Line => "the end of the line".to_owned(),
            _ => format!("`{}`", token.text),
        };
        let open = match (token.kind, self.open.last()) {
            (Kind::End, Some(bracket)) => {
                return Fault::new(
                    &bracket.at,
                    format!("`{}` is not closed: expected {wanted} later on", bracket.text),
                );
            }
            (_, Some(bracket)) => {
                format!(" after the `{}` of line {}", bracket.text, line_of(self.text, bracket.at.start))
            }
            _ => String::new(),
        };
        Fault::new(&token.at, format!("expected {wanted}{open}, found {found}"))
    }

    fn name(&mut self, what: &str) -> Result<Named<'a>, Fault> {
        match self.peek().kind {
            Kind::Name => {
                let Token { text: name, at, .. } = self.advance();
                Ok(Named { name, at })
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// A whole number, of rows or widths.
    fn count(&mut self) -> Result<usize, Fault> {
        let token = self.peek();
        if token.kind != Kind::Number {
            return Err(self.unexpected("a whole number"));
        }
        let count = token.text.parse().map_err(|_| {
            Fault::new(&token.at, format!("{} is not a whole number, or beyond all counts", shortened(token.text)))
        })?;
        self.advance();
        Ok(count)
    }

    fn opens(&mut self, bracket: &str) -> bool {
        let there = self.at_mark(bracket);
        if there {
            let token = self.advance();
            self.open.push(token);
        }
        there
    }

    fn closes(&mut self, bracket: &str, wanted: &str) -> Result<Token<'a>, Fault> {
        if !self.at_mark(bracket) {
            return Err(self.unexpected(wanted));
        }
        self.open.pop();
        Ok(self.advance())
    }
}

/// Statements.
impl<'a> Parser<'a> {
    fn statement(&mut self, said: &mut Text<'a>) -> Result<(), Fault> {
        let first = self.name("an equation or a definition")?;
        if self.takes("'") {
            self.expect("=")?;
            return self.equation(first).map(|equation| said.drift.push(equation));
        }
        if self.takes("~") {
            return self.equation(first).map(|equation| said.noise.push(equation));
        }
        if self.at_mark("=") {
            let Named { name, at } = first;
            let reason = format!(
                "what is `{name}`? Write `{name}' = ...` for its derivative, or `let {name} = ...` for a shorthand"
            );
            return Err(Fault::new(&at, reason));
        }
        let (mut frozen, mut bound, mut word) = (false, Bound::None, first);
        loop {
            match word.name {
                "frozen" => frozen = true,
                "positive" => bound = Bound::Exp,
                "softplus" => bound = Bound::Softplus,
                _ => break,
            }
            word = self.name("`parameter` or `network`")?;
        }
        let plain = !frozen && bound == Bound::None;
        match word.name {
            "state" if plain => self.list(said, |parser| Ok(Meaning::State { rows: parser.width()?.unwrap_or(1) })),
            "input" if plain => self.list(said, |parser| Ok(Meaning::Input { rows: parser.width()?.unwrap_or(1) })),
            "output" if plain => self.list(said, |parser| {
                parser.expect("=")?;
                parser.expression().map(Meaning::Output)
            }),
            "control" if plain => self.list(said, |parser| Ok(Meaning::Control { rows: parser.width()?.unwrap_or(1) })),
            "let" if plain => self.list(said, |parser| {
                parser.expect("=")?;
                parser.expression().map(Meaning::Let)
            }),
            "parameter" => self.list(said, |parser| {
                let rows = parser.width()?;
                parser.expect("=")?;
                Ok(Meaning::Parameter { rows, start: parser.expression()?, bound, frozen })
            }),
            "network" if bound == Bound::None => self.list(said, |parser| {
                parser.expect("=")?;
                Ok(Meaning::Network { mlp: parser.network()?, frozen })
            }),
            "calculus" if plain => self.calculus(said, &word),
            _ if plain => {
                let reason = format!("`{}` begins no statement{}", word.name, meant(word.name, WORDS));
                Err(Fault::new(
                    &word.at,
                    reason + &format!(" A line is an equation, `y' = ...`, or begins with {}", WORDS[..7].join(", ")),
                ))
            }
            _ => Err(Fault::new(
                &word.at,
                format!(
                    "expected `parameter`{}, found `{}`",
                    if bound == Bound::None { " or `network`" } else { "" },
                    word.name
                ),
            )),
        }
    }

    fn equation(&mut self, state: Named<'a>) -> Result<Equation<'a>, Fault> {
        Ok(Equation { state, value: self.expression()? })
    }

    /// Definitions with commas between them.
    fn list(
        &mut self,
        said: &mut Text<'a>,
        meaning: impl Fn(&mut Self) -> Result<Meaning<'a>, Fault>,
    ) -> Result<(), Fault> {
        loop {
            let name = self.name("a name")?;
            if said.definitions.len() == MAX_DEFINITIONS {
                return Err(Fault::new(
                    &name.at,
                    format!("a text defines {MAX_DEFINITIONS} names at most: use rows of one"),
                ));
            }
            let meaning = meaning(self)?;
            said.definitions.push(Definition { name, meaning });
            if !self.takes(",") {
                return Ok(());
            }
        }
    }

    /// `[64]` after a name.
    fn width(&mut self) -> Result<Option<usize>, Fault> {
        if !self.opens("[") {
            return Ok(None);
        }
        let rows = self.count()?;
        self.closes("]", "`]`")?;
        Ok(Some(rows))
    }

    fn calculus(&mut self, said: &mut Text<'a>, word: &Named<'a>) -> Result<(), Fault> {
        let name = self.name("`ito` or `stratonovich`")?;
        let calculus = match name.name {
            "ito" => Calculus::Ito,
            "stratonovich" => Calculus::Stratonovich,
            other => {
                let reason = format!("`{other}` is no calculus{}", meant(other, ["ito", "stratonovich"]));
                return Err(Fault::new(&name.at, reason + " There are `ito` and `stratonovich`"));
            }
        };
        match said.calculus.replace((calculus, word.at.clone())) {
            None => Ok(()),
            Some(_) => Err(Fault::new(&word.at, "the calculus is said twice: keep one of the lines")),
        }
    }

    /// `mlp(1, 16, 1)`, and words that say more.
    fn network(&mut self) -> Result<Mlp, Fault> {
        let kind = self.name("`mlp(...)`")?;
        if kind.name != "mlp" {
            return Err(Fault::new(&kind.at, format!("`{}` is no network: there is mlp(1, 16, 1)", kind.name)));
        }
        if !self.opens("(") {
            return Err(self.unexpected("`(`"));
        }
        let mut sizes = vec![self.count()?];
        while self.takes(",") {
            sizes.push(self.count()?);
        }
        let end = self.closes(")", "`,` or `)`")?;
        let mlp = Mlp::new(sizes);
        if let Err(error) = mlp.validate() {
            return Err(Fault::new(&(kind.at.start..end.at.end), error.unnamed()));
        }
        self.options(mlp)
    }

    /// Words that say more of a network, each kind once.
    fn options(&mut self, mut mlp: Mlp) -> Result<Mlp, Fault> {
        let mut said = [false; 5];
        while self.peek().kind == Kind::Name {
            let word = self.name("a word")?;
            let named = |name: &str| Activation::ALL.into_iter().zip(ACTIVATIONS).find(|(_, known)| *known == name);
            let (activation, output) = (named(word.name), word.name.strip_prefix(OUTPUT).and_then(named));
            let weights = INITIALIZATIONS.into_iter().find(|(name, _)| *name == word.name);
            let kind;
            (mlp, kind) = match (activation, output, weights, word.name) {
                (Some((activation, _)), ..) => (mlp.activation(activation), 0),
                (_, Some((activation, _)), ..) => (mlp.output_activation(activation), 4),
                (.., Some((_, weights)), _) => (mlp.initialization(weights), 1),
                (.., "cube") => (mlp.input_map(InputMap::Cube), 2),
                (.., "time") => (mlp.time_input(TimeInput::First), 3),
                (.., "time_everywhere") => (mlp.time_input(TimeInput::Every), 3),
                (.., other) => {
                    let known = ACTIVATIONS.into_iter().chain(["time", "time_everywhere", "cube"]);
                    let known: Vec<&str> = known.chain(INITIALIZATIONS.map(|(name, _)| name)).collect();
                    let outputs = ACTIVATIONS.map(|name| OUTPUT.to_owned() + name);
                    let near = meant(other, known.iter().copied().chain(outputs.iter().map(String::as_str)));
                    let reason = format!("`{other}` says nothing of a network{near} There are {}", known.join(", "));
                    return Err(Fault::new(&word.at, reason + ", and output_tanh and so on, of the last layer"));
                }
            };
            if std::mem::replace(&mut said[kind], true) {
                return Err(Fault::new(
                    &word.at,
                    format!("`{}` says again what was said: keep one of the words", word.name),
                ));
            }
        }
        Ok(mlp)
    }
}

/// What stands before the activation of the last layer.
const OUTPUT: &str = "output_";

/// The names of [`Activation::ALL`].
pub(super) const ACTIVATIONS: [&str; 7] = ["identity", "tanh", "relu", "softplus", "sigmoid", "silu", "gelu"];

pub(super) const INITIALIZATIONS: [(&str, Initialization); 4] = [
    ("glorot_uniform", Initialization::GlorotUniform),
    ("glorot_normal", Initialization::GlorotNormal),
    ("he_uniform", Initialization::HeUniform),
    ("he_normal", Initialization::HeNormal),
];

/// Expressions, by precedence: sums, then products, then signs, then powers, then rows of values.
impl<'a> Parser<'a> {
    fn expression(&mut self) -> Result<Expression<'a>, Fault> {
        let start = self.peek().at.start;
        let mut steps = Vec::new();
        self.sum(&mut steps)?;
        let end = self.tokens[self.next.saturating_sub(1)].at.end;
        Ok(Expression { steps, at: start..end.max(start) })
    }

    /// Whatever recurses goes through here.
    fn deeper(
        &mut self,
        steps: &mut Vec<Step<'a>>,
        parse: impl FnOnce(&mut Self, &mut Vec<Step<'a>>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.depth == MAX_DEPTH {
            let reason =
                format!("this nests deeper than {MAX_DEPTH} brackets, signs or powers: name parts of it with let");
            return Err(Fault::new(&self.peek().at, reason));
        }
        self.depth += 1;
        let result = parse(self, steps);
        self.depth -= 1;
        result
    }

    fn sum(&mut self, steps: &mut Vec<Step<'a>>) -> Result<(), Fault> {
        const OPERATORS: [(&str, Arithmetic); 2] = [("+", Arithmetic::Add), ("-", Arithmetic::Sub)];
        self.chain(steps, OPERATORS, Self::product)
    }

    fn product(&mut self, steps: &mut Vec<Step<'a>>) -> Result<(), Fault> {
        const OPERATORS: [(&str, Arithmetic); 2] = [("*", Arithmetic::Mul), ("/", Arithmetic::Div)];
        self.chain(steps, OPERATORS, Self::signed)
    }

    /// Operands with operators of one precedence between them, from left to right.
    fn chain(
        &mut self,
        steps: &mut Vec<Step<'a>>,
        operators: [(&str, Arithmetic); 2],
        operand: fn(&mut Self, &mut Vec<Step<'a>>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        operand(self, steps)?;
        while let Some((_, op)) = operators.into_iter().find(|(mark, _)| self.at_mark(mark)) {
            let at = self.advance().at;
            operand(self, steps)?;
            steps.push(Step { at, act: Act::Arithmetic(op) });
        }
        Ok(())
    }

    /// `-x^2` is `-(x^2)`.
    fn signed(&mut self, steps: &mut Vec<Step<'a>>) -> Result<(), Fault> {
        if !self.at_mark("-") {
            return self.power(steps);
        }
        let at = self.advance().at;
        self.deeper(steps, Self::signed)?;
        steps.push(Step { at, act: Act::Negate });
        Ok(())
    }

    /// `x^2^3` is `x^(2^3)`.
    fn power(&mut self, steps: &mut Vec<Step<'a>>) -> Result<(), Fault> {
        self.rows(steps)?;
        if self.at_mark("^") {
            let at = self.advance().at;
            self.deeper(steps, Self::signed)?;
            steps.push(Step { at, act: Act::Power });
        }
        Ok(())
    }

    /// A value, or rows of it: `y[0]`, `y[1..3]`.
    fn rows(&mut self, steps: &mut Vec<Step<'a>>) -> Result<(), Fault> {
        self.value(steps)?;
        while self.opens("[") {
            let start = self.tokens[self.next - 1].at.start;
            let first = self.count()?;
            let count = match self.takes("..") {
                true => self.count()?.saturating_sub(first),
                false => 1,
            };
            let end = self.closes("]", "`]` or `..`")?.at.end;
            steps.push(Step { at: start..end, act: Act::Rows { first, count } });
        }
        Ok(())
    }

    fn value(&mut self, steps: &mut Vec<Step<'a>>) -> Result<(), Fault> {
        if self.opens("(") {
            self.deeper(steps, Self::sum)?;
            return self.closes(")", "an operator or `)`").map(drop);
        }
        if self.at_mark("[") {
            let start = self.peek().at.start;
            self.opens("[");
            let (count, end) = self.arguments(steps, "]")?;
            steps.push(Step { at: start..end, act: Act::Stack(count) });
            return Ok(());
        }
        match self.peek().kind {
            Kind::Number => {
                let token = self.advance();
                steps.push(Step { act: Act::Number(number(&token)?), at: token.at });
            }
            Kind::Name => {
                let Token { text, at, .. } = self.advance();
                if self.opens("(") {
                    let (count, _) = self.arguments(steps, ")")?;
                    steps.push(Step { at, act: Act::Call(text, count) });
                } else {
                    steps.push(Step { at, act: Act::Name(text) });
                }
            }
            _ => return Err(self.unexpected("a value (a number, a name, `(` or `[`)")),
        }
        Ok(())
    }

    /// Expressions up to a bracket: how many, and where it ends.
    fn arguments(&mut self, steps: &mut Vec<Step<'a>>, bracket: &str) -> Result<(usize, usize), Fault> {
        let mut count = 0;
        loop {
            self.deeper(steps, Self::sum)?;
            count += 1;
            if !self.takes(",") {
                let wanted = format!("an operator, `,` or `{bracket}`");
                return Ok((count, self.closes(bracket, &wanted)?.at.end));
            }
        }
    }
}

/// A finite number, which is zero only if it was written so.
fn number(token: &Token<'_>) -> Result<f64, Fault> {
    let refuse = |what: &str| Fault::new(&token.at, format!("{} {what}", shortened(token.text)));
    let value: f64 = token.text.parse().map_err(|_| refuse("is no number"))?;
    let mantissa = token.text.split(['e', 'E']).next().unwrap_or_default();
    if !value.is_finite() {
        return Err(refuse("is beyond the largest number, 1.8e308"));
    }
    if value == 0.0 && mantissa.contains(|c: char| ('1'..='9').contains(&c)) {
        return Err(refuse("is below the smallest number, 5e-324: write 0"));
    }
    Ok(value)
}

/// A text that may be long, for errors.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 24;
    if text.len() <= SHOWN { text.to_owned() } else { format!("{}...", &text[..SHOWN]) }
}
