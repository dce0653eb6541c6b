//! Integers: random words, products, and ticks of 64 bits.

use super::apply;
use crate::gpu::adapter::gpu;
use crate::gpu::wire::records::TICKS;
use crate::math::philox4x32;

/// Words that are spread over all there are, with the extreme ones first.
pub(super) fn words(n: u32) -> impl Iterator<Item = u32> {
    let extreme = [0, 1, 2, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
    extreme.into_iter().chain((0..n).map(|i| philox4x32([i, 7, 0, 0], [1, 2])[0]))
}

#[test]
fn random_integers_are_those_of_the_host() {
    let Some(gpu) = gpu() else { return };
    let all: Vec<u32> = words(60_000).collect();
    let mut input: Vec<[u32; 6]> = all.as_chunks().0.to_vec();
    // Counters as they come: a few words, and their neighbours.
    input.extend((0..4000).map(|i| [i, i % 7, i / 3, 2, 42, i % 5]));
    let body = "let r = philox4x32(vec4<u32>(x[0], x[1], x[2], x[3]), vec2<u32>(x[4], x[5]));
        for (var i = 0u; i < 4u; i++) { y[i] = r[i]; }";
    let found = apply::<6, 4>(&gpu, &["philox"], body, &input);
    for (x, y) in input.iter().zip(found) {
        let [a, b, c, d, key @ ..] = *x;
        assert_eq!(y, philox4x32([a, b, c, d], key), "counter {:x?}, key {key:x?}", [a, b, c, d]);
    }
}

#[test]
fn products_of_words_are_exact() {
    let Some(gpu) = gpu() else { return };
    let all: Vec<u32> = words(4000).collect();
    let input: Vec<[u32; 2]> = all.iter().flat_map(|a| all[..40].iter().map(|b| [*a, *b])).collect();
    let body = "let p = wide_product(x[0], x[1]); y[0] = p.x; y[1] = p.y;";
    for (x, [high, low]) in input.iter().zip(apply::<2, 2>(&gpu, &["philox"], body, &input)) {
        let product = u64::from(x[0]) * u64::from(x[1]);
        assert_eq!((u64::from(high) << 32) | u64::from(low), product, "{:x} times {:x}", x[0], x[1]);
    }
}

pub(super) const fn halves(x: u64) -> [u32; 2] {
    [(x >> 32) as u32, x as u32]
}

const fn whole([high, low]: [u32; 2]) -> u64 {
    ((high as u64) << 32) | low as u64
}

#[test]
fn ticks_count_as_64_bit_integers_do() {
    let Some(gpu) = gpu() else { return };
    let all: Vec<u32> = words(8000).collect();
    let mut input: Vec<[u32; 4]> = all.as_chunks().0.to_vec();
    // Carries and borrows, and equal numbers.
    let edges = [0, 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 63) - 1, 1 << 63, u64::MAX];
    for a in edges {
        for b in edges {
            let ([a, b], [c, d]) = (halves(a), halves(b));
            input.push([a, b, c, d]);
        }
    }
    let body = "let a = vec2<u32>(x[0], x[1]); let b = vec2<u32>(x[2], x[3]);
        let s = ticks_add(a, b); let d = ticks_sub(a, b);
        y = array<u32, 6>(s.x, s.y, d.x, d.y, select(0u, 1u, ticks_less(a, b)), select(0u, 1u, ticks_equal(a, b)));";
    for (x, y) in input.iter().zip(apply::<4, 6>(&gpu, &["time"], body, &input)) {
        let (a, b) = (whole([x[0], x[1]]), whole([x[2], x[3]]));
        let [s, d] = [a.wrapping_add(b), a.wrapping_sub(b)].map(halves);
        let expected = [s[0], s[1], d[0], d[1], u32::from(a < b), u32::from(a == b)];
        assert_eq!(y, expected, "{a:x} and {b:x}: sum, difference, less, equal");
    }
}

#[test]
fn shares_of_the_interval_are_ticks_and_back() {
    let Some(gpu) = gpu() else { return };
    // Shares of at least 2^-39 become ticks exactly, and come back to the bit.
    let shares: Vec<f32> = (0..4000)
        .map(|i| 2f64.powf(-39.0 * f64::from(i) / 4000.0) as f32)
        .chain([1.0, 0.5, 1.0 - f32::EPSILON / 2.0, 2f32.powi(-39), 1e-3, 1.999])
        .collect();
    let body = "let t = share_to_ticks(bitcast<f32>(x[0]));
        y = array<u32, 3>(t.x, t.y, bitcast<u32>(ticks_to_share(t)));";
    let input: Vec<[u32; 1]> = shares.iter().map(|x| [x.to_bits()]).collect();
    for (share, [high, low, back]) in shares.iter().zip(apply::<1, 3>(&gpu, &["time"], body, &input)) {
        let ticks = (f64::from(*share) * TICKS) as u64;
        assert_eq!(whole([high, low]), ticks, "{share:e} as ticks");
        assert_eq!(f32::from_bits(back), *share, "{share:e} from ticks");
    }
    // Any number of ticks is a share to a rounding or two.
    let all: Vec<u32> = words(8000).map(|w| w >> 1).collect();
    let input: Vec<[u32; 2]> = all.as_chunks().0.to_vec();
    let body = "y[0] = bitcast<u32>(ticks_to_share(vec2<u32>(x[0], x[1])));";
    for (x, [y]) in input.iter().zip(apply::<2, 1>(&gpu, &["time"], body, &input)) {
        let (found, share) = (f64::from(f32::from_bits(y)), whole(*x) as f64 / TICKS);
        assert!((found - share).abs() <= 1.2e-7 * share, "{x:x?} is {share:e}, not {found:e}");
    }
}
