//! The vector field on a tile: evaluation and vector-Jacobian product.

use super::layer::{DenseLayer, input_tile};
use crate::cpu::kernel::activation::{activate, activate_with_derivative};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, cube, cube_vjp, multiply};
use crate::cpu::kernel::scalar::Scalar;
use crate::problem::{self, InputMap};

/// The network of a problem with its current weights.
#[derive(Debug)]
pub(crate) struct Field<R> {
    layers: Vec<DenseLayer<R>>,
    map: InputMap,
    dim: usize,
}

/// What one evaluation leaves for its vector-Jacobian product.
#[derive(Debug)]
pub(crate) struct Kept<R> {
    /// Input of each layer, `[rows][LANES]`; the first one is the state itself unless an input map stands between.
    inputs: Vec<Vec<R>>,
    /// Derivative of each hidden layer's activation, `[outputs][LANES]`.
    derivatives: Vec<Vec<R>>,
    /// The state where an input map stands between it and the first layer.
    mapped_state: Option<Vec<R>>,
    dim: usize,
}

impl<R: Scalar> Kept<R> {
    /// The state that the field is evaluated at, `[D][LANES]`.
    pub(crate) fn state(&self) -> &[R] {
        let tile = self.mapped_state.as_ref().unwrap_or(&self.inputs[0]);
        &tile[..self.dim * LANES]
    }

    pub(crate) fn state_mut(&mut self) -> &mut [R] {
        let tile = self.mapped_state.as_mut().unwrap_or(&mut self.inputs[0]);
        &mut tile[..self.dim * LANES]
    }
}

/// Room for cotangents on their way through the layers.
#[derive(Debug)]
pub(crate) struct Cotangents<R> {
    buffers: [Vec<R>; 2],
}

impl<R: Scalar> Field<R> {
    pub(crate) fn new(field: &problem::Field) -> Self {
        Self {
            layers: field.layers_from(0).into_iter().map(DenseLayer::new).collect(),
            map: field.input_map(),
            dim: field.inputs(),
        }
    }

    pub(crate) const fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) fn pack(&mut self, theta: &[R], backward: bool) {
        for layer in &mut self.layers {
            layer.pack(theta, backward);
        }
    }

    /// Multiply-adds of one evaluation for one trajectory, activations counted as ten each.
    pub(crate) fn work(&self) -> usize {
        self.layers.iter().map(|l| l.layer.parameter_count() + 10 * l.layer.outputs).sum()
    }

    pub(crate) fn packed_bytes(&self) -> usize {
        self.layers.iter().map(DenseLayer::bytes).sum()
    }

    /// Bytes of a [`Kept`].
    pub(crate) fn kept_bytes(&self) -> usize {
        let rows: usize = self.layers.iter().map(|l| l.layer.rows() + l.layer.outputs).sum();
        (rows + self.dim) * LANES * size_of::<R>()
    }

    pub(crate) fn kept(&self) -> Kept<R> {
        let hidden = self.layers.len() - 1;
        Kept {
            inputs: self.layers.iter().map(|l| input_tile(&l.layer)).collect(),
            derivatives: self.layers[..hidden].iter().map(|l| vec![R::ZERO; l.layer.outputs * LANES]).collect(),
            mapped_state: (self.map != InputMap::Identity).then(|| vec![R::ZERO; self.dim * LANES]),
            dim: self.dim,
        }
    }

    pub(crate) fn cotangents(&self) -> Cotangents<R> {
        let widest = self.layers.iter().map(|l| l.layer.inputs.max(l.layer.outputs)).max().unwrap_or(0);
        Cotangents { buffers: std::array::from_fn(|_| vec![R::ZERO; widest * LANES]) }
    }

    /// `dydt = f(t, y)` at the kept state; `keep` leaves what [`Field::vjp`] needs.
    pub(crate) fn eval(&self, t: &Lanes<R>, kept: &mut Kept<R>, dydt: &mut [R], keep: bool) {
        if let Some(state) = &kept.mapped_state {
            cube(&mut kept.inputs[0][..self.dim * LANES], state);
        }
        let hidden = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, after) = kept.inputs.split_at_mut(i + 1);
            let x = &mut before[i];
            if layer.layer.time {
                x[layer.layer.inputs * LANES..][..LANES].copy_from_slice(t);
            }
            if i == hidden {
                layer.apply(x, dydt);
            } else {
                let z = &mut after[0][..layer.layer.outputs * LANES];
                layer.apply(x, z);
                if keep {
                    activate_with_derivative(layer.layer.activation, z, &mut kept.derivatives[i]);
                } else {
                    activate(layer.layer.activation, z);
                }
            }
        }
    }

    /// Adds `theta_bar += dydt_bar^T df/dtheta` and writes `y_bar = dydt_bar^T df/dy`, at a kept evaluation.
    pub(crate) fn vjp(
        &self,
        kept: &Kept<R>,
        cotangents: &mut Cotangents<R>,
        dydt_bar: &[R],
        mut theta_bar: Option<&mut [R]>,
        y_bar: Option<&mut [R]>,
    ) {
        let [mut z_bar, mut x_bar] = cotangents.buffers.each_mut().map(Vec::as_mut_slice);
        let hidden = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate().rev().take(hidden) {
            let z_bar_now: &[R] = if i == hidden { dydt_bar } else { z_bar };
            layer.vjp(&kept.inputs[i], z_bar_now, theta_bar.as_deref_mut(), Some(x_bar));
            multiply(&mut x_bar[..layer.layer.inputs * LANES], &kept.derivatives[i - 1]);
            std::mem::swap(&mut z_bar, &mut x_bar);
        }
        let z_bar: &[R] = if hidden == 0 { dydt_bar } else { z_bar };
        match y_bar {
            None => self.layers[0].vjp(&kept.inputs[0], z_bar, theta_bar, None),
            Some(y_bar) => {
                self.layers[0].vjp(&kept.inputs[0], z_bar, theta_bar, Some(y_bar));
                if kept.mapped_state.is_some() {
                    cube_vjp(y_bar, kept.state());
                }
            }
        }
    }
}
