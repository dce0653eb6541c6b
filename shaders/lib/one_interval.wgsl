// The interval of a trajectory where all have the same one; `own_intervals` has the same functions for those with their own.

// Its start and signed length.
fn interval_of(row: u32) -> vec2<f32> {
    return vec2<f32>(job.t0, job.span);
}

// The same of the row that an invocation has taken.
fn take_interval(row: u32) {}

fn row_interval() -> vec2<f32> {
    return vec2<f32>(job.t0, job.span);
}

// What a field gives in units of time, in those of the steps.
fn by_clock(row: u32, slope: f32) -> f32 {
    return slope;
}

// Units of time that pass for a row while its clock goes on by 1.
fn row_unit(row: u32) -> f32 {
    return 1.0;
}

// Whether a row rests where others have somewhere to go.
fn is_still(row: u32) -> bool {
    return false;
}

// Of how many points a row has a state, of so many.
fn slots_of(row: u32, points: u32) -> u32 {
    return points;
}
