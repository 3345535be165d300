"""ResNet-20 on CIFAR records in PyTorch, the peer of `bilevel train --model resnet20`.

    .peers/bin/pip install torch==2.15.0 safetensors==0.8.0
    .peers/bin/python bench/peers/train_resnet20.py --data FOLDER --ours ./bilevel [--seeds 3] [--epochs 20]
        [--threads 2] [--same-start] [--out FILE]

FOLDER holds train.bin and test.bin: records of a label byte and 3 x 32 x 32 bytes. Of train.bin, 8,000 rows drawn at
random are trained on and 2,000 validate. Both sides: batches of 128 rows of a new permutation each epoch, the rows that
do not fill a batch left out; every image shifted by up to 4 pixels in each direction, black beyond its edges, and
mirrored with probability 1/2; then standardized by the channels' mean and deviation over the training rows; ResNet-20
with shortcut option A; He's normal start values; SGD, momentum 0.9, weight decay 0.0005 on all parameters, step
0.1 (1 + cos(πk/n))/2. With --same-start ours begins at the start values that PyTorch drew for the seed, without it at
its own: a start can be worth several points of accuracy. The other draws differ, and so does the split of a seed.
PyTorch runs eagerly in channels_last.

Prints a JSON object a run: the validation error after each epoch, the test error at the end, seconds of training.
Then the difference of the mean validation accuracies, paired by seed, with its 95 % interval by Student's t.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

BATCH, STEP, MOMENTUM, DECAY, PAD = 128, 0.1, 0.9, 5e-4, 4
TRAIN, VAL = 8000, 2000
T975 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}  # Student's t, by degrees of freedom


def records(path):
    raw = np.fromfile(path, np.uint8).reshape(-1, 3073)
    return torch.from_numpy(raw[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(raw[:, 0].astype(np.int64))


class Block(torch.nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(a, b, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(b)
        self.conv2 = torch.nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(b)
        self.stride, self.pad = stride, (b - a) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        s = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.pad, self.pad)) if self.pad else x
        return F.relu(y + s)


class ResNet20(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(16)
        blocks, a = [], 16
        for b, stride in ((16, 1), (32, 2), (64, 2)):
            for i in range(3):
                blocks.append(Block(a, b, stride if i == 0 else 1))
                a = b
        self.blocks = torch.nn.Sequential(*blocks)
        self.fc = torch.nn.Linear(64, 10)
        for m in self.modules():
            if isinstance(m, torch.nn.Conv2d):
                torch.nn.init.normal_(m.weight, 0, math.sqrt(2 / m.weight[0].numel()))
        torch.nn.init.normal_(self.fc.weight, 0, math.sqrt(2 / 64))
        torch.nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


def crops(x, g):
    """Images of bytes, shifted and mirrored, each by draws of its own."""
    n = len(x)
    flip = torch.rand(n, generator=g) < 0.5
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    x = F.pad(x, (PAD,) * 4)
    top, left = torch.randint(0, 2 * PAD + 1, (2, n), generator=g)
    rows = (top[:, None] + torch.arange(32))[:, None, :, None]
    columns = (left[:, None] + torch.arange(32))[:, None, None, :]
    return x[torch.arange(n)[:, None, None, None], torch.arange(3)[None, :, None, None], rows, columns]


def error(net, x, y, scale):
    net.eval()
    with torch.no_grad():
        wrong = sum((net(scale(x[i:i + 500])).argmax(1) != y[i:i + 500]).sum().item() for i in range(0, len(x), 500))
    net.train()
    return wrong / len(x)


def start(seed):
    torch.manual_seed(seed)
    return ResNet20()


def write_start(seed, path):
    """The start values under the names that ours gives the arrays: layer1.0.conv1.weight, …, linear.weight."""
    arrays = {}
    for name, a in start(seed).state_dict().items():
        part, _, rest = name.partition(".")
        if part == "blocks":
            block, _, rest = rest.partition(".")
            name = f"layer{int(block) // 3 + 1}.{int(block) % 3}.{rest}"
        arrays[name.replace("fc.", "linear.")] = a.float().contiguous()
    save_file(arrays, path)


def peer(folder, seed, epochs):
    g = torch.Generator().manual_seed(seed)
    x, y = records(os.path.join(folder, "train.bin"))
    order = torch.randperm(len(x), generator=g)
    val, order = order[TRAIN:TRAIN + VAL], order[:TRAIN]
    xt, yt, xv, yv = x[order], y[order], x[val], y[val]
    as_rows = xt.double().transpose(0, 1).reshape(3, -1)
    mean, deviation = as_rows.mean(1), as_rows.std(1, unbiased=False)
    mean, deviation = (a.float()[None, :, None, None] for a in (mean, deviation))
    scale = lambda a: ((a.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)
    net = start(seed).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=STEP, momentum=MOMENTUM, weight_decay=DECAY, fused=True)
    each, seconds, curve, k = TRAIN // BATCH, 0.0, [], 0
    for _ in range(epochs):
        begin = time.perf_counter()
        rows = torch.randperm(TRAIN, generator=g)
        for b in range(each):
            i = rows[b * BATCH:(b + 1) * BATCH]
            optimizer.param_groups[0]["lr"] = STEP * (1 + math.cos(math.pi * k / (each * epochs))) / 2
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(net(scale(crops(xt[i], g))), yt[i]).backward()
            optimizer.step()
            k += 1
        seconds += time.perf_counter() - begin
        curve.append(error(net, xv, yv, scale))
    return {"form": "torch", "seed": seed, "validation_error": curve, "seconds": seconds,
            "test_error": error(net, *records(os.path.join(folder, "test.bin")), scale)}


def ours(command, folder, seed, epochs, threads, same_start):
    with tempfile.TemporaryDirectory() as temporary:
        out = os.path.join(temporary, "results")
        line = [command, "train", "--model", "resnet20", "--data", folder, "--train", str(TRAIN), "--val", str(VAL),
                "--batch", str(BATCH), "--epochs", str(epochs), "--seed", str(seed), "--threads", str(threads),
                "--step", str(STEP), "--momentum", str(MOMENTUM), "--weight-decay", str(DECAY), "--schedule", "cosine",
                "--augment", "crop-flip", "--quiet", "--json", "--out", out]
        if same_start:
            line += ["--from", os.path.join(temporary, "start.safetensors")]
            write_start(seed, line[-1])
        result = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)
        with open(os.path.join(out, "metrics.jsonl")) as f:
            lines = [json.loads(s) for s in f]
    curve = [r["val_error"] for r in lines if r.get("epoch", 0) > 0]
    return {"form": "ours", "seed": seed, "validation_error": curve, "seconds": result["seconds"],
            "test_error": result["test_error"]}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True)
    ap.add_argument("--ours", required=True)
    ap.add_argument("--seeds", type=int, default=3)
    ap.add_argument("--epochs", type=int, default=20)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--same-start", action="store_true")
    ap.add_argument("--out", help="write the runs to this file as well")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    runs = []
    for seed in range(1, a.seeds + 1):
        for run in (lambda: ours(a.ours, a.data, seed, a.epochs, a.threads, a.same_start),
                    lambda: peer(a.data, seed, a.epochs)):
            runs.append(run())
            print(json.dumps(runs[-1]), flush=True)
            if a.out:
                with open(a.out, "w") as f:
                    json.dump(runs, f)
    last = {form: [r["validation_error"][-1] for r in runs if r["form"] == form] for form in ("ours", "torch")}
    d = [100 * (t - o) for o, t in zip(last["ours"], last["torch"])]
    print(f"torch {torch.__version__}, {a.threads} threads, {a.epochs} epochs")
    for form, errors in last.items():
        tests = [100 * (1 - r["test_error"]) for r in runs if r["form"] == form]
        print(f"{form:6s} validation accuracy {100 * (1 - statistics.mean(errors)):.2f} %, "
              f"test accuracy {statistics.mean(tests):.2f} %")
    half = T975[len(d) - 1] * statistics.stdev(d) / math.sqrt(len(d)) if len(d) > 1 else float("nan")
    print(f"ours - torch, paired by seed: {statistics.mean(d):+.2f} points, 95 % interval ± {half:.2f}")


if __name__ == "__main__":
    main()
