"""Writes the golden values of torch_test.go with PyTorch: small networks of each kind, written with torch.nn alone.

    pip install torch==2.15.0 numpy safetensors==0.8.0 && python3 networks.py
    python3 networks.py --check FOLDER

NAME.safetensors is a network's state dict, with running statistics, scales, shifts and biases drawn at random.
networks.safetensors holds for each NAME, computed in float64 from these float32 numbers: NAME/x, the images
[rows, channels, height, width]; NAME/label; NAME/eval and NAME/train, the logits in either mode; NAME/gradient, that
of the mean cross-entropy in training mode, flat, in the order of the parameters; and NAME/after.ARRAY, the running
statistics behind the pass in training mode.

--check loads the files NAME.safetensors of another folder, which this project wrote, into the same networks with
strict=True and prints the largest difference of their logits from the golden ones.
"""

import argparse
import os
import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

HERE = os.path.dirname(os.path.abspath(__file__))


def conv3(inputs, outputs, stride=1, bias=False):
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)


class LeNet(nn.Module):
    def __init__(self, channels, pixels):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 3, 5, padding=2), nn.Conv2d(3, 4, 5, padding=2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(4 * pixels, 9), nn.Linear(9, 7), nn.Linear(7, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride, option):
        super().__init__()
        self.conv1, self.bn1 = conv3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2
        if option == "b" and (stride != 1 or inputs != outputs):
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, "shortcut"):
            return F.relu(y + self.shortcut(x))
        return F.relu(y + F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.pad, self.pad)))


class PreActBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, reads):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv3(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv3(outputs, outputs)
        self.reads = reads
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x):
        h = F.relu(self.bn1(x))
        beside = x
        if hasattr(self, "shortcut"):
            beside = self.shortcut(x if self.reads == "input" else h)
        return self.conv2(F.relu(self.bn2(self.conv1(h)))) + beside


class ResNet(nn.Module):
    def __init__(self, channels, widths, blocks, kind, pre=False, final=True):
        super().__init__()
        self.conv1 = conv3(channels, widths[0])
        if not pre:
            self.bn1 = nn.BatchNorm2d(widths[0])
        inputs = widths[0]
        self.stages = []
        for i, (width, count) in enumerate(zip(widths, blocks)):
            stage = []
            for j in range(count):
                stride = 2 if i and not j else 1
                stage.append((PreActBlock if pre else Block)(inputs, width, stride, kind))
                inputs = width
            self.stages.append(f"layer{i + 1}")
            setattr(self, self.stages[-1], nn.Sequential(*stage))
        if pre and final:
            self.bn = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, 5)

    def forward(self, x):
        x = self.conv1(x)
        if hasattr(self, "bn1"):
            x = F.relu(self.bn1(x))
        for name in self.stages:
            x = getattr(self, name)(x)
        if hasattr(self, "bn"):
            x = F.relu(self.bn(x))
        return self.linear(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv3(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv3(outputs, outputs)
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        h = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(h))))
        return y + (self.convShortcut(h) if hasattr(self, "convShortcut") else x)


class Stage(nn.Module):
    def __init__(self, inputs, outputs, count, stride):
        super().__init__()
        blocks = [WideBlock(inputs if j == 0 else outputs, outputs, 1 if j else stride) for j in range(count)]
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, channels, base, widen, count):
        super().__init__()
        widths = [base[0]] + [widen * b for b in base[1:]]
        self.conv1 = conv3(channels, widths[0])
        self.block1, self.block2, self.block3 = (
            Stage(widths[i], widths[i + 1], count, 2 if i else 1) for i in range(3))
        self.bn1, self.fc = nn.BatchNorm2d(widths[3]), nn.Linear(widths[3], 5)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


class VGG(nn.Module):
    def __init__(self, channels, widths):
        super().__init__()
        layers = []
        for width in widths:
            if width == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [conv3(channels, width, bias=True), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(channels, 5)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


# The networks with the size of their images; torch_test.go makes the same ones.
NETWORKS = {
    "lenet": (LeNet(2, 3 * 2), (2, 12, 10)),
    "resnet-a": (ResNet(3, [4, 6, 8], [1, 2, 1], "a"), (3, 9, 11)),
    "resnet-b": (ResNet(3, [4, 6, 8], [2, 1, 1], "b"), (3, 8, 9)),
    "preact-input": (ResNet(1, [4, 7], [1, 2], "input", pre=True), (1, 7, 8)),
    "preact-activation": (ResNet(1, [4, 7], [2, 1], "activation", pre=True, final=False), (1, 8, 7)),
    "wideresnet": (WideResNet(3, [4, 2, 3, 4], 2, 1), (3, 9, 8)),
    "vgg": (VGG(3, [4, 0, 6, 5, 0]), (3, 11, 8)),
}


def draw(net):
    """Draws all arrays so that none of them is at a value under which it would not matter."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
                module.num_batches_tracked.fill_(3)
            elif getattr(module, "bias", None) is not None:
                module.bias.uniform_(-0.5, 0.5)


def write():
    golden = {}
    for k, (name, (net, size)) in enumerate(NETWORKS.items()):
        torch.manual_seed(k)
        for p in net.parameters():
            if p.dim() > 1:
                nn.init.kaiming_normal_(p)
        draw(net)
        save_file(net.state_dict(), os.path.join(HERE, name + ".safetensors"), {"format": "pt"})
        x, label = torch.randn(3, *size), torch.randint(5, (3,))
        net.double()
        golden[name + "/x"], golden[name + "/label"] = x, label.int()
        golden[name + "/eval"] = net.eval()(x.double()).detach()
        logits = net.train()(x.double())
        gradient = torch.autograd.grad(F.cross_entropy(logits, label), list(net.parameters()))
        golden[name + "/train"] = logits.detach()
        golden[name + "/gradient"] = torch.cat([g.reshape(-1) for g in gradient]).float()
        for array, b in net.named_buffers():
            golden[f"{name}/after.{array}"] = b.int() if b.dim() == 0 else b.float()
    save_file(golden, os.path.join(HERE, "networks.safetensors"))


def check(folder):
    golden, worst = load_file(os.path.join(HERE, "networks.safetensors")), 0.0
    for name, (net, _) in NETWORKS.items():
        net.load_state_dict(load_file(os.path.join(folder, name + ".safetensors")), strict=True)
        for mode in ("eval", "train"):
            with torch.no_grad():
                off = (net.train(mode == "train")(golden[name + "/x"]) - golden[f"{name}/{mode}"]).abs().max().item()
            print(f"{name} {mode}: {off:.2g}")
            worst = max(worst, off)
    return worst


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", metavar="FOLDER")
    arguments = parser.parse_args()
    if not arguments.check:
        write()
    elif not check(arguments.check) <= 1e-5:
        sys.exit("the logits differ by more than 1e-5")
