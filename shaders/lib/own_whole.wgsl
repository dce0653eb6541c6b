// Slopes of trajectories that are solved whole and have intervals of their own, by the clock; `by_clock` at each feature.

fn state_by_clock(slope: State) -> State {
    let span = row_interval().y;
    var scaled: State;
    for (var d = 0u; d < DIM; d++) {
        scaled[d] = select(slope[d] * span, 0.0, span == 0.0);
    }
    return scaled;
}
