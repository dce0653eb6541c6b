// Lengths of steps as shares of intervals that trajectories have of their own, in place of `shared_lengths`. Where each takes
// its own steps, those given are in units of time; in lockstep they are shares of the longest interval already.

// The longest and the smallest share.
var<private> LENGTHS: vec2<f32>;

fn take_lengths(row: u32) {
    LENGTHS = vec2<f32>(job.args.control.longest, job.args.control.smallest_share);
    if job.per_row == 1u && !is_still(row) {
        let resolved = bitcast<f32>(points[record_of(row) + 1u].y);
        LENGTHS = vec2<f32>(min(job.args.control.longest / abs(interval_of(row).y), 2.0), resolved);
    }
}

fn longest_share() -> f32 {
    return LENGTHS.x;
}

fn smallest_share() -> f32 {
    return LENGTHS.y;
}

fn first_share(row: u32) -> f32 {
    let first = job.args.control.first_length;
    if job.per_row == 0u || first <= 0.0 || is_still(row) {
        return first;
    }
    return first / abs(interval_of(row).y);
}
