// A matrix product with a row of 32 numbers an invocation, and nothing shared: for software adapters. They run the
// invocations of a workgroup as lanes of one register, so a number of the right matrix, the same for all, is loaded once;
// workgroup memory would cost them a change of context at every barrier.
//
// What a kernel has to define is said in `product_tiles`.

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let shape = product_shape();
    let m = group.y * 64u + lane;
    if product_rests() || m >= shape.x {
        return;
    }
    let start = group.x * 32u;
    let first = group.z * job.u.x;
    let last = select(min(first + job.u.x, shape.z), shape.z, job.u.x == 0u);
    let n0 = min(start + 0u, shape.y - 1u);
    let n1 = min(start + 1u, shape.y - 1u);
    let n2 = min(start + 2u, shape.y - 1u);
    let n3 = min(start + 3u, shape.y - 1u);
    let n4 = min(start + 4u, shape.y - 1u);
    let n5 = min(start + 5u, shape.y - 1u);
    let n6 = min(start + 6u, shape.y - 1u);
    let n7 = min(start + 7u, shape.y - 1u);
    let n8 = min(start + 8u, shape.y - 1u);
    let n9 = min(start + 9u, shape.y - 1u);
    let n10 = min(start + 10u, shape.y - 1u);
    let n11 = min(start + 11u, shape.y - 1u);
    let n12 = min(start + 12u, shape.y - 1u);
    let n13 = min(start + 13u, shape.y - 1u);
    let n14 = min(start + 14u, shape.y - 1u);
    let n15 = min(start + 15u, shape.y - 1u);
    let n16 = min(start + 16u, shape.y - 1u);
    let n17 = min(start + 17u, shape.y - 1u);
    let n18 = min(start + 18u, shape.y - 1u);
    let n19 = min(start + 19u, shape.y - 1u);
    let n20 = min(start + 20u, shape.y - 1u);
    let n21 = min(start + 21u, shape.y - 1u);
    let n22 = min(start + 22u, shape.y - 1u);
    let n23 = min(start + 23u, shape.y - 1u);
    let n24 = min(start + 24u, shape.y - 1u);
    let n25 = min(start + 25u, shape.y - 1u);
    let n26 = min(start + 26u, shape.y - 1u);
    let n27 = min(start + 27u, shape.y - 1u);
    let n28 = min(start + 28u, shape.y - 1u);
    let n29 = min(start + 29u, shape.y - 1u);
    let n30 = min(start + 30u, shape.y - 1u);
    let n31 = min(start + 31u, shape.y - 1u);
    var sum0 = 0.0;
    var sum1 = 0.0;
    var sum2 = 0.0;
    var sum3 = 0.0;
    var sum4 = 0.0;
    var sum5 = 0.0;
    var sum6 = 0.0;
    var sum7 = 0.0;
    var sum8 = 0.0;
    var sum9 = 0.0;
    var sum10 = 0.0;
    var sum11 = 0.0;
    var sum12 = 0.0;
    var sum13 = 0.0;
    var sum14 = 0.0;
    var sum15 = 0.0;
    var sum16 = 0.0;
    var sum17 = 0.0;
    var sum18 = 0.0;
    var sum19 = 0.0;
    var sum20 = 0.0;
    var sum21 = 0.0;
    var sum22 = 0.0;
    var sum23 = 0.0;
    var sum24 = 0.0;
    var sum25 = 0.0;
    var sum26 = 0.0;
    var sum27 = 0.0;
    var sum28 = 0.0;
    var sum29 = 0.0;
    var sum30 = 0.0;
    var sum31 = 0.0;
    for (var k = first; k < last; k++) {
        let left = left_at(m, k);
        sum0 = fma(left, right_at(k, n0), sum0);
        sum1 = fma(left, right_at(k, n1), sum1);
        sum2 = fma(left, right_at(k, n2), sum2);
        sum3 = fma(left, right_at(k, n3), sum3);
        sum4 = fma(left, right_at(k, n4), sum4);
        sum5 = fma(left, right_at(k, n5), sum5);
        sum6 = fma(left, right_at(k, n6), sum6);
        sum7 = fma(left, right_at(k, n7), sum7);
        sum8 = fma(left, right_at(k, n8), sum8);
        sum9 = fma(left, right_at(k, n9), sum9);
        sum10 = fma(left, right_at(k, n10), sum10);
        sum11 = fma(left, right_at(k, n11), sum11);
        sum12 = fma(left, right_at(k, n12), sum12);
        sum13 = fma(left, right_at(k, n13), sum13);
        sum14 = fma(left, right_at(k, n14), sum14);
        sum15 = fma(left, right_at(k, n15), sum15);
        sum16 = fma(left, right_at(k, n16), sum16);
        sum17 = fma(left, right_at(k, n17), sum17);
        sum18 = fma(left, right_at(k, n18), sum18);
        sum19 = fma(left, right_at(k, n19), sum19);
        sum20 = fma(left, right_at(k, n20), sum20);
        sum21 = fma(left, right_at(k, n21), sum21);
        sum22 = fma(left, right_at(k, n22), sum22);
        sum23 = fma(left, right_at(k, n23), sum23);
        sum24 = fma(left, right_at(k, n24), sum24);
        sum25 = fma(left, right_at(k, n25), sum25);
        sum26 = fma(left, right_at(k, n26), sum26);
        sum27 = fma(left, right_at(k, n27), sum27);
        sum28 = fma(left, right_at(k, n28), sum28);
        sum29 = fma(left, right_at(k, n29), sum29);
        sum30 = fma(left, right_at(k, n30), sum30);
        sum31 = fma(left, right_at(k, n31), sum31);
    }
    if start + 0u < shape.y { emit(m, n0, group.z, sum0); }
    if start + 1u < shape.y { emit(m, n1, group.z, sum1); }
    if start + 2u < shape.y { emit(m, n2, group.z, sum2); }
    if start + 3u < shape.y { emit(m, n3, group.z, sum3); }
    if start + 4u < shape.y { emit(m, n4, group.z, sum4); }
    if start + 5u < shape.y { emit(m, n5, group.z, sum5); }
    if start + 6u < shape.y { emit(m, n6, group.z, sum6); }
    if start + 7u < shape.y { emit(m, n7, group.z, sum7); }
    if start + 8u < shape.y { emit(m, n8, group.z, sum8); }
    if start + 9u < shape.y { emit(m, n9, group.z, sum9); }
    if start + 10u < shape.y { emit(m, n10, group.z, sum10); }
    if start + 11u < shape.y { emit(m, n11, group.z, sum11); }
    if start + 12u < shape.y { emit(m, n12, group.z, sum12); }
    if start + 13u < shape.y { emit(m, n13, group.z, sum13); }
    if start + 14u < shape.y { emit(m, n14, group.z, sum14); }
    if start + 15u < shape.y { emit(m, n15, group.z, sum15); }
    if start + 16u < shape.y { emit(m, n16, group.z, sum16); }
    if start + 17u < shape.y { emit(m, n17, group.z, sum17); }
    if start + 18u < shape.y { emit(m, n18, group.z, sum18); }
    if start + 19u < shape.y { emit(m, n19, group.z, sum19); }
    if start + 20u < shape.y { emit(m, n20, group.z, sum20); }
    if start + 21u < shape.y { emit(m, n21, group.z, sum21); }
    if start + 22u < shape.y { emit(m, n22, group.z, sum22); }
    if start + 23u < shape.y { emit(m, n23, group.z, sum23); }
    if start + 24u < shape.y { emit(m, n24, group.z, sum24); }
    if start + 25u < shape.y { emit(m, n25, group.z, sum25); }
    if start + 26u < shape.y { emit(m, n26, group.z, sum26); }
    if start + 27u < shape.y { emit(m, n27, group.z, sum27); }
    if start + 28u < shape.y { emit(m, n28, group.z, sum28); }
    if start + 29u < shape.y { emit(m, n29, group.z, sum29); }
    if start + 30u < shape.y { emit(m, n30, group.z, sum30); }
    if start + 31u < shape.y { emit(m, n31, group.z, sum31); }
}
