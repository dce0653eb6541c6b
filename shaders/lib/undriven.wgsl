// What is printed of controls for whole trajectories, where nothing drives them.

fn take_row(row: u32) {}

fn moment(t: vec2<u32>, d: vec2<u32>, c: f32) -> f32 {
    return node_time(t, d, c, job.t0, job.span);
}
