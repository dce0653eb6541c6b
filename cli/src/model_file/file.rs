//! [`ModelFile`]: sections of keys that are those of the command line and of the library.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use fewsteps::{
    Activation, Adjoint, Clip, Elbo, Error, Field, InitialStep, Initialization, InputMap, Layout, Measure, Method, Mlp,
    NeuralDe, Recurrent, Schedule, StateMap,
};
use fewsteps::{Optimizer, PenaltyGradient, PenaltyNoise, PenaltyStep, Rule, TimeInput};
use serde::Deserialize;
use serde_json::Value;

use super::read;
use super::recurrent::{Cell, CellName, Observed};
use super::schedule::{Rates, ScheduleName};
use crate::choice::{ControllerName, Precision};
use crate::files;
use crate::method::Training;
use crate::task::{DIVERGENCE, TaskName};

/// A file that says how a model is made, solved and trained. What it leaves open is the task's; what the command line says
/// comes first.
#[derive(Clone, Debug)]
pub(crate) struct ModelFile {
    /// Its name, for errors.
    name: String,
    text: String,
    pub(super) sections: Sections,
    /// The keys that no option came before, as `[section] key` with the line.
    pub(super) used: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sections {
    field: FieldSection,
    encoder: MapSection,
    head: MapSection,
    pub(super) solver: SolverSection,
    pub(super) optimizer: OptimizerSection,
    pub(super) regularizer: RegularizerSection,
}

/// The vector field: a network, of which `mlp` has the widths, or equations as `text`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct FieldSection {
    text: Option<String>,
    mlp: Option<Vec<usize>>,
    activation: Option<Activation>,
    output_activation: Option<Activation>,
    time_input: Option<TimeInput>,
    input_map: Option<InputMap>,
    initialization: Option<Initialization>,
    /// Where the interval ends, of tasks whose data do not say it.
    t1: Option<f64>,
}

/// What stands before or after the equation: nothing, a linear layer, a network of which `mlp` has the widths, or a map as
/// `text`; before it a recurrent encoder too.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct MapSection {
    layer: Option<LayerName>,
    /// Whether what it gives are means and log-variances that the initial state is drawn from, and the weight of what is paid
    /// for that.
    latent: Option<bool>,
    kl: Option<f64>,
    /// How that weight comes in: see [`Schedule::annealed`].
    kl_rate: Option<f64>,
    kl_after: Option<u64>,
    /// What reads a series, with its hidden numbers and the hidden units of its networks. The map is of its last hidden state
    /// then.
    cell: Option<CellName>,
    hidden: Option<usize>,
    inner: Option<usize>,
    text: Option<String>,
    mlp: Option<Vec<usize>>,
    activation: Option<Activation>,
    output_activation: Option<Activation>,
    input_map: Option<InputMap>,
    initialization: Option<Initialization>,
}

impl MapSection {
    /// The network of these widths.
    fn network(&self, sizes: &[usize]) -> Mlp {
        let base = Mlp::new(sizes);
        let base = self.activation.map_or(base.clone(), |activation| base.activation(activation));
        let base = self.output_activation.map_or(base.clone(), |activation| base.output_activation(activation));
        let base = self.input_map.map_or(base.clone(), |map| base.input_map(map));
        self.initialization.map_or(base.clone(), |initialization| base.initialization(initialization))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LayerName {
    None,
    Linear,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct SolverSection {
    pub(super) tol: Option<f64>,
    #[serde(deserialize_with = "read::method")]
    pub(super) method: Option<Method>,
    #[serde(deserialize_with = "read::controller")]
    pub(super) controller: Option<ControllerName>,
    #[serde(deserialize_with = "read::first_step")]
    pub(super) first_step: Option<InitialStep>,
    #[serde(deserialize_with = "read::layout")]
    pub(super) layout: Option<Layout>,
    #[serde(deserialize_with = "read::adjoint")]
    pub(super) adjoint: Option<Adjoint>,
    pub(super) precision: Option<Precision>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct OptimizerSection {
    pub(super) steps: Option<std::num::NonZeroUsize>,
    pub(super) batch: Option<std::num::NonZeroUsize>,
    pub(super) lr: Option<f64>,
    schedule: Option<ScheduleName>,
    lr_to: Option<f64>,
    lr_decay: Option<f64>,
    decay_steps: Option<u64>,
    warmup: Option<u64>,
    rule: Option<RuleName>,
    momentum: Option<f64>,
    nesterov: Option<bool>,
    beta1: Option<f64>,
    beta2: Option<f64>,
    epsilon: Option<f64>,
    weight_decay: Option<f64>,
    decay: Option<f64>,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RuleName {
    Sgd,
    Adam,
    AdamW,
    AdaMax,
    AdaBelief,
    RmsProp,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct RegularizerSection {
    pub(super) regularization: Option<Training>,
    #[serde(deserialize_with = "read::measure")]
    pub(super) measure: Option<Measure>,
    #[serde(deserialize_with = "read::penalty_step")]
    pub(super) penalty_step: Option<PenaltyStep>,
    #[serde(deserialize_with = "read::noise")]
    pub(super) noise: Option<PenaltyNoise>,
    #[serde(deserialize_with = "read::gradient")]
    pub(super) gradient: Option<PenaltyGradient>,
    pub(super) coefficient: Option<f64>,
    pub(super) coefficient_to: Option<f64>,
    pub(super) target_nfe: Option<f64>,
    pub(super) times: Option<usize>,
    pub(super) fraction: Option<f64>,
}

impl ModelFile {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let text = String::from_utf8(files::read(path)?).map_err(|_| anyhow!("{name}: is no text"))?;
        let sections = match toml::from_str(&text) {
            Ok(sections) => sections,
            Err(error) => {
                let place = error.span().map_or(String::new(), |span| read::place(&text, span.start));
                bail!("{name}: {place}{}", error.message().trim_end());
            }
        };
        Ok(Self { name, text, sections, used: Vec::new() })
    }

    /// An error at a key of the file.
    pub(super) fn at(&self, section: &str, key: &str, what: impl std::fmt::Display) -> anyhow::Error {
        anyhow!("{}: {}{what}", self.name, read::place_of(&self.text, section, key))
    }

    /// Where of these keys those lie that the file has set; `options` where it has set none of them.
    pub(crate) fn blame(file: Option<&Self>, section: &str, keys: &[&str], options: &str) -> String {
        let Some(file) = file else { return options.to_owned() };
        let of = |key: &&&str| file.used.contains(&(section, **key)) || file.own_key(section, key);
        let places: Vec<String> = keys.iter().filter(of).map(|key| read::place_of(&file.text, section, key)).collect();
        let places: Vec<&str> = places.iter().map(|place| place.trim_end_matches([':', ' '])).collect();
        if places.is_empty() { options.to_owned() } else { format!("{}: {}", file.name, places.join(", ")) }
    }

    /// Whether the file sets a key that no option is for.
    fn own_key(&self, section: &str, key: &str) -> bool {
        let of_rule = section == "optimizer" && !["steps", "batch", "lr"].contains(&key);
        of_rule && read::find(&self.text, section, key).is_some()
    }

    /// The task's model with the file's field, encoder and head.
    pub(crate) fn model(&self, task: TaskName, base: NeuralDe) -> anyhow::Result<NeuralDe> {
        let Sections { field, encoder, head, .. } = &self.sections;
        let given = [
            ("field", read::has(&self.text, "field")),
            ("encoder", read::has(&self.text, "encoder")),
            ("head", read::has(&self.text, "head")),
        ];
        if let (true, Some((section, _))) = (task.stochastic(), given.iter().find(|given| given.1)) {
            return Err(self.at(
                section,
                "",
                format!("{} has drift and diffusion of its own; leave the section out", task.name()),
            ));
        }
        // Of a flow the file says the field alone.
        let trace = base.problem.field.trace();
        let inputs = base.input_width();
        let outputs = if trace.is_some() { inputs } else { base.output_width() };
        let mut model = base;
        model.problem.field = model.problem.field.without_log_density().clone();
        self.set_field(&mut model)?;
        if let Some(t1) = field.t1 {
            if !task.interval_is_free() {
                return Err(self.at(
                    "field",
                    "t1",
                    format!("the data of {} say how long the interval is; leave it out", task.name()),
                ));
            }
            model.problem.t1 = t1;
        }
        let dim = model.problem.dim();
        model.latent = encoder.latent.unwrap_or(model.latent);
        let of_state = if model.latent { 2 * dim } else { dim };
        match self.cell(task, &model)? {
            Some(reader) => self.set_reader(&mut model.encoder, reader, of_state)?,
            None => self.set_map(&mut model.encoder, "encoder", encoder, [inputs, of_state], inputs)?,
        }
        self.set_map(&mut model.head, "head", head, [dim, outputs], outputs)?;
        let of_encoder = ["latent", "kl", "kl-rate", "kl-after", "cell", "hidden", "inner"];
        if let Some(key) = of_encoder.into_iter().find(|key| read::find(&self.text, "head", key).is_some()) {
            return Err(self.at("head", key, "is of initial states, which the encoder gives: put it into [encoder]"));
        }
        if model.latent && model.encoder.is_none() {
            let remedy =
                "what the initial state is drawn from is an encoder's: give it a layer, mlp or text, or leave it out";
            return Err(self.at("encoder", "latent", remedy));
        }
        for (slot, section, width, what) in
            [(&model.encoder, "encoder", inputs, "inputs"), (&model.head, "head", outputs, "outputs")]
        {
            if slot.is_none() && dim != width {
                let key = match (&field.text, &field.mlp) {
                    (Some(_), _) => ("field", "text"),
                    (None, Some(_)) => ("field", "mlp"),
                    (None, None) => (section, "layer"),
                };
                let remedy = format!(
                    "the state has {dim} numbers and the data have {width} {what}: take a linear layer ([{section}] layer = \
                     \"linear\"), or a state of {width}"
                );
                return Err(self.at(key.0, key.1, remedy));
            }
        }
        let field_key = if field.text.is_some() { "text" } else { "mlp" };
        let place = || {
            format!("{}: {}", self.name, read::place_of(&self.text, "field", field_key).trim_end_matches([':', ' ']))
        };
        if let Some(trace) = trace {
            let ends = [("encoder", model.encoder.is_some()), ("head", model.head.is_some())];
            if let Some((section, _)) = ends.into_iter().find(|end| end.1) {
                return Err(self.at(section, "", "a density is of the equation alone; leave the section out"));
            }
            model.problem.field = model.problem.field.with_log_density(trace).with_context(place)?;
        }
        model.problem.validate().with_context(place)?;
        self.check_maps(&model)?;
        Ok(model)
    }

    /// The recurrent encoder that the file says, without a map of its hidden state; what it leaves out is the task's.
    fn cell(&self, task: TaskName, base: &NeuralDe) -> anyhow::Result<Option<Recurrent>> {
        let MapSection { cell, hidden, inner, .. } = self.sections.encoder;
        let key = [("cell", cell.is_some()), ("hidden", hidden.is_some()), ("inner", inner.is_some())];
        let Some((key, _)) = key.into_iter().find(|key| key.1) else { return Ok(None) };
        let Some(StateMap::Recurrent(reader)) = &base.encoder else {
            let remedy = "is of an encoder that reads series, and the inputs are none: leave it out; --task series has them \
                          with --read";
            return Err(self.at("encoder", key, remedy));
        };
        let observed = Observed::of(reader, task);
        let own = observed.cell(reader);
        let own_of = |name| own.filter(|own| own.name == name);
        let name = cell.or(own.map(|own| own.name)).with_context(|| format!("[encoder] {key}: say the cell too"))?;
        if name.has_inner() && !observed.has_times() {
            return Err(self.at("encoder", "cell", "reads as many marks as values, and a time; take \"gru\" here"));
        }
        if inner.is_some() && !name.has_inner() {
            return Err(self.at("encoder", "inner", "is of networks, and this cell has none: leave it out"));
        }
        let hidden = hidden.or(own_of(name).map(|own| own.hidden)).unwrap_or(32);
        let inner = inner.or(own_of(name).map(|own| own.inner)).unwrap_or(40);
        let encoder = observed.encoder(Cell { name, hidden, inner });
        let encoder = encoder.map_err(|error| self.at("encoder", key, error))?;
        Ok(Some(encoder))
    }

    /// Sets the encoder to one that reads series, with the file's map from its hidden state to `to` numbers, or else a linear one.
    fn set_reader(&self, slot: &mut Option<StateMap>, reader: Recurrent, to: usize) -> anyhow::Result<()> {
        let map = &self.sections.encoder;
        let hidden = reader.hidden();
        let linear = || Field::from(Mlp::new([hidden, to]));
        let mut out = Some(linear().into());
        match map.layer {
            Some(LayerName::Linear) if map.mlp.is_none() && map.text.is_none() => {}
            _ => self.set_map(&mut out, "encoder", map, [hidden, to], hidden)?,
        }
        let reader = match out {
            Some(StateMap::Field(field)) => reader.out(field),
            _ if hidden == to => reader,
            _ => {
                let what =
                    format!("the hidden state has {hidden} numbers, and {to} are to be given: take \"linear\" or mlp");
                return Err(self.at("encoder", "layer", what));
            }
        };
        *slot = Some(reader.into());
        Ok(())
    }

    /// Checks what the library wants of maps, but for their widths.
    fn check_maps(&self, model: &NeuralDe) -> anyhow::Result<()> {
        let Sections { encoder, head, .. } = &self.sections;
        for (section, argument, map) in [("encoder", "NeuralDe::encoder", encoder), ("head", "NeuralDe::head", head)] {
            let key = if map.text.is_some() { "text" } else { "mlp" };
            match model.validate::<f32>() {
                Err(error @ Error::Argument { argument: found, .. }) if found == argument => {
                    return Err(self.at(section, key, error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets the field to the equations, or the network.
    fn set_field(&self, model: &mut NeuralDe) -> anyhow::Result<()> {
        let FieldSection { text, mlp, activation, output_activation, time_input, input_map, initialization, .. } =
            &self.sections.field;
        if let Some(text) = text {
            let keys = ["mlp", "activation", "output-activation", "time-input", "input-map", "initialization"];
            if let Some(key) = keys.iter().find(|key| read::find(&self.text, "field", key).is_some()) {
                return Err(self.at(
                    "field",
                    key,
                    "is of a network; the field is equations, text: leave one of them out",
                ));
            }
            model.problem.field = Field::parse(text).map_err(|error| self.at("field", "text", error))?;
            return Ok(());
        }
        let given = [
            ("sizes", mlp.as_ref().map(serde_json::to_value)),
            ("activation", activation.map(serde_json::to_value)),
            ("output_activation", output_activation.map(serde_json::to_value)),
            ("time_input", time_input.map(serde_json::to_value)),
            ("input_map", input_map.map(serde_json::to_value)),
            ("initialization", initialization.map(serde_json::to_value)),
        ];
        let Some((key, _)) = given.iter().find(|(_, value)| value.is_some()) else { return Ok(()) };
        let base = match (model.problem.field.mlp(), mlp) {
            (Some(base), _) => base.clone(),
            (None, Some(sizes)) => Mlp::new(sizes.as_slice()),
            (None, None) => {
                let remedy = "is of a network, and the task's field is equations: say widths with mlp, or leave it out";
                return Err(self.at("field", &key.replace('_', "-"), remedy));
            }
        };
        // A network serialises as what it was made with.
        let mut parts = serde_json::to_value(base)?;
        for (key, value) in given {
            if let Some(value) = value {
                parts[key] = value?;
            }
        }
        model.problem.field = serde_json::from_value::<Mlp>(parts)?.into();
        Ok(())
    }

    /// Sets an end of the model to what its section says, with `widths` and, of a linear layer, the one that is not the state's.
    fn set_map(
        &self,
        slot: &mut Option<StateMap>,
        section: &str,
        map: &MapSection,
        widths: [usize; 2],
        width: usize,
    ) -> anyhow::Result<()> {
        let of_network = ["activation", "output-activation", "input-map", "initialization"];
        let stray = of_network.into_iter().find(|key| read::find(&self.text, section, key).is_some());
        if let (None, Some(key)) = (&map.mlp, stray) {
            return Err(self.at(section, key, "is of a network: say its widths with mlp, or leave it out"));
        }
        match (map.layer, &map.text, &map.mlp) {
            (None, None, None) => {}
            (Some(LayerName::Linear), None, None) => *slot = Some(width.into()),
            (Some(LayerName::None), None, None) => *slot = None,
            (None, None, Some(sizes)) => self.put_map(slot, section, map.network(sizes).into(), widths)?,
            (None, Some(text), None) => {
                let field = Field::parse(text).map_err(|error| self.at(section, "text", error))?;
                self.put_map(slot, section, field, widths)?;
            }
            (layer, ..) => {
                let key = if layer.is_some() { "layer" } else { "text" };
                return Err(self.at(section, key, "a section has one of layer, text and mlp: leave the others out"));
            }
        }
        Ok(())
    }

    /// Sets an end of the model to a field.
    fn put_map(
        &self,
        slot: &mut Option<StateMap>,
        section: &str,
        field: Field,
        [from, to]: [usize; 2],
    ) -> anyhow::Result<()> {
        let key = if field.mlp().is_some() { "mlp" } else { "text" };
        field.validate().map_err(|error| self.at(section, key, error))?;
        let found = [field.inputs(), field.outputs()];
        if found != [from, to] {
            let what = format!("is from {} numbers to {}; here it goes from {from} to {to}", found[0], found[1]);
            return Err(self.at(section, key, what));
        }
        *slot = Some(field.into());
        Ok(())
    }

    /// What is paid for initial states that are drawn, of a model that draws such.
    pub(crate) fn elbo(&self, base: Option<Elbo>, latent: bool) -> anyhow::Result<Option<Elbo>> {
        let MapSection { kl, kl_rate, kl_after, .. } = self.sections.encoder;
        let keys = [("kl", kl.is_some()), ("kl-rate", kl_rate.is_some()), ("kl-after", kl_after.is_some())];
        match keys.into_iter().find(|key| key.1 && !latent) {
            Some((key, _)) => {
                let remedy = "is of initial states that are drawn: add latent = true, or leave it out";
                return Err(self.at("encoder", key, remedy));
            }
            None if !latent => return Ok(None),
            None => {}
        }
        if let Some(weight) = kl.filter(|weight| !(*weight >= 0.0 && weight.is_finite())) {
            return Err(self.at("encoder", "kl", format!("{weight} is no weight: give 0 or a positive number")));
        }
        if let Some(rate) = kl_rate.filter(|rate| !(0.0..1.0).contains(rate)) {
            let remedy = "is the share of the weight that is missing after each step: give one from 0 to below 1";
            return Err(self.at("encoder", "kl-rate", format!("{rate} {remedy}")));
        }
        let base = base.unwrap_or_else(|| Elbo::default().kl(DIVERGENCE));
        let own = match base.kl {
            Schedule::Annealed { to, rate, after } => (to, rate, after),
            _ => (base.kl.value(0), 0.0, 0),
        };
        let (to, rate, after) = (kl.unwrap_or(own.0), kl_rate.unwrap_or(own.1), kl_after.unwrap_or(own.2));
        // The weight that is there from the first step on.
        let at_once = rate == 0.0 && after == 0;
        Ok(Some(if at_once { base.kl(to) } else { base.kl(Schedule::annealed(to, rate, after)) }))
    }

    /// The task's optimizer with the file's rule, and with its schedule from `rate` on in so many steps.
    pub(crate) fn optimizer(&self, base: Optimizer, rate: f64, steps: u64) -> anyhow::Result<Optimizer> {
        let section = &self.sections.optimizer;
        let mut optimizer = base;
        let rates = Rates {
            schedule: section.schedule,
            to: section.lr_to,
            decay: section.lr_decay,
            steps: section.decay_steps,
            warmup: section.warmup,
        };
        let schedule = rates.schedule(&optimizer.learning_rate, rate, steps);
        optimizer.learning_rate = schedule.map_err(|(key, what)| self.at("optimizer", key, what))?;
        if let Some(rule) = section.rule {
            optimizer.rule = rule.rule();
        }
        let given: [(&str, Option<Value>); 7] = [
            ("momentum", section.momentum.map(Value::from)),
            ("nesterov", section.nesterov.map(Value::from)),
            ("beta1", section.beta1.map(Value::from)),
            ("beta2", section.beta2.map(Value::from)),
            ("epsilon", section.epsilon.map(Value::from)),
            ("weight-decay", section.weight_decay.map(Value::from)),
            ("decay", section.decay.map(Value::from)),
        ];
        let mut rule = serde_json::to_value(optimizer.rule)?;
        for (key, value) in given {
            let Some(value) = value else { continue };
            // A rule is an object of one entry: its name with its numbers.
            let mut numbers = rule.as_object_mut().into_iter().flat_map(|rule| rule.values_mut());
            match numbers.next().and_then(|numbers| numbers.get_mut(key.replace('-', "_"))) {
                Some(number) => *number = value,
                None => return Err(self.at("optimizer", key, "is no number of this rule; leave it out")),
            }
        }
        optimizer.rule = serde_json::from_value(rule)?;
        optimizer.clip = match (section.clip_norm, section.clip_value) {
            (Some(_), Some(_)) => return Err(self.at("optimizer", "clip-value", "leave it out, or clip-norm")),
            (Some(bound), None) => Some(Clip::Norm(bound)),
            (None, Some(bound)) => Some(Clip::Value(bound)),
            (None, None) => optimizer.clip,
        };
        Ok(optimizer)
    }
}

impl RuleName {
    /// The rule with the library's numbers.
    fn rule(self) -> Rule {
        let optimizer = match self {
            Self::Sgd => Optimizer::sgd(0.0),
            Self::Adam => Optimizer::adam(0.0),
            Self::AdamW => Optimizer::adamw(0.0, 0.01),
            Self::AdaMax => Optimizer::adamax(0.0),
            Self::AdaBelief => Optimizer::adabelief(0.0),
            Self::RmsProp => Optimizer::rmsprop(0.0),
        };
        optimizer.rule
    }
}
