"""Plain training in PyTorch, the peer of `bilevel train`: MNIST, 784-300-100-10, ReLU, SGD with momentum, cosine steps.

Prints one JSON object a seed and form: {"form": …, "seed": …, "seconds": training alone, "cpu_seconds": of all threads
in the same time, "test_error": …}. float32; no matrix units (torch.set_float32_matmul_precision stays "highest").

    .peers/bin/pip install torch==2.15.0
    .peers/bin/python train.py --data FOLDER-WITH-MNIST [--forms eager,compile,…] [--seeds 3] [--epochs 5] [--threads 2]

The task is that of `bilevel train --data mnist` with its defaults: 10,000 training images drawn at random are set aside
for validation, 50,000 are trained on, columns are standardized by them; batches of 128 rows of a new permutation each
epoch, the rows that do not fill a batch left out; step 0.05 (1 + cos(πk/n))/2, momentum 0.9, weight decay 0.0001 on all
parameters; He's start values, biases 0. Rows lie in memory as float32, ready to be drawn; what is timed begins with the
first permutation and ends with the last step. Compilation and five steps before it are not timed.

Forms: eager (autograd, fused SGD), compile (the loss and its gradients in one torch.compile, fused SGD),
whole (gradients and update in one torch.compile), tuned (whole, mode max-autotune).
"""
import argparse
import gzip
import json
import math
import os
import time

import numpy as np
import torch

WIDTHS = (784, 300, 100, 10)
BATCH, STEP, MOMENTUM, DECAY = 128, 0.05, 0.9, 1e-4


def idx(folder, name):
    for end, open_ in ((".gz", gzip.open), ("", open)):
        path = os.path.join(folder, name + end)
        if os.path.exists(path):
            with open_(path, "rb") as f:
                raw = f.read()
            rank = raw[3]
            shape = np.frombuffer(raw, ">u4", rank, 4)
            return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)
    raise SystemExit(f"{folder} has no {name}")


def mnist(folder, seed):
    x = idx(folder, "train-images-idx3-ubyte").reshape(-1, 784).astype(np.float64)
    y = idx(folder, "train-labels-idx1-ubyte").astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(x))[:50000]
    mean, deviation = x[order].mean(0), x[order].std(0)
    deviation[deviation == 0] = 1
    scaled = lambda a: torch.from_numpy(((a - mean) / deviation).astype(np.float32))
    test = idx(folder, "t10k-images-idx3-ubyte").reshape(-1, 784).astype(np.float64)
    labels = idx(folder, "t10k-labels-idx1-ubyte").astype(np.int64)
    return scaled(x[order]), torch.from_numpy(y[order]), scaled(test), torch.from_numpy(labels)


def start(seed):
    torch.manual_seed(seed)
    out = []
    for a, b in zip(WIDTHS, WIDTHS[1:]):
        out += [torch.randn(b, a) * math.sqrt(2 / a), torch.zeros(b)]
    return out


def logits(p, x):
    for i in range(0, len(p) - 2, 2):
        x = torch.relu(torch.nn.functional.linear(x, p[i], p[i + 1]))
    return torch.nn.functional.linear(x, p[-2], p[-1])


def loss(p, x, y):
    return torch.nn.functional.cross_entropy(logits(p, x), y)


class ByAutograd:
    """Gradients by .backward(), the update by the fused optimizer."""

    def __init__(self, p, f):
        self.p, self.f = [a.requires_grad_() for a in p], f
        self.optimizer = torch.optim.SGD(self.p, lr=STEP, momentum=MOMENTUM, weight_decay=DECAY, fused=True)

    def step(self, x, y, rate):
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        self.f(self.p, x, y).backward()
        self.optimizer.step()


class Whole:
    """Drawing the rows, gradients and update are one compiled function that writes in place."""

    def __init__(self, p, mode):
        self.p, self.m = p, [torch.zeros_like(a) for a in p]

        def update(p, m, x, y, rate):
            g = torch.func.grad(loss)(p, x, y)
            for a, v, d in zip(p, m, g):
                v.mul_(MOMENTUM).add_(d + DECAY * a)
                a.sub_(rate * v)

        self.update = torch.compile(update, fullgraph=True, dynamic=False, mode=mode)

    def step(self, x, y, rate):
        self.update(self.p, self.m, x, y, torch.tensor(rate))


FORMS = {
    "eager": lambda p: ByAutograd(p, loss),
    "compile": lambda p: ByAutograd(p, torch.compile(loss, fullgraph=True, dynamic=False)),
    "whole": lambda p: Whole(p, None),
    "tuned": lambda p: Whole(p, "max-autotune"),
}


def train(form, x, y, epochs, seed):
    each = len(x) // BATCH
    n = each * epochs
    warm = FORMS[form](start(seed))
    for k in range(5):
        warm.step(x[:BATCH], y[:BATCH], 0.0)
    method = FORMS[form](start(seed)) if isinstance(warm, ByAutograd) else warm
    if method is warm:  # the compiled function belongs to it: its state begins anew
        for a, b in zip(warm.p, start(seed)):
            a.copy_(b)
        for v in warm.m:
            v.zero_()
    else:
        method.f = warm.f
    g = torch.Generator().manual_seed(seed)
    wall, cpu = time.perf_counter(), time.process_time()
    k = 0
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=g)
        for b in range(each):
            rows = order[b * BATCH:(b + 1) * BATCH]
            method.step(x.index_select(0, rows), y.index_select(0, rows), STEP * (1 + math.cos(math.pi * k / n)) / 2)
            k += 1
    return method.p, time.perf_counter() - wall, time.process_time() - cpu


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True)
    ap.add_argument("--forms", default=",".join(FORMS))
    ap.add_argument("--seeds", type=int, default=1)
    ap.add_argument("--first", type=int, default=1)
    ap.add_argument("--epochs", type=int, default=5)
    ap.add_argument("--threads", type=int, default=0)
    a = ap.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    for seed in range(a.first, a.first + a.seeds):
        x, y, test, labels = mnist(a.data, seed)
        for form in a.forms.split(","):
            p, seconds, cpu = train(form, x, y, a.epochs, seed)
            with torch.no_grad():
                error = (logits(p, test).argmax(1) != labels).float().mean().item()
            print(json.dumps({"form": form, "seed": seed, "seconds": seconds, "cpu_seconds": cpu, "test_error": error,
                              "threads": torch.get_num_threads(), "torch": torch.__version__}), flush=True)


if __name__ == "__main__":
    main()
