"""Plain training in PyTorch, the peer of `bilevel train`: MNIST, 784-300-100-10, ReLU, SGD with momentum, cosine steps.

Runs every form of the peer, each followed by ours, and prints one JSON object a run and then a table: milliseconds of
an iteration by the clock and of all threads' processor time, and the test error. Medians count. On a machine that
others use too, set OMP_WAIT_POLICY=PASSIVE: threads that wait by spinning keep each other from the processor. float32;
no matrix units (torch.set_float32_matmul_precision stays "highest").

    .peers/bin/pip install torch==2.15.0
    BILEVEL_DATA=FOLDER .peers/bin/python bench/peers/train.py --ours './bilevel train --data mnist' [--threads 2]
        [--forms eager,compile,whole,tuned] [--seeds 3] [--epochs 5]

The task is that of `bilevel train --data mnist` with its defaults: 10,000 training images drawn at random are set aside
for validation, 50,000 are trained on, columns are standardized by them; batches of 128 rows of a new permutation each
epoch, the rows that do not fill a batch left out; step 0.05 (1 + cos(πk/n))/2, momentum 0.9, weight decay 0.0001 on all
parameters; He's start values, biases 0. Rows lie in memory as float32, ready to be drawn; what is timed begins with the
first permutation and ends with the last step. Compilation and five steps before it are not timed.

Of ours, "seconds" in result.json are those of training alone; its processor time is that of the whole process less that
of a run of one epoch, so that reading the data is not counted but the validation after each epoch is.

Forms: eager (autograd, fused SGD), compile (the loss and its gradients in one torch.compile, fused SGD),
whole (gradients and update in one torch.compile), tuned (whole, mode max-autotune).
"""
import argparse
import gzip
import json
import math
import os
import resource
import shlex
import statistics
import subprocess
import tempfile
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


def ours(command, seed, epochs, threads):
    """One run of ours: seconds of training, processor seconds of the process, test error."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [*shlex.split(command), "--quiet", "--json", "--seed", str(seed), "--epochs", str(epochs)]
    with tempfile.TemporaryDirectory() as out:
        line += ["--threads", str(threads), "--out", out]
        result = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return result["seconds"], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, result["test_error"]


def table(runs):
    """Medians by form, and the ratio of each form to ours."""
    base = {k: statistics.median(r[k] for r in runs["ours"]) for k in ("ms", "cpu_ms")}
    print(f"{'form':10s} {'ms':>8s} {'/ ours':>7s} {'CPU ms':>8s} {'/ ours':>7s}  test error")
    for form, of in runs.items():
        ms, cpu = (statistics.median(r[k] for r in of) for k in ("ms", "cpu_ms"))
        by_seed = list({r["seed"]: r["test_error"] for r in of}.values())
        spread = statistics.stdev(by_seed) if len(by_seed) > 1 else float("nan")
        print(f"{form:10s} {ms:8.3f} {ms / base['ms']:7.2f} {cpu:8.3f} {cpu / base['cpu_ms']:7.2f}  "
              f"{100 * statistics.mean(by_seed):.2f} % ± {100 * spread:.2f} ({len(by_seed)} seeds)")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ours", required=True)
    ap.add_argument("--forms", default=",".join(FORMS))
    ap.add_argument("--seeds", type=int, default=3)
    ap.add_argument("--epochs", type=int, default=5)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    folder = os.path.join(os.environ["BILEVEL_DATA"], "mnist")
    runs = {"ours": []}
    for seed in range(1, a.seeds + 1):
        x, y, test, labels = mnist(folder, seed)
        n = len(x) // BATCH

        def note(form, seconds, cpu, error):
            runs.setdefault(form, []).append({
                "form": form, "seed": seed, "ms": 1e3 * seconds / (n * a.epochs), "cpu_ms": 1e3 * cpu,
                "test_error": error})
            print(json.dumps(runs[form][-1]), flush=True)

        for form in a.forms.split(","):
            p, seconds, cpu = train(form, x, y, a.epochs, seed)
            with torch.no_grad():
                error = (logits(p, test).argmax(1) != labels).float().mean().item()
            note(form, seconds, cpu / (n * a.epochs), error)
            seconds, cpu, error = ours(a.ours, seed, a.epochs, a.threads)
            short = ours(a.ours, seed, 1, a.threads)[1]
            note("ours", seconds, (cpu - short) / (n * (a.epochs - 1)), error)
    print(f"torch {torch.__version__}, {a.threads} threads, {a.epochs} epochs")
    table(runs)


if __name__ == "__main__":
    main()
