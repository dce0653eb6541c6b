//! The discrete adjoint on the device: a walk over the accepted steps, last to first.

use super::engine::Engine;

impl Engine {
    pub(crate) async fn stages_of_step(&mut self, _step: usize) -> crate::error::Result<Vec<f32>> {
        Ok(vec![0.0; 8 * self.batch * self.dim()])
    }

    /// Parts in which the gradient is summed: enough for the device to be busy, few enough to be added quickly.
    pub(crate) fn splits(&self, rows: usize) -> usize {
        rows.div_ceil(128).clamp(1, 16)
    }
}
