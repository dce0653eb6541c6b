//! A run's model as a file that makes it again.

use std::fmt::Write;

use anyhow::Context;
use fewsteps::{Clip, Field, InitialStep, Mlp, Recurrent, Regularizer, Schedule, StateMap, StepControl};
use serde_json::Value;

use super::recurrent::{Cell, CellName, Observed};
use super::schedule::ScheduleName;
use crate::choice::{ADJOINTS, ControllerName, GRADIENTS, LAYOUTS, MEASURES, NOISES, PENALTY_STEPS, name_of};
use crate::settings::Settings;
use crate::task::TaskName;

/// The text of the file, with what may stand at each key.
pub(crate) fn text(settings: &Settings) -> anyhow::Result<String> {
    let task = settings.task.name();
    let mut text = format!(
        "# The model of --task {task}, its solver and its training: `fewsteps train --model FILE` reads it. What is left out\n\
         # is the task's, and what the command line says comes first.\n"
    );
    if !settings.task.stochastic() {
        write_model(&mut text, settings)?;
    }
    write_solver(&mut text, settings);
    write_optimizer(&mut text, settings)?;
    write_regularizer(&mut text, settings);
    Ok(text)
}

/// A key with its value, and what else may stand there.
fn line(text: &mut String, key: &str, value: impl std::fmt::Display, remark: &str) {
    let entry = format!("{key} = {value}");
    let end = if remark.is_empty() {
        String::new()
    } else {
        format!("{:pad$}# {remark}", "", pad = 34usize.saturating_sub(entry.len()).max(1))
    };
    // Writing to a text does not fail.
    let _ = writeln!(text, "{entry}{end}");
}

fn word(name: &str) -> String {
    format!("\"{name}\"")
}

fn write_model(text: &mut String, settings: &Settings) -> anyhow::Result<()> {
    let model = &settings.config.model;
    text.push_str("\n[field]\n");
    let field = model.problem.field.without_log_density();
    match field.mlp() {
        Some(mlp) => write_network(text, mlp, true)?,
        None => write_equations(text, field)?,
    }
    if settings.task.interval_is_free() {
        line(text, "t1", format!("{:?}", model.problem.t1), "where the interval ends that begins at 0");
    }
    for (section, map, place) in [("encoder", &model.encoder, "before"), ("head", &model.head, "after")] {
        let _ = writeln!(text, "\n[{section}]");
        if section == "encoder" && map.is_some() {
            let remark = "whether it gives means and log-variances that the initial state is drawn from";
            line(text, "latent", model.latent, remark);
        }
        if section == "encoder" && model.latent {
            let kl = &settings.config.elbo.kl;
            line(text, "kl", format!("{:?}", kl.value(u64::MAX)), "weight of their divergence");
            let (rate, after) = match kl {
                Schedule::Annealed { rate, after, .. } => (*rate, *after),
                _ => (0.0, 0),
            };
            line(text, "kl-rate", format!("{rate:?}"), "by which what is missing of it falls each step");
            line(text, "kl-after", after, "steps before, without it");
        }
        let name = match map {
            Some(StateMap::Field(field)) => {
                match field.mlp() {
                    Some(mlp) => write_network(text, mlp, false)?,
                    None => write_equations(text, field)?,
                }
                continue;
            }
            Some(StateMap::Recurrent(reader)) => {
                write_reader(text, settings.task, reader)?;
                continue;
            }
            Some(_) => "linear",
            None => "none",
        };
        line(text, "layer", word(name), &format!("{place} the equation: linear, none; or mlp, or text"));
    }
    Ok(())
}

/// The keys of an encoder that reads series: its cell, and the map of its hidden state.
fn write_reader(text: &mut String, task: TaskName, reader: &Recurrent) -> anyhow::Result<()> {
    let cell = Observed::of(reader, task).cell(reader);
    let Cell { name, hidden, inner } = cell.context("--print-model: the encoder's cell has no name")?;
    line(text, "cell", word(name.text()), &CellName::ALL.map(CellName::text).join(", "));
    let halves = if name.has_inner() { "numbers in each half of the hidden state" } else { "hidden numbers" };
    line(text, "hidden", hidden, halves);
    if name.has_inner() {
        line(text, "inner", inner, "hidden units of its networks");
    }
    match reader.output_map() {
        Some(map) => match map.mlp() {
            Some(mlp) => write_network(text, mlp, false),
            None => write_equations(text, map),
        },
        None => {
            line(text, "layer", word("none"), "after the last observation: linear, none; or mlp, or text");
            Ok(())
        }
    }
}

/// The key of equations, over several lines, in which nothing is escaped: no name and no number has a quotation mark.
fn write_equations(text: &mut String, field: &Field) -> anyhow::Result<()> {
    let equations = field.to_text().context("--print-model")?;
    let _ = writeln!(text, "text = '''\n{equations}'''");
    Ok(())
}

/// The keys of a network, which is a vector field or stands outside of the equation.
fn write_network(text: &mut String, mlp: &Mlp, inside: bool) -> anyhow::Result<()> {
    let parts = serde_json::to_value(mlp)?;
    let widths = if inside { "widths; the first and the last are the state's" } else { "widths" };
    line(text, "mlp", format!("{:?}", mlp.sizes()), widths);
    for (key, part, remark) in [
        ("activation", "activation", "identity, tanh, relu, softplus, sigmoid, silu, gelu"),
        ("output-activation", "output_activation", "the same, after the last layer"),
        ("time-input", "time_input", "layers that see the time: none, first, every"),
        ("input-map", "input_map", "what is done to the state first: identity, cube"),
        ("initialization", "initialization", "glorot_uniform, glorot_normal, he_uniform, he_normal"),
    ] {
        if key == "time-input" && !inside {
            continue;
        }
        // Files of networks do not mention that there is none.
        let value = if parts[part].is_null() { &Value::from("identity") } else { &parts[part] };
        line(text, key, value, remark);
    }
    Ok(())
}

fn write_solver(text: &mut String, settings: &Settings) {
    let options = &settings.config.model.options;
    text.push_str("\n[solver]\n");
    line(text, "tol", format!("{:?}", settings.tolerance), "absolute and relative tolerance");
    line(text, "method", word(options.method.tableau().name), "a method with an error estimate");
    if let StepControl::Adaptive { controller, initial_step, .. } = options.step_control {
        let known = ControllerName::ALL.into_iter().find(|name| name.of(options.method) == controller);
        if let Some(name) = known {
            line(text, "controller", word(name.text()), &ControllerName::ALL.map(ControllerName::text).join(", "));
        }
        let first = match initial_step {
            InitialStep::Length(length) => format!("{length:?}"),
            InitialStep::Carried => word("carried"),
            _ => word("automatic"),
        };
        line(text, "first-step", first, "automatic, carried, or a length");
    }
    line(text, "layout", word(settings.layout_name()), &LAYOUTS.map(|layout| layout.name).join(", "));
    line(text, "adjoint", word(settings.adjoint_name()), &ADJOINTS.map(|adjoint| adjoint.name).join(", "));
    line(text, "precision", word(settings.precision_name()), "f32, f64");
}

fn write_optimizer(text: &mut String, settings: &Settings) -> anyhow::Result<()> {
    let optimizer = &settings.config.optimizer;
    text.push_str("\n[optimizer]\n");
    line(text, "steps", settings.steps, "training steps, each on one batch");
    line(text, "batch", settings.batch, "samples in a batch");
    line(text, "lr", format!("{:?}", settings.learning_rate), "learning rate, to begin with");
    write_schedule(text, &optimizer.learning_rate);
    let rule = serde_json::to_value(optimizer.rule)?;
    let (name, numbers) = rule
        .as_object()
        .and_then(|rule| rule.iter().next())
        .map_or(("adam", None), |(n, x)| (n.as_str(), x.as_object()));
    line(text, "rule", word(name), "sgd, adam, adamw, adamax, adabelief, rmsprop");
    for (key, value) in numbers.into_iter().flatten() {
        let value = match value {
            Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |x| format!("{x:?}")),
            other => other.to_string(),
        };
        line(text, &key.replace('_', "-"), value, "");
    }
    match optimizer.clip {
        Some(Clip::Norm(bound)) => line(text, "clip-norm", format!("{bound:?}"), "the gradient's norm at most"),
        Some(Clip::Value(bound)) => line(text, "clip-value", format!("{bound:?}"), "each of its numbers at most"),
        _ => text.push_str("# clip-norm = 1.0                 # the gradient's norm at most; or clip-value\n"),
    }
    Ok(())
}

fn write_schedule(text: &mut String, schedule: &Schedule) {
    let (warmup, schedule) = match schedule {
        Schedule::Warmup { steps, then } => (*steps, &**then),
        other => (0, other),
    };
    let name = ScheduleName::of(schedule).map_or("constant", ScheduleName::text);
    line(text, "schedule", word(name), "constant, exponential, cosine, inverse-decay");
    match schedule {
        Schedule::Exponential { to, steps, .. } | Schedule::Cosine { to, steps, .. } => {
            line(text, "lr-to", format!("{to:?}"), "where it ends");
            line(text, "decay-steps", steps, "after so many steps");
        }
        Schedule::InverseDecay { rate, .. } => line(text, "lr-decay", format!("{rate:?}"), "lr / (1 + lr-decay n)"),
        _ => {}
    }
    line(text, "warmup", warmup, "steps of a linear ascent before");
}

/// The weight of the penalty, and the target for NFE that it follows, if it does. A file has one for all penalties of a sum: where
/// they differ they are the methods' own, and the file leaves them so.
fn write_weight(text: &mut String, regularizer: &Regularizer) {
    let local =
        regularizer.local().map(|p| (&p.coefficient, p.budget, "the price of a solver step, in the loss's units"));
    let global = regularizer.global().map(|p| (&p.coefficient, p.budget, "weight of the penalty in the loss"));
    let points = regularizer.pointwise();
    let points = points.iter().map(|p| (&p.coefficient, p.budget, "weight of each measure in the loss"));
    let weights: Vec<_> = local.into_iter().chain(global).chain(points).collect();
    let Some(&(coefficient, budget, what)) = weights.first() else { return };
    let begins = if budget.is_some() { ", to begin with" } else { "" };
    if weights.iter().all(|weight| weight.0 == coefficient) {
        line(text, "coefficient", format!("{:?}", coefficient.value(0)), &format!("{what}{begins}"));
    }
    if let Schedule::Exponential { to, .. } = coefficient {
        line(text, "coefficient-to", format!("{to:?}"), "at the end");
    }
    if let Some(budget) = budget {
        line(text, "target-nfe", format!("{:?}", budget.nfe), "which the weight follows");
    }
}

fn write_regularizer(text: &mut String, settings: &Settings) {
    text.push_str("\n[regularizer]\n");
    let training = settings.training;
    line(text, "regularization", word(&training.to_string()), "of `train`; `bench` compares its --methods");
    if !training.takes_coefficient() {
        return;
    }
    write_weight(text, &settings.config.regularizer);
    let Some(local) = settings.config.regularizer.local() else { return };
    line(text, "measure", word(name_of(&MEASURES, local.measure)), &MEASURES.map(|m| m.name).join(", "));
    line(text, "penalty-step", word(name_of(&PENALTY_STEPS, local.step)), &PENALTY_STEPS.map(|s| s.name).join(", "));
    if settings.task.stochastic() {
        line(text, "noise", word(name_of(&NOISES, local.noise)), &NOISES.map(|n| n.name).join(", "));
    }
    line(text, "gradient", word(name_of(&GRADIENTS, local.gradient)), &GRADIENTS.map(|g| g.name).join(", "));
    line(text, "times", local.times, "penalised steps per batch");
    line(text, "fraction", format!("{:?}", local.fraction), "share of the batch that they are taken on");
}
