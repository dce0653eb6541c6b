"""torchdiffeq's latent ODE, W7: a gated unit reads the series backwards, dopri5 solves from the state that is drawn, eager.

In training the draws are those that fewsteps made, with its loss and gradient (`--found DIR`), so that both compute the same.
"""
import os
from common import T1, TOL, bench, cli, problem
import numpy as np

a = cli(grad=("discrete", "adjoint"))
import torch, torch.nn as nn, torch.nn.functional as F
from torchdiffeq import odeint, odeint_adjoint

torch.set_num_threads(a.threads)
if a.device == "cuda" and not torch.cuda.is_available():
    exit("this torch sees no CUDA device")
if a.workload != "W7":
    exit("this script is of W7; the others are peer_torchdiffeq.py's")
train = a.mode == "train"
if train and not a.found:
    exit("--found DIR: training wants what `fewsteps bench-workload W7 --mode train --found DIR` wrote")
p = problem("W7")
d = {k: torch.from_numpy(v).to(a.device) for k, v in p["data"].items()}
read = lambda name, dtype: np.fromfile(os.path.join(a.found, f"W7_found_{name}.bin"), dtype)
FEATURES, HALF, STATE, DIVERGENCE = 37, 50, 20, 2e-4


class LatentOde(nn.Module):
    def __init__(self, params):
        super().__init__()
        for k, v in params.items():
            setattr(self, k, nn.Parameter(torch.from_numpy(v.T.copy() if v.ndim == 2 else v)))
        self.nfe = 0

    def layer(self, name, x):
        return F.linear(x, getattr(self, name[0] + "w" + name[1]), getattr(self, name[0] + "b" + name[1]))

    def network(self, name, x):
        return self.layer(name + "2", torch.tanh(self.layer(name + "1", x)))

    def encode(self, series):  # [batch, time, values + mask + time to the next]
        h = series.new_zeros(len(series), 2 * HALF)
        for x in reversed(series.unbind(1)):
            state = torch.cat([h, x], 1)
            u, r = (torch.sigmoid(self.network(gate, state)).repeat(1, 2) for gate in "ur")
            new = (1 - u) * self.network("c", torch.cat([r * h, x], 1)) + u * h
            h = torch.where(x[:, FEATURES:2 * FEATURES].sum(1, keepdim=True) > 0, new, h)
        return self.network("e", h)

    def forward(self, t, y):
        self.nfe += 1
        y = torch.tanh(y)
        for i in range(1, 9):
            y = torch.tanh(self.layer(f"f{i}", y))
        return y


model = LatentOde(p["params"]).to(a.device)
field = tuple(v for k, v in model.named_parameters() if k[0] == "f")
normals = torch.from_numpy(read("normals", "<f8").astype(np.float32).reshape(-1, STATE)).to(a.device) if train else 0


def loss_fn():
    mean, log = model.encode(d["x"]).split(STATE, 1)
    y0 = mean + torch.exp(log / 2) * normals
    options = dict(rtol=TOL["W7"], atol=TOL["W7"], method="dopri5")
    if train and a.grad == "adjoint":
        y = odeint_adjoint(model, y0, d["ts"], adjoint_params=field, **options)
    else:
        y = odeint(model, y0, d["ts"], **options)
    error = d["mask"] * (model.layer("h1", y) - d["values"]) ** 2
    loss = (error.sum((0, 2)) / d["mask"].sum((0, 2))).mean()
    # Of an evaluation the loss is without the divergence, and begins at the mean.
    return loss + DIVERGENCE * ((log.exp() + mean ** 2 - 1 - log) / 2).mean() if train else loss


opt = torch.optim.Adam(model.parameters(), lr=a.lr)


def call():
    model.nfe = 0
    if not train:
        with torch.no_grad():
            return loss_fn().item(), dict(nfe=model.nfe)
    opt.zero_grad()
    loss = loss_fn()
    fwd = model.nfe
    loss.backward()
    opt.step()
    norm = torch.stack([v.grad.norm() for v in model.parameters()]).norm().item()
    return loss.item(), dict(nfe=fwd, nfe_backward=model.nfe - fwd, grad_norm=norm)


def errors():
    """Loss and gradient against those of fewsteps, relative; weights are (in, out) there."""
    loss = loss_fn()
    gradient = torch.autograd.grad(loss, [getattr(model, k) for k in p["params"]])
    ours = torch.cat([(g.T if g.ndim == 2 else g).flatten() for g in gradient]).double().cpu().numpy()
    theirs = read("gradient", "<f4").astype(np.float64)
    wrong = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    return dict(loss_error=abs(loss.item() / read("loss", "<f8")[0] - 1), gradient_error=wrong)


told = errors() if train else {}
bench(lambda: (lambda value, stats: (value, {**stats, **told}))(*call()), a, "latent_torchdiffeq", "torchdiffeq",
      f"dopri5/joint/tol={TOL['W7']:g}" + (f"/{a.grad}" if train else ""),
      wait=torch.cuda.synchronize if a.device == "cuda" else lambda: None)
