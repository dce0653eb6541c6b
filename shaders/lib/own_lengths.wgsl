// Lengths of steps as shares of intervals that trajectories have of their own, and where they end, in place of `shared_lengths`.
// Where each takes its own steps, those given are in units of time, and stops lie in the rows' records; in lockstep lengths are
// shares of the longest interval already, and nothing stops.

// The longest and the smallest share.
var<private> LENGTHS: vec2<f32>;

// From which entry of `points` to which the row's stops lie.
var<private> STOPS: vec2<u32>;

fn take_lengths(row: u32) {
    LENGTHS = vec2<f32>(job.args.control.longest, job.args.control.smallest_share);
    STOPS = vec2<u32>();
    if job.per_row == 1u && !is_still(row) {
        let stops = points[record_of(row) + 2u];
        STOPS = record_of(row) + vec2<u32>(stops.y, stops.y + stops.x);
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

fn listed_stops() -> vec2<u32> {
    return STOPS;
}
