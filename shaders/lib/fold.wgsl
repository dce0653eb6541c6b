// A fold over a workgroup by halves, in an order that no timing changes. The kernel that uses it defines `merge(a, b)`, which
// takes what lane b has to what lane a has, in arrays of the workgroup's that each lane has filled at its own place.

// Folds each `wide` lanes in a row into the first of them, which may look at it at once, the others after a barrier. `wide`
// is a power of two, and the same for all lanes.
fn fold(lane: u32, wide: u32) {
    let within = lane % wide;
    for (var half = wide / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if within < half {
            merge(lane, lane + half);
        }
    }
}
