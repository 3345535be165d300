"""Fast adversarial training and Fast-BAT in PyTorch, the peer of `bilevel robust train` on the recipe mnist-mlp.

Trains 784-1024-1024-10 (ReLU, PyTorch's start values) on 20,000 MNIST images drawn at random, pixels in [0, 1], batches
of 128, SGD with momentum 0.9 and a rate that rises to 0.3 and falls back, and evaluates the first 1,000 test images: as
they are, and by PGD of 20 steps of eps/4 from 2 random starts, where an image counts if neither breaks it. It is
written for speed: the gradient of the attack at z keeps its graph, which the mixed product uses again; the pass at the
perturbed images serves both gradients; no other graph is built; parameters ask for gradients only where one is taken.

    .peers/bin/pip install torch==2.15.0 numpy
    BILEVEL_DATA=FOLDER .peers/bin/python bench/peers/robust.py [--methods fast-at,fast-bat-official]
        [--forms eager,whole] [--eps 0.2] [--step 100] [--implicit 0.1] [--seeds 1] [--epochs 6] [--threads 2]
        [--ours './bilevel']

Forms: eager (autograd, fused SGD), whole (drawing excluded, perturbation, gradients and update in one torch.compile by
way of torch.func, since autograd inside torch.compile takes no second derivatives). Prints a JSON object a run:
milliseconds of an iteration by the clock and of all threads' processor time, clean and robust accuracy. With --ours,
each run is followed by one of ours with the same settings. Compilation and five steps before it are not timed.
"""
import argparse
import json
import math
import os
import resource
import shlex
import subprocess
import tempfile
import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy, linear

from train import idx

WIDTHS = (784, 1024, 1024, 10)
ROWS, BATCH, RATE, MOMENTUM, TESTED = 20000, 128, 0.3, 0.9, 1000


def mnist(folder, seed):
    pixels = lambda name: torch.from_numpy(idx(folder, name).reshape(-1, 784).astype(np.float32) / np.float32(255))
    labels = lambda name: torch.from_numpy(idx(folder, name).astype(np.int64))
    order = np.random.default_rng(seed).permutation(60000)[:ROWS]
    return (pixels("train-images-idx3-ubyte")[order], labels("train-labels-idx1-ubyte")[order],
            pixels("t10k-images-idx3-ubyte")[:TESTED], labels("t10k-labels-idx1-ubyte")[:TESTED])


def start(seed):
    torch.manual_seed(seed)
    out = []
    for a, b in zip(WIDTHS, WIDTHS[1:]):
        layer = torch.nn.Linear(a, b)
        out += [layer.weight.detach(), layer.bias.detach()]
    return out


def logits(p, x):
    for i in range(0, len(p) - 2, 2):
        x = torch.relu(linear(x, p[i], p[i + 1]))
    return linear(x, p[-2], p[-1])


def total(p, d, x, y):
    return cross_entropy(logits(p, x + d), y, reduction="sum")


def project(d, x, eps):
    return torch.minimum(torch.maximum(d, (-x).clamp_min(-eps)), (1 - x).clamp_max(eps))


class Eager:
    def __init__(self, p, a):
        self.p, self.a = [w.requires_grad_() for w in p], a
        self.optimizer = torch.optim.SGD(self.p, lr=0.0, momentum=MOMENTUM, fused=True)

    def slope(self, d, x, y, graph=False):
        p = self.p if graph else [w.detach() for w in self.p]
        return torch.autograd.grad(total(p, d, x, y), d, create_graph=graph)[0]

    def step(self, x, y, z, rate):
        a = self.a
        z = project(z, x, a.eps).requires_grad_()
        if a.method == "fast-at":
            d = project(z.detach() + 1.25 * a.eps * self.slope(z, x, y).sign(), x, a.eps)
            g = torch.autograd.grad(total(self.p, d, x, y) / len(x), self.p)
        else:
            z = project(z.detach() + a.step * self.slope(z, x, y), x, a.eps).requires_grad_()
            slope = self.slope(z, x, y, graph=True)
            d = project(z.detach() + a.step * slope.detach(), x, a.eps).requires_grad_()
            up, *g = torch.autograd.grad(total(self.p, d, x, y) / len(x), [d, *self.p])
            v = up * inside(d.detach(), x, a.eps)
            # The last bias does not act on the slope but through the softmax, the others not at all where relu is flat.
            mixed = torch.autograd.grad((slope * v).sum(), self.p, allow_unused=True)
            g = [w if m is None else w.add_(m, alpha=a.implicit) for w, m in zip(g, mixed)]
        for w, of in zip(self.p, g):
            w.grad = of
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()


def inside(d, x, eps):
    return ((d > (-x).clamp_min(-eps) + 1e-7) & (d < (1 - x).clamp_max(eps) - 1e-7)).float()


class Whole:
    def __init__(self, p, a):
        self.p, self.m = p, [torch.zeros_like(w) for w in p]
        slope = torch.func.grad(total, argnums=1)
        mean = lambda p, d, x, y: total(p, d, x, y) / BATCH

        def update(p, m, x, y, z, rate):
            z = project(z, x, a.eps)
            if a.method == "fast-at":
                d = project(z + 1.25 * a.eps * slope(p, z, x, y).sign(), x, a.eps)
                g = torch.func.grad(mean)(p, d, x, y)
            else:
                z = project(z + a.step * slope(p, z, x, y), x, a.eps)
                d = project(z + a.step * slope(p, z, x, y), x, a.eps)
                g, up = torch.func.grad(mean, argnums=(0, 1))(p, d, x, y)
                v = up * inside(d, x, a.eps)
                mixed = torch.func.grad(lambda q: (slope(q, z, x, y) * v).sum())(p)
                g = [w + a.implicit * c for w, c in zip(g, mixed)]
            for w, v, of in zip(p, m, g):
                v.mul_(MOMENTUM).add_(of)
                w.sub_(rate * v)

        self.update = torch.compile(update, fullgraph=True, dynamic=False)

    def step(self, x, y, z, rate):
        self.update(self.p, self.m, x, y, z, torch.tensor(rate))


FORMS = {"eager": Eager, "whole": Whole}


def train(a, form, x, y, seed):
    each = len(x) // BATCH
    n = each * a.epochs
    uniform = lambda: (torch.rand(BATCH, WIDTHS[0]) * 2 - 1) * a.eps
    method = FORMS[form](start(seed), a)
    for _ in range(5):
        method.step(x[:BATCH], y[:BATCH], uniform(), 0.0)
    if form == "whole":
        for v in method.m:
            v.zero_()
    else:
        method = FORMS[form](start(seed), a)
    g = torch.Generator().manual_seed(seed)
    wall, cpu, k = time.perf_counter(), time.process_time(), 0
    for _ in range(a.epochs):
        order = torch.randperm(len(x), generator=g)
        for b in range(each):
            rows = order[b * BATCH:(b + 1) * BATCH]
            method.step(x.index_select(0, rows), y.index_select(0, rows), uniform(), RATE * (1 - abs(2 * k / n - 1)))
            k += 1
    return [w.detach() for w in method.p], (time.perf_counter() - wall) / n, (time.process_time() - cpu) / n


def evaluate(p, x, y, eps):
    right = logits(p, x).argmax(1) == y
    clean = right.float().mean().item()
    for _ in range(2):
        d = project((torch.rand_like(x) * 2 - 1) * eps, x, eps)
        for _ in range(20):
            d.requires_grad_()
            d = project(d.detach() + eps / 4 * torch.autograd.grad(total(p, d, x, y), d)[0].sign(), x, eps)
        right &= logits(p, x + d).argmax(1) == y
    return clean, right.float().mean().item()


def ours(a, seed):
    """One run of ours: milliseconds of an iteration, accuracies."""
    line = [*shlex.split(a.ours), *"robust train --data mnist --quiet --json --val 1000 --model mlp:1024-1024".split(),
            "--seed", seed, "--epochs", a.epochs, "--threads", a.threads, "--train", ROWS, "--method", a.method,
            "--eps", a.eps]
    if a.method != "fast-at":
        line += ["--set", f"step={a.step}", "--set", f"implicit={a.implicit}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as out:
        line += ["--out", out]
        r = json.loads(subprocess.run(list(map(str, line)), check=True, stdout=subprocess.PIPE, text=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"ms": 1e3 * r["seconds"] / r["iterations"], "process_cpu_seconds": whole, "clean_acc": r["clean_acc"],
            "robust_acc": r["robust_acc"]}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ours")
    ap.add_argument("--methods", default="fast-at,fast-bat-official")
    ap.add_argument("--forms", default=",".join(FORMS))
    ap.add_argument("--eps", type=float, default=0.2)
    ap.add_argument("--step", type=float, default=100)
    ap.add_argument("--implicit", type=float, default=0.1)
    ap.add_argument("--seeds", type=int, default=1)
    ap.add_argument("--epochs", type=int, default=6)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    folder = os.path.join(os.environ["BILEVEL_DATA"], "mnist")
    for seed in range(1, a.seeds + 1):
        x, y, tx, ty = mnist(folder, seed)
        for a.method in a.methods.split(","):
            for form in a.forms.split(","):
                p, wall, cpu = train(a, form, x, y, seed)
                clean, robust = evaluate(p, tx, ty, a.eps)
                print(json.dumps({"form": form, "method": a.method, "seed": seed, "ms": 1e3 * wall, "cpu_ms": 1e3 * cpu,
                                  "clean_acc": clean, "robust_acc": robust, "load": os.getloadavg()[0]}), flush=True)
                if a.ours:
                    print(json.dumps({"form": "ours", "method": a.method, "seed": seed, **ours(a, seed),
                                      "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main()
