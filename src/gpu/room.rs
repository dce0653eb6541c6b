//! [`Room`]: how a batch gets room on the device.

use super::buffers::{BackwardSizes, Buffers, NoiseSizes, Owner, Purpose, Sizes, ValueSizes};
use super::engine::Engine;
use super::schedule::Schedules;
use super::wire::records::ticks;
use crate::error::{Error, Result};
use crate::memory::Size;
use crate::method::{NoiseTableau, SaveAt, penalised_rows};

/// Accepted steps that a tape has room for at first; it grows as needed.
const FIRST_STEPS: usize = 32;

/// What the next batch is to be solved in.
#[derive(Debug)]
pub(crate) enum Room<H> {
    /// What there was serves.
    Held(H),
    /// Buffers of these sizes, which the device and the caller allow.
    New(Box<Sizes>),
}

impl Engine {
    /// What a batch is to be solved in, with room for `steps` accepted steps at least: what is there, which is taken then, or
    /// new buffers. Where they are refused, what is there stays.
    ///
    /// # Errors
    /// [`Error::Memory`], [`Error::Limit`], [`Error::Argument`] for a batch that has no room.
    pub(crate) fn room<H: AsRef<Buffers>>(
        &self,
        there: &mut Option<H>,
        batch: usize,
        purpose: Purpose,
        steps: usize,
    ) -> Result<Room<H>> {
        let steps = steps.min(self.options.most_attempts());
        match there.take_if(|held| held.as_ref().serve(batch, purpose, steps)) {
            Some(held) => Ok(Room::Held(held)),
            None => {
                let sizes = self.new_sizes(there.as_ref().map(AsRef::as_ref), batch, purpose, steps)?;
                Ok(Room::New(Box::new(sizes)))
            }
        }
    }

    fn new_sizes(&self, there: Option<&Buffers>, batch: usize, purpose: Purpose, steps: usize) -> Result<Sizes> {
        let rows = there.map_or(batch, |buffers| buffers.sizes.rows.max(batch));
        let steps = steps.max(FIRST_STEPS.min(self.options.most_attempts()));
        match self.checked_sizes(rows, steps, purpose) {
            // Room for a larger batch is kept if it fits for this purpose too.
            Err(Error::Memory { .. } | Error::Limit { .. }) if rows > batch => {
                self.checked_sizes(batch, steps, purpose)
            }
            sizes => sizes,
        }
    }

    /// Buffers for a batch, where there are none.
    pub(crate) async fn buffers(&self, batch: usize, purpose: Purpose) -> Result<Buffers> {
        match self.room(&mut None::<Buffers>, batch, purpose, 0)? {
            Room::Held(buffers) => Ok(buffers),
            Room::New(sizes) => self.make(&sizes).await,
        }
    }

    /// Makes buffers. Those they replace have to be gone before, so that the device never holds both.
    ///
    /// # Errors
    /// [`Error::Device`] when the device has no room.
    pub(crate) async fn make(&self, sizes: &Sizes) -> Result<Buffers> {
        let buffers = Buffers::new(&self.gpu, sizes).await?;
        // Times of trajectories' own come with each batch.
        let mut points: Vec<[u32; 2]> = match self.times {
            Some(_) => vec![ticks(0.0); self.own_slots],
            None => self.user_points().into_iter().map(ticks).collect(),
        };
        let purpose = sizes.purpose;
        if purpose.saves_ends() {
            points.push(ticks(0.0));
            points.resize(points.len() + purpose.draws(), ticks(0.0));
            points.push(ticks(1.0));
        }
        self.gpu.queue.write_buffer(&buffers.points, 0, bytemuck::cast_slice(&points));
        self.write_stops(&buffers);
        Ok(buffers)
    }

    /// Buffers with room for twice as many steps, and all that a paused solve of so many trajectories has.
    ///
    /// # Errors
    /// As [`Engine::room`] and [`Engine::make`].
    pub(crate) async fn grown(&self, old: &Buffers, rows: usize) -> Result<Buffers> {
        let steps = old.sizes.steps.saturating_mul(2).min(self.options.most_attempts());
        let sizes = self.checked_sizes(old.sizes.rows, steps, old.sizes.purpose)?;
        let new = Buffers::new(&self.gpu, &sizes).await?;
        let mut encoder = self.encoder();
        for (from, to) in [
            (&old.clocks, &new.clocks),
            (&old.cursors, &new.cursors),
            (&old.row_status, &new.row_status),
            (&old.tape, &new.tape),
            (&old.steps, &new.steps),
            (&old.k, &new.k),
            (&old.points, &new.points),
            (&old.saves, &new.saves),
        ] {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
        }
        let [from, to] = [old, &new].map(|b| 4 * b.sizes.second_state() as u64);
        if from > 0 {
            encoder.copy_buffer_to_buffer(&old.tape, from, &new.tape, to, from);
        }
        // What is known of errors lies after all steps there is room for.
        if old.sizes.purpose.global.is_some() {
            let clocks = if self.per_row() { rows } else { 1 };
            let [from, to] = [old, &new].map(|b| (16 * b.sizes.steps * clocks) as u64);
            encoder.copy_buffer_to_buffer(&old.steps, from, &new.steps, to, from);
        }
        self.gpu.queue.submit([encoder.finish()]);
        Ok(new)
    }

    /// Rows that are worked on layer by layer.
    fn layered_rows(&self, rows: usize, purpose: Purpose) -> usize {
        let solved_whole = self.solves_whole(rows) && self.options.save_at != SaveAt::Dense;
        if !solved_whole || (purpose.backward && !self.walks_whole(purpose)) {
            return rows;
        }
        purpose.penalty.filter(|_| purpose.backward).map_or(0, |p| penalised_rows(rows, p.fraction))
    }

    /// What the buffers have to hold for a batch.
    pub(crate) fn sizes(&self, rows: usize, steps: usize, purpose: Purpose) -> Sizes {
        let stride = self.stride(purpose.backward);
        let points = self.point_count();
        let saved = points + purpose.own_points();
        let segment = |stride: usize| if stride > 1 && purpose.backward { stride.min(steps) } else { 0 };
        let field_widest =
            self.layers.iter().chain(&self.noise_layers).map(|l| l.inputs.max(l.outputs)).max().unwrap_or(0);
        Sizes {
            purpose,
            rows,
            dim: self.dim(),
            widest: field_widest.max(self.widest),
            values: self.value_sizes(),
            bars: self.bar_widths(),
            stages: self.tableau.stages(),
            noise: self.noise().map(|noise| NoiseSizes { stages: noise.stages(), reversible: noise.reversible }),
            parameters: self.parameters,
            per_row: self.per_row(),
            layered: self.layered_rows(rows, purpose),
            steps: stride.map_or(1, |_| steps),
            slots: stride.map_or(3, |stride| (Size(3) + steps.div_ceil(stride) + segment(stride)).0),
            points: saved,
            stops: self.given.1.len(),
            record: self.times.as_ref().map(|_| self.record_entries()),
            backward: purpose.backward.then(|| BackwardSizes {
                splits: self.splits(rows, purpose),
                penalised: purpose.penalty.map_or(0, |p| penalised_rows(rows, p.fraction)),
                times: purpose.penalty.map_or(0, |p| p.times),
                measured: purpose.points.iter().flatten().map(|p| penalised_rows(rows, p.fraction)).max().unwrap_or(0),
                measures: self.measure_widths(purpose),
                tiles: self.tile_sizes(rows, purpose),
                saves: if self.every_step() { steps.saturating_add(1) } else { saved },
            }),
        }
    }

    /// What is kept of evaluations of field and diffusion.
    fn value_sizes(&self) -> Vec<ValueSizes> {
        let stages = [self.tableau.stages(), self.noise().map_or(0, NoiseTableau::stages)];
        let mut sizes = Vec::new();
        for ((layers, program), stages) in
            [&self.layers, &self.noise_layers].into_iter().zip(&self.programs).zip(stages)
        {
            // A layer's input, and the derivative of what it comes from.
            sizes.extend(layers.iter().map(|l| ValueSizes { stages, kept: [l.inputs; 2], plain: [l.inputs, 0] }));
            let program = program.as_ref();
            sizes.extend(program.map(|p| ValueSizes { stages, kept: p.kept_widths(), plain: p.widths() }));
        }
        sizes
    }

    /// Numbers of a trajectory on the way back through programs.
    fn bar_widths(&self) -> [usize; 2] {
        let widths = self.programs.iter().flatten().map(Schedules::bar_widths);
        widths.fold([0; 2], |[a, b], [c, d]| [a.max(c), b.max(d)])
    }

    /// What the buffers have to hold, if the device and the caller allow it.
    fn checked_sizes(&self, rows: usize, steps: usize, purpose: Purpose) -> Result<Sizes> {
        let sizes = self.sizes(rows, steps, purpose);
        let smaller = |rows| self.sizes(rows, steps, purpose);
        Buffers::check(&self.gpu, &sizes, self.options.memory_limit, self.held_besides(), smaller)?;
        self.check_sizes(rows, purpose)?;
        Ok(sizes)
    }

    /// Bytes besides a batch's own buffers.
    fn held_besides(&self) -> Owner {
        let weights = 4 * Size(self.parameters) + if self.has_half_weights() { 2 * self.parameters } else { 0 };
        Owner { bytes: self.owner.bytes + weights + self.bytes_of_controls(), ..self.owner }
    }

    /// Bytes on the device for a batch of such sizes, those of the engine's owner included.
    pub(crate) fn needed(&self, sizes: &Sizes) -> u64 {
        self.held_besides().total(sizes)
    }

    /// Bytes that the engine and its owner hold on the device, with such buffers.
    pub(crate) fn bytes(&self, held: Option<&Buffers>) -> usize {
        let bytes = held.map_or(self.held_besides().bytes.0 as u64, |b| self.needed(&b.sizes));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}
