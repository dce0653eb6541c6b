//! Checkpoints: a safetensors file with the numbers by their names, and everything else as JSON in its metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::config::TrainerConfig;
use super::deployed::Deployed;
use super::model::TensorLayout;
use super::optimizer::OptimizerState;
use super::state::TrainingState;
use crate::cpu::Scalar;
use crate::error::{Error, Result};
use crate::files::{check_regular, write_whole};
use crate::method::{Learnt, Regularizer};

/// Key of our entry in the safetensors metadata.
const KEY: &str = "fewsteps";

/// Version of the layout: [`NeuralDe::layout`](super::NeuralDe::layout) names the tensors.
const FORMAT: u32 = 2;

/// The version before it, which is still read: three flat tensors.
const FLAT: u32 = 1;
const FLAT_NAMES: [&str; 3] = ["theta", "moment1", "moment2"];

/// What stands before the parameters' names in those of the optimizer's two moments.
const MOMENTS: [&str; 2] = ["optimizer.first.", "optimizer.second."];

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    version: String,
    scalar: String,
    steps: u64,
    optimizer_steps: u64,
    config: TrainerConfig,
    /// Those of earlier versions have learnt nothing.
    #[serde(default)]
    learnt: Learnt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployed: Option<Deployed>,
    metadata: BTreeMap<String, String>,
}

/// What a checkpoint holds.
pub(super) struct Loaded<R: Scalar> {
    pub(super) config: TrainerConfig,
    pub(super) steps: u64,
    pub(super) theta: Vec<R>,
    pub(super) state: OptimizerState<R>,
    pub(super) learnt: Learnt,
    pub(super) metadata: BTreeMap<String, String>,
}

fn dtype<R: Scalar>() -> Dtype {
    if size_of::<R>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

/// Writes a checkpoint; without a `state`, of the weights alone.
pub(super) fn save<R: Scalar>(
    path: &Path,
    training: &TrainingState,
    learnt: Learnt,
    theta: &[R],
    state: Option<&OptimizerState<R>>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let TrainingState { config, steps, .. } = training;
    let failed = |reason: String| Error::Checkpoint { path: path.into(), reason };
    let header = Header {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        scalar: R::NAME.into(),
        steps: *steps,
        optimizer_steps: state.map_or(0, |state| state.step),
        config: config.clone(),
        learnt,
        deployed: None,
        metadata: metadata.clone(),
    };
    let layout = config.model.layout();
    let moments = state.iter().flat_map(|state| MOMENTS.into_iter().zip(&state.moments));
    let moments = moments.map(|(prefix, moment)| (prefix, moment.as_slice())).filter(|(_, moment)| !moment.is_empty());
    let mut tensors = Vec::new();
    for (prefix, numbers) in [("", theta)].into_iter().chain(moments) {
        for tensor in &layout {
            // What could not be loaded is not written over what can.
            if let Some((index, x)) = numbers[tensor.range()].iter().enumerate().find(|(_, x)| !x.is_finite()) {
                let what = format!("{prefix}{}[{index}] = {x}", tensor.name);
                let learning_rate = config.optimizer.learning_rate.value(state.map_or(0, |state| state.step));
                return Err(Error::Diverged { step: *steps, what, learning_rate });
            }
            // safetensors is little-endian, as is every machine that this library is built for.
            let bytes = bytemuck::cast_slice(&numbers[tensor.range()]);
            let view = TensorView::new(dtype::<R>(), tensor.shape.clone(), bytes).map_err(|e| failed(e.to_string()))?;
            tensors.push((format!("{prefix}{}", tensor.name), view));
        }
    }
    write(path, tensors, HashMap::new(), &header)
}

/// Writes the file of these tensors, with the header and what else there is of metadata.
fn write<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, TensorView<'a>)>,
    mut others: HashMap<String, String>,
    header: &Header,
) -> Result<()> {
    let failed = |reason: String| Error::Checkpoint { path: path.into(), reason };
    others.insert(KEY.to_owned(), serde_json::to_string(header).map_err(|e| failed(e.to_string()))?);
    let bytes = safetensors::serialize(tensors, Some(others)).map_err(|e| failed(e.to_string()))?;
    SafeTensors::read_metadata(&bytes).map_err(|e| {
        let length = header.metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        Error::argument(
            "metadata",
            format!("{length} bytes"),
            format!("too much for a safetensors header ({e}): keep less"),
        )
    })?;
    write_whole(path, &bytes).map_err(|reason| Error::Io { path: path.into(), reason })
}

impl Deployed {
    /// Writes it into a checkpoint, in place of one that is there; nothing else of the file changes, and it is written
    /// whole or not at all.
    ///
    /// ```
    /// # use std::collections::BTreeMap;
    /// use fewsteps::{Cpu, Deployed, Loss, Method, Mlp, NeuralDe, Problem, SolverOptions, StepControl, Trainer, TrainerConfig};
    /// # fn main() -> fewsteps::Result<()> {
    /// # let folder = tempfile::tempdir().expect("a folder");
    /// # let path = folder.path().join("model.safetensors");
    /// let model = NeuralDe::new(Problem::ode(Mlp::new([2, 16, 2]), 0.0, 1.0), SolverOptions::default());
    /// let trainer = Trainer::<f32>::new(&Cpu::new()?, TrainerConfig::new(model, Loss::Mse))?;
    /// trainer.save(&path, &BTreeMap::new())?;
    /// // Predictions by one step of the classical method: four evaluations.
    /// let options = SolverOptions::default().method(Method::Rk4).step_control(StepControl::Fixed { steps: 1 });
    /// Deployed::new(options).write(&path)?;
    /// let (mut model, _) = Trainer::<f32>::deployed(&Cpu::new()?, &path)?;
    /// let outputs = model.predict(&[1.0, 0.0])?;
    /// # assert_eq!(outputs.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read or written, [`Error::Checkpoint`] when it is not a checkpoint,
    /// [`Error::Argument`] for options that do not fit its model; the old file is still there then.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |reason: String| Error::Checkpoint { path: path.into(), reason };
        let bytes = read(path)?;
        let mut header = header(path, &bytes)?;
        match header.scalar.as_str() {
            "f64" => self.check::<f64>(&header.config.model)?,
            _ => self.check::<f32>(&header.config.model)?,
        }
        header.deployed = Some(self.clone());
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| failed(e.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| failed(format!("truncated or damaged: {e}")))?;
        write(path, tensors.tensors(), metadata.metadata().clone().unwrap_or_default(), &header)
    }
}

/// What a checkpoint says of itself, without its numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Scalar type of the numbers, `f32` or `f64`: the one to resume it with.
    pub scalar: String,
    /// Training steps made.
    pub steps: u64,
    /// The training's configuration.
    pub config: TrainerConfig,
    /// What its training steps have taught the solves that follow.
    pub learnt: Learnt,
    /// The solver that was chosen for predictions, if one was.
    pub deployed: Option<Deployed>,
    /// The metadata that was given to [`Trainer::save`](super::Trainer::save).
    pub metadata: BTreeMap<String, String>,
}

impl CheckpointInfo {
    /// Reads what a checkpoint says of itself.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Checkpoint`] when it is not a checkpoint.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        let Header { scalar, steps, config, learnt, deployed, metadata, .. } = header(path, &bytes)?;
        Ok(Self { scalar, steps, config, learnt, deployed, metadata })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    check_regular(path).and_then(|()| std::fs::read(path)).map_err(|reason| Error::Io { path: path.into(), reason })
}

fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let failed = |reason: String| Error::Checkpoint { path: path.into(), reason };
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| failed(format!("not a whole safetensors file: {e}")))?;
    let entry = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let entry = entry.ok_or_else(|| failed("a safetensors file, but none of ours".into()))?;
    let header: Header = serde_json::from_str(entry).map_err(|e| failed(format!("unreadable metadata: {e}")))?;
    if ![FLAT, FORMAT].contains(&header.format) {
        return Err(failed(format!("format {}, where this version reads {FLAT} and {FORMAT}", header.format)));
    }
    Ok(header)
}

/// As [`load`], with the solver that was chosen for predictions in place of the training's, and no regularizer.
pub(super) fn load_deployed<R: Scalar>(path: &Path) -> Result<Loaded<R>> {
    let Some(deployed) = CheckpointInfo::read(path)?.deployed else {
        let remedy = "no solver was chosen for its predictions: choose one (`fewsteps deploy`, or Deployed::write), or \
                      load it as it was trained (resume)";
        return Err(Error::argument("path", path.display(), remedy));
    };
    let mut loaded = load::<R>(path)?;
    let failed =
        |e: Error| Error::Checkpoint { path: path.into(), reason: format!("its deployed solver is refused: {e}") };
    deployed.check::<R>(&loaded.config.model).map_err(failed)?;
    loaded.config.model.options = deployed.options;
    loaded.config.regularizer = Regularizer::None;
    Ok(loaded)
}

pub(super) fn load<R: Scalar>(path: &Path) -> Result<Loaded<R>> {
    let failed = |reason: String| Error::Checkpoint { path: path.into(), reason };
    let bytes = read(path)?;
    let Header { format, scalar, steps, optimizer_steps, config, learnt, metadata, .. } = header(path, &bytes)?;
    if scalar != R::NAME {
        let remedy = format!("the numbers of {} are {scalar}: resume it at that scalar type", path.display());
        return Err(Error::argument("scalar", R::NAME, remedy));
    }
    let valid = config
        .model
        .validate::<R>()
        .and_then(|()| config.optimizer.validate())
        .and_then(|()| config.loss.validate())
        .and_then(|()| config.elbo.validate(config.loss, config.model.latent));
    valid.map_err(|e| failed(format!("its configuration is refused: {e}")))?;
    // Beyond 2^53 a count is damage, and counting on from it might not be counting.
    if steps.max(optimizer_steps) >= 1 << 53 {
        return Err(failed(format!("{} steps cannot have been made", steps.max(optimizer_steps))));
    }
    learnt.validate().map_err(|e| failed(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| failed(format!("truncated or damaged: {e}")))?;
    let numbers = Numbers { path, tensors: &tensors, layout: config.model.layout(), flat: format == FLAT };
    let theta = numbers.array::<R>("", FLAT_NAMES[0])?;
    let mut state = OptimizerState::new(&config.optimizer.rule, theta.len());
    let moments = || state.moments.iter().zip(MOMENTS).filter(|(moment, _)| !moment.is_empty());
    let prefixes: Vec<&str> = [""].into_iter().chain(moments().map(|(_, prefix)| prefix)).collect();
    numbers.check_names(&prefixes)?;
    // Weights alone train on as if the optimizer were new.
    if prefixes.len() == 1 || numbers.flat || tensors.len() > numbers.layout.len() {
        for ((moment, prefix), flat) in state.moments.iter_mut().zip(MOMENTS).zip(&FLAT_NAMES[1..]) {
            if !moment.is_empty() {
                *moment = numbers.array(prefix, flat)?;
            }
        }
        state.step = optimizer_steps;
    }
    Ok(Loaded { config, steps, theta, state, learnt, metadata })
}

/// The numbers of a file, which has to hold those of the layout.
struct Numbers<'a> {
    path: &'a Path,
    tensors: &'a SafeTensors<'a>,
    layout: Vec<TensorLayout>,
    flat: bool,
}

impl Numbers<'_> {
    /// Refuses tensors that nobody would read: the file is of another model, or a name is misspelt.
    fn check_names(&self, prefixes: &[&str]) -> Result<()> {
        let is_of_layout = |name: &str| self.layout.iter().any(|tensor| tensor.name == name);
        let is_known = |name: &str| match self.flat {
            true => FLAT_NAMES.contains(&name),
            false => prefixes.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(is_of_layout)),
        };
        match self.tensors.names().into_iter().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => {
                let reason = format!("{name} is no tensor of the model and optimizer in its configuration");
                Err(Error::Checkpoint { path: self.path.into(), reason })
            }
        }
    }

    /// All numbers of the layout, from the tensors whose names begin with `prefix`, or from the flat one.
    fn array<R: Scalar>(&self, prefix: &str, flat: &str) -> Result<Vec<R>> {
        let mut numbers = Vec::new();
        if self.flat {
            let count = self.layout.last().map_or(0, |tensor| tensor.range().end);
            self.read(flat, &[count], &mut numbers)?;
        } else {
            for tensor in &self.layout {
                self.read(&format!("{prefix}{}", tensor.name), &tensor.shape, &mut numbers)?;
            }
        }
        Ok(numbers)
    }

    /// Appends a tensor's numbers, if it has the shape.
    fn read<R: Scalar>(&self, name: &str, shape: &[usize], numbers: &mut Vec<R>) -> Result<()> {
        let failed = |reason: String| Error::Checkpoint { path: self.path.into(), reason };
        let view = self.tensors.tensor(name).map_err(|e| failed(format!("{name}: {e}")))?;
        if view.dtype() != dtype::<R>() {
            return Err(failed(format!("{name} is {:?}", view.dtype())));
        }
        if view.shape() != shape {
            return Err(failed(format!("{name} is {:?}, the configuration says {shape:?}", view.shape())));
        }
        let first = numbers.len();
        numbers.extend(bytemuck::pod_collect_to_vec::<u8, R>(view.data()));
        match numbers[first..].iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(index) => Err(failed(format!("{name}[{index}] is not finite"))),
        }
    }
}
