#!/usr/bin/env python3
"""Optuna's TPE on the search `bilevel hpo --search features`, with the same rows and the same budget.

    .peers/bin/pip install optuna numpy scipy
    .peers/bin/python hpo_optuna.py --folder DIR/ijcnn1 --train 500 --val 5000 --calls 3000 --seeds 5 > optuna.csv
    bilevel hpo --data ijcnn1 --train 500 --val 5000 --calls 3000 --seeds 5 --beside optuna.csv

The problem is that of the program: features standardized by the training rows, a 1 at the end of each row, x in
[-14, 2]^d, the first point at -7, and

    y(x) = argmin over y of  mean over training rows of log(1 + exp(-b a.y)) + sum over features of exp(x_j) y_j^2 / 2

which scipy's L-BFGS-B solves from the last solution on, until no element of the gradient is above --tolerance. Each
evaluation of value and gradient over all training rows is one call, where bilevel's own L-BFGS pays for the values of
its line search and for gradients apart, and the loss on the validation rows is one more. The split is drawn as bilevel
draws it (Philox 4x32-10, a Fisher-Yates shuffle), so that the losses of the first point agree; that is the check that
both see one problem. A set with a file of its own for tests, which ends with .t or .tst, is scored on that, else on the
rows that are left over. Test rows are scored where a point is the best by validation, and nothing is chosen by them.

Columns: method, seed, calls, val_loss, test_loss, test_error, in steps of a 50th of the budget, as curves.csv has them.
"""
import argparse
import bz2
import csv
import glob
import os
import sys

import numpy as np
import optuna
from scipy.optimize import minimize

MUL, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
STREAM_SPLIT = 1
LOW, HIGH, FIRST, STEPS = -14.0, 2.0, -7.0, 50


def philox(seed, step, stream, blocks):
    """Words of Philox 4x32-10 in the order of bilevel's streams: four of each block."""
    index = np.arange(blocks, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    c = [index & mask, index >> np.uint64(32), np.full_like(index, step), np.full_like(index, stream)]
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)]
    for _ in range(10):
        p0, p1 = np.uint64(MUL[0]) * c[0], np.uint64(MUL[1]) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ key[0], p1 & mask, (p0 >> np.uint64(32)) ^ c[3] ^ key[1], p0 & mask]
        key = [np.uint64((int(k) + w) & 0xFFFFFFFF) for k, w in zip(key, WEYL)]
    return np.stack(c, 1).reshape(-1)


def permutation(n, seed):
    """The order of n rows that data.Split draws: Fisher-Yates with the bounded integers of Lemire."""
    words = iter(philox(seed, 0, STREAM_SPLIT, n // 4 + 1000).tolist())
    order = list(range(n))
    for i in range(n - 1):
        bound = n - i
        product = next(words) * bound
        if product & 0xFFFFFFFF < bound:
            while product & 0xFFFFFFFF < 2**32 % bound:
                product = next(words) * bound
        j = i + (product >> 32)
        order[i], order[j] = order[j], order[i]
    return np.array(order)


def read_libsvm(path):
    rows, labels, width = [], [], 0
    with bz2.open(path, "rt") as f:
        for line in f:
            words = line.split("#")[0].split()
            if not words:
                continue
            labels.append(1.0 if float(words[0]) > 0 else -1.0)
            pairs = [(int(a) - 1, float(b)) for a, b in (w.split(":") for w in words[1:])]
            rows.append(pairs)
            width = max([width] + [a + 1 for a, _ in pairs])
    return rows, np.array(labels), width


def dense(rows, width):
    out = np.zeros((len(rows), width), np.float32)
    for i, pairs in enumerate(rows):
        for j, v in pairs:
            out[i, j] = v
    return out


def read(folder):
    """The training file and, where there is one, the test file of a folder."""
    files = sorted(glob.glob(os.path.join(folder, "*.bz2")))
    tests = [f for f in files if f[:-4].endswith((".t", ".tst"))]
    (train,) = [f for f in files if f not in tests]
    parts = [read_libsvm(f) for f in [train] + tests]
    width = max(p[2] for p in parts)
    return [(dense(rows, width), labels) for rows, labels, _ in parts]


def split(parts, train, val, seed):
    """Training, validation and test rows, standardized by the first, with a 1 at the end of each row."""
    x, b = parts[0]
    order = permutation(len(b), seed)
    pieces = [order[:train], order[train:train + val], order[train + val:]]
    rows = [(x[p], b[p]) for p in pieces]
    if len(parts) > 1:
        rows[2] = parts[1]
    first = rows[0][0].astype(np.float64)
    mean, deviation = first.mean(0), first.std(0)
    deviation[deviation == 0] = 1
    return [(np.hstack([(x - mean) / deviation, np.ones((len(x), 1))]), b) for x, b in rows]


class Search:
    """What a trial costs and comes to."""

    def __init__(self, rows, tolerance, steps):
        self.rows, self.tolerance, self.steps = rows, tolerance, steps
        self.y, self.calls = np.zeros(rows[0][0].shape[1]), 0

    def loss(self, part, y):
        a, b = self.rows[part]
        return np.logaddexp(0, -b * (a @ y)).mean()

    def train(self, x):
        a, b = self.rows[0]
        weights = np.append(np.exp(x), 0)

        def value(y):
            self.calls += 1
            m = b * (a @ y)
            g = a.T @ (-b / (1 + np.exp(m))) / len(b) + weights * y
            return np.logaddexp(0, -m).mean() + 0.5 * weights @ y**2, g

        with np.errstate(over="ignore"):
            end = minimize(value, self.y, jac=True, method="L-BFGS-B",
                           options={"gtol": self.tolerance, "ftol": 0, "maxiter": self.steps, "maxfun": 10**6})
        self.y = end.x

    def errors(self):
        a, b = self.rows[2]
        return (b * (a @ self.y) < 0).mean()


def course(rows, seed, args):
    """The best point so far after each trial within the budget."""
    dim = rows[0][0].shape[1] - 1
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial({f"x{j}": FIRST for j in range(dim)})
    s, best, points = Search(rows, args.tolerance, args.steps), None, []
    while True:
        trial = study.ask()
        s.train(np.array([trial.suggest_float(f"x{j}", LOW, HIGH) for j in range(dim)]))
        s.calls += 1
        if s.calls > args.calls:
            return points
        val = s.loss(1, s.y)
        if best is None or val < best[0]:
            best = (val, s.loss(2, s.y), s.errors())
        points.append((s.calls,) + best)
        study.tell(trial, val)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True)
    parser.add_argument("--train", type=int, default=500)
    parser.add_argument("--val", type=int, default=5000)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--steps", type=int, default=1000)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parts = read(args.folder)
    out = csv.writer(sys.stdout)
    out.writerow(["method", "seed", "calls", "val_loss", "test_loss", "test_error"])
    for seed in range(1, args.seeds + 1):
        points = course(split(parts, args.train, args.val, seed), seed, args)
        print(f"seed {seed}: {len(points)} trials, first validation loss {points[0][1]:.7g}", file=sys.stderr)
        for step in range(STEPS + 1):
            spent = args.calls * step / STEPS
            done = [p for p in points if p[0] <= spent]
            if done:
                out.writerow(["optuna-tpe", seed, spent] + list(done[-1][1:]))


if __name__ == "__main__":
    main()
