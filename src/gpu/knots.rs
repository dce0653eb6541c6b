//! Knots and values of controls on a device: one buffer, which kernels read with `shaders/lib/controls.wgsl`.

use super::buffers::create;
use super::controls::Controls;
use super::engine::Engine;
use super::wire::modes::Interpolation;
use super::wire::records::ticks;
use super::wire::word;
use crate::error::{Cure, Error, Result};
use crate::math::Real;
use crate::memory::Size;
use crate::problem::{self, Control, Problem, shortest_step};

/// Words of a control's head, and of a knot: `HEAD` and `KNOT` of the shader.
pub(crate) const HEAD: usize = 8;
pub(crate) const KNOT: usize = 5;

impl Engine {
    /// Gives the device controls for a batch, if it has others. Whether they lie in a larger buffer than before, which what was
    /// recorded does not bind.
    ///
    /// # Errors
    /// [`Error::Order`] for a control without values, [`Error::Argument`] for values of another batch, [`Error::Limit`] for
    /// more than the device binds.
    pub(crate) fn drive(&mut self, controls: &mut Controls, batch: usize) -> Result<bool> {
        controls.check(&self.problem, batch)?;
        if !controls.news || self.problem.controls.is_empty() {
            return Ok(false);
        }
        let bytes = self.bytes_for(controls)?;
        let smaller = || Cure::Other("use fewer knots, fewer trajectories, or the same values for all of them");
        self.gpu.check_binding(|| "knots of so many values".into(), bytes, smaller)?;
        let words = self.knots_of(controls)?;
        let moves = !self.has_room_for(controls)?;
        if moves {
            self.knots = self.gpu.scoped_now(|| create(&self.gpu, "knots", bytes, false))?;
        }
        self.gpu.queue.write_buffer(&self.knots, 0, bytemuck::cast_slice(&words));
        controls.news = false;
        Ok(moves)
    }

    /// Bytes of the controls on the device, where there are any.
    pub(crate) fn bytes_of_controls(&self) -> usize {
        if self.problem.controls.is_empty() { 0 } else { usize::try_from(self.knots.size()).unwrap_or(usize::MAX) }
    }

    /// Whether controls have room where those of before are.
    ///
    /// # Errors
    /// As [`Engine::drive`].
    pub(crate) fn has_room_for(&self, controls: &Controls) -> Result<bool> {
        Ok(self.bytes_for(controls)? <= self.knots.size())
    }

    /// Bytes of heads, knots and values.
    fn bytes_for(&self, controls: &Controls) -> Result<u64> {
        let words = controls.all(&self.problem).try_fold(Size(0), |sum, control| {
            let (control, _, values, _) = control?;
            let bends = if control.interpolation == problem::Interpolation::Cubic { values.len() } else { 0 };
            Ok::<_, Error>(sum + HEAD + Size(KNOT) * control.times.len() + values.len() + bends)
        })?;
        Ok((4 * words).0 as u64)
    }

    /// Heads, knots and values as the kernels find them.
    fn knots_of(&self, controls: &Controls) -> Result<Vec<u32>> {
        let mut words = vec![0; HEAD * self.problem.controls.len()];
        for (number, control) in controls.all(&self.problem).enumerate() {
            let (control, rows, values, trajectories) = control?;
            // In the order of the solve.
            let mut order: Vec<usize> = (0..control.times.len()).collect();
            let backwards = self.problem.t1 < self.problem.t0;
            if backwards {
                order.reverse();
            }
            let first_knot = words.len();
            words.extend(self.knots_in(control, &order));
            let first_value = words.len();
            // Trajectories lie together: invocations read them at once.
            let place = |trajectory: usize, knot: usize, row: usize| (trajectory * order.len() + knot) * rows + row;
            words.resize(first_value + values.len(), 0);
            let first_bend = words.len();
            let is_spline = control.interpolation == problem::Interpolation::Cubic;
            words.resize(first_bend + if is_spline { values.len() } else { 0 }, 0);
            for (trajectory, row) in (0..trajectories).flat_map(|i| (0..rows).map(move |row| (i, row))) {
                let of = |knot: usize| values[place(trajectory, knot, row)];
                let bends = if is_spline { control.bends(|knot| f64::from(of(knot))) } else { Vec::new() };
                for (n, knot) in order.iter().enumerate() {
                    let at = (n * rows + row) * trajectories + trajectory;
                    words[first_value + at] = of(*knot).to_bits();
                    if is_spline {
                        words[first_bend + at] = f32::from_f64(bends[*knot]).to_bits();
                    }
                }
            }
            let head =
                [order.len(), 0, rows, trajectories, first_knot, first_value, first_bend, usize::from(backwards)];
            let head = head.map(word);
            words[HEAD * number..][..HEAD].copy_from_slice(&head);
            words[HEAD * number + 1] = Interpolation::from(control.interpolation).into();
        }
        Ok(words)
    }

    /// The knots of a control: each one's ticks, and of the piece that begins with it the share that is over there, how much of
    /// it an interval is, and its length squared over 6.
    fn knots_in(&self, control: &Control, order: &[usize]) -> Vec<u32> {
        let Problem { t0, t1, .. } = self.problem;
        let mut words = Vec::with_capacity(KNOT * order.len());
        for (n, knot) in order.iter().enumerate() {
            let t = control.times[*knot];
            words.extend(self.ticks_of(t));
            let [start, rate, bend] = order.get(n + 1).map_or([0.0; 3], |next| {
                let length = (control.times[*next] - t).abs();
                let before = (t0 - t) * (t1 - t0).signum();
                [before.max(0.0) / length, (t1 - t0).abs() / length, length * length / 6.0]
            });
            words.extend([start, rate, bend].map(|x| f32::from_f64(x).to_bits()));
        }
        words
    }

    /// The ticks of a knot: none if it comes before the interval, and no time's if it comes after it. Where steps end at it
    /// they are those of their end.
    fn ticks_of(&self, t: f64) -> [u32; 2] {
        let Problem { t0, t1, .. } = self.problem;
        let (t, direction, span) = (self.problem.settled(t), (t1 - t0).signum(), (t1 - t0).abs());
        let gone = (t - t0) * direction;
        if gone <= 0.0 {
            return [0; 2];
        }
        if gone > span {
            return [u32::MAX; 2];
        }
        let resolution = |stop: f64| match self.problem.diffusion {
            None => shortest_step(t, stop, t1 - t0),
            Some(_) => span * 2f64.powi(-30),
        };
        let after = self.stops.partition_point(|stop| (stop.1 - t) * direction < 0.0);
        let around = &self.stops[after.saturating_sub(1)..(after + 1).min(self.stops.len())];
        let stop = around.iter().find(|stop| (stop.1 - t).abs() <= resolution(stop.1));
        stop.map_or_else(|| ticks(gone / span), |stop| stop.0)
    }
}
