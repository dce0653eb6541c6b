//! `fewsteps check-field`: what a text of equations computes, what that costs, and whether its gradients are right.

use anyhow::{Context, anyhow, ensure};
use fewsteps::{Bound, Field, FieldCost, Problem, Purpose, Random};
use serde::Serialize;

use crate::args::CheckFieldArgs;
use crate::numbers;
use crate::output;
use crate::{files, run::Ending};

/// Points at which derivatives are compared where none is given.
const POINTS: u64 = 3;

/// The largest relative error that passes: a wrong derivative's is of order 1, a right one's of order 1e-9, and more where
/// the field bends sharply.
const TOLERANCE: f64 = 1e-5;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    passed: bool,
    /// The drift, and the noise if there is any.
    fields: Vec<Checked>,
}

/// One of the fields of a text.
#[derive(Debug, Serialize)]
struct Checked {
    name: &'static str,
    rows: usize,
    parameters: usize,
    groups: Vec<Group>,
    listing: String,
    gradient_listing: String,
    cost: FieldCost,
    check: Check,
}

#[derive(Debug, Serialize)]
struct Group {
    name: String,
    first: usize,
    count: usize,
    frozen: bool,
    bound: Bound,
}

/// How derivatives agree with differences.
#[derive(Debug, Serialize)]
struct Check {
    passed: bool,
    tolerance: f64,
    #[serde(with = "numbers")]
    worst: f64,
    parts: Vec<Part>,
}

/// With respect to what, and the largest relative error.
#[derive(Debug, Serialize)]
struct Part {
    name: String,
    #[serde(with = "numbers")]
    error: f64,
}

pub(crate) fn check_field(args: &CheckFieldArgs) -> anyhow::Result<Ending> {
    let file = args.file.display().to_string();
    let text = String::from_utf8(files::read(&args.file)?).map_err(|_| anyhow!("{file}: is no text in UTF-8"))?;
    let named = fields(&text).with_context(|| file.clone())?;
    let named = named.iter().map(|(name, field)| (*name, field));
    let fields = named.map(|(name, field)| checked(name, field, args).with_context(|| format!("{file}: {name}")));
    let fields = fields.collect::<anyhow::Result<Vec<_>>>()?;
    let report = Report { file, passed: fields.iter().all(|field| field.check.passed), fields };
    match args.json {
        true => output::print(&(serde_json::to_string_pretty(&report)? + "\n"))?,
        false => output::print(&report.fields.iter().map(render).collect::<Vec<_>>().join("\n"))?,
    }
    if !report.passed {
        output::note(&format!(
            "fewsteps: {}: derivatives differ from differences: look for a kink or a pole there, or choose another --state",
            report.file
        ));
        return Ok(Ending::Failed);
    }
    Ok(Ending::Finished)
}

/// The drift of a text, and the noise if there is any; or a map, an encoder or a head.
fn fields(text: &str) -> fewsteps::Result<Vec<(&'static str, Field)>> {
    match Field::parse(text) {
        Ok(field) if field.inputs() != field.outputs() => Ok(vec![("map", field)]),
        Ok(field) => Ok(vec![("drift", field)]),
        Err(_) => {
            // The interval is no matter of the fields.
            let problem = Problem::parse(text, 0.0, 1.0)?;
            let noise = problem.diffusion.map(|noise| ("noise", noise.network));
            Ok([("drift", problem.field)].into_iter().chain(noise).collect())
        }
    }
}

fn checked(name: &'static str, field: &Field, args: &CheckFieldArgs) -> anyhow::Result<Checked> {
    let group = |group: &fewsteps::Group| Group {
        name: group.name.clone(),
        first: group.offset,
        count: group.count,
        frozen: group.frozen,
        bound: group.bound,
    };
    Ok(Checked {
        name,
        rows: field.inputs(),
        parameters: field.parameter_count(),
        groups: field.groups().iter().map(group).collect(),
        listing: field.to_string(),
        gradient_listing: field.gradient_listing()?,
        cost: field.cost()?,
        check: check(field, args)?,
    })
}

/// The largest errors over some points.
fn check(field: &Field, args: &CheckFieldArgs) -> anyhow::Result<Check> {
    let theta = field.initialize::<f64>(args.seed);
    let controls: usize = field.driven_by().map(|(_, rows)| rows).sum();
    let mut parts: Vec<Part> = Vec::new();
    for point in 0..POINTS {
        let mut random = Random::new(args.seed, Purpose::Data, point);
        let mut drawn = |count: usize| (0..count).map(|_| 0.5 + random.uniform()).collect::<Vec<f64>>();
        let state = match &args.state {
            Some(state) => {
                let (found, wanted) = (state.len(), field.inputs());
                ensure!(found == wanted, "--state has {found} numbers: give it {wanted}, one a row of the state");
                state.clone()
            }
            None => drawn(field.inputs()),
        };
        let checked =
            field.check_gradient(&theta, args.time, &state, &drawn(controls), args.seed.wrapping_add(point))?;
        for (place, (name, error)) in checked.errors().enumerate() {
            match parts.get_mut(place) {
                Some(part) => part.error = part.error.max(error),
                None => parts.push(Part { name: name.to_owned(), error }),
            }
        }
    }
    let worst = parts.iter().fold(0.0, |worst: f64, part| worst.max(part.error));
    Ok(Check { passed: worst <= TOLERANCE, tolerance: TOLERANCE, worst, parts })
}

fn render(checked: &Checked) -> String {
    let Checked { name, listing, gradient_listing, cost, check, .. } = checked;
    let cost_line = |what: &str, cost: fewsteps::Cost| {
        let fewsteps::Cost { multiply_adds, functions, rows, .. } = cost;
        format!("  {what}: {multiply_adds} multiply-adds, {functions} functions, {rows} rows of values\n")
    };
    let errors: String = check.parts.iter().map(|part| format!("  {}: {:.1e}\n", part.name, part.error)).collect();
    let verdict = if check.passed { "passed" } else { "FAILED" };
    format!(
        "{name}\n{}\ngradient\n{}\ncost a trajectory\n{}{}  kept between the two: {} rows\n\
         gradient check: {verdict}, the largest relative error is {:.1e}, up to {TOLERANCE:.0e} pass\n{errors}",
        indented(listing),
        indented(gradient_listing),
        cost_line("value", cost.value),
        cost_line("gradient", cost.gradient),
        cost.kept,
        check.worst,
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
