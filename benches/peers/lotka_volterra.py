"""The cases of benches/lotka_volterra.rs in diffrax: a JSON line each. Needs jax and diffrax."""
import json, os, sys, time, warnings

warnings.filterwarnings("ignore")
os.environ["JAX_PLATFORMS"] = "cpu"
import diffrax as dfx, jax, jax.numpy as jnp

rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
jax.config.update("jax_enable_x64", True)
RATES, START, END, TIMES, N = (1.1, 0.4, 0.1, 0.4), (10.0, 5.0), 20.0, 200, 10_000


def field(t, y, k):
    prey, hunters = y[0], y[1]
    meet = prey * hunters
    return jnp.stack([k[0] * prey - k[1] * meet, k[2] * meet - k[3] * hunters])


def solve(k, y0, saveat, adjoint):
    return dfx.diffeqsolve(dfx.ODETerm(field), dfx.Tsit5(), 0.0, END, None, y0, k, saveat=saveat, adjoint=adjoint,
                           stepsize_controller=dfx.PIDController(rtol=1e-6, atol=1e-6), max_steps=4096)


def fastest(call):
    jax.block_until_ready(call())  # compiles
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        value = jax.block_until_ready(call())
        least = min(least, (time.perf_counter() - start) * 1e3)
    return least, value


def report(case, dtype, ms, value):
    print(json.dumps(dict(peer="diffrax", case=case, scalar=dtype, ms_min=round(ms, 4), value=round(float(value), 6))), flush=True)


for dtype in ("f32", "f64"):
    d = jnp.float32 if dtype == "f32" else jnp.float64
    rates, y0 = jnp.array(RATES, d), jnp.array(START, d)
    times = jnp.arange(1, TIMES + 1, dtype=d) * (END / TIMES)
    mean = lambda k, adjoint: jnp.mean(solve(k, y0, dfx.SaveAt(ts=times), adjoint).ys ** 2)
    forward = jax.jit(lambda k: mean(k, dfx.ForwardMode()))
    report("forward", dtype, *fastest(lambda: forward(rates)))
    best = None
    for name, adjoint in (("checkpoints", dfx.RecursiveCheckpointAdjoint()), ("direct", dfx.DirectAdjoint())):
        gradient = jax.jit(lambda k: jnp.linalg.norm(jax.grad(lambda k: mean(k, adjoint))(k)))
        found = fastest(lambda: gradient(rates))
        best = found if best is None or found[0] < best[0] else best
    report("gradient", dtype, *best)
    scales = 0.5 + jnp.arange(N, dtype=d) / N
    ensemble = jax.jit(lambda k: jnp.mean(jax.vmap(lambda k: solve(k, y0, dfx.SaveAt(t1=True), dfx.ForwardMode()).ys[0])(k)))
    report("ensemble", dtype, *fastest(lambda: ensemble(scales[:, None] * rates)))
