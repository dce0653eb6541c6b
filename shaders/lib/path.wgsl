// Where a step of a stochastic solve lies on its path: `spec::Brownian` counts 2^30 ticks to the interval where steps are
// adaptive, and has a cell for each step where they are fixed.

// Ticks of the path, of which each is 2^33 of the clock's.
fn path_tick(t: vec2<u32>) -> u32 {
    return t.x >> 1u;
}

// The cell that begins at `t`, where u.zw are the ticks of a cell: exactly, whatever the first guess rounds.
fn path_cell(t: vec2<u32>, cell: vec2<u32>) -> u32 {
    var guess = u32(round(ticks_to_share(t) / ticks_to_share(cell)));
    for (var i = 0u; i < 4u; i++) {
        var start = wide_product(guess, cell.y);
        start.x += guess * cell.x;
        if ticks_equal(start, t) {
            break;
        }
        guess = select(guess - 1u, guess + 1u, ticks_less(start, t));
    }
    return guess;
}
