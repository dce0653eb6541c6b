// A matrix product by tiles of 32 x 32 in workgroup memory, 4 x 4 numbers an invocation: for graphics cards.
//
// The kernel that uses it defines `product_shape()`, the rows, columns and depth; `left_at(m, k)` and `right_at(k, n)`,
// which are asked for numbers inside only; `emit(m, n, part, sum)`; `product_rests()`; and the constants LEFT_ALONG_K and
// RIGHT_ALONG_K, which say which way memory runs. Parts share the depth, u.x of it each, if u.x is not zero.

const TILE = 32u;
const DEPTH = 16u;

var<workgroup> sh_left: array<vec4<f32>, 128>;
var<workgroup> sh_right: array<vec4<f32>, 128>;

// Four loads at once: no branch, and no vector is written by an index, which not every compiler knows within a loop.
// Beyond the edge the last number stands in; nothing that it goes into is emitted.
fn left_quad(m: u32, k: u32, rows: u32) -> vec4<f32> {
    let at = min(vec4<u32>(m, m + 1u, m + 2u, m + 3u), vec4<u32>(rows - 1u));
    return vec4<f32>(left_at(at.x, k), left_at(at.y, k), left_at(at.z, k), left_at(at.w, k));
}

fn right_quad(k: u32, n: u32, columns: u32) -> vec4<f32> {
    let at = min(vec4<u32>(n, n + 1u, n + 2u, n + 3u), vec4<u32>(columns - 1u));
    return vec4<f32>(right_at(k, at.x), right_at(k, at.y), right_at(k, at.z), right_at(k, at.w));
}

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    if product_rests() {
        return;
    }
    let shape = product_shape();
    // Tiles are counted along rows of them, whichever way the grid is folded.
    let tile = flat_group(group, groups);
    let tiles = (shape.y + TILE - 1u) / TILE;
    let m0 = tile / tiles * TILE;
    let n0 = tile % tiles * TILE;
    if m0 >= shape.x {
        return;
    }
    let first = group.z * job.u.x;
    let last = select(min(first + job.u.x, shape.z), shape.z, job.u.x == 0u);
    var sums = array<vec4<f32>, 4>();
    for (var base = first; base < last; base += DEPTH) {
        for (var part = 0u; part < 2u; part++) {
            let i = lane + 64u * part;
            let left = select(vec2<u32>(i / 8u, i % 8u), vec2<u32>(i % DEPTH, i / DEPTH), LEFT_ALONG_K);
            let right = select(vec2<u32>(i / 8u, i % 8u), vec2<u32>(i % DEPTH, i / DEPTH), RIGHT_ALONG_K);
            var left_value = vec4<f32>();
            var right_value = vec4<f32>();
            if base + left.x < last {
                left_value = left_quad(m0 + 4u * left.y, base + left.x, shape.x);
            }
            if base + right.x < last {
                right_value = right_quad(base + right.x, n0 + 4u * right.y, shape.y);
            }
            sh_left[left.x * 8u + left.y] = left_value;
            sh_right[right.x * 8u + right.y] = right_value;
        }
        workgroupBarrier();
        for (var kk = 0u; kk < DEPTH; kk++) {
            let left = sh_left[kk * 8u + lane / 8u];
            let right = sh_right[kk * 8u + lane % 8u];
            sums[0] = fma(vec4<f32>(left.x), right, sums[0]);
            sums[1] = fma(vec4<f32>(left.y), right, sums[1]);
            sums[2] = fma(vec4<f32>(left.z), right, sums[2]);
            sums[3] = fma(vec4<f32>(left.w), right, sums[3]);
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let m = m0 + 4u * (lane / 8u) + i;
            let n = n0 + 4u * (lane % 8u) + j;
            if m < shape.x && n < shape.y {
                emit(m, n, group.z, sums[i][j]);
            }
        }
    }
}
