//! [`Recurrent`] on a tile: a cell that reads a series of observations, and the way back through time.
//!
//! With hidden states `h_n+1 = cell([h_n, x_n])`, the way back is `[h_n_bar, x_n_bar] = h_n+1_bar^T dcell/d[h, x]` at `n`, last
//! to first, and parameters' cotangents add up. What the cell's vector-Jacobian product needs of an evaluation is kept for a
//! segment of the series at a time. Of the others the way back has the hidden states that they begin with, and evaluates the
//! cell once more; the same goes for the accepted steps of solves between observations.

use std::ops::Range;

use super::evolution::{Evolution, EvolutionRoom, Record};
use crate::cpu::field::evaluate::{Cotangents, Field, Kept};
use crate::cpu::field::map::{Map, MapRoom};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, gather_part, rest_unless, stand_in_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Encoded;
use crate::error::{Result, Status};
use crate::method;

/// Bytes of kept evaluations that a thread may have without a thought: a series that fits is one segment.
const LITTLE: usize = 8 << 20;

/// A recurrent encoder with its current weights.
#[derive(Debug)]
pub(crate) struct Recurrent<R: Scalar> {
    cell: Field<R>,
    /// The cell's among the model's.
    parameters: Range<usize>,
    /// What moves the hidden state between observations.
    evolution: Option<Evolution<R>>,
    out: Option<Map<R>>,
    /// Which observation is read when.
    order: Vec<usize>,
    /// Numbers of an observation, and of a hidden state.
    width: usize,
    hidden: usize,
    /// What the hidden state starts as.
    start: Vec<R>,
    /// Observations of a segment.
    segment: usize,
}

/// What a thread reads series in.
#[derive(Debug)]
pub(crate) struct SeriesRoom<R: Scalar> {
    reader: Reader<R>,
    out: Option<MapRoom<R>>,
    /// From the first way back on.
    back: Option<Back<R>>,
}

/// Where a tile is in its series.
#[derive(Debug)]
struct Reader<R: Scalar> {
    kept: Kept<R>,
    /// The hidden state after an observation, `[hidden][LANES]`.
    next: Vec<R>,
    evolution: Option<EvolutionRoom<R>>,
}

/// What a way back is taken in.
#[derive(Debug)]
struct Back<R> {
    /// Evaluations of a segment, and the solves before them.
    kept: Vec<Kept<R>>,
    records: Vec<Record<R>>,
    /// Hidden states that segments begin with, `[segments][hidden][LANES]`, and the steps that their first solves begin with.
    starts: Vec<R>,
    first_steps: Vec<Lanes<f64>>,
    cotangents: Cotangents<R>,
    /// Of the hidden state, and of it with the observation.
    hidden_bar: Vec<R>,
    state_bar: Vec<R>,
}

/// A tile's series, `[used][steps][width]`, and the lanes that count, if not all do: others stand where one of them does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series<'a, R> {
    pub(crate) rows: &'a [R],
    pub(crate) counting: Option<&'a [bool; LANES]>,
}

impl<R: Scalar> Recurrent<R> {
    /// Compiles an encoder whose parameters are the model's first ones.
    ///
    /// # Errors
    /// As [`Field::new`].
    pub(crate) fn new(encoder: &method::Recurrent) -> Result<Self> {
        let cell = Field::new(encoder.cell(), &[])?;
        let first = encoder.cell().parameter_count();
        let evolution = encoder.moved_by().map(|evolution| Evolution::new(evolution, first)).transpose()?;
        let behind = evolution.as_ref().map_or(first, |evolution| evolution.parameters.end);
        let out = encoder.output_map().map(|map| Map::new(map, behind)).transpose()?;
        let hidden = encoder.hidden();
        let kept = cell.kept_bytes() + evolution.as_ref().map_or(0, Evolution::record_bytes);
        let segment = segment(encoder.steps(), kept, hidden * LANES * size_of::<R>());
        Ok(Self {
            parameters: 0..first,
            evolution,
            out,
            order: encoder.order().collect(),
            width: encoder.width(),
            hidden,
            start: encoder.starts(),
            segment,
            cell,
        })
    }

    /// Numbers of a series.
    pub(crate) const fn inputs(&self) -> usize {
        self.order.len() * self.width
    }

    /// As [`Map::pack`].
    pub(crate) fn pack(&mut self, theta: &[R], backward: bool) {
        self.cell.pack(&theta[self.parameters.clone()], backward);
        if let Some(evolution) = &mut self.evolution {
            evolution.pack(theta, backward);
        }
        if let Some(out) = &mut self.out {
            out.pack(theta, backward);
        }
    }

    pub(crate) fn room(&self) -> SeriesRoom<R> {
        let evolution = self.evolution.as_ref().map(Evolution::room);
        let reader = Reader { kept: self.cell.kept(), next: vec![R::ZERO; self.hidden * LANES], evolution };
        SeriesRoom { reader, out: self.out.as_ref().map(Map::room), back: None }
    }

    /// The outputs of a tile's series, zeros of those that are lost on the way; and which these are.
    pub(crate) fn apply(&self, room: &mut SeriesRoom<R>, series: Series<'_, R>, outputs: &mut [R]) -> Encoded {
        let SeriesRoom { reader, out: room_of_out, .. } = room;
        self.begin(reader);
        for at in 0..self.order.len() {
            self.advance(series, at, reader, None);
            self.update(reader, false);
        }
        match (&self.out, room_of_out) {
            (Some(out), Some(room)) => {
                room.inputs().copy_from_slice(&reader.next);
                out.apply(room, outputs, false);
            }
            _ => outputs[..reader.next.len()].copy_from_slice(&reader.next),
        }
        let Some(evolution) = &reader.evolution else { return Encoded::default() };
        let encoded = evolution.encoded().clone();
        rest_unless(outputs, &encoded.status.map(|status| status == Status::Done));
        encoded
    }

    /// Adds to the model's gradient, from the outputs' cotangents; `outputs` is room for as many numbers. False, and no gradient,
    /// where the system refuses memory for the steps between observations.
    pub(crate) fn vjp(
        &self,
        room: &mut SeriesRoom<R>,
        series: Series<'_, R>,
        outputs: &mut [R],
        bars: &[R],
        theta_bar: &mut [R],
    ) -> bool {
        let SeriesRoom { reader, out: room_of_out, back } = room;
        let back = back.get_or_insert_with(|| self.back());
        self.begin_segments(back, series, reader);
        let (steps, size) = (self.order.len(), self.hidden * LANES);
        for first in (0..steps).step_by(self.segment).rev() {
            let end = (first + self.segment).min(steps);
            let n = first / self.segment;
            reader.next.copy_from_slice(&back.starts[n * size..][..size]);
            if let Some(evolution) = &mut reader.evolution {
                evolution.resume(&back.first_steps[n]);
            }
            for at in first..end {
                // Each evaluation stays where it is kept.
                std::mem::swap(&mut reader.kept, &mut back.kept[at - first]);
                self.advance(series, at, reader, back.records.get_mut(at - first));
                self.update(reader, true);
                std::mem::swap(&mut reader.kept, &mut back.kept[at - first]);
                if reader.evolution.as_ref().is_some_and(Evolution::was_refused) {
                    return false;
                }
            }
            if end == steps {
                self.end(room_of_out, &reader.next, outputs, (bars, &mut *theta_bar), &mut back.hidden_bar);
            }
            for at in (first..end).rev() {
                self.step_back(back, reader, at, first, theta_bar);
            }
        }
        true
    }

    /// The hidden states that segments begin with.
    fn begin_segments(&self, back: &mut Back<R>, series: Series<'_, R>, reader: &mut Reader<R>) {
        self.begin(reader);
        let size = self.hidden * LANES;
        for (n, start) in back.starts.chunks_exact_mut(size).enumerate() {
            if n > 0 {
                for at in (n - 1) * self.segment..n * self.segment {
                    self.advance(series, at, reader, None);
                    self.update(reader, false);
                }
            }
            start.copy_from_slice(&reader.next);
            if let Some(evolution) = &reader.evolution {
                back.first_steps[n] = *evolution.first_steps();
            }
        }
    }

    /// From the outputs' cotangents to that of the last hidden state, `next`.
    fn end(
        &self,
        room: &mut Option<MapRoom<R>>,
        next: &[R],
        outputs: &mut [R],
        (bars, theta_bar): (&[R], &mut [R]),
        hidden_bar: &mut [R],
    ) {
        let (Some(out), Some(room)) = (&self.out, room) else {
            return hidden_bar.copy_from_slice(&bars[..hidden_bar.len()]);
        };
        room.inputs().copy_from_slice(next);
        out.revisit(room, outputs);
        out.vjp(room, bars, theta_bar, Some(hidden_bar));
    }

    /// From the cotangent of the hidden state after an observation to that of the one before.
    fn step_back(&self, back: &mut Back<R>, reader: &mut Reader<R>, at: usize, first: usize, theta_bar: &mut [R]) {
        let Back { kept, records, cotangents, hidden_bar, state_bar, .. } = back;
        let kept = &kept[at - first];
        let of_cell = &mut theta_bar[self.parameters.clone()];
        if at == 0 && self.evolution.is_none() {
            return self.cell.vjp(kept, cotangents, hidden_bar, Some(of_cell), None);
        }
        self.cell.vjp(kept, cotangents, hidden_bar, Some(of_cell), Some(state_bar));
        let hidden = hidden_bar.len();
        hidden_bar.copy_from_slice(&state_bar[..hidden]);
        if let (Some(evolution), Some(room)) = (&self.evolution, &mut reader.evolution) {
            evolution.step_back(room, &mut records[at - first], hidden_bar, theta_bar);
        }
    }

    /// Before the first observation.
    fn begin(&self, reader: &mut Reader<R>) {
        for (row, start) in reader.next.chunks_exact_mut(LANES).zip(&self.start) {
            row.fill(*start);
        }
        if let Some(evolution) = &mut reader.evolution {
            evolution.begin();
        }
    }

    /// Puts the `at`-th observation that is read beside the hidden state, which has moved until then.
    fn advance(&self, series: Series<'_, R>, at: usize, reader: &mut Reader<R>, record: Option<&mut Record<R>>) {
        let Reader { kept, next, evolution: room } = reader;
        let (_, observation) = kept.state_mut().split_at_mut(self.hidden * LANES);
        let first = self.order[at] * self.width;
        gather_part(observation, series.rows, self.inputs(), first..first + self.width);
        if let Some(counting) = series.counting {
            stand_in_unless(observation, counting);
        }
        if let (Some(evolution), Some(room)) = (&self.evolution, room) {
            evolution.advance(room, &observation[evolution.dt * LANES..][..LANES], next, record);
        }
    }

    /// Takes the hidden state through the observation that is there.
    fn update(&self, Reader { kept, next, .. }: &mut Reader<R>, keep: bool) {
        kept.state_mut()[..self.hidden * LANES].copy_from_slice(next);
        self.cell.eval(&[R::ZERO; LANES], kept, next, keep);
    }

    fn segments(&self) -> usize {
        self.order.len().div_ceil(self.segment)
    }

    fn back(&self) -> Back<R> {
        let numbers = |rows: usize| vec![R::ZERO; rows * LANES];
        Back {
            kept: (0..self.segment).map(|_| self.cell.kept()).collect(),
            records: self.evolution.iter().flat_map(|_| 0..self.segment).map(|_| Record::default()).collect(),
            starts: numbers(self.segments() * self.hidden),
            first_steps: self.evolution.iter().flat_map(|_| 0..self.segments()).map(|_| [0.0; LANES]).collect(),
            cotangents: self.cell.cotangents(),
            hidden_bar: numbers(self.hidden),
            state_bar: numbers(self.cell.dim()),
        }
    }

    /// As [`Map::packed_bytes`].
    pub(crate) fn packed_bytes(&self) -> usize {
        let evolution = self.evolution.as_ref().map_or(0, Evolution::packed_bytes);
        self.cell.packed_bytes() + evolution + self.out.as_ref().map_or(0, Map::packed_bytes)
    }

    /// As [`Map::room_bytes`].
    pub(crate) fn room_bytes(&self) -> usize {
        let outputs = self.out.as_ref().map_or(2 * self.hidden * LANES * size_of::<R>(), Map::room_bytes);
        let rows = (self.segments() + 2) * self.hidden + self.cell.dim();
        let evaluations = (1 + self.segment) * self.cell.kept_bytes();
        let evolution = self.evolution.as_ref().map_or(0, |evolution| {
            evolution.room_bytes()
                + self.segment * (evolution.record_bytes() + size_of::<Record<R>>())
                + self.segments() * size_of::<Lanes<f64>>()
        });
        evaluations + self.cell.cotangent_bytes() + rows * LANES * size_of::<R>() + outputs + evolution
    }
}

/// Observations of a segment: all of them where their evaluations are few bytes. Otherwise with `n` observations a segment,
/// `n kept + steps / n hidden` bytes are fewest at `n^2 = steps hidden / kept`.
fn segment(steps: usize, kept: usize, hidden: usize) -> usize {
    let least = (steps as f64 * hidden as f64 / kept.max(1) as f64).sqrt();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the root of a series' length")]
    let least = least.ceil() as usize;
    least.max(LITTLE / kept.max(1)).clamp(1, steps.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{InitialStep, Layout, SolverOptions, StepControl};
    use crate::problem::Mlp;

    fn numbers(n: usize) -> Vec<f64> {
        (0..n).map(|i| (i * 37 % 101) as f64 / 50.0 - 1.0).collect()
    }

    /// However a series is cut, the gradient is the same to the bit.
    fn segments_change_no_bit_of(encoder: &method::Recurrent) {
        let (theta, rows, bars) = (numbers(encoder.parameter_count()), numbers(20 * 21), numbers(4 * LANES));
        let counting: [bool; LANES] = std::array::from_fn(|lane| lane < 20 && lane != 3);
        let gradient = |segment: usize| {
            let mut recurrent = Recurrent::<f64>::new(encoder).expect("an encoder");
            assert_eq!(recurrent.segment, 7, "few bytes");
            recurrent.segment = segment;
            recurrent.pack(&theta, true);
            let (mut room, mut found) = (recurrent.room(), vec![0.0; theta.len()]);
            for _ in 0..2 {
                found.fill(0.0);
                let series = Series { rows: &rows, counting: Some(&counting) };
                assert!(recurrent.vjp(&mut room, series, &mut vec![0.0; 4 * LANES], &bars, &mut found));
            }
            found
        };
        let whole = gradient(7);
        assert!(whole.iter().filter(|g| **g != 0.0).count() > theta.len() / 2);
        for segment in 1..7 {
            assert_eq!(gradient(segment), whole, "{segment} at a time");
        }
    }

    #[test]
    fn segments_change_no_bit() {
        let encoder = method::Recurrent::gru(7, 3, 5).and_then(|gru| gru.masked(2..3)).expect("a cell");
        segments_change_no_bit_of(&encoder.clone().out(Mlp::new([5, 2, 4])));
        // First steps are carried across the cuts.
        let StepControl::Adaptive { tolerances, controller, .. } = StepControl::default() else { panic!("adaptive") };
        let steps = StepControl::Adaptive { tolerances, controller, initial_step: InitialStep::Carried };
        let options = SolverOptions::default().step_control(steps).layout(Layout::Ensemble);
        let encoder = encoder.solved(Mlp::new([5, 3, 5]), 1, options).expect("an encoder");
        segments_change_no_bit_of(&encoder.out(Mlp::new([5, 2, 4])));
    }

    #[test]
    fn segments_take_little_room() {
        assert_eq!(segment(49, 128 << 10, 12 << 10), 49, "all of a short series");
        assert_eq!(segment(1, usize::MAX, 1), 1);
        for (steps, kept, hidden) in
            [(1 << 20, 1 << 17, 1 << 14), (1 << 20, 1 << 10, 1 << 10), (5000, 1 << 22, 1 << 12)]
        {
            let n = segment(steps, kept, hidden);
            let bytes = |n: usize| n * kept + steps.div_ceil(n) * hidden;
            assert!(
                (1..=steps).contains(&n) && bytes(n) <= bytes(1).min(bytes(steps)).max(2 * LITTLE),
                "{n} of {steps}"
            );
            assert!(bytes(n) < 512 << 20, "{} bytes for {steps} observations", bytes(n));
        }
    }
}
