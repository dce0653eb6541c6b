// A matrix product with 8 x 8 numbers an invocation, and nothing shared: for software adapters.
//
// They load a number for each lane of a register by itself, from workgroup memory as from any other, and change contexts
// at every barrier; so what counts is how many multiplications each load serves. What a kernel has to define is said in
// `product_tiles`.

const SIDE = 8u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if product_rests() {
        return;
    }
    let shape = product_shape();
    let m0 = group.y * 64u + SIDE * (lane / 8u);
    let n0 = group.x * 64u + SIDE * (lane % 8u);
    if m0 >= shape.x || n0 >= shape.y {
        return;
    }
    let first = group.z * job.u.x;
    let last = select(min(first + job.u.x, shape.z), shape.z, job.u.x == 0u);
    // Beyond the edge the last row and column are taken again, and their sums left out.
    var rows: array<u32, 8>;
    var columns: array<u32, 8>;
    for (var i = 0u; i < SIDE; i++) {
        rows[i] = min(m0 + i, shape.x - 1u);
        columns[i] = min(n0 + i, shape.y - 1u);
    }
    var sums: array<vec4<f32>, 16>;
    for (var k = first; k < last; k++) {
        let low = vec4<f32>(
            right_at(k, columns[0]),
            right_at(k, columns[1]),
            right_at(k, columns[2]),
            right_at(k, columns[3]),
        );
        let high = vec4<f32>(
            right_at(k, columns[4]),
            right_at(k, columns[5]),
            right_at(k, columns[6]),
            right_at(k, columns[7]),
        );
        for (var i = 0u; i < SIDE; i++) {
            let left = vec4<f32>(left_at(rows[i], k));
            sums[2u * i] = fma(left, low, sums[2u * i]);
            sums[2u * i + 1u] = fma(left, high, sums[2u * i + 1u]);
        }
    }
    for (var i = 0u; i < SIDE; i++) {
        for (var j = 0u; j < SIDE; j++) {
            if m0 + i < shape.x && n0 + j < shape.y {
                emit(m0 + i, n0 + j, group.z, sums[2u * i + j / 4u][j % 4u]);
            }
        }
    }
}
