// How far the next attempt goes: at most to the next time at which a step has to end. The kernel that uses it declares
// `points`, in which such times lie in order.

// The entry of the first of them after `t`.
fn stop_after(t: vec2<u32>) -> u32 {
    let listed = listed_stops();
    var low = listed.x;
    var high = listed.y;
    for (var i = 0u; i < 32u && low < high; i++) {
        let middle = (low + high) / 2u;
        if ticks_less(t, points[middle]) {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    return low;
}

fn next_stop(t: vec2<u32>) -> vec2<u32> {
    let next = stop_after(t);
    if next < listed_stops().y {
        return points[next];
    }
    return END_TICKS;
}

// Whether the last stage of the step that ended at `t` is the first of the next one: not across a stop.
fn keeps_last(t: vec2<u32>) -> bool {
    if !has(FSAL) {
        return false;
    }
    let next = stop_after(t);
    return next == listed_stops().x || !ticks_equal(points[next - 1u], t);
}

// Ticks of the next attempt: the whole rest if the step reaches the next stop, or would leave less than a rounding error.
fn next_ticks(clock: Clock) -> vec2<u32> {
    let rest = ticks_sub(next_stop(clock.t), clock.t);
    if has(FIXED) {
        return select(job.fixed_ticks, rest, clock.accepted + 1u >= job.args.control.fixed_steps);
    }
    let h = min(clock.h, longest_share());
    if !(h < ticks_to_share(rest) * 0.9999995) {
        return rest;
    }
    let wanted = share_to_ticks(max(h, smallest_share()));
    return select(wanted, to_path_tick(clock.t, wanted), has(NOISE));
}

// What is left until the next time at which a step has to end, as a share of the interval; no step reaches it where the
// controller does not finish.
fn rest_share(clock: Clock) -> f32 {
    if job.args.control.finish != 1.0 {
        return 2.0;
    }
    return ticks_to_share(ticks_sub(next_stop(clock.t), clock.t));
}

// Ticks of the smallest attempt that time resolves.
fn smallest_ticks(clock: Clock) -> vec2<u32> {
    let rest = ticks_sub(next_stop(clock.t), clock.t);
    let d = share_to_ticks(2.0 * smallest_share());
    return select(rest, d, ticks_less(d, rest));
}

// Whether a step is lost in the rounding of time. The last one may be that short.
fn too_small(clock: Clock, d: vec2<u32>) -> bool {
    return !has(FIXED)
        && !ticks_equal(d, ticks_sub(next_stop(clock.t), clock.t))
        && ticks_to_share(d) <= smallest_share();
}
