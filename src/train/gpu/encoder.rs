//! [`Encoder`]: what stands before the equation on a device, a map of an input or a reader of series.

use super::map::{Map, MapBuffers};
use super::series::{SeriesBuffers, SeriesMap};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::memory::Size;
use crate::train::model::NeuralDe;
use crate::train::state_map::End;

/// What maps inputs to initial states.
#[derive(Debug)]
pub(super) enum Encoder {
    Map(Map),
    Series(Box<SeriesMap>),
}

/// Room for its values and cotangents.
#[derive(Debug)]
pub(super) struct EncoderBuffers {
    pub(super) map: MapBuffers,
    pub(super) series: Option<SeriesBuffers>,
}

impl Encoder {
    /// The model's, if it has one.
    pub(super) fn of(model: &NeuralDe) -> Result<Option<Self>> {
        match model.recurrent() {
            Some(encoder) => Ok(Some(Self::Series(Box::new(SeriesMap::new(encoder)?)))),
            None => Ok(Map::of(model, End::Encoder)?.map(Self::Map)),
        }
    }

    /// As [`Map::widest`].
    pub(super) fn widest(&self) -> usize {
        match self {
            Self::Map(map) => map.widest(),
            Self::Series(_) => 0,
        }
    }

    /// Numbers a row of each of its buffers.
    pub(super) fn widths(&self) -> Vec<usize> {
        match self {
            Self::Map(map) => map.widths().to_vec(),
            Self::Series(series) => series.widths(),
        }
    }

    /// Numbers a row of all its buffers.
    pub(super) fn row(&self) -> Size {
        self.widths().into_iter().map(Size).sum()
    }

    /// Multiply-adds of a trajectory, where they are many: of a series.
    pub(super) fn work(&self) -> f64 {
        match self {
            Self::Map(_) => 0.0,
            Self::Series(series) => series.work(),
        }
    }
}

impl EncoderBuffers {
    /// Those of an encoder on so many rows.
    pub(super) fn new(gpu: &Gpu, encoder: Option<&Encoder>, rows: usize, poison: bool) -> Self {
        let (map, series) = match encoder {
            None => (None, None),
            Some(Encoder::Map(map)) => (Some(map), None),
            Some(Encoder::Series(series)) => (None, Some(SeriesBuffers::new(gpu, series, rows, poison))),
        };
        Self { map: MapBuffers::new(gpu, map, rows, poison), series }
    }
}
