"""fewsteps against its peers on the same dumped problems, alternating, one process at a time.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt     # about 6 GB
    cargo build --release && venv/bin/python run.py [--rounds 3] [--only W1,W5] [--device gpu]

Every round runs fewsteps, then each peer, for every row; a program's figure is its best median over the rounds, or
with `--figure median` the median one, for a machine that is not quiet. The
table ends with the ratio of the fastest peer to fewsteps, and shows the losses and gradient norms side by side. Those of W3
and W4 differ by the noise, of which everyone draws their own. All run Stratonovich Heun there unless the row says otherwise.
"""
import argparse, json, os, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = {  # (workload with options that all take, mode): peers with options of their own
    ("W1", "forward"): ["diffrax", "diffrax --dt0 hairer", "torchode", "torchdiffeq"],
    ("W1", "train"): ["diffrax --grad discrete", "torchode", "torchdiffeq --grad discrete"],
    ("W2b", "forward"): ["diffrax", "diffrax --dt0 hairer", "torchode", "torchdiffeq"],
    ("W2b", "train"): ["diffrax --grad discrete --max-steps 64", "torchode", "torchdiffeq --grad discrete"],
    ("W2a", "forward"): ["diffrax", "torchode --method dopri5", "torchdiffeq"],
    ("W2a", "train"): ["diffrax --grad adjoint", "torchode --method dopri5", "torchdiffeq --grad discrete"],
    ("W3", "forward"): ["diffrax", "torchsde"],
    ("W3", "train"): ["diffrax", "diffrax --noise steps", "torchsde", "torchsde --method reversible_heun --grad adjoint"],
    ("W3 --stepping adaptive", "forward"): ["diffrax", "torchsde"],
    ("W3 --stepping adaptive", "train"): ["diffrax", "torchsde"],
    ("W4", "forward"): ["diffrax", "torchsde"],
    ("W4", "train"): ["diffrax", "diffrax --noise steps", "torchsde", "torchsde --method reversible_heun --grad adjoint"],
    ("W4 --stepping adaptive", "forward"): ["diffrax", "torchsde"],
    ("W4 --stepping adaptive", "train"): ["diffrax", "torchsde"],
    ("W5", "forward"): ["diffrax --batching chunk", "torchode", "torchdiffeq"],
    ("W6", "forward"): ["diffrax", "diffrax --dt0 hairer", "torchdiffeq"],
    ("W6", "train"): ["diffrax --grad discrete", "torchdiffeq --grad discrete", "torchdiffeq --grad adjoint"],
    ("W7", "forward"): ["latent_torchdiffeq"],
    ("W7", "train"): ["latent_torchdiffeq --grad discrete", "latent_torchdiffeq --grad adjoint"],
}
REGULARIZED = [("W1", "train"), ("W2b", "train"), ("W3", "train"), ("W4", "train"), ("W6", "train"), ("W7", "train")]
METHODS = {"W2a": ["dopri5"], "W3": ["reversible-heun", "sosri"], "W4": ["reversible-heun", "sosri"]}  # of ours, besides the default


def measure(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return dict(error=(done.stderr.strip().splitlines() or ["no output"])[-1])
    return json.loads(lines[-1])


def told(rounds, figure):
    """The round that a program is told by; the median is the lower one of two."""
    sound = sorted((r for r in rounds if "error" not in r), key=lambda r: r["ms_median"])
    if not sound:
        return rounds[-1]
    return sound[0] if figure == "best" else sound[(len(sound) - 1) // 2]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--binary", default=os.path.join(HERE, "../../target/release/fewsteps"))
    ap.add_argument("--rounds", type=int, default=2)
    ap.add_argument("--figure", choices=["best", "median"], default="best", help="of a program's medians over the rounds")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--device", default="cpu", help="cpu, or what fewsteps calls a device (gpu, gpu:N); the peers then take CUDA")
    ap.add_argument("--seconds", type=float, default=1.0, help="timed at least this long, per program and round")
    ap.add_argument("--only", default="", help="workloads, separated by commas")
    ap.add_argument("--json", metavar="FILE", help="also write every figure here")
    a = ap.parse_args()
    only = set(filter(None, a.only.split(",")))
    common = ["--threads", str(a.threads), "--min-seconds", str(a.seconds), "--json"]
    theirs = "cpu" if a.device == "cpu" else "cuda"
    rounds = {}
    with tempfile.TemporaryDirectory() as dump:
        subprocess.run([sys.executable, os.path.join(HERE, "common.py"), "--dump", dump], check=True)
        for _ in range(a.rounds):
            for (row, mode), peers in ROWS.items():
                workload, *shared = row.split()
                if only and workload not in only:
                    continue
                ours = [a.binary, "bench-workload", workload, "--mode", mode, *shared, "--dump", dump, "--device", a.device, *common]
                found = ["--found", dump] if (workload, mode) == ("W7", "train") else []
                runs = [("fewsteps", ours + (found if theirs == "cpu" else []))]
                runs += [(f"fewsteps {method}", ours + ["--method", method]) for method in METHODS.get(workload, [])]
                if (row, mode) in REGULARIZED:
                    runs += [(f"fewsteps {reg}", ours + ["--reg", reg]) for reg in ("unbiased", "biased")]
                for peer in peers:
                    name, *options = peer.split()
                    script = os.path.join(HERE, f"peer_{name}.py")
                    options += [*shared, *found, "--device", theirs]
                    runs.append((peer, [sys.executable, script, "--workload", workload, "--mode", mode, *options, *common]))
                for name, command in runs:
                    got = measure(command)
                    key = (row, mode, name)
                    rounds.setdefault(key, []).append(got)
                    print(*key, got.get("ms_median", got.get("error")), file=sys.stderr, flush=True)
    best = {key: told(got, a.figure) for key, got in rounds.items()}
    print("| workload | program | nfe | ms | fastest peer / this | loss | gradient norm |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for (workload, mode), _ in ROWS.items():
        rows = {name: r for (w, m, name), r in best.items() if (w, m) == (workload, mode)}
        peers = [r["ms_median"] for name, r in rows.items() if not name.startswith("fewsteps") and "error" not in r]
        for name, r in rows.items():
            if "error" in r:
                print(f"| {workload} {mode} | {name} | | {r['error']} | | | |")
                continue
            ratio = f"{min(peers) / r['ms_median']:.2f}" if peers else ""
            norm = f"{r['grad_norm']:.6g}" if r.get("grad_norm") is not None else ""
            print(f"| {workload} {mode} | {name} | {r.get('nfe', '')} | {r['ms_median']:.3f} | {ratio} | {r['value']:.6g} | {norm} |")
    if a.json:
        with open(a.json, "w") as out:
            json.dump([dict(zip(("workload", "mode", "program"), k), **r) for k, got in rounds.items() for r in got], out, indent=1)


if __name__ == "__main__":
    main()
