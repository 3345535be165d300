"""Fast-BAT on a small PreActResNet in PyTorch, the peer of `bilevel robust train` on the recipe cifar10-small.

    .peers/bin/pip install torch==2.15.0 numpy safetensors==0.8.0
    .peers/bin/python bench/peers/robust_preact.py --data FOLDER --ours ./bilevel [--rounds 3] [--iterations 20]
        [--threads 2] [--widths 16-32-64] [--blocks 1-1-1]

FOLDER holds train.bin and test.bin: records of a label byte and 3 x 32 x 32 bytes. Both sides: batches of 128 rows,
shifted by up to 4 pixels and mirrored, pixels in [0, 1], a PreActResNet that normalizes them, Fast-BAT as its authors'
program runs it (a warmup step from a uniform start, the linearization, the response of the perturbation, the implicit
term with factor 0.1, batch statistics in all passes) and SGD with momentum 0.9 and weight decay 5e-4. The peer is
written for speed: gradients of the attack ask for no derivatives in the parameters, the linearization keeps its graph
for the mixed product, one pass at the perturbed images gives both gradients, channels_last, fused SGD.

Rounds alternate. A round of the peer comes after two steps that are not timed. A round of ours is two runs, of so many
iterations and of three times as many: the clock is that of training alone in the longer one, processor time what the
longer run took more, divided by the iterations that it had more, since both compile and evaluate the same. Prints a
JSON object a round, with the load that the system reported, and the least and the median time of an iteration of each
side with their ratio. Where other programs run, processor time with --threads 1 says more than the clock.
"""
import argparse
import json
import os
import resource
import shlex
import statistics
import subprocess
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import torch.nn.functional as F

from train_resnet20 import crops, records

BATCH, EPS, STEP, IMPLICIT = 128, 8 / 255, 5000 / 255, 0.1


class Block(torch.nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.bn1, self.conv1 = torch.nn.BatchNorm2d(a), torch.nn.Conv2d(a, b, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = torch.nn.BatchNorm2d(b), torch.nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.shortcut = torch.nn.Conv2d(a, b, 1, stride, bias=False) if stride != 1 or a != b else None

    def forward(self, x):
        y = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return y + (x if self.shortcut is None else self.shortcut(x))


def network(widths, blocks):
    layers, a = [torch.nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)], widths[0]
    for i, (b, n) in enumerate(zip(widths, blocks)):
        for j in range(n):
            layers.append(Block(a, b, 2 if i and not j else 1))
            a = b
    layers += [torch.nn.BatchNorm2d(a), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
               torch.nn.Linear(a, 10)]
    return torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)


class Peer:
    def __init__(self, a):
        x, self.y = records(os.path.join(a.data, "train.bin"))
        self.x = x
        pixels = x.double().transpose(0, 1).reshape(3, -1) / 255
        self.mean, self.deviation = (v.float()[None, :, None, None] for v in (pixels.mean(1), pixels.std(1)))
        torch.manual_seed(1)
        self.g = torch.Generator().manual_seed(1)
        self.net = network([int(w) for w in a.widths.split("-")], [int(b) for b in a.blocks.split("-")])
        self.p = list(self.net.parameters())
        self.optimizer = torch.optim.SGD(self.p, lr=0.02, momentum=0.9, weight_decay=5e-4, fused=True)

    def total(self, x, y):
        return F.cross_entropy(self.net((x - self.mean) / self.deviation), y, reduction="sum")

    def slope(self, x, d, y, graph):
        d = d.detach().requires_grad_()
        for w in self.p:
            w.requires_grad_(graph)
        out = torch.autograd.grad(self.total(x + d, y), d, create_graph=graph)[0]
        for w in self.p:
            w.requires_grad_(True)
        return out

    def step(self):
        rows = torch.randint(0, len(self.x), (BATCH,), generator=self.g)
        x = (crops(self.x[rows], self.g).float() / 255).contiguous(memory_format=torch.channels_last)
        y = self.y[rows]
        lo, hi = (-x).clamp_min(-EPS), (1 - x).clamp_max(EPS)
        project = lambda d: torch.minimum(torch.maximum(d, lo), hi)
        z = project((torch.rand(x.shape, generator=self.g) * 2 - 1) * EPS)
        z = project(z + STEP * self.slope(x, z, y, False))
        slope = self.slope(x, z, y, True)
        d = project(z + STEP * slope.detach()).requires_grad_()
        up, *g = torch.autograd.grad(self.total(x + d, y) / BATCH, [d, *self.p])
        v = up * ((d > lo + 1e-7) & (d < hi - 1e-7))
        mixed = torch.autograd.grad((slope * v).sum(), self.p, allow_unused=True)
        for w, of, m in zip(self.p, g, mixed):
            w.grad = of if m is None else of.add_(m, alpha=IMPLICIT)
        self.optimizer.step()

    def round(self, n):
        for _ in range(2):
            self.step()
        clock, processor = time.perf_counter(), time.process_time()
        for _ in range(n):
            self.step()
        return (time.perf_counter() - clock) / n, (time.process_time() - processor) / n


def run(a, iterations):
    line = [*shlex.split(a.ours), *"robust train --quiet --json --val 2 --epochs 1 --method fast-bat-official".split(),
            "--data", a.data, "--model", f"preactresnet:{a.widths}/{a.blocks}", "--eps", EPS, "--lr", 0.02,
            "--train", iterations * BATCH, "--batch", BATCH, "--threads", a.threads, "--n-examples", 2,
            "--attack-steps", 1, "--restarts", 1]
    with tempfile.TemporaryDirectory() as out:
        line += ["--out", out]
        text = subprocess.run([str(w) for w in line], check=True, stdout=subprocess.PIPE, text=True).stdout
    r = json.loads(text.splitlines()[-1])
    return r["seconds"] / r["iterations"]


def ours(a):
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    n, before = max(2, a.iterations), spent()  # with two batches, as many rows are looked at as with more
    run(a, n)
    between = spent()
    clock = run(a, 3 * n)
    return clock, (spent() - between - (between - before)) / (2 * n)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--ours", required=True)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--iterations", type=int, default=20)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--widths", default="16-32-64")
    p.add_argument("--blocks", default="1-1-1")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    peer, times = Peer(a), {"torch": [], "ours": []}
    for k in range(a.rounds):
        for side, measure in (("torch", lambda: peer.round(a.iterations)), ("ours", lambda: ours(a))):
            before = os.getloadavg()[0]
            clock, processor = measure()
            times[side].append((clock, processor))
            print(json.dumps({"round": k + 1, "side": side, "ms": round(1e3 * clock, 1),
                              "processor_ms": round(1e3 * processor, 1), "load": [before, os.getloadavg()[0]]}),
                  flush=True)
    for i, what in enumerate(("the clock", "processor time")):
        for name, of in (("least", min), ("median", statistics.median)):
            t, o = (of([v[i] for v in times[side]]) for side in ("torch", "ours"))
            print(f"{name} by {what}: {1e3 * o:.1f} ms an iteration by ours, {1e3 * t:.1f} by PyTorch, a factor of "
                  f"{t / o:.2f}")


if __name__ == "__main__":
    main()
