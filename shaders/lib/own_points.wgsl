// The caller's points of trajectories that have their own, in place of `shared_points`: they are in the rows' records.

fn listed_points(row: u32) -> vec2<u32> {
    let first = record_of(row) + BEFORE_POINTS;
    // A step that is none of the solve's saves nothing.
    return vec2<u32>(first, first + select(0u, slots_of(row, 0u), job.args.points > 0u));
}

fn point_ticks(row: u32, point: u32) -> vec2<u32> {
    if point < job.args.user_points {
        return points[record_of(row) + BEFORE_POINTS + point];
    }
    return points[point];
}
