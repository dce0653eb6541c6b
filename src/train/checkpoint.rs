//! Checkpoints: a safetensors file with the numbers, and everything else as JSON in its metadata.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::TrainerConfig;
use crate::cpu::Scalar;
use crate::error::{Error, Result};
use crate::spec::OptimizerState;

/// Key of our entry in the safetensors metadata.
const KEY: &str = "fewsteps";

/// Version of the layout; a file of another one is refused.
const FORMAT: u32 = 1;

/// Names of the tensors.
const NAMES: [&str; 3] = ["theta", "moment1", "moment2"];

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    version: String,
    scalar: String,
    steps: u64,
    optimizer_steps: u64,
    config: TrainerConfig,
    metadata: BTreeMap<String, String>,
}

/// What a checkpoint holds.
pub(super) struct Loaded<R: Scalar> {
    pub(super) config: TrainerConfig,
    pub(super) steps: u64,
    pub(super) theta: Vec<R>,
    pub(super) state: OptimizerState<R>,
    pub(super) metadata: BTreeMap<String, String>,
}

fn dtype<R: Scalar>() -> Dtype {
    if size_of::<R>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

pub(super) fn save<R: Scalar>(
    path: &Path,
    config: &TrainerConfig,
    steps: u64,
    theta: &[R],
    state: &OptimizerState<R>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let failed = |reason: String| Error::Checkpoint { path: path.into(), reason };
    let header = Header {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        scalar: R::NAME.into(),
        steps,
        optimizer_steps: state.step,
        config: config.clone(),
        metadata: metadata.clone(),
    };
    let header = serde_json::to_string(&header).map_err(|e| failed(e.to_string()))?;
    // safetensors is little-endian, as is every machine that this library is built for.
    let arrays = [theta, &state.moments[0], &state.moments[1]];
    let tensors = NAMES
        .iter()
        .zip(arrays)
        .map(|(name, array)| {
            TensorView::new(dtype::<R>(), vec![array.len()], bytemuck::cast_slice(array)).map(|view| (*name, view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| failed(e.to_string()))?;
    let bytes = safetensors::serialize(tensors, Some(HashMap::from([(KEY.to_owned(), header)])))
        .map_err(|e| failed(e.to_string()))?;
    write_whole(path, &bytes).map_err(|source| Error::Io { path: path.into(), source })
}

/// Writes a file so that whoever opens it, even after a crash, finds the old content or the new, never a part: into a
/// temporary file beside it, to the disk, then renamed.
///
/// # Errors
/// The operating system's; the old file is still there then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    #[cfg(unix)]
    {
        // A temporary file is its owner's secret; a result is as readable as any other file.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename itself reaches the disk with its folder; where folders cannot be opened, the system sees to it.
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).or(Ok(()))
}

/// What a checkpoint says of itself, without its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointInfo {
    /// Scalar type of the numbers, `f32` or `f64`: the one to resume it with.
    pub scalar: String,
    /// Training steps made.
    pub steps: u64,
    /// The training's configuration.
    pub config: TrainerConfig,
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
        let Header { scalar, steps, config, metadata, .. } = header(path, &bytes)?;
        Ok(Self { scalar, steps, config, metadata })
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })
}

fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let failed = |reason: String| Error::Checkpoint { path: path.into(), reason };
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| failed(format!("not a whole safetensors file: {e}")))?;
    let entry = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let entry = entry.ok_or_else(|| failed("a safetensors file, but none of ours".into()))?;
    let header: Header = serde_json::from_str(entry).map_err(|e| failed(format!("unreadable metadata: {e}")))?;
    if header.format != FORMAT {
        return Err(failed(format!("format {} instead of {FORMAT}", header.format)));
    }
    Ok(header)
}

pub(super) fn load<R: Scalar>(path: &Path) -> Result<Loaded<R>> {
    let failed = |reason: String| Error::Checkpoint { path: path.into(), reason };
    let bytes = read(path)?;
    let header = header(path, &bytes)?;
    if header.scalar != R::NAME {
        return Err(failed(format!("numbers are {}, asked for {}", header.scalar, R::NAME)));
    }
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| failed(format!("truncated or damaged: {e}")))?;
    let array = |name: &str| -> Result<Vec<R>> {
        let view = tensors.tensor(name).map_err(|e| failed(format!("{name}: {e}")))?;
        if view.dtype() != dtype::<R>() {
            return Err(failed(format!("{name} is {:?}", view.dtype())));
        }
        let numbers: Vec<R> = bytemuck::pod_collect_to_vec(view.data());
        match numbers.iter().position(|x| !x.is_finite()) {
            None => Ok(numbers),
            Some(index) => Err(failed(format!("{name}[{index}] is not finite"))),
        }
    };
    let theta = array(NAMES[0])?;
    let state = OptimizerState { step: header.optimizer_steps, moments: [array(NAMES[1])?, array(NAMES[2])?] };
    Ok(Loaded { config: header.config, steps: header.steps, theta, state, metadata: header.metadata })
}
