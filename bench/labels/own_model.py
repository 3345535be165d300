"""What `bilevel clean` makes of another model's probabilities: a small convolutional network of PyTorch's is trained on
three quarters of a set's noisy labels and judges the last quarter, four times; the logarithms of its probabilities are
the columns (log), or stand beside the pixels (pixels+log). cleanlab gets the same probabilities.

    pip install numpy scikit-learn cleanlab torch
    BILEVEL_DATA=... python3 bench/labels/own_model.py --bilevel /tmp/bilevel --folder /tmp/labels mnist:asym30:1 ...

A set is NAME:KIND:SEED as in labels.py, of mnist or fashion-mnist, with 200 trusted rows, which cleanlab does not use.
"""

import argparse
import json
import os

import labels
import numpy as np
import torch
from torch import nn

PARTS, EPOCHS, TRUSTED, SMALLEST = 4, 3, 200, 1e-6


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10),
    )


def images(x):
    return torch.tensor(x.reshape(-1, 1, 28, 28).astype("f4") / 255)


def trained(x, y, rows):
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for epoch in range(EPOCHS):
        order = np.random.default_rng(epoch).permutation(rows)
        for batch in np.array_split(order, len(order) // 128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    return net


@torch.no_grad()
def probabilities(net, x):
    p = torch.cat([net(part).double().softmax(1) for part in x.split(2000)]).numpy()
    return p / p.sum(1, keepdims=True)


def out_of_fold(arrays):
    """Probabilities of the training rows by the network that has not seen them, of others by the mean of all."""
    torch.manual_seed(0)
    x, y = images(arrays["train_x"]), torch.tensor(arrays["train_y"]).long()
    part = np.random.default_rng(0).permutation(len(y)) % PARTS
    of = dict(train=np.zeros((len(y), 10)), val=0, test=0)
    for k in range(PARTS):
        net = trained(x, y, np.where(part != k)[0])
        of["train"][part == k] = probabilities(net, x[part == k])
        for other in ("val", "test"):
            of[other] = of[other] + probabilities(net, images(arrays[other + "_x"])) / PARTS
    return of


def with_columns(arrays, of, pixels, trusted):
    out = {}
    for part in ("train", "test") + ("val",) * trusted:
        log = np.log(np.maximum(of[part], SMALLEST)).astype("f4")
        out[part + "_x"] = np.hstack([arrays[part + "_x"].astype("f4"), log]) if pixels else log
        out[part + "_y"] = arrays[part + "_y"]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME:KIND:SEED")
    parser.add_argument("--bilevel", required=True, help="the built command")
    parser.add_argument("--folder", required=True, help="where the sets are written")
    o = parser.parse_args()
    from cleanlab.rank import get_label_quality_scores

    for spec in o.sets:
        name, kind, seed = spec.split(":")
        arrays, truth = labels.make(name, kind, TRUSTED, int(seed))
        of, wrong = out_of_fold(arrays), arrays["train_y"] != truth
        line = dict(set=spec, network=round(100 * float((of["test"].argmax(1) == arrays["test_y"]).mean()), 2))
        for method in ("self_confidence", "normalized_margin"):
            score = -get_label_quality_scores(arrays["train_y"], of["train"], method=method)
            line["cleanlab " + method] = labels.quality(score, wrong)
        for columns, pixels, trusted in (("log", False, False), ("log", False, True), ("pixels+log", True, True)):
            folder = os.path.join(o.folder, f"own-{name}-{kind}-{seed}-{columns}")
            found = labels.clean(o.bilevel, folder, with_columns(arrays, of, pixels, trusted), truth, 1, [])
            line[f"{columns}, {TRUSTED if trusted else 0} trusted"] = {
                k: found[k] for k in ("auc", "p_at_k", "accuracy", "model", "method")}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
