// A matrix product by tiles of 32 x 32 in workgroup memory: for graphics cards.
//
// 64 invocations hold the sums of a tile, 4 x 4 numbers each. Where there are few tiles for a card to be busy with, four
// such groups share a tile: each takes every fourth slice of the depth, and their sums are added in order in the end.
//
// The kernel that uses it defines `product_shape()`, the rows, columns and depth; `left_quad(m, k)`, four rows of column k,
// and `right_quad(k, n)`, four columns of row k, which are any numbers beyond the edge of rows and columns;
// `emit(m, n, part, sums)`, four columns of row m, some perhaps beyond the edge; and the constants
// LEFT_ALONG_K and RIGHT_ALONG_K, which say which way memory runs. Parts share the depth, `part_depth` of
// it each, which is among the arguments, if it is not zero.

// Groups to a tile: one or four.
override SPLIT: u32 = 1u;

const TILE = 32u;
const DEPTH = 8u;

// Quads from one depth to the next: eight, and one more, so that stores along the depth go to different banks.
const STRIDE = 9u;

// Of four groups.
var<workgroup> sh_left: array<vec4<f32>, 288>;
var<workgroup> sh_right: array<vec4<f32>, 288>;

// Whether all rows have one cursor, which wants nothing.
fn product_rests() -> bool {
    return !has(ALWAYS) && job.per_row == 0u && wants_no_stage(cursors[0]);
}

fn quad_of(first: u32) -> vec4<u32> {
    return vec4<u32>(first, first + 1u, first + 2u, first + 3u);
}

// Loads do not branch: beyond the depth, the last of it stands in and does not count.
fn left_slice(m: u32, k: u32, last: u32) -> vec4<f32> {
    return select(vec4<f32>(), left_quad(m, min(k, last - 1u)), k < last);
}

fn right_slice(k: u32, n: u32, last: u32) -> vec4<f32> {
    return select(vec4<f32>(), right_quad(min(k, last - 1u), n), k < last);
}

// A row of the groups' sums, added in their order.
fn sum_groups(index: u32, sums: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    sh_left[index] = sums;
    workgroupBarrier();
    let lane = index % 64u;
    return ((sh_left[lane] + sh_left[64u + lane]) + sh_left[128u + lane]) + sh_left[192u + lane];
}

@compute @workgroup_size(64, SPLIT)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
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
    let first = group.z * job.args.part_depth;
    let last = select(min(first + job.args.part_depth, shape.z), shape.z, job.args.part_depth == 0u);
    if m0 >= shape.x || first >= last {
        return;
    }
    let share = index / 64u;
    let lane = index % 64u;
    let left_at = select(vec2<u32>(lane / 8u, lane % 8u), vec2<u32>(lane % 8u, lane / 8u), LEFT_ALONG_K);
    let right_at = select(vec2<u32>(lane / 8u, lane % 8u), vec2<u32>(lane % 8u, lane / 8u), RIGHT_ALONG_K);
    let own = share * DEPTH * STRIDE;
    var k = first + share * DEPTH;
    var left_next = left_slice(m0 + 4u * left_at.y, k + left_at.x, last);
    var right_next = right_slice(k + right_at.x, n0 + 4u * right_at.y, last);
    var sums = array<vec4<f32>, 4>();
    for (var base = first; base < last; base += DEPTH * SPLIT) {
        sh_left[own + left_at.x * STRIDE + left_at.y] = left_next;
        sh_right[own + right_at.x * STRIDE + right_at.y] = right_next;
        workgroupBarrier();
        // The next slice is on its way while this one is multiplied.
        k += DEPTH * SPLIT;
        left_next = left_slice(m0 + 4u * left_at.y, k + left_at.x, last);
        right_next = right_slice(k + right_at.x, n0 + 4u * right_at.y, last);
        for (var kk = 0u; kk < DEPTH; kk++) {
            let left = sh_left[own + kk * STRIDE + lane / 8u];
            let right = sh_right[own + kk * STRIDE + lane % 8u];
            sums[0] = fma(vec4<f32>(left.x), right, sums[0]);
            sums[1] = fma(vec4<f32>(left.y), right, sums[1]);
            sums[2] = fma(vec4<f32>(left.z), right, sums[2]);
            sums[3] = fma(vec4<f32>(left.w), right, sums[3]);
        }
        workgroupBarrier();
    }
    let m = m0 + 4u * (lane / 8u);
    let n = n0 + 4u * (lane % 8u);
    if SPLIT == 1u {
        emit(m, n, group.z, sums[0]);
        emit(m + 1u, n, group.z, sums[1]);
        emit(m + 2u, n, group.z, sums[2]);
        emit(m + 3u, n, group.z, sums[3]);
    } else {
        // Each group has a row of every quad.
        let row0 = sum_groups(index, sums[0]);
        let row1 = sum_groups(index, sums[1]);
        let row2 = sum_groups(index, sums[2]);
        let row3 = sum_groups(index, sums[3]);
        emit(m + share, n, group.z, select(select(row0, row1, share == 1u), select(row2, row3, share == 3u), share >= 2u));
    }
}
