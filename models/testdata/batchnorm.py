"""Writes batchnorm.json and batchnorm.npz, the golden values of batchnorm_test.go, with PyTorch in float64.

    pip install torch==2.15.0 numpy && python3 batchnorm.py

A perceptron with batch normalization makes three passes in training mode over batches of its own; each gives outputs,
loss, gradient, a Hessian-vector product and the running statistics behind it. Then one pass in evaluation mode.
The .npz file is the state_dict at the end, as a user would save it.
"""

import json
import os

import numpy
import torch

here = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
net = torch.nn.Sequential(
    torch.nn.Linear(3, 5, bias=False), torch.nn.BatchNorm1d(5), torch.nn.Tanh(),
    torch.nn.Linear(5, 4, bias=False), torch.nn.BatchNorm1d(4), torch.nn.Tanh(),
    torch.nn.Linear(4, 3))
parameters = dict(net.named_parameters())
for name, p in parameters.items():  # scales and shifts that are not 1 and 0
    if p.dim() == 1:
        torch.nn.init.normal_(p, 0.5, 1)


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors]).tolist()


def one_pass(rows):
    x = torch.randn(rows, 3) * 2 + 1
    labels = torch.randint(3, (rows,))
    v = [torch.randn_like(p) for p in parameters.values()]
    outputs = net(x)
    loss = torch.nn.functional.cross_entropy(outputs, labels)
    grad = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    product = torch.autograd.grad(sum((g * d).sum() for g, d in zip(grad, v)), list(parameters.values()))
    return {"x": flat([x]), "labels": labels.tolist(), "outputs": flat([outputs]), "loss": loss.item(),
            "gradient": flat(grad), "v": flat(v), "hvp": flat(product), "state": flat(net.buffers())}


golden = {"names": list(parameters), "stateNames": [n for n, _ in net.named_buffers()],
          "params": flat(parameters.values())}
golden["train"] = [one_pass(rows) for rows in (6, 4, 7)]
net.eval()
golden["eval"] = one_pass(5)
with open(os.path.join(here, "batchnorm.json"), "w") as f:
    json.dump(golden, f)
    f.write("\n")
numpy.savez(os.path.join(here, "batchnorm.npz"), **{k: v.numpy() for k, v in net.state_dict().items()})
