"""torchsde: the workloads with noise, one step size for the whole batch; eager.

Stratonovich Heun unless --method says otherwise: diffrax and fewsteps can run the same scheme.
--grad discrete: autograd through the solver; adjoint: sdeint_adjoint, whose reversible_heun is exact.
The noise is a BrownianInterval of its own seed in every call, told dt where steps are fixed.
"""
from common import SDE_DT, T1, TOL, bench, cli, problem

a = cli(grad=("discrete", "adjoint"), stepping=("fixed", "adaptive"),
        method=("heun", "reversible_heun", "srk", "euler_heun", "euler", "milstein"))
import torch, torch.nn as nn, torch.nn.functional as F
from torchsde import BrownianInterval, sdeint, sdeint_adjoint

torch.manual_seed(0)
torch.set_num_threads(a.threads)
if a.device == "cuda" and not torch.cuda.is_available():
    exit("this torch sees no CUDA device")
w, p = a.workload, problem(a.workload) if a.workload in SDE_DT else exit("torchsde runs W3 and W4 only")
d = {k: torch.from_numpy(v).to(a.device) for k, v in p["data"].items()}
fixed, dt, tol = a.stepping == "fixed", SDE_DT[w], TOL[w]


class Model(nn.Module):
    noise_type = "diagonal"
    sde_type = "ito" if a.method in ("srk", "euler", "milstein") else "stratonovich"

    def __init__(self, params):
        super().__init__()
        for k, v in params.items():
            setattr(self, k, nn.Parameter(torch.from_numpy(v.T.copy() if v.ndim == 2 else v)))
        self.nfe = self.nge = 0

    def f(self, t, y):
        self.nfe += 1
        return F.linear(torch.tanh(F.linear(y ** 3 if w == "W3" else y, self.w1, self.b1)), self.w2, self.b2)

    def g(self, t, y):
        self.nge += 1
        return F.linear(y, self.wg, self.bg)


model = Model(p["params"]).to(a.device)
sde_params = tuple(v for k, v in model.named_parameters() if k not in ("wi", "bi", "wc", "bc"))
calls = 0


def solve(y0, ts):
    global calls
    calls += 1
    levy = "space-time" if a.method == "srk" else "none"
    noise = BrownianInterval(0.0, T1[w], size=y0.shape, device=a.device, entropy=calls, levy_area_approximation=levy,
                             dt=dt if fixed else None)
    options = dict(bm=noise, method=a.method, dt=dt, adaptive=not fixed, rtol=tol, atol=tol, dt_min=1e-4)
    if torch.is_grad_enabled() and a.grad == "adjoint":
        backward = "adjoint_reversible_heun" if a.method == "reversible_heun" else None
        return sdeint_adjoint(model, y0, ts, adjoint_method=backward, adjoint_params=sde_params, **options)
    return sdeint(model, y0, ts, **options)


def loss_fn():
    if w == "W3":
        y = solve(d["y0"], d["ts"])
        return ((y.mean(1) - d["mean"]) ** 2).sum() + ((y.var(1, unbiased=False) - d["var"]) ** 2).sum()
    y = solve(F.linear(d["x"], model.wi, model.bi), torch.tensor([0.0, T1[w]], device=a.device))[-1]
    return F.cross_entropy(F.linear(y, model.wc, model.bc), d["label"])


opt = torch.optim.Adam(model.parameters(), lr=a.lr)


def call():
    model.nfe = model.nge = 0
    if a.mode == "forward":
        with torch.no_grad():
            return loss_fn().item(), dict(nfe=model.nfe, nge=model.nge)
    opt.zero_grad()
    loss = loss_fn()
    nfe, nge = model.nfe, model.nge
    loss.backward()
    opt.step()
    norm = torch.nn.utils.get_total_norm([v.grad for v in model.parameters()]).item()
    return loss.item(), dict(nfe=nfe, nge=nge, nfe_backward=model.nfe - nfe, grad_norm=norm)


bench(call, a, "torchsde", "torchsde", f"{a.method}/joint" + (f"/dt={dt}" if fixed else f"/tol={tol:g}")
      + (f"/{a.grad}" if a.mode == "train" else ""),
      wait=torch.cuda.synchronize if a.device == "cuda" else lambda: None)
