//! [`Encoder`] on a tile: what fills the initial states, a map of an input or a reader of series.

pub(crate) mod evolution;
pub(crate) mod recurrent;

use crate::cpu::field::map::{Map, MapRoom};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{gather, stand_in_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Encoded;
use recurrent::{Recurrent, Series, SeriesRoom};

/// An encoder with its current weights.
#[derive(Debug)]
pub(crate) enum Encoder<R: Scalar> {
    Map(Box<Map<R>>),
    Recurrent(Box<Recurrent<R>>),
}

/// What a thread evaluates an encoder in, from its first use on: of either kind.
#[derive(Debug, Default)]
pub(crate) struct EncoderRoom<R: Scalar> {
    map: Option<MapRoom<R>>,
    series: Option<SeriesRoom<R>>,
}

impl<R: Scalar> Encoder<R> {
    /// Numbers of an input.
    pub(crate) fn inputs(&self) -> usize {
        match self {
            Self::Map(map) => map.inputs(),
            Self::Recurrent(recurrent) => recurrent.inputs(),
        }
    }

    /// As [`Map::pack`].
    pub(crate) fn pack(&mut self, theta: &[R], backward: bool) {
        match self {
            Self::Map(map) => map.pack(theta, backward),
            Self::Recurrent(recurrent) => recurrent.pack(theta, backward),
        }
    }

    /// The outputs of a tile's inputs, `[used][inputs]`, and what became of them on the way.
    pub(crate) fn apply(&self, room: &mut EncoderRoom<R>, rows: &[R], outputs: &mut [R]) -> Encoded {
        match self {
            Self::Map(map) => {
                let room = room.map.get_or_insert_with(|| map.room());
                gather(room.inputs(), rows, map.inputs());
                map.apply(room, outputs, false);
                Encoded::default()
            }
            Self::Recurrent(recurrent) => {
                let room = room.series.get_or_insert_with(|| recurrent.room());
                recurrent.apply(room, Series { rows, counting: None }, outputs)
            }
        }
    }

    /// Adds to the model's gradient, from the cotangents of the outputs of a tile's inputs, of which those of `counting` lanes
    /// take part; `outputs` is room for as many numbers. False, and no gradient, where the system refuses memory.
    pub(crate) fn vjp(
        &self,
        room: &mut EncoderRoom<R>,
        (rows, counting): (&[R], &[bool; LANES]),
        outputs: &mut [R],
        bars: &[R],
        theta_bar: &mut [R],
    ) -> bool {
        let counting = counting.contains(&false).then_some(counting);
        match self {
            Self::Map(map) => {
                let room = room.map.get_or_insert_with(|| map.room());
                gather(room.inputs(), rows, map.inputs());
                if let Some(counting) = counting {
                    stand_in_unless(room.inputs(), counting);
                }
                map.revisit(room, outputs);
                map.vjp(room, bars, theta_bar, None);
                true
            }
            Self::Recurrent(recurrent) => {
                let room = room.series.get_or_insert_with(|| recurrent.room());
                recurrent.vjp(room, Series { rows, counting }, outputs, bars, theta_bar)
            }
        }
    }

    /// As [`Map::packed_bytes`].
    pub(crate) fn packed_bytes(&self) -> usize {
        match self {
            Self::Map(map) => map.packed_bytes(),
            Self::Recurrent(recurrent) => recurrent.packed_bytes(),
        }
    }

    /// As [`Map::room_bytes`].
    pub(crate) fn room_bytes(&self) -> usize {
        match self {
            Self::Map(map) => map.room_bytes(),
            Self::Recurrent(recurrent) => recurrent.room_bytes(),
        }
    }
}
