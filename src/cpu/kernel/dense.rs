//! Matrix products of a weight matrix with a tile of the batch.
//!
//! A tile is feature-major, `[feature][LANES]`: a lane is a trajectory. It already has the order that a blocked
//! matrix product would pack its operand into, so the kernel reads it in place; the weights are packed once per
//! parameter change. `LANES` is two AVX-512 registers of `f32`: with 12 outputs a block, 24 accumulators fill the
//! register file, and loads are few enough to leave the multiply-add units busy (`benches/step.rs`).

use pulp::{Arch, Simd, WithSimd};

use crate::cpu::kernel::scalar::Scalar;
use crate::method::PENALTY_TILE;

/// Trajectories of a tile.
pub(crate) const LANES: usize = 32;
const _: () = assert!(LANES == PENALTY_TILE);

/// A matrix of `outputs x inputs`, cut into blocks of outputs and stored `[block][input][output in block]`.
#[derive(Debug, Clone)]
pub(crate) struct Packed<R> {
    inputs: usize,
    outputs: usize,
    data: Vec<R>,
}

impl<R: Scalar> Packed<R> {
    pub(crate) fn new(inputs: usize, outputs: usize) -> Self {
        Self { inputs, outputs, data: vec![R::ZERO; inputs * outputs] }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.len() * size_of::<R>()
    }

    /// Packs the matrix that maps `x` to `x @ block`, with `block` row-major `inputs x outputs`.
    pub(crate) fn pack(&mut self, block: &[R]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let mut packed = self.data.iter_mut();
        for (first, width) in blocks(outputs) {
            for row in block.chunks_exact(outputs).take(inputs) {
                for (&w, slot) in row[first..first + width].iter().zip(packed.by_ref()) {
                    *slot = w;
                }
            }
        }
    }

    /// Packs the transpose: it maps a cotangent of `x @ block` to one of `x`. Here `inputs` counts the columns of
    /// `block` and `outputs` its first rows.
    pub(crate) fn pack_transposed(&mut self, block: &[R]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let mut packed = self.data.iter_mut();
        for (first, width) in blocks(outputs) {
            for column in 0..inputs {
                for row in first..first + width {
                    if let Some(slot) = packed.next() {
                        *slot = block[row * inputs + column];
                    }
                }
            }
        }
    }

    /// `out[output] = sum over inputs of weight * x[input]`, for all lanes; `x` may have more rows than needed.
    pub(crate) fn apply(&self, x: &[R], out: &mut [R]) {
        debug_assert!(x.len() >= self.inputs * LANES && out.len() >= self.outputs * LANES, "tile shapes");
        Arch::new().dispatch(Product { matrix: self, x, out });
    }
}

/// Width of the next block when so many outputs are left: 12, 8, 4, 2 or 1.
#[inline(always)]
const fn width_at(left: usize) -> usize {
    match left {
        12.. => 12,
        8.. => 8,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// First output and width of each block.
fn blocks(outputs: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let width = width_at(outputs - first);
        let block = (first, width);
        first += width;
        (block.0 < outputs).then_some(block)
    })
}

struct Product<'a, R> {
    matrix: &'a Packed<R>,
    x: &'a [R],
    out: &'a mut [R],
}

impl<R: Scalar> WithSimd for Product<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Packed { inputs, outputs, data } = self.matrix;
        let x: &[R::Register<S>] = bytemuck::cast_slice(&self.x[..inputs * LANES]);
        let out: &mut [R::Register<S>] = bytemuck::cast_slice_mut(&mut self.out[..outputs * LANES]);
        let many = S::REGISTER_COUNT >= 32;
        let registers = const { LANES * size_of::<R>() } / size_of::<R::Register<S>>();
        let mut rest = data.as_slice();
        let mut first = 0;
        while first < *outputs {
            let width = width_at(*outputs - first);
            let (weights, after) = rest.split_at(inputs * width);
            rest = after;
            let out = &mut out[first * registers..(first + width) * registers];
            first += width;
            // With 16 registers a block of 12 or 8 is done in two halves.
            match (width, many) {
                (12, true) => block::<R, S, 12, 12>(simd, weights, x, out, 0),
                (12, false) => {
                    block::<R, S, 6, 12>(simd, weights, x, out, 0);
                    block::<R, S, 6, 12>(simd, weights, x, out, 6);
                }
                (8, true) => block::<R, S, 8, 8>(simd, weights, x, out, 0),
                (8, false) => {
                    block::<R, S, 4, 8>(simd, weights, x, out, 0);
                    block::<R, S, 4, 8>(simd, weights, x, out, 4);
                }
                (4, _) => block::<R, S, 4, 4>(simd, weights, x, out, 0),
                (2, _) => block::<R, S, 2, 2>(simd, weights, x, out, 0),
                _ => block::<R, S, 1, 1>(simd, weights, x, out, 0),
            }
        }
    }
}

/// `N` outputs from output `from` of a block of width `STRIDE`, two registers of lanes at a time.
#[inline(always)]
fn block<R: Scalar, S: Simd, const N: usize, const STRIDE: usize>(
    simd: S,
    weights: &[R],
    x: &[R::Register<S>],
    out: &mut [R::Register<S>],
    from: usize,
) {
    let registers = const { LANES * size_of::<R>() } / size_of::<R::Register<S>>();
    let weights = weights.as_chunks::<STRIDE>().0;
    let x = &x[..weights.len() * registers];
    // Plain counted loops: iterator adaptors are not always inlined into code for other CPU features.
    let mut r = 0;
    while r < registers {
        let mut sums = [[R::splat(simd, R::ZERO); 2]; N];
        let mut k = 0;
        while k < weights.len() {
            let x = [x[k * registers + r], x[k * registers + r + 1]];
            let mut n = 0;
            while n < N {
                let w = R::splat(simd, weights[k][from + n]);
                sums[n] = [R::fused(simd, w, x[0], sums[n][0]), R::fused(simd, w, x[1], sums[n][1])];
                n += 1;
            }
            k += 1;
        }
        let mut n = 0;
        while n < N {
            out[(from + n) * registers + r] = sums[n][0];
            out[(from + n) * registers + r + 1] = sums[n][1];
            n += 1;
        }
        r += 2;
    }
}

/// Adds to the row-major block `rows x outputs` the gradient `x z_bar^T` summed over the lanes: `x` is
/// `[rows][LANES]`, `z_bar` is `[outputs][LANES]`.
pub(crate) fn add_weight_gradient<R: Scalar>(block_bar: &mut [R], x: &[R], z_bar: &[R], rows: usize, outputs: usize) {
    assert!(block_bar.len() == rows * outputs, "the gradient's block has the layer's shape");
    assert!(x.len() >= rows * LANES && z_bar.len() >= outputs * LANES, "the tile has the layer's shape");
    // SAFETY: the three matrices lie within their slices, as just asserted, and the destination is borrowed mutably,
    // so it overlaps neither factor.
    unsafe {
        gemm::gemm(
            outputs,
            rows,
            LANES,
            block_bar.as_mut_ptr(),
            outputs.cast_signed(),
            1,
            true,
            z_bar.as_ptr(),
            1,
            LANES.cast_signed(),
            x.as_ptr(),
            LANES.cast_signed(),
            1,
            R::ONE,
            R::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<R: Scalar>(n: usize) -> Vec<R> {
        (0..n).map(|i| R::from_f64(((i * 7919) % 23) as f64 / 8.0 - 1.25)).collect()
    }

    fn check<R: Scalar>(inputs: usize, outputs: usize) {
        // These numbers are multiples of 1/8 and small: every product and sum is exact, in any order.
        let (block, x) = (numbers::<R>(inputs * outputs), numbers::<R>(inputs * LANES));
        let mut packed = Packed::new(inputs, outputs);
        packed.pack(&block);
        let mut z = vec![R::from_f64(f64::NAN); outputs * LANES];
        packed.apply(&x, &mut z);
        for o in 0..outputs {
            for l in 0..LANES {
                let sum: f64 = (0..inputs).map(|i| (block[i * outputs + o] * x[i * LANES + l]).to_f64()).sum();
                assert_eq!(z[o * LANES + l].to_f64(), sum, "product, output {o} lane {l} of {inputs} x {outputs}");
            }
        }
        let mut transposed = Packed::new(outputs, inputs);
        transposed.pack_transposed(&block);
        let mut x_bar = vec![R::ZERO; inputs * LANES];
        let z_bar = numbers::<R>(outputs * LANES);
        transposed.apply(&z_bar, &mut x_bar);
        let mut block_bar = vec![R::ONE; inputs * outputs];
        add_weight_gradient(&mut block_bar, &x, &z_bar, inputs, outputs);
        for i in 0..inputs {
            let sum: f64 = (0..outputs).map(|o| (block[i * outputs + o] * z_bar[o * LANES]).to_f64()).sum();
            assert_eq!(x_bar[i * LANES].to_f64(), sum, "transposed product, input {i} of {inputs} x {outputs}");
            for o in 0..outputs {
                let sum: f64 = (0..LANES).map(|l| (x[i * LANES + l] * z_bar[o * LANES + l]).to_f64()).sum();
                assert_eq!(block_bar[i * outputs + o].to_f64(), 1.0 + sum, "weight gradient {i}, {o}");
            }
        }
    }

    #[test]
    fn products_are_exact_on_exact_numbers() {
        for (inputs, outputs) in [(1, 1), (3, 2), (2, 50), (51, 2), (13, 23), (64, 48), (33, 100)] {
            check::<f32>(inputs, outputs);
            check::<f64>(inputs, outputs);
        }
    }
}
