// Some adapters stop every loop of an invocation once it has run a number of iterations, and go on after it.

// Whether this invocation's loops have run to their ends: then another one does. To be asked last.
fn loops_ran() -> bool {
    let wanted = job.stages + 2u;
    var n = 0u;
    for (var i = 0u; i < wanted; i++) {
        n += 1u;
    }
    return n == wanted;
}
