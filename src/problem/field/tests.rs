//! Fields as they are written, kept in files, listed and refused.

use super::{Bound, Field, FieldBuilder, Mlp, TimeInput, Trace, Value};
use crate::error::Error;
use crate::problem::{Activation, Problem};

/// Lotka and Volterra's equations with rates to learn, a network and a control.
fn hybrid() -> Field {
    Field::build(2, |f| {
        let (y, rates) = (f.state(), f.positive("rates", &[1.1, 0.4]));
        let unknown = f.mlp("unknown", &Mlp::new([2, 4, 2]).time_input(TimeInput::First), &y);
        let drift = f.bounded_parameters("drift", &[0.3], Bound::Softplus);
        f.freeze("drift");
        let heat = f.control("heat") * drift + f.time().sin();
        let growth = f.stack([rates.row(0) * y.row(0), -rates.row(1) * y.row(1)]);
        growth + unknown + heat
    })
    .expect("it fits")
}

fn refusal(build: impl FnOnce(&FieldBuilder) -> Value) -> String {
    match Field::build(2, build).expect_err("it does not fit") {
        error @ Error::Argument { argument: "Field", .. } => error.to_string(),
        error => panic!("another error: {error:?}"),
    }
}

#[test]
fn what_does_not_fit_is_refused_with_its_rows() {
    type Build = fn(&FieldBuilder) -> Value;
    let cases: [(Build, &str); 17] = [
        (
            |f| f.state() + f.literal(&[1.0, 2.0, 3.0]),
            "Field = + of 2 rows and 3 rows: 2 rows do not go with 3: give both as many, or one of them a single row",
        ),
        (|f| f.state().dot(&f.time()), "Field = dot of 2 rows and 1 row: 2 rows do not go with 1: give both as many"),
        (|f| f.state().row(2), "Field = rows 2..3 of 2 rows: the value has rows 0..2: take of those"),
        (|f| f.state().row(usize::MAX), "the value has rows 0..2"),
        (|f| f.state().slice(1..1), "Field = rows 1..1 of 2 rows: these are no rows: take one at least"),
        (|f| f.stack([]), "Field = stack of nothing: there is nothing to stack: give it a value at least"),
        (|f| f.state().repeat(2), "Field = repeat 2 times of 2 rows: a single row is repeated"),
        (|f| f.time().repeat(1_000_000_000), "it would have 1000000000 rows: give it 1 to 1048576"),
        (|f| f.literal(&[1.0]).repeat(1_000_000_000), "it would have 1000000000 rows"),
        (|f| f.time().repeat(0), "Field = repeat 0 times of 1 row: it would have 0 rows: give it 1 to 1048576"),
        (|f| f.controls("u", 1_000_000_000), "Field = control of 1000000000 rows: it would have"),
        (|f| f.literal(&[]), "Field = literal of 0 numbers: it would have 0 rows"),
        (|f| f.literal(&[1.0, f64::NAN]), "Field = literal of 2 numbers: NaN is not finite: write numbers that are"),
        (|f| f.state() * f64::INFINITY, "Field = literal of 1 number: inf is not finite"),
        (|f| f.parameters("k", &[]), "Field = parameters of 0 rows: it would have 0 rows"),
        (|f| f.positive("k", &[1.0, -1.0]), "Field = \"k\": -1 is outside of the bound Exp, or not finite"),
        (
            |f| f.mlp("net", &Mlp::new([3, 2]), &f.state()),
            "Field = dense of 2 rows: the layer takes 3 rows: give it a value as wide",
        ),
    ];
    for (build, expected) in cases {
        let found = refusal(build);
        assert!(found.contains(expected), "{found}, and not {expected}");
    }
}

#[test]
fn names_are_of_one_thing_each() {
    let twice = refusal(|f| f.parameters("k", &[1.0]) + f.parameters("k", &[1.0]));
    assert!(twice.contains("\"k\": two groups of parameters have this name"), "{twice}");
    let wider = refusal(|f| f.control("u") + f.controls("u", 2));
    assert!(wider.contains("\"u\": the control has 1 rows, not 2"), "{wider}");
    let unknown = refusal(|f| {
        f.freeze("k");
        f.state()
    });
    assert!(unknown.contains("\"k\": there is no group of parameters of this name to freeze"), "{unknown}");
    let same = Field::build(1, |f| f.control("u") + f.control("u")).expect("the same control");
    assert_eq!(same.controls().len(), 1);
}

#[test]
fn values_of_another_field_are_refused_wherever_they_are_used() {
    type Use = fn(&FieldBuilder, &Value) -> Value;
    let uses: [Use; 6] = [
        |f, other| f.state() + other,
        |f, other| f.state().dot(other),
        |f, other| f.state().max(other),
        |f, other| f.stack([f.state(), other.clone()]),
        |f, other| f.mlp("net", &Mlp::new([2, 2]), other),
        |_, other| other.clone(),
    ];
    for (n, with) in uses.into_iter().enumerate() {
        let mut found = None;
        let outer = Field::build(2, |f| {
            // Far more values than the other field has.
            let foreign = (0..9).fold(f.state(), |x, _| x.sin());
            found = Some(refusal(|f| with(f, &foreign)));
            foreign
        });
        assert!(outer.is_ok());
        assert!(found.is_some_and(|found| found.contains("value of another field")), "use {n}");
    }
    // One that outlives its field means nothing, and breaks nothing.
    let mut kept = None;
    Field::build(1, |f| kept.insert(f.state()).clone()).expect("it fits");
    let kept = kept.expect("a value");
    assert!(refusal(|f| f.state() * (&kept + 1.0).sin().row(3)).contains("value of another field"));
}

#[test]
fn programs_have_an_end() {
    let long = refusal(|f| (0..10_000).fold(f.state(), |x, _| x.sin()));
    assert!(long.contains("sin of 2 rows: a program has at most 8192 operations"), "{long}");
    let doubled = refusal(|f| (0..40).fold(f.state(), |x, _| f.stack([x.clone(), x])));
    assert!(doubled.contains("rows: give it 1 to 1048576"), "{doubled}");
    let wide = refusal(|f| {
        let row = f.time().repeat(1 << 20);
        (0..40).fold(row, |x, _| x.sin()).sum()
    });
    assert!(wide.contains("all values of a program have at most 16777216 rows"), "{wide}");
    for inputs in [0, 1_000_000_000] {
        let error = Field::build(inputs, |f| f.time()).expect_err("no such state").to_string();
        assert!(error.contains(&format!("Field = {inputs} inputs: a field has 1 to 1048576")), "{error}");
    }
}

/// A network is as wide as a program's values may be, and no wider: refused by itself, and wherever it is applied.
#[test]
fn networks_have_the_bounds_of_programs() {
    const MOST: usize = 1 << 20;
    let fits = Field::from(Mlp::new([MOST, 1, MOST]));
    fits.validate().expect("as wide as can be");
    assert_eq!(fits.cost().expect("a program").value.multiply_adds, 4 * MOST + 1 - MOST);
    for sizes in [vec![MOST + 1, 1], vec![1, MOST + 1, 1], vec![1, MOST + 1]] {
        let mlp = Mlp::new(sizes.clone());
        let inside = Field::build(sizes[0].min(MOST), |f| f.mlp("net", &mlp, &f.state())).expect_err("too wide");
        let problem = Problem::ode(mlp.clone(), 0.0, 1.0).validate().expect_err("too wide");
        for error in
            [mlp.validate().expect_err("too wide"), Field::from(mlp).cost().expect_err("too wide"), inside, problem]
        {
            let text = error.to_string();
            assert!(matches!(error, Error::Argument { argument: "Mlp::sizes", .. }), "{text}");
            assert!(text.contains("a layer has at most 1048576 inputs and outputs"), "{text}");
        }
    }
}

#[test]
fn a_field_reads_like_its_equations() {
    let listing = "\
from 2 rows to 2, with 29 parameters
  rates: parameters 0..2, as e^parameter
  unknown: parameters 2..28, layers 2 -> 4 -> 2
  drift: parameter 28, as ln(1 + e^parameter), frozen
  heat: control of 1 row
v2[2] = exp(rates)
v3[4] = dense(state, t; unknown layer 1)
v4[4] = tanh(v3)
v5[2] = dense(v4; unknown layer 2)
v7 = softplus(drift)
v9 = heat * v7
v11 = sin(t)
v12 = v9 + v11
v15 = v2[0] * state[0]
v17 = neg(v2[1])
v19 = v17 * state[1]
v20[2] = stack(v15, v19)
v21[2] = v20 + v5
v22[2] = v21 + v12
return v22";
    assert_eq!(hybrid().to_string(), listing);
    let network: Field = Mlp::new([2, 3, 2]).activation(Activation::Silu).into();
    let listing = "\
from 2 rows to 2, with 17 parameters
  mlp: parameters 0..17, layers 2 -> 3 -> 2
v1[3] = dense(state; mlp layer 1)
v2[3] = silu(v1)
v3[2] = dense(v2; mlp layer 2)
return v3";
    assert_eq!(network.to_string(), listing);
    let bounded: Field = Mlp::new([1, 1]).output_activation(Activation::Sigmoid).into();
    let listing = "\
from 1 row to 1, with 2 parameters
  mlp: parameters 0..2, layers 1 -> 1
v1 = dense(state; mlp layer 1)
v2 = sigmoid(v1)
return v2";
    assert_eq!(bounded.to_string(), listing);
}

#[test]
fn fields_come_back_from_files() {
    let field = hybrid();
    let json = serde_json::to_string(&field).expect("plain data");
    assert_eq!(serde_json::from_str::<Field>(&json).expect("what was written"), field);
    let problem = Problem::ode(field, 0.0, 1.0);
    let json = serde_json::to_value(&problem).expect("plain data");
    assert_eq!(json["field"]["program"]["version"], 1);
    assert_eq!(serde_json::from_value::<Problem>(json).expect("what was written"), problem);
    // A network is what it was before there were programs.
    let network = r#"{"sizes":[2,3,2],"activation":"tanh","time_input":"none","input_map":"identity","initialization":"glorot_uniform"}"#;
    let field: Field = serde_json::from_str(network).expect("an old file");
    assert_eq!(field, Mlp::new([2, 3, 2]).into());
    assert_eq!(serde_json::to_string(&field).expect("plain data"), network);
    // Only one with an activation after its last layer mentions it.
    let bounded = Field::from(Mlp::new([2, 3, 2]).output_activation(Activation::Tanh));
    let mention = network.replace(r#""tanh","#, r#""tanh","output_activation":"tanh","#);
    assert_eq!(serde_json::to_string(&bounded).expect("plain data"), mention);
    assert_eq!(serde_json::from_str::<Field>(&mention).expect("what was written"), bounded);
    let missing = serde_json::from_str::<Field>(r#"{"sizes":[2,2]}"#).expect_err("half of one").to_string();
    assert!(missing.contains("missing field `activation`"), "{missing}");
}

#[test]
fn corrupted_files_are_refused() {
    type Damage = fn(&mut serde_json::Value);
    let cases: [(Damage, &str); 18] = [
        (|field| field["program"]["version"] = 2.into(), "Program::version = 2: this library reads version 1"),
        (
            |field| field["program"]["operations"].as_array_mut().expect("a list").swap(0, 21),
            "Program::operations = value",
        ),
        (|field| field["program"]["outputs"] = vec![99].into(), "Program::operations = value 99"),
        (|field| field["program"]["outputs"] = Vec::<u8>::new().into(), "Field = 0 values: a field has one"),
        (|field| field["program"]["outputs"] = vec![1, 2].into(), "Field = 2 values: a field has one"),
        (|field| field["inputs"] = 3.into(), "Field = state of 2 rows: it has 3"),
        (|field| field["inputs"] = 0.into(), "Field = 0 inputs"),
        (|field| field["groups"][1]["offset"] = 1.into(), "the groups of parameters follow one another"),
        (|field| field["groups"][1]["count"] = u64::MAX.into(), "the groups of parameters follow one another"),
        (
            |field| field["groups"][0]["initial"]["numbers"] = vec![1.0].into(),
            "the groups of parameters follow one another",
        ),
        (|field| field["groups"][1]["name"] = "rates".into(), "\"rates\": two groups of parameters have this name"),
        (|field| field["groups"].as_array_mut().expect("a list").truncate(2), "parameters with parameters 28..29"),
        (|field| operation(field, "dense", "block")["offset"] = (1u64 << 40).into(), "they lie in no group"),
        (
            |field| operation(field, "dense", "block")["outputs"] = u64::MAX.into(),
            "it would have 18446744073709551615 rows",
        ),
        (
            |field| operation(field, "dense", "block")["inputs"] = (1u64 << 40).into(),
            "the layer takes 1099511627776 rows",
        ),
        (|field| operation(field, "dense", "block")["offset"] = 0.into(), "they lie in no group"),
        (|field| field["controls"] = Vec::<u8>::new().into(), "Field = control 0: the field has 0 of them"),
        (|field| field["controls"][0]["rows"] = 2.into(), "Field = control of 1 rows: it has 2"),
    ];
    for (damage, expected) in cases {
        let mut json = serde_json::to_value(hybrid()).expect("plain data");
        damage(&mut json);
        let found = serde_json::from_value::<Field>(json).expect_err(expected).to_string();
        assert!(found.contains(expected), "{found}, and not {expected}");
    }
}

/// A part of the first operation of a kind.
fn operation<'a>(field: &'a mut serde_json::Value, kind: &str, part: &str) -> &'a mut serde_json::Value {
    let operations = field["program"]["operations"].as_array_mut().expect("a list");
    let found = operations.iter_mut().find_map(|operation| operation.get_mut(kind)).expect("there is one");
    &mut found[part]
}

#[test]
fn values_and_gradients_are_those_of_the_equations() {
    let field = hybrid();
    let theta = field.initialize::<f64>(7);
    let (t, y, heat) = (0.3, [1.5, -0.4], [0.8]);
    let found = field.evaluate(&theta, t, &y, &heat).expect("it fits");
    // By hand: the first block is `[y, t, 1] W`, from the parameters after the rates on; the second follows it.
    const SECOND: usize = 2 + 4 * 4;
    let hidden: Vec<f64> = (0..4)
        .map(|o| [y[0], y[1], t, 1.0].iter().enumerate().map(|(i, x)| x * theta[2 + 4 * i + o]).sum::<f64>().tanh())
        .collect();
    let network = |o: usize| (0..4).map(|i| hidden[i] * theta[SECOND + 2 * i + o]).sum::<f64>() + theta[SECOND + 8 + o];
    let warmth = 0.3 * heat[0] + t.sin();
    for (o, growth) in [1.1 * y[0], -0.4 * y[1]].into_iter().enumerate() {
        let expected = growth + network(o) + warmth;
        assert!((found[o] - expected).abs() < 1e-14, "{} and not {expected}", found[o]);
    }
    let check = field.check_gradient(&theta, t, &y, &heat, 1).expect("it fits");
    let names: Vec<&str> = check.errors().map(|(name, _)| name).collect();
    assert_eq!(names, ["state", "rates", "unknown", "heat"]);
    assert!(check.worst() < 1e-8, "{check}");
    for (theta, y, controls, what) in
        [(&theta[1..], &y[..], &heat[..], "theta"), (&theta, &y[1..], &heat, "y"), (&theta, &y, &[], "controls")]
    {
        let error = field.evaluate(theta, t, y, controls).expect_err(what);
        assert!(matches!(error, Error::Shape { argument, .. } if argument == what), "{error}");
    }
    let pole = Field::build(1, |f| f.state().recip()).expect("it fits");
    let error = pole.check_gradient(&[], 0.0, &[0.0], &[], 1).expect_err("a pole").to_string();
    assert!(error.contains("inf in row 0: derivatives are compared where the field is finite"), "{error}");
}

#[test]
fn a_kink_is_where_derivatives_are_none() {
    let field = Field::build(1, |f| f.state().abs()).expect("it fits");
    let smooth = field.check_gradient(&[], 0.0, &[0.5], &[], 1).expect("it fits");
    assert!(smooth.worst() < 1e-9, "{smooth}");
    // Half of a difference across the kink is seen: a tenth of a step away from it.
    let kink = Field::build(1, |f| (f.state() - 1.0).abs()).expect("it fits");
    let bent = kink.check_gradient(&[], 0.0, &[1.0 + 1e-7], &[], 1).expect("it fits");
    assert!(bent.worst() > 0.5, "{bent}");
}

/// The first layer's derivatives are rows of its weights, and no products.
#[test]
fn a_log_density_is_one_more_row() {
    let network = Field::from(Mlp::new([2, 3, 2]));
    let flow = network.clone().with_log_density(Trace::Exact).expect("a vector field");
    let listing = "\
from 3 rows to 3, with 17 parameters
  mlp: parameters 0..17, layers 2 -> 3 -> 2
v2[3] = dense(state[0..2]; mlp layer 1)
v3[3] = tanh(v2)
v4[2] = dense(v3; mlp layer 2)
v6[3] = tanh'(v2)
v7[3] = v6 * mlp[0..3]
v8[2] = linear(v7; mlp layer 2)
v11[3] = v6 * mlp[3..6]
v12[2] = linear(v11; mlp layer 2)
v14 = v8[0] + v12[1]
v15 = neg(v14)
v16[3] = stack(v4, v15)
return v16";
    assert_eq!(flow.to_string(), listing);
    assert_eq!((flow.features(), flow.inputs(), flow.outputs(), flow.trace()), (2, 3, 3, Some(Trace::Exact)));
    assert_eq!(flow.without_log_density(), &network);
    assert_eq!((network.features(), network.trace()), (2, None));
    assert_eq!(flow.initialize::<f64>(3), network.initialize::<f64>(3), "parameters are those of the field");
    let check = flow.check_gradient(&flow.initialize(3), 0.2, &[0.4, -0.9, 1.5], &[], 1).expect("it fits");
    assert!(check.worst() < 1e-8, "{check}");
    let estimate = network.clone().with_log_density(Trace::Hutchinson).expect("a vector field");
    assert_eq!((estimate.features(), estimate.inputs(), estimate.outputs()), (2, 5, 5));
    for flow in [flow, estimate, hybrid().with_log_density(Trace::Exact).expect("a vector field")] {
        let json = serde_json::to_string(&flow).expect("plain data");
        assert_eq!(serde_json::from_str::<Field>(&json).expect("what was written"), flow);
    }
    assert_eq!((Trace::of(8), Trace::of(9)), (Trace::Exact, Trace::Hutchinson));
}

#[test]
fn what_moves_no_density_is_refused() {
    let refused = |field: Field| field.with_log_density(Trace::Exact).expect_err("refused").to_string();
    let narrow = refused(Mlp::new([3, 4, 2]).into());
    assert!(narrow.contains("[3, 4, 2]: only a vector field, as wide as the state, moves a density"), "{narrow}");
    let twice = refused(Field::from(Mlp::new([2, 2])).with_log_density(Trace::Exact).expect("a vector field"));
    assert!(twice.contains("it has a log-density already"), "{twice}");
    let wide = Field::from(Mlp::new([1 << 19, 1, 1 << 19])).with_log_density(Trace::Hutchinson).expect_err("too wide");
    assert!(wide.to_string().contains("more than 1048576 rows"), "{wide}");
    let long = refused(Mlp::new([4000, 3, 4000]).into());
    assert!(long.contains("a program has at most 8192 operations"), "{long}");
    let mut json = serde_json::to_value(Field::from(Mlp::new([2, 2])).with_log_density(Trace::Exact).expect("a field"))
        .expect("plain data");
    json["log_density_of"]["sizes"] = vec![2, 3].into();
    let damaged = serde_json::from_value::<Field>(json).expect_err("a file").to_string();
    assert!(damaged.contains("moves a density"), "{damaged}");
}
