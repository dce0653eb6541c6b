// The caller's points where all trajectories have the same ones; `own_points` has the same functions for those with their own.

// From which entry of `points` to which they lie.
fn listed_points(row: u32) -> vec2<u32> {
    return vec2<u32>(0u, min(job.args.user_points, job.args.points));
}

// The time of a point.
fn point_ticks(row: u32, point: u32) -> vec2<u32> {
    return points[point];
}
