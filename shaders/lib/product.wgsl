// A 32 x 32 tile of a matrix product, 4 x 4 numbers an invocation. The kernel that uses it defines `left_at(m, k)`,
// `right_at(k, n)`, which are zero outside, and the constants LEFT_ALONG_K and RIGHT_ALONG_K: which way memory runs.

const TILE = 32u;
const DEPTH = 16u;

var<workgroup> sh_left: array<vec4<f32>, 128>;
var<workgroup> sh_right: array<vec4<f32>, 128>;

struct Quads {
    r0: vec4<f32>,
    r1: vec4<f32>,
    r2: vec4<f32>,
    r3: vec4<f32>,
}

// Rows m0.. and columns n0.. of the product over k in [k0, k1). `lane` is the invocation's index, 0 to 63: it owns rows
// m0 + 4 (lane / 8) and columns n0 + 4 (lane % 8).
fn product_tile(m0: u32, n0: u32, k0: u32, k1: u32, lane: u32) -> Quads {
    var sum = Quads(vec4<f32>(), vec4<f32>(), vec4<f32>(), vec4<f32>());
    for (var base = k0; base < k1; base += DEPTH) {
        for (var part = 0u; part < 2u; part++) {
            let i = lane + 64u * part;
            var kk = i / 8u;
            var quad = i % 8u;
            if LEFT_ALONG_K {
                kk = i % DEPTH;
                quad = i / DEPTH;
            }
            let m = m0 + 4u * quad;
            let k = base + kk;
            var value = vec4<f32>();
            if k < k1 {
                value = vec4<f32>(left_at(m, k), left_at(m + 1u, k), left_at(m + 2u, k), left_at(m + 3u, k));
            }
            sh_left[kk * 8u + quad] = value;
        }
        for (var part = 0u; part < 2u; part++) {
            let i = lane + 64u * part;
            var kk = i / 8u;
            var quad = i % 8u;
            if RIGHT_ALONG_K {
                kk = i % DEPTH;
                quad = i / DEPTH;
            }
            let n = n0 + 4u * quad;
            let k = base + kk;
            var value = vec4<f32>();
            if k < k1 {
                value = vec4<f32>(right_at(k, n), right_at(k, n + 1u), right_at(k, n + 2u), right_at(k, n + 3u));
            }
            sh_right[kk * 8u + quad] = value;
        }
        workgroupBarrier();
        let row = lane / 8u;
        let column = lane % 8u;
        for (var kk = 0u; kk < DEPTH; kk++) {
            let left = sh_left[kk * 8u + row];
            let right = sh_right[kk * 8u + column];
            sum.r0 = fma(vec4<f32>(left.x), right, sum.r0);
            sum.r1 = fma(vec4<f32>(left.y), right, sum.r1);
            sum.r2 = fma(vec4<f32>(left.z), right, sum.r2);
            sum.r3 = fma(vec4<f32>(left.w), right, sum.r3);
        }
        workgroupBarrier();
    }
    return sum;
}

fn quad_row(quads: Quads, i: u32) -> vec4<f32> {
    switch i {
        case 0u: { return quads.r0; }
        case 1u: { return quads.r1; }
        case 2u: { return quads.r2; }
        default: { return quads.r3; }
    }
}
