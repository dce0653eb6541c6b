// What is printed of controls for whole trajectories, where nothing drives them.

fn take_row(row: u32) {
    take_interval(row);
}

fn moment(t: vec2<u32>, d: vec2<u32>, c: f32) -> f32 {
    let interval = row_interval();
    return node_time(t, d, c, interval.x, interval.y);
}
