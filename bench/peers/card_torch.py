"""What PyTorch reaches on an NVIDIA card, to be read beside bench hotloops --device cuda: products in float32 and TF32,
the copy and sum of a large array, the cost of a node of a CUDA graph, the gradient of an MLP (eager and as a graph),
and convolutions of 3 x 3.

Prints a line for each figure, and at the end one JSON object {name: microseconds}. Times are by events of the card: the
median of 20, after warm-up. NAME_tf32 allows TF32, which PyTorch's convolutions do by default and its products do not.
"""
import json

import torch

FIGURES = {}


def microseconds(call, times=20, inner=1):
    for _ in range(3):
        call()
    list_ = []
    for _ in range(times):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(inner):
            call()
        last.record()
        last.synchronize()
        list_.append(first.elapsed_time(last) / inner * 1e3)
    return sorted(list_)[times // 2]


def note(name, us, amount=0.0, unit=""):
    """Notes a figure; amount is what was done, so that amount / time is in the unit."""
    FIGURES[name] = round(us, 3)
    rate = f"  {amount / us / 1e6:8.2f} {unit}" if unit else ""
    print(f"{name:32s} {us:10.2f} us{rate}", flush=True)


def captured(call):
    """The call as a graph of the card."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def products(suffix):
    for n in (256, 512, 1024, 2048, 4096, 8192):
        a, b = (torch.randn(n, n, device="cuda") for _ in range(2))
        note(f"gemm_{n}{suffix}", microseconds(lambda: a @ b, inner=5), 2 * n**3, "TFLOP/s")


def memory():
    n = 1 << 28
    x, y = (torch.zeros(n, device="cuda") for _ in range(2))
    note("copy", microseconds(lambda: y.copy_(x)), 8 * n, "TB/s")
    note("sum", microseconds(lambda: x.sum()), 4 * n, "TB/s")


def nodes():
    z = torch.zeros(256, device="cuda")

    def chain():
        for _ in range(32):
            z.add_(1)

    note("graph_node", microseconds(captured(chain), inner=20) / 32)


def perceptron(suffix):
    layers = [torch.nn.Linear(784, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1024), torch.nn.ReLU(),
              torch.nn.Linear(1024, 10)]
    net = torch.nn.Sequential(*layers).cuda()
    x, labels = torch.rand(1024, 784, device="cuda"), torch.randint(0, 10, (1024,), device="cuda")
    weights = list(net.parameters())

    def gradient():
        return torch.autograd.grad(torch.nn.functional.cross_entropy(net(x), labels), weights)

    note(f"mlp1024_b1024_grad_eager{suffix}", microseconds(gradient))
    note(f"mlp1024_b1024_grad{suffix}", microseconds(captured(gradient)))


def convolutions(suffix):
    batch = 256
    for channels, side in ((64, 32), (128, 16), (256, 8), (512, 4), (64, 56), (512, 7)):
        last = torch.channels_last
        conv = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).cuda().to(memory_format=last)
        x = torch.randn(batch, channels, side, side, device="cuda").to(memory_format=last).requires_grad_()
        g = torch.randn_like(x)
        flop = 2 * batch * side * side * channels * channels * 9
        name = f"conv3x3_{channels}x{side}{suffix}"
        note(name, microseconds(lambda: conv(x)), flop, "TFLOP/s")
        note(f"{name}_all", microseconds(lambda: torch.autograd.grad(conv(x), (x, conv.weight), g)), 3 * flop,
             "TFLOP/s")


if __name__ == "__main__":
    print(torch.__version__, torch.version.cuda, torch.cuda.get_device_name())
    memory()
    nodes()
    for allowed, name in ((False, ""), (True, "_tf32")):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
        products(name)
        perceptron(name)
        convolutions(name)
    print(json.dumps(FIGURES))
