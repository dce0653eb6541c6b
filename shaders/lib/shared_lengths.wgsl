// Lengths of steps as shares of the interval, and where they end, where all trajectories have the same one; `own_lengths` has
// the same functions.

fn take_lengths(row: u32) {}

// No step is longer,
fn longest_share() -> f32 {
    return job.args.control.longest;
}

// and this one is lost in the rounding of time.
fn smallest_share() -> f32 {
    return job.args.control.smallest_share;
}

// Of a given first step; not above 0 where there is none.
fn first_share(row: u32) -> f32 {
    return job.args.control.first_length;
}

// From which entry of `points` to which the times lie at which steps have to end.
fn listed_stops() -> vec2<u32> {
    return vec2<u32>(job.args.control.first_stop, job.args.control.first_stop + job.args.control.stops);
}
