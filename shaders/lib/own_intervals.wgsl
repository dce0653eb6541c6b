// The intervals of trajectories that have their own, in place of `one_interval`. Steps are in shares of each one's interval:
// what is solved is dy/ds = (t1 - t0) f(t0 + s (t1 - t0), y), s from 0 to 1, so that nothing but the field, where steps have to
// end and what is saved depends on the row.
//
// The rows' records lie among `points`, whose first entry is no point then: it says where they begin, and how many entries each
// has. A record is the interval's start and signed length; the number of the row's points and the shortest step that time
// resolves, as a share; the number of times at which its steps have to end, and their place in the record; then the points and
// these times. The twin is in `src/gpu/own_times.rs`.

const BEFORE_POINTS = 3u;

fn record_of(row: u32) -> u32 {
    return points[0].x + row * points[0].y;
}

// Outside of the equation, where rows are not the batch's, there is no clock; measures of it are of the batch's.
fn interval_of(row: u32) -> vec2<f32> {
    if has(ALWAYS) && !has(MEASURE) {
        return vec2<f32>(0.0, 1.0);
    }
    return bitcast<vec2<f32>>(points[record_of(row)]);
}

var<private> INTERVAL: vec2<f32>;

fn take_interval(row: u32) {
    INTERVAL = interval_of(row);
}

fn row_interval() -> vec2<f32> {
    return INTERVAL;
}

// Nothing where no time passes, even at a pole of the field.
fn by_clock(row: u32, slope: f32) -> f32 {
    if has(MEASURE) {
        return slope;
    }
    let span = interval_of(row).y;
    return select(slope * span, 0.0, span == 0.0);
}

fn row_unit(row: u32) -> f32 {
    return abs(interval_of(row).y);
}

fn is_still(row: u32) -> bool {
    return interval_of(row).y == 0.0;
}

fn slots_of(row: u32, points_: u32) -> u32 {
    return points[record_of(row) + 1u].x;
}
