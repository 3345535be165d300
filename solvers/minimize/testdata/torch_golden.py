"""Computes torch.json, the golden iterates of torch_test.go, with PyTorch's own optimizers in float64.

Run: python torch_golden.py > torch.json   (made with torch 2.15.0 on a CPU; independent of the Go code)
"""

import json
import math

import torch
from torch.optim import swa_utils

torch.set_default_dtype(torch.float64)

ROWS, INPUTS, STEPS = 6, 3, 12
inputs = [[math.sin(1.7 * (r * INPUTS + c) + 0.3) for c in range(INPUTS)] for r in range(ROWS)]
labels = [1.0 if math.cos(2.1 * r) > 0 else -1.0 for r in range(ROWS)]
start = {"weight": [0.5, -1.0, 2.0], "bias": [0.25]}
batches = [[(5 * k + 1) % ROWS, (k * k + 2) % ROWS] for k in range(STEPS)]


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(start["weight"]))
        self.bias = torch.nn.Parameter(torch.tensor(start["bias"]))

    def forward(self, rows, signs):
        return torch.nn.functional.softplus(-signs * (rows @ self.weight + self.bias)).mean()


def flat(model):
    return [*model.weight.tolist(), *model.bias.tolist()]


def run(name, optimizer, settings, decay_bias=None, linear=False, average=None):
    model = Model()
    groups = model.parameters()
    if decay_bias is not None:
        groups = [{"params": [model.weight]}, {"params": [model.bias], "weight_decay": decay_bias}]
    opt = optimizer(groups, **settings)
    factor = (lambda k: 1 - k / STEPS) if linear else (lambda k: 1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, factor)
    averaged = None
    if average == "ema":
        averaged = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.8))
    elif average == "swa":
        averaged = swa_utils.AveragedModel(model)
    iterates, averages = [], []
    for k in range(STEPS):
        opt.zero_grad()
        rows = torch.tensor([inputs[r] for r in batches[k]])
        model(rows, torch.tensor([labels[r] for r in batches[k]])).backward()
        opt.step()
        schedule.step()
        if averaged is not None and (average == "ema" or k >= STEPS // 2):
            averaged.update_parameters(model)
        if k in (0, 1, STEPS - 1):
            iterates.append(flat(model))
            averages.append(flat(averaged.module) if averaged is not None else [])
    return {"name": name, "iterates": iterates, "averages": averages if averaged is not None else []}


SGD, Adam, AdamW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
runs = [
    run("sgd", SGD, {"lr": 0.5}),
    run("sgd decay", SGD, {"lr": 0.5, "weight_decay": 0.1}, linear=True),
    run("sgd momentum", SGD, {"lr": 0.2, "momentum": 0.9, "weight_decay": 0.05}),
    run("sgd nesterov", SGD, {"lr": 0.2, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}, decay_bias=0.0, linear=True),
    run("sgd ema", SGD, {"lr": 0.5, "momentum": 0.5}, average="ema"),
    run("sgd swa", SGD, {"lr": 0.5, "momentum": 0.5}, average="swa"),
    run("adam", Adam, {"lr": 0.1}),
    run("adam decay", Adam, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.2}, linear=True),
    run("adamw", AdamW, {"lr": 0.1, "weight_decay": 0.3}, linear=True),
    run("adamw groups", AdamW, {"lr": 0.1, "weight_decay": 0.3}, decay_bias=0.05),
]
print(json.dumps({"inputs": inputs, "labels": labels, "start": start, "batches": batches, "runs": runs}, indent=1))
