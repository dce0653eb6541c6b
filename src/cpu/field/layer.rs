//! [`DenseLayer`]: a layer with its weights packed for both directions.

use crate::cpu::kernel::dense::{LANES, Packed, add_weight_gradient};
use crate::cpu::kernel::scalar::Scalar;
use crate::problem::Layer;

/// A layer with its weights packed for both directions.
#[derive(Debug)]
pub(crate) struct DenseLayer<R> {
    pub(crate) layer: Layer,
    forward: Packed<R>,
    transposed: Packed<R>,
}

impl<R: Scalar> DenseLayer<R> {
    pub(crate) fn new(layer: Layer) -> Self {
        Self {
            layer,
            forward: Packed::new(layer.rows(), layer.outputs),
            transposed: Packed::new(layer.outputs, layer.inputs),
        }
    }

    /// Takes the layer's weights from the flat parameter vector; `backward` also packs them for cotangents.
    pub(crate) fn pack(&mut self, theta: &[R], backward: bool) {
        let block = &theta[self.layer.range()];
        self.forward.pack(block);
        if backward {
            self.transposed.pack_transposed(block);
        }
    }

    /// `z = [x, t, 1] @ block`; `x` holds the layer's rows, the last one ones: see [`input_tile`].
    pub(crate) fn apply(&self, x: &[R], z: &mut [R]) {
        self.forward.apply(x, z);
    }

    /// Adds the layer's parameter gradient and writes the cotangent of `x` if asked.
    pub(crate) fn vjp(&self, x: &[R], z_bar: &[R], theta_bar: Option<&mut [R]>, x_bar: Option<&mut [R]>) {
        if let Some(theta_bar) = theta_bar {
            let Layer { outputs, .. } = self.layer;
            add_weight_gradient(&mut theta_bar[self.layer.range()], x, z_bar, self.layer.rows(), outputs);
        }
        if let Some(x_bar) = x_bar {
            self.transposed.apply(z_bar, x_bar);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.forward.bytes() + self.transposed.bytes()
    }
}

/// An input tile of the layer, `[rows][LANES]`, its last row holding ones for the bias.
pub(crate) fn input_tile<R: Scalar>(layer: &Layer) -> Vec<R> {
    let mut tile = vec![R::ZERO; layer.rows() * LANES];
    tile[(layer.rows() - 1) * LANES..].fill(R::ONE);
    tile
}
