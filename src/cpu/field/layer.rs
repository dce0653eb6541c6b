//! [`DenseLayer`]: a layer with its weights packed for both directions.

use crate::cpu::kernel::dense::{Packed, add_weight_gradient};
use crate::cpu::kernel::scalar::Scalar;
use crate::problem::Layer;

/// A layer with its weights packed for both directions.
#[derive(Debug)]
pub(crate) struct DenseLayer<R> {
    pub(crate) layer: Layer,
    forward: Packed<R>,
    /// Without time and bias, where derivatives need that.
    linear: Option<Packed<R>>,
    transposed: Packed<R>,
}

impl<R: Scalar> DenseLayer<R> {
    pub(crate) fn new(layer: Layer) -> Self {
        Self {
            layer,
            forward: Packed::new(layer.rows(), layer.outputs),
            linear: None,
            transposed: Packed::new(layer.outputs, layer.inputs),
        }
    }

    /// With the product that leaves time and bias out, if it is wanted.
    pub(crate) fn with_linear(self, wanted: bool) -> Self {
        let Layer { inputs, outputs, .. } = self.layer;
        Self { linear: wanted.then(|| Packed::new(inputs, outputs)), ..self }
    }

    /// Takes the layer's weights from the flat parameter vector; `backward` also packs them for cotangents.
    pub(crate) fn pack(&mut self, theta: &[R], backward: bool) {
        let block = &theta[self.layer.range()];
        self.forward.pack(block);
        if let Some(linear) = &mut self.linear {
            linear.pack(block);
        }
        if backward {
            self.transposed.pack_transposed(block);
        }
    }

    /// `z = [x, t, 1] @ block`; `x` holds the layer's rows, the last one ones.
    pub(crate) fn apply(&self, x: &[R], z: &mut [R]) {
        self.forward.apply(x, z);
    }

    /// The first part of that, `x @ block`; nothing of a layer that was made without it.
    pub(crate) fn apply_linear(&self, x: &[R], z: &mut [R]) {
        if let Some(linear) = &self.linear {
            linear.apply(x, z);
        }
    }

    /// The cotangent of `x`.
    pub(crate) fn apply_transposed(&self, z_bar: &[R], x_bar: &mut [R]) {
        self.transposed.apply(z_bar, x_bar);
    }

    /// Adds the layer's parameter gradient, or without `affine` that of its inputs' rows.
    pub(crate) fn add_gradient(&self, x: &[R], z_bar: &[R], affine: bool, theta_bar: &mut [R]) {
        let Layer { offset, inputs, outputs, .. } = self.layer;
        let rows = if affine { self.layer.rows() } else { inputs };
        add_weight_gradient(&mut theta_bar[offset..offset + rows * outputs], x, z_bar, rows, outputs);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.forward.bytes() + self.linear.as_ref().map_or(0, Packed::bytes) + self.transposed.bytes()
    }
}
