// Sums over the lanes of a workgroup. The kernel that uses it says how many there are, WIDE, and what is summed: its
// `Summand` is a number or a vector.

var<workgroup> sh_sums: array<Summand, WIDE>;

fn merge(a: u32, b: u32) {
    sh_sums[a] += sh_sums[b];
}

// The sum over all lanes, for every one of them. Between two of them lies a barrier.
fn sum_of_lanes(lane: u32, summand: Summand) -> Summand {
    sh_sums[lane] = summand;
    fold(lane, WIDE);
    workgroupBarrier();
    return sh_sums[0];
}
