// Which cell of its path a fixed step of a stochastic solve is.

// The cell that begins at `t`, where `cell` are the ticks of one: exactly, whatever the first guess rounds.
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
