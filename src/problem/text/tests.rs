//! Texts against the same fields built by hand, errors with their places, and texts that are none.

use proptest::prelude::*;

use crate::error::Error;
use crate::problem::{
    Activation, Bound, Calculus, Field, FieldBuilder, Initialization, InputMap, Mlp, Problem, TimeInput, Value,
};

/// What a text is the field of.
fn same(text: &str, inputs: usize, write: impl FnOnce(&FieldBuilder) -> Value) {
    let parsed = Field::parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(parsed, Field::build(inputs, write).expect("a field"), "{text}");
}

/// The value of `x' = ...` of one or more states.
fn value(expression: &str, inputs: usize, write: impl FnOnce(&FieldBuilder, Value) -> Value) {
    same(&format!("state y[{inputs}]; y' = {expression}"), inputs, |f| write(f, f.state()));
}

#[test]
fn lotka_and_volterra_with_a_friction_are_what_the_builder_writes() {
    let text = "
        # rates, and what nobody knows
        state prey, hunters
        positive parameter a = 1.1, b = 0.4
        network friction = mlp(1, 16, 1) tanh
        control torque
        let meet = prey * hunters   # in any order
        hunters' = 0.1*meet - 0.4*hunters + friction(hunters) + torque
        prey' = a*prey - b*meet
    ";
    same(text, 2, |f| {
        let y = f.state();
        let (prey, hunters) = (y.row(0), y.row(1));
        let (a, b) = (f.positive("a", &[1.1]), f.positive("b", &[0.4]));
        let torque = f.control("torque");
        let meet = &prey * &hunters;
        let (gain, loss) = (f.literal(&[0.1]) * &meet, f.literal(&[0.4]) * &hunters);
        let kept = gain - loss;
        let hunted = kept + f.mlp("friction", &Mlp::new([1, 16, 1]), &hunters) + torque;
        f.stack([a * &prey - b * &meet, hunted])
    });
}

#[test]
fn every_expression_is_what_the_builder_writes() {
    value("-y", 2, |_, y| -y);
    value("1 - y / 2 * 3", 2, |f, y| f.literal(&[1.0]) - y / 2.0 * 3.0);
    value("y - y*2 - 3", 2, |_, y| &y - &y * 2.0 - 3.0);
    value("-y^2", 1, |_, y| -y.square());
    value("(-y)^3", 1, |_, y| (-y).cube());
    value("y^-1 + y^1", 1, |_, y| y.recip() + &y);
    value("y^2^2", 1, |_, y| y.square().square());
    value("y^0.5 + y^(-1/2)", 1, |_, y| y.sqrt() + y.sqrt().recip());
    value("y^1.5", 1, |_, y| &y * y.sqrt());
    value("y^5", 1, |_, y| y.square().square() * &y);
    value("2^10 * y", 1, |_, y| 1024.0 * y);
    value("t * y", 3, |f, y| f.time() * y);
    value("pi * y + e", 1, |_, y| std::f64::consts::PI * y + std::f64::consts::E);
    value("[y[1], y[0]]", 2, |f, y| f.stack([y.row(1), y.row(0)]));
    value("[y[1..3], 7]", 3, |f, y| f.stack([y.slice(1..3), f.literal(&[7.0])]));
    value("[y, y][1..3]", 2, |f, y| f.stack([y.clone(), y]).slice(1..3));
    value("y * sum(y) + mean(y)", 3, |_, y| &y * y.sum() + y.mean());
    value("y * dot(y, [1, 2])", 2, |f, y| &y * y.dot(&f.literal(&[1.0, 2.0])));
    value("min(y, 1) + max(max(t, y), 2)", 2, |f, y| {
        y.min(&f.literal(&[1.0])) + f.time().max(&y).max(&f.literal(&[2.0]))
    });
    value("sum(y)", 3, |_, y| y.sum().repeat(3));
    value("0", 2, |f, _| f.literal(&[0.0, 0.0]));
    value("1e-3*y + .5*y + 2.*y", 1, |_, y| 1e-3 * &y + 0.5 * &y + 2.0 * &y);
    value("(\n y\n +\n 1)", 1, |_, y| y + 1.0);
}

#[test]
fn every_function_is_called_by_its_name() {
    macro_rules! check {
        ($($name:ident)*) => { $(value(&format!("{}(y)", stringify!($name)), 2, |_, y| y.$name());)* };
    }
    check!(abs square cube sqrt recip exp ln sin cos tanh sigmoid softplus relu silu gelu);
    value("neg(y)", 2, |_, y| -y);
}

#[test]
fn every_definition_is_what_the_builder_defines() {
    same("parameter a = -1, w[2] = 0.5, v = [1, 2*pi, -3]; y' = a*y + sum(w) + sum(v)", 1, |f| {
        let y = f.state();
        let a = f.parameters("a", &[-1.0]);
        let (w, v) = (f.parameters("w", &[0.5; 2]), f.parameters("v", &[1.0, 2.0 * std::f64::consts::PI, -3.0]));
        a * y + w.sum() + v.sum()
    });
    same(
        "softplus parameter k = 2; frozen parameter g = 9.81; frozen positive parameter m = 1; y' = k*g*m*y",
        1,
        |f| {
            let y = f.state();
            let k = f.bounded_parameters("k", &[2.0], Bound::Softplus);
            let g = f.parameters("g", &[9.81]);
            let m = f.positive("m", &[1.0]);
            f.freeze("g");
            f.freeze("m");
            k * g * m * y
        },
    );
    same(
        "frozen network f = mlp(2, 8, 2) relu he_normal output_tanh time_everywhere cube; state x, v; x' = f(x, v)[0]; v' = x",
        2,
        |b| {
            let y = b.state();
            let mlp = Mlp::new([2, 8, 2]).activation(Activation::Relu).initialization(Initialization::HeNormal);
            let mlp = mlp.time_input(TimeInput::Every).input_map(InputMap::Cube).output_activation(Activation::Tanh);
            let x = y.row(0);
            let z = b.mlp("f", &mlp, &y);
            b.freeze("f");
            b.stack([z.row(0), x])
        },
    );
    same("control u, wind[2]; y' = u*y + sum(wind)", 1, |f| {
        let y = f.state();
        let (u, wind) = (f.control("u"), f.controls("wind", 2));
        u * y + wind.sum()
    });
    // Shorthands of shorthands, before they are there; names of other alphabets, and those of constants.
    same("let b = 2*c, c = α*y₁; parameter α = 3; y₁' = b", 1, |f| {
        let y = f.state();
        let c = f.parameters("α", &[3.0]) * y;
        f.literal(&[2.0]) * c
    });
    same("state s, e; s' = -e; e' = s", 2, |f| {
        let (s, e) = (f.state().row(0), f.state().row(1));
        f.stack([-e, s])
    });
}

#[test]
fn maps_have_inputs_and_outputs() {
    let written = Field::build(5, |f| {
        let (x, u) = (f.state(), f.state().row(4));
        let scale = f.positive("scale", &[2.0]);
        let z = f.mlp("net", &Mlp::new([5, 3]).activation(Activation::Relu), &x) * scale;
        f.stack([z.clone(), z.sum() - u])
    });
    let text = "output z = net(x, u) * scale, last = sum(z) - u
        input x[4], u
        positive parameter scale = 2
        network net = mlp(5, 3) relu";
    let found = Field::parse(text).expect("a map");
    assert_eq!(found, written.expect("a field"));
    assert_eq!((found.inputs(), found.outputs()), (5, 4));
    let Err(Error::Text { reason, column, .. }) = Problem::parse(text, 0.0, 1.0) else { panic!("refused") };
    assert!(reason.contains("`z` is an output of a map") && column == 8, "{column}: {reason}");
}

#[test]
fn a_network_that_is_called_twice_has_its_weights_once() {
    let field = Field::parse("network f = mlp(1, 3, 1); a' = f(b); b' = a*f(a)").expect("a field");
    assert_eq!(field.parameter_count(), 10);
    let theta = field.initialize::<f64>(1);
    let once = Field::parse("network f = mlp(1, 3, 1); y' = f(y)").expect("a field");
    assert_eq!(once.initialize::<f64>(1), theta);
    let f = |x: f64| once.evaluate(&theta, 0.0, &[x], &[]).expect("a value")[0];
    assert_eq!(field.evaluate(&theta, 0.0, &[0.3, -0.8], &[]).expect("a value"), [f(-0.8), 0.3 * f(0.3)]);
    let check = field.check_gradient(&theta, 0.0, &[0.3, -0.8], &[], 7).expect("finite");
    assert!(check.worst() < 1e-6, "{check}");
}

#[test]
fn values_are_those_of_the_formulas() {
    let y = [0.7_f64, 1.9];
    let check = |expression: &str, expected: f64| {
        let field = Field::parse(&format!("state x, z; x' = {expression}; z' = x")).expect(expression);
        let found = field.evaluate(&[], 0.5, &y, &[]).expect("a value")[0];
        assert!((found - expected).abs() <= 1e-14 * expected.abs(), "{expression}: {found}, not {expected}");
    };
    let [x, z] = y;
    check("x - z - 2", x - z - 2.0);
    check("x / z / 2 * t", x / z / 2.0 * 0.5);
    check("-x^2 * -z", x * x * z);
    check("2^3^2 + x^-2", 512.0 + x.powi(-2));
    check("x^7 + z^-2.5 + x^64", x.powi(7) + z.powf(-2.5) + x.powi(64));
    check("max(x, z, 1) - min(x, z, 1)", z - x);
    check("exp(-(x - z)^2 / (2 * pi)) + e", (-(x - z).powi(2) / std::f64::consts::TAU).exp() + std::f64::consts::E);
    check("dot([x, z], [z, 2]) + mean([x, z])", x * z + 2.0 * z + (x + z) / 2.0);
    check("sum([x, [z, t]][1..3])", z + 0.5);
    check("x^0", 1.0);
}

#[test]
fn noise_is_a_field_of_its_own() {
    let text = "
        parameter mu = 0.1
        positive parameter sigma = 0.3
        x' = mu*x
        v' = x
        v ~ sigma*x
        calculus stratonovich
    ";
    let problem = Problem::parse(text, 0.0, 2.0).expect("a problem");
    let drift = Field::build(2, |f| {
        let y = f.state();
        let x = y.row(0);
        f.stack([f.parameters("mu", &[0.1]) * &x, x])
    });
    let noise = Field::build(2, |f| {
        let y = f.state();
        let x = y.row(0);
        let driven = f.positive("sigma", &[0.3]) * x;
        f.stack([f.literal(&[0.0]), driven])
    });
    let diffusion = problem.diffusion.as_ref().expect("noise");
    assert_eq!(problem.field, drift.expect("a field"));
    assert_eq!(diffusion.network, noise.expect("a field"));
    assert_eq!((diffusion.calculus, problem.t1), (Calculus::Stratonovich, 2.0));
    let still = Problem::parse("y' = -y", 0.0, 1.0).expect("a problem");
    assert!(still.diffusion.is_none());
    assert_eq!(
        Problem::parse("y' = 0; y ~ 1", 0.0, 1.0).expect("a walk").diffusion.expect("noise").calculus,
        Calculus::Ito
    );
}

/// The place and the reason that a text is refused with.
fn refused(text: &str) -> (usize, usize, String) {
    match Problem::parse(text, 0.0, 1.0) {
        Err(Error::Text { line, column, reason, .. }) => (line, column, reason),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn an_error_shows_its_line_and_marks_the_place() {
    let text = "# rates\nparameter a = 1.1\nprey' = a*pray\n";
    let error = Field::parse(text).expect_err("a slip").to_string();
    let expected =
        "line 3, column 11: unknown name `pray`: did you mean `prey`?\n3 | prey' = a*pray\n              ^^^^";
    assert_eq!(error, expected);
    let long = format!("y' = {}z", "y + ".repeat(1000));
    let Err(Error::Text { column, excerpt, .. }) = Field::parse(&long) else { panic!("refused") };
    let (shown, marks) = excerpt.split_once('\n').expect("two lines");
    assert_eq!((column, shown.chars().count()), (4006, 4 + 1 + 51));
    assert_eq!(shown.chars().count(), marks.chars().count(), "{excerpt}");
    let Err(Error::Text { excerpt, .. }) = Field::parse("\ty' =\t\u{1b}y") else { panic!("refused") };
    assert_eq!(excerpt, "1 |  y' =  y\n          ^");
}

/// The text that a field is printed as says the same field, operation by operation, and is printed again as it is.
fn printed(field: &Field) -> String {
    let text = field.to_text().unwrap_or_else(|error| panic!("{field}\n{error}"));
    let again = Field::parse(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(&again, field, "{text}");
    assert_eq!(again.to_text().expect("the same"), text);
    text
}

#[test]
fn fields_from_texts_are_printed_as_texts() {
    let text =
        "state prey, hunters; positive parameter a = 1.1, b = 0.4; network friction = mlp(1, 16, 1) gelu he_normal
        frozen parameter w[3] = 0.5, u = [1e-7, -2, 1e300]; softplus parameter s = 1e-3; control torque, wind[2]
        let meet = prey * hunters; let z = (w - u) / s
        hunters' = 0.1*meet - 0.4*(hunters - 1) + friction(hunters) + torque - sum(wind) - mean(z)
        prey' = a*prey - -b*meet^2 + friction(prey)*sin(t)";
    let text = printed(&Field::parse(text).expect("a field"));
    let expected = "\
state y0, y1
positive parameter a = 1.1
positive parameter b = 0.4
frozen network friction = mlp(1, 16, 1) gelu he_normal";
    assert!(text.starts_with(&expected.replace("frozen network", "network")), "{text}");
    assert!(
        text.contains(
            "frozen parameter w[3] = 0.5\nfrozen parameter u = [1e-7, -2, 1e300]\nsoftplus parameter s = 0.001\n"
        ),
        "{text}"
    );
    assert!(text.contains("\ncontrol torque\ncontrol wind[2]\nlet v1 = y0*y1\n"), "{text}");
    for text in [
        "y' = y",
        "state y[3]; y' = -y",
        "y' = 0",
        "state x, v; x' = v; v' = -x",
        "state y[64], v; network f = mlp(65, 9, 64) time; y' = f(y, v) - 0.1*y; v' = sum(y[3..7]) - v",
        "state y[40]; y' = repeat(mean(y), 40) - y",
        "state v1[2], a; frozen network y0 = mlp(3, 4, 3) time_everywhere identity; v1' = y0(v1, a)[1..3]; a' = max(a, 1)",
        "state y[70]; let s = sigmoid(y); y' = s*(1 - s) / (y - (s - (y - 1))) * (2 / (s/y))",
        "y' = -(-(y - 1)) - (-y)^2 - [y, -y][1] * min(y, -1)",
        "input x[4]; network f = mlp(4, 8, 3) relu output_tanh; output z = f(x) / sum(f(x)), w = x[1..3]",
        "input z; output x = [z, t]",
        "let a0 = exp(y), a1 = exp(a0), a2 = exp(a1); let a3 = a2 + a1 - a0; y' = a3 * a1",
    ] {
        printed(&Field::parse(text).unwrap_or_else(|error| panic!("{text}\n{error}")));
    }
    let long = format!("y' = {}y{}", "sin(".repeat(100), " + 1*y)".repeat(100));
    printed(&Field::parse(&long).expect("a field"));
}

#[test]
fn what_a_text_cannot_say_is_named() {
    type Build = fn(&FieldBuilder) -> Value;
    let cases: [(Build, &str); 7] = [
        (
            |f| f.parameters("two words", &[1.0]) * f.state(),
            "\"two words\": the text form cannot say it: this is no name",
        ),
        (|f| f.parameters("sin", &[1.0]) * f.state(), "\"sin\": the text form cannot say it"),
        (|f| f.parameters("t", &[1.0]) * f.state(), "\"t\": the text form cannot say it"),
        (|f| f.parameters("k", &[1.0]) * f.control("k"), "\"k\": the text form cannot say it: a control and a group"),
        (|f| f.parameters("k", &[1.0]) * 0.0 + f.state() * 0.0 + f.control("u"), ""),
        (
            |f| {
                let _ = f.parameters("k", &[1.0]);
                f.state()
            },
            "\"k\": the text form cannot say it: nothing uses it",
        ),
        (|f| f.parameters("", &[1.0]) * f.state(), "\"\": the text form cannot say it"),
    ];
    for (build, expected) in cases {
        let field = Field::build(1, build).expect("a field");
        match field.to_text() {
            Ok(text) => assert!(expected.is_empty(), "{text}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!expected.is_empty() && error.contains(expected), "{error}, and not {expected}");
                assert!(error.starts_with("Field::to_text = "), "{error}");
            }
        }
    }
}

#[test]
fn errors_name_the_place_and_what_helps() {
    let cases = [
        // tokens and statements
        ("y' = 2 × y", 1, 8, "`×` means nothing here: write `*`"),
        ("y' = y @ 2", 1, 8, "`@` means nothing here"),
        ("y' = y +", 1, 9, "expected a value (a number, a name, `(` or `[`), found the end of the text"),
        ("y' = y +\nz' = y", 1, 9, "expected a value (a number, a name, `(` or `[`), found the end of the line"),
        ("y' = 2 y", 1, 8, "expected an operator or the end of the line, found `y`"),
        ("y' = (y + 1\nz' = y", 2, 1, "expected an operator or `)` after the `(` of line 1, found `z`"),
        ("y' = (y + 1", 1, 6, "`(` is not closed: expected an operator or `)` later on"),
        ("y' = y)", 1, 7, "expected an operator or the end of the line, found `)`"),
        ("y' = sin(y, 2)", 1, 6, "sin takes one value; several are one as [a, b]; here it has 2"),
        ("y' = sin()", 1, 10, "expected a value (a number, a name, `(` or `[`) after the `(` of line 1, found `)`"),
        ("paramter a = 1", 1, 1, "`paramter` begins no statement: did you mean `parameter`?"),
        ("positive state y", 1, 10, "expected `parameter`, found `state`"),
        ("a = 1; y' = a", 1, 1, "what is `a`? Write `a' = ...` for its derivative, or `let a = ...` for a shorthand"),
        ("network f = nn(1, 1)", 1, 13, "`nn` is no network: there is mlp(1, 16, 1)"),
        ("network f = mlp(1)", 1, 13, "[1]: give at least an input and an output width, all positive"),
        ("network f = mlp(1, 1) output_thanh", 1, 23, "says nothing of a network: did you mean `output_tanh`?"),
        ("network f = mlp(1, 1) output_silu output_tanh", 1, 35, "says again what was said"),
        ("network f = mlp(1, 1) thanh", 1, 23, "`thanh` says nothing of a network: did you mean `tanh`?"),
        ("network f = mlp(1, 1) tanh relu", 1, 28, "`relu` says again what was said"),
        ("network f = mlp(1.5, 1)", 1, 17, "1.5 is not a whole number, or beyond all counts"),
        // maps
        ("input x; y' = x", 1, 10, "`y` has an equation, and the text has inputs or outputs of a map: write `output"),
        ("input x; state y; output z = x", 1, 16, "`y` is a state, and the text has inputs or outputs of a map"),
        ("control u; input x; output z = x*u", 1, 9, "`u` is a control, and the text has inputs or outputs of a map"),
        ("input x", 1, 7, "there is no output to go with it: write `output z = f(x)`"),
        ("output z = 1", 1, 8, "there is no input to go with it: write `input x[4]`"),
        ("input x; let a = x; output z = x", 1, 14, "nothing uses the shorthand `a`"),
        ("input x; output z = w, w = z", 1, 17, "`z` is defined by itself: z -> w -> z"),
        ("input x[1000000000]; output z = x", 1, 7, "`x` has 1000000000 rows: there are 1 to 1048576"),
        ("y' = repeat(y, 0.5)", 1, 6, "repeat takes a whole number from 1 to 1048576, as in repeat(x, 3)"),
        ("y' = repeat(y, y)", 1, 6, "repeat takes a whole number"),
        ("y' = repeat(y)", 1, 6, "repeat takes a value of one row, and how often; here it has 1"),
        // numbers
        ("y' = 1e999", 1, 6, "1e999 is beyond the largest number"),
        ("y' = 1e-999", 1, 6, "1e-999 is below the smallest number"),
        ("state y[99999999999999999999999]", 1, 9, "99999999999999999999999 is not a whole number, or beyond"),
        ("state y[1000000000]; y' = y", 1, 7, "`y` has 1000000000 rows: there are 1 to 1048576"),
        ("state y[0]; y' = 1", 1, 7, "`y` has 0 rows"),
        ("network f = mlp(100000, 100000)", 1, 13, "choose smaller widths"),
        ("parameter w[1000000000] = 1; y' = sum(w)", 1, 27, "`w` has 1000000000 rows, of at most 1048576"),
        ("parameter w[3] = [1, 2]; y' = sum(w)", 1, 18, "`w` has 3 rows, of at most 1048576, and starts as 2 numbers"),
        ("positive parameter a = 0; y' = a", 1, 24, "`a` is positive, and would start at 0: start it above 0"),
        ("parameter a = 1/0; y' = a", 1, 15, "parameters start as numbers that are known, and finite"),
        ("parameter a = 1, b = 2*a; y' = b + a", 1, 24, "unknown name `a`"),
        // names
        ("t' = 1", 1, 1, "`t` is the time: choose another name"),
        ("let sin = 1; y' = sin", 1, 5, "`sin` is a function: choose another name"),
        ("let a = 1\nlet a = 2\ny' = a", 2, 5, "`a` is defined twice, first in line 1: rename one of them"),
        ("state y; y' = y\n\ny' = 1", 3, 1, "`y'` is said twice, first in line 1: keep one"),
        ("y' = y; y ~ 1; y ~ 2", 1, 16, "`y ~` is said twice, first in line 1"),
        ("state prey, y; y' = y", 1, 7, "the state `prey` has no equation: write `prey' = ...`"),
        ("state prey; prye' = 1", 1, 13, "`prye` is no state: did you mean `prey`?"),
        ("state y; let a = 1; a' = y; y' = a", 1, 21, "`a` is a shorthand: equations are of states"),
        ("y' = log(y)", 1, 6, "unknown function `log`: the natural logarithm is ln"),
        ("y' = sigmod(y)", 1, 6, "unknown function `sigmod`: did you mean `sigmoid`?"),
        ("y' = y(2)", 1, 6, "`y` is a state, no function: a product is written `y * (...)`"),
        ("network f = mlp(1, 1); y' = f", 1, 29, "`f` is a network: give it a value, as in f(...)"),
        ("y' = sin", 1, 6, "`sin` is a function: give it a value, as in sin(...)"),
        ("let a = 1; y' = 2", 1, 5, "nothing uses the shorthand `a`"),
        ("let a = b, b = 2; y' = 2", 1, 5, "nothing uses the shorthand `a`"),
        ("parameter a = 1; y' = 2", 1, 11, "nothing uses the parameter `a`"),
        ("let a = b, b = c + a, c = 1; y' = a", 1, 5, "`a` is defined by itself: a -> b -> a"),
        ("let a = a; y' = y", 1, 5, "`a` is defined by itself: a -> a"),
        ("parameter a = 1; y' = a; y ~ a", 1, 11, "drift and noise both use the parameter `a`"),
        ("calculus ito; y' = 1", 1, 1, "there is no noise to have a calculus"),
        ("y ~ 1", 1, 1, "`y` is no state"),
        ("", 1, 1, "there is no equation"),
        // rows
        ("state y[3], z[2]\ny' = y\nz' = z + y", 3, 8, "+ of 2 rows and 3 rows: 2 rows do not go with 3"),
        ("state y[3]\ny' = y[1..3]", 2, 6, "this has 2 rows, and the state `y` has 3"),
        ("state y[3]; y' = y[3]", 1, 19, "rows 3..4 of 3 rows: the value has rows 0..3: take of those"),
        ("state y[3]; y' = y[2..1]", 1, 19, "these are no rows"),
        ("state y[3]; y' = y[-1]", 1, 20, "expected a whole number after the `[` of line 1, found `-`"),
        ("network f = mlp(2, 1); y' = f(y)", 1, 29, "`f` takes 2 rows; here it has 1"),
        ("state y[2]; y' = dot(y, y[0])", 1, 18, "dot of 2 rows and 1 row: 2 rows do not go with 1"),
        ("y' = y^y", 1, 7, "an exponent is one number: write a^b as exp(b * ln(a))"),
        ("y' = y^0.3", 1, 7, "the exponent 0.3 is no whole number or half of one up to 64"),
        ("y' = y^65", 1, 7, "the exponent 65 is no whole number or half"),
    ];
    for (text, line, column, reason) in cases {
        let found = refused(text);
        assert!(found.2.contains(reason) && (found.0, found.1) == (line, column), "{text:?}: {found:?}");
    }
    let Err(Error::Text { reason, .. }) = Field::parse("y' = 1; y ~ 2") else { panic!("refused") };
    assert!(reason.contains("Problem::parse"), "{reason}");
}

#[test]
fn texts_beyond_measure_are_refused() {
    let nested = format!("y' = {}y{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(refused(&nested).2.contains("nests deeper than 128"));
    for deep in ["-", "sin(", "[", "y^", "y[0] + ("] {
        assert!(refused(&format!("y' = {}", deep.repeat(100_000))).2.contains("nests deeper than 128"), "{deep}");
    }
    let within = format!("y' = {}y{}", "(".repeat(100), ")".repeat(100));
    assert_eq!(Field::parse(&within).expect("a field"), Field::parse("y' = y").expect("a field"));
    // A long sum is one of rows; more operations than a program may have are refused where they stand.
    Field::parse(&format!("y' = y{}", " + 1*y".repeat(4000))).expect("4000 additions");
    let sum: String = (0..10_000).map(|i| format!(" + {i}*y")).collect();
    let (line, column, reason) = refused(&format!("y' = y{sum}"));
    assert!(line == 1 && column > 10_000 && reason.contains("at most 8192 operations"), "{column}: {reason}");
    let chain = |count: usize| {
        let links: String = (1..count).map(|i| format!("let a{i} = sin(a{})\n", i - 1)).collect();
        format!("{links}let a0 = y\ny' = a{}", count - 1)
    };
    Field::parse(&chain(8000)).expect("a chain of 8000");
    assert!(refused(&chain(10_000)).2.contains("defines 8192 names at most"));
    let round = chain(8000).replace("let a0 = y", "let a0 = a7999");
    assert!(refused(&round).2.contains("is defined by itself: a"));
    let wide: String = (0..40).map(|i| format!("parameter w{i}[1048576] = 1; ")).collect();
    let uses: String = (0..40).map(|i| format!(" + sum(w{i})")).collect();
    assert!(refused(&format!("{wide} y' = y{uses}")).2.contains("rows: make them narrower"));
    assert!(refused(&format!("y' = {}", "a".repeat(70_000))).2.contains("a name of 70000 letters"));
    let Err(Error::Argument { remedy, .. }) = Field::parse(&" ".repeat(2 << 20)) else { panic!("refused") };
    assert!(remedy.contains("1048576 bytes"), "{remedy}");
}

/// Parts that texts are made of, for random ones.
const PARTS: [&str; 60] = [
    "state",
    "input",
    "output",
    "parameter",
    "network",
    "control",
    "let",
    "positive",
    "frozen",
    "softplus",
    "calculus",
    "ito",
    "mlp",
    "tanh",
    "cube",
    "time",
    "y",
    "z",
    "f",
    "a",
    "t",
    "pi",
    "e",
    "sin",
    "sum",
    "dot",
    "min",
    "mean",
    "y'",
    "z'",
    "y ~",
    "'",
    "~",
    "=",
    "=",
    "+",
    "-",
    "*",
    "/",
    "^",
    "(",
    ")",
    "(",
    ")",
    "[",
    "]",
    "..",
    ",",
    "1",
    "2",
    "0.5",
    "1e3",
    "\n",
    "\n",
    "\n",
    ";",
    "#",
    "×",
    "\"",
    "0",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_are_refused_or_a_field(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Problem::parse(&String::from_utf8_lossy(&bytes), 0.0, 1.0).map_err(|error| error.to_string());
    }

    #[test]
    fn random_characters_are_refused_or_a_field(text in "\\PC{0,80}\n?\\PC{0,80}") {
        let _ = Problem::parse(&text, 0.0, 1.0).map_err(|error| error.to_string());
    }

    #[test]
    fn random_words_are_refused_or_a_field(words in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..40)) {
        let spaced = Problem::parse(&words.join(" "), 0.0, 1.0).map_err(|error| error.to_string());
        let _ = Problem::parse(&words.concat(), 0.0, 1.0).map_err(|error| error.to_string());
        if let Ok(problem) = spaced {
            prop_assert!(problem.validate().is_ok());
        }
    }

    /// A text with one part changed, left out or put in is close to what people write.
    #[test]
    fn slips_are_refused_or_a_field(at in 0_usize..60, part in prop::sample::select(&PARTS[..]), how in 0..3) {
        let text = "state y , z [ 2 ] ; positive parameter a = 1 ; network f = mlp ( 2 , 3 , 2 ) tanh ; let m = y * sum ( z ) ; \
                    y' = a * m ^ 2 - sin ( t ) ; z' = f ( z ) - [ m , y ] ; y ~ 0.5 * y";
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let at = at % words.len();
        match how {
            0 => words[at] = part,
            1 => words.insert(at, part),
            _ => drop(words.remove(at)),
        }
        let _ = Problem::parse(&words.join(" "), 0.0, 1.0).map_err(|error| error.to_string());
    }
}
