"""Hot loops of convolutional nets in PyTorch and JAX, each row in the fastest of their forms: the peer of
`bilevel bench convloops`.

Prints one JSON object as its last line: {"ms": {key: median milliseconds of one call}, "check": {key: see below},
"tol": {key: relative tolerance of the check, where it is not 1e-3}, "cpu_ms": {key: processor time of a call / cores,
the wall time that undisturbed cores would give}, "form": {key: winner}, "peak_mib": largest resident set of the
process}. float32, all cores.

    python3 -m venv .peers && .peers/bin/pip install torch==2.15.0 jax==0.10.2 numpy
    .peers/bin/python bench/peers/convloops.py [--only SUBSTRING[,SUBSTRING]] [--seconds 1.0] [--f64]
        [--form best|torch_nchw|torch_cl|torch_compile|jax_nchw|jax_nhwc[,...]]

Forms: PyTorch eager NCHW; eager channels_last; the whole call, derivatives included, traced and compiled by inductor
(channels_last; needs g++; minutes for the first call, cached on disk); JAX jit NCHW; NHWC. best: the contenders of the
row (CONTENDERS), each timed, the fastest counts. --f64: one call in float64, for reference checks (torch_nchw and jax
agree to 1e-13).

Inputs: array k, element j (row-major, from 0): z = splitmix64(j + k * 2**32),
value = scale * (2 * (z >> 40) / 2**24 - 1) + plus, rounded once to float32: hotloops.py's formula; label j:
splitmix64(j + 77 * 2**32) mod 10. Layouts of the definition: activations N,C,H,W; convolution weights O,I,H,W; dense
weights in,out. Any plain layout may be kept between calls; nothing computed from a call's inputs may (packed, folded or
transformed weights included).

Convolutions are cross-correlations without bias, zero padding k // 2 on all sides.
Layers, batch 64; each _fwd, _dx (input gradient), _dw (weight gradient):
  x = array 1 (scale 1), w = array 100 (scale sqrt(3 / (in * k * k))), output gradient = array 2 (scale 1).
  conv64_s32: 3x3, 64 -> 64 at 32x32; conv128_s16, conv256_s8, conv512_s4 likewise;
  down64_s32: 3x3 stride 2, 64 -> 128, 32x32 -> 16x16;
  proj64_s32: 1x1 stride 2, 64 -> 128; first_s32: 3x3, 3 -> 64 at 32x32.
Networks: parameter number i, in order of use as listed in shapes(), is array 100 + i: scale sqrt(3 / fan_in) for
weights, 1/4 for vectors; BN scales (each before its shift) plus 1. Batch normalization: eps 1e-5, biased variance;
train: batch statistics, derivatives flow through them, no running update; eval: BN number j has mean array 300 + j
(scale 1/4), variance array 400 + j (scale 1/2, plus 1). x = array 1, scale 1/2 plus 1/2, no normalization; y labels.
  lenet_b64       1x28x28; 5x5 conv 1 -> 32, bias, ReLU, 2x2 max pool; 5x5 conv 32 -> 64, bias, ReLU, pool; flatten
                  C,H,W; 3136 -> 1024, ReLU; 10
  resnet20_b128   3x3 conv 3 -> 16, BN, ReLU; 3 stages (16, 32, 64 channels) of 3 blocks:
                  relu(BN conv relu BN conv x + shortcut); the first block of stages 2 and 3 has stride 2 and shortcut
                  option A: x[:, :, ::2, ::2], padded with c/2 zero channels before and c/2 behind; mean; 64 -> 10
  preact18_b64, _b128
                  3x3 conv 3 -> 64; 4 stages (64, 128, 256, 512) of 2 blocks: conv relu BN conv relu BN x + shortcut;
                  the first block of stages 2 to 4 has stride 2 and a 1x1 stride-2 convolution of x itself (not of
                  relu BN x) as shortcut; BN, ReLU, mean; 512 -> 10
  Parameters of a block: conv BN conv BN (resnet20), BN conv BN conv [1x1] (preact18).
  _fwd      logits, eval
  _grad     gradient of the mean CE with respect to all parameters, train
  _dx       input gradient of the mean CE, eval
  _hvp      Hessian of the mean CE (train; all parameters) times v = arrays 200 + i (scales of the parameters, no plus),
            primal pass included
  _pgd10    d = 0; 10 times d = clip(clip(d + 2/255 sign(g), -8/255, 8/255) + x, 0, 1) - x, g = input gradient at x + d,
            eval; sign(0) = 0; result d
  _fastbat  all passes train mode, each with the statistics of its own batch; CE summed;
            lo = max(-x, -8/255), hi = min(1 - x, 8/255); s = 1 (1/lambda);
            z0 = clip(x + array 2 (scale 8/255), 0, 1) - x;  z = clip(z0 + s grad_x CE(x + z0), lo, hi);
            u = z + s grad_x CE(x + z);  d = clip(u, lo, hi);  M = lo < u < hi;  result, with respect to all parameters
            p: (grad_p CE(x + d) + s grad_p <grad_x CE(x + z), M * grad_x CE(x + d)>) / batch, d and
            M * grad_x CE(x + d) held constant. (Fast-BAT with 1/lambda in both places; ascent on CE is descent on -CE.)
Checks, in float64 from the float32 result: layers and _fwd: 2 |r| + <r, array 500 (scale 1)>, r in the definition's
layout; _pgd10: mean CE at x + d, eval; the others: 2-norm of the result, all arrays together. ReLU kinks and M make
single entries of a network's derivatives differ by more than rounding; the norms agree to 2e-4, _fastbat's to 2e-3
(tol 1e-2).
"""

import argparse
import ctypes
import functools
import json
import os
import resource
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads lose a factor of 3 when other jobs run

import numpy as np

EPS, STEP, SIZE = 8 / 255, 2 / 255, 1.0
CORES = len(os.sched_getaffinity(0))
F64 = "--f64" in sys.argv
DT = np.float64 if F64 else np.float32


def splitmix64(n):
    with np.errstate(over="ignore"):
        z = (np.asarray(n, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return z ^ z >> np.uint64(31)


def array(k, shape, scale=1.0, plus=0.0):
    z = splitmix64(np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(k << 32))
    return (
        (scale * (2.0 * (z >> np.uint64(40)).astype(np.float64) / 2**24 - 1.0) + plus)
        .astype(np.float32)
        .reshape(shape)
        .astype(DT)
    )


def labels(n):
    return (splitmix64(np.arange(n, dtype=np.uint64) + np.uint64(77 << 32)) % np.uint64(10)).astype(np.int32)


# ---- networks: written once, over the operations o of a framework ----
def lenet(o, p, s, x):
    p = iter(p)
    for _ in range(2):
        x = o.pool(o.relu(o.conv(x, next(p), 1, next(p))))
    x = o.relu(o.dense(o.flat(x), next(p), next(p)))
    return o.dense(x, next(p), next(p))


def resnet20(o, p, s, x):
    p, s = iter(p), iter(s) if s else None
    x = o.relu(o.conv_bn(x, p, s, 1))
    for stage in range(3):
        for block in range(3):
            stride = 2 if stage and not block else 1
            h = o.relu(o.conv_bn(x, p, s, stride))
            x = o.relu(o.conv_bn(h, p, s, 1) + (o.widen(x) if stride == 2 else x))
    return o.dense(o.mean(x), next(p), next(p))


def preact18(o, p, s, x):
    p, s = iter(p), iter(s) if s else None
    x = o.conv(x, next(p), 1)
    for stage in range(4):
        for block in range(2):
            stride = 2 if stage and not block else 1
            h = o.relu(o.bn(x, next(p), next(p), s))
            h = o.relu(o.conv_bn(h, p, s, stride))
            h = o.conv(h, next(p), 1)
            x = h + (o.conv(x, next(p), 2) if stride == 2 else x)
    return o.dense(o.mean(o.relu(o.bn(x, next(p), next(p), s))), next(p), next(p))


def shapes(net):
    if net is lenet:
        return [(32, 1, 5, 5), (32,), (64, 32, 5, 5), (64,), (3136, 1024), (1024,), (1024, 10), (10,)]
    bn = lambda c: [(c,), (c,)]
    if net is resnet20:
        out, last = [(16, 3, 3, 3)] + bn(16), 16
        for c in (16, 32, 64):
            for _ in range(3):
                out += [(c, last, 3, 3)] + bn(c) + [(c, c, 3, 3)] + bn(c)
                last = c
        return out + [(64, 10), (10,)]
    out, last = [(64, 3, 3, 3)], 64
    for c in (64, 128, 256, 512):
        for b in range(2):
            out += bn(last) + [(c, last, 3, 3)] + bn(c) + [(c, c, 3, 3)] + ([(c, last, 1, 1)] if c != last else [])
            last = c
    return out + bn(512) + [(512, 10), (10,)]


def scale_of(shape):
    fan_in = {4: lambda: np.prod(shape[1:]), 2: lambda: shape[0], 1: lambda: 48}[len(shape)]()
    return (3.0 / fan_in) ** 0.5  # 1/4 for vectors


def parameters(net):
    out, ss = [], shapes(net)
    for i, sh in enumerate(ss):
        gamma = net is not lenet and len(sh) == 1 and i + 1 < len(ss) and len(ss[i + 1]) == 1
        out.append(array(100 + i, sh, scale_of(sh), 1.0 if gamma else 0.0))
    return out


def statistics(net):
    ss, out = shapes(net), []
    for i, sh in enumerate(ss):
        if len(sh) == 1 and i + 1 < len(ss) and len(ss[i + 1]) == 1:
            j = len(out)
            out.append((array(300 + j, sh, 0.25), array(400 + j, sh, 0.5, 1.0)))
    return out


def direction(net):
    return [array(200 + i, sh, scale_of(sh)) for i, sh in enumerate(shapes(net))]


# ---- PyTorch ----
class Torch:
    def __init__(self, form):
        import torch
        import torch.nn.functional as F

        torch.set_num_threads(CORES)
        self.t, self.F, self.last, self.compile = torch, F, form != "torch_nchw", form == "torch_compile"
        self.wait, self.relu, self.vjp = lambda r: r, F.relu, torch.autograd.grad
        self.conv = lambda x, w, stride, b=None: F.conv2d(x, w, b, stride, w.shape[2] // 2)
        self.pool, self.mean, self.flat = lambda x: F.max_pool2d(x, 2), lambda x: x.mean((2, 3)), lambda x: x.flatten(1)
        self.dense = lambda x, w, b: torch.addmm(b, x, w)
        self.widen = lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, x.shape[1] // 2, x.shape[1] // 2))
        self.loss = lambda net, p, s, x, y: F.cross_entropy(net(self, p, s, x), y, reduction="sum")
        self.free = lambda a: (
            [q.detach().requires_grad_() for q in a] if isinstance(a, list) else a.detach().requires_grad_()
        )

    def put(self, a, kind="x"):
        """To the framework: x activations (N,C,H,W), w weights (O,I,H,W)."""
        if isinstance(a, (list, tuple)):
            return [self.put(b, kind) for b in a]
        t = self.t.from_numpy(np.array(a, np.int64 if a.dtype == np.int32 else a.dtype))
        return t.contiguous(memory_format=self.t.channels_last) if t.ndim == 4 and self.last else t

    def get(self, t, kind="x"):
        return np.asarray(t.detach().contiguous().numpy(), np.float64)

    def bn(self, x, g, b, s):
        m, v = next(s) if s else (None, None)
        return self.F.batch_norm(x, m, v, g, b, s is None, 0.0, 1e-5)

    def conv_bn(self, x, p, s, stride):
        w, g, b = next(p), next(p), next(p)
        if s is None:
            return self.bn(self.conv(x, w, stride), g, b, s)
        m, v = next(s)
        k = g * self.t.rsqrt(v + 1e-5)  # folded into the weights, in every call
        return self.conv(x, w * k[:, None, None, None], stride, b - m * k)

    def jit(self, f):
        if not self.compile:
            return f
        from torch.fx.experimental.proxy_tensor import make_fx

        tree, made = self.t.utils._pytree, []

        def call(*args):
            flat, spec = tree.tree_flatten(args)
            if not made:
                traced = make_fx(lambda *a: f(*tree.tree_unflatten(list(a), spec)), tracing_mode="fake")(*flat)
                made.append(self.t.compile(traced))
            with self.t.no_grad():
                return made[0](*flat)

        return call

    def layer(self, kind, stride):
        if kind == "fwd":
            return lambda x, w, d: self.conv(x, w, stride)
        i, mask = ("dx", "dw").index(kind), [kind == "dx", kind == "dw", False]
        back = self.t.ops.aten.convolution_backward
        return lambda x, w, d: back(d, x, w, None, [stride] * 2, [w.shape[2] // 2] * 2, [1, 1], False, [0, 0], 1, mask)[
            i
        ]

    def fwd(self, net):
        return self.t.no_grad()(lambda p, s, x: net(self, p, s, x))

    def grad(self, net):
        def f(p, x, y):
            p = self.free(p)
            return self.vjp(self.loss(net, p, None, x, y) / len(y), p)

        return f

    def dx(self, net):
        def f(p, s, x, y):
            x = self.free(x)
            return self.vjp(self.loss(net, p, s, x, y) / len(y), x)[0]

        return f

    def hvp(self, net):
        def f(p, v, x, y):
            p = self.free(p)
            return self.vjp(self.vjp(self.loss(net, p, None, x, y) / len(y), p, create_graph=True), p, v)

        return f

    def pgd(self, net):
        def step(p, s, x, y, d):
            a = self.free(x + d)
            g = self.vjp(self.loss(net, p, s, a, y), a)[0]
            return ((d + STEP * g.sign()).clamp(-EPS, EPS) + x).clamp(0, 1) - x

        step = self.jit(step)

        def f(p, s, x, y):
            d = self.t.zeros_like(x)
            for _ in range(10):
                d = step(p, s, x, y, d)
            return d

        return f

    def bat(self, net):
        def f(p, x, y, z0):
            t, n = self.t, len(y)
            lo, hi = t.clamp(-x, min=-EPS), t.clamp(1 - x, max=EPS)
            a = self.free(x + z0)
            z = t.clamp(z0 + SIZE * self.vjp(self.loss(net, p, None, a, y), a)[0], lo, hi)
            q, a = self.free(p), self.free(x + z)
            g = self.vjp(self.loss(net, q, None, a, y), a, create_graph=True)[0]
            u = (z + SIZE * g).detach()
            a = self.free(x + t.clamp(u, lo, hi))
            *gp, ga = self.vjp(self.loss(net, q, None, a, y), q + [a])
            implicit = self.vjp(g, q, ((u > lo) & (u < hi)) * ga, allow_unused=True)  # the last bias: none
            return [b / n if i is None else (b + SIZE * i) / n for b, i in zip(gp, implicit)]

        return f


# ---- JAX ----
class Jax:
    def __init__(self, form):
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", F64)
        self.j, self.n, self.last = jax, jnp, form == "jax_nhwc"
        self.jit, self.relu, self.wait = jax.jit, jax.nn.relu, jax.block_until_ready
        self.vec = lambda v: v if self.last else v[:, None, None]
        self.mean = lambda x: x.mean((1, 2) if self.last else (2, 3))
        self.flat = lambda x: (x.transpose(0, 3, 1, 2) if self.last else x).reshape(x.shape[0], -1)
        self.dense = lambda x, w, b: x @ w + b
        self.conv_bn = lambda x, p, s, stride: self.bn(self.conv(x, next(p), stride), next(p), next(p), s)

    def put(self, a, kind="x"):
        if isinstance(a, (list, tuple)):
            return [self.put(b, kind) for b in a]
        if a.ndim == 4 and self.last:
            a = a.transpose((0, 2, 3, 1) if kind == "x" else (2, 3, 1, 0))
        return self.n.asarray(a)

    def get(self, a, kind="x"):
        a = np.asarray(a, np.float64)
        return a.transpose((0, 3, 1, 2) if kind == "x" else (3, 2, 0, 1)) if a.ndim == 4 and self.last else a

    def conv(self, x, w, stride, b=None):
        k, dims = w.shape[0 if self.last else 2] // 2, (
            ("NHWC", "HWIO", "NHWC") if self.last else ("NCHW", "OIHW", "NCHW")
        )
        h = self.j.lax.conv_general_dilated(x, w, (stride, stride), ((k, k), (k, k)), dimension_numbers=dims)
        return h if b is None else h + self.vec(b)

    def bn(self, x, g, b, s):
        if s is None:
            axes = (0, 1, 2) if self.last else (0, 2, 3)
            m = x.mean(axes)
            v = self.n.square(x - self.vec(m)).mean(axes)
        else:
            m, v = next(s)
        return (x - self.vec(m)) * self.vec(g * self.j.lax.rsqrt(v + 1e-5)) + self.vec(b)

    def widen(self, x):
        x, c = (x[:, ::2, ::2], x.shape[3] // 2) if self.last else (x[:, :, ::2, ::2], x.shape[1] // 2)
        return self.n.pad(x, [(0, 0)] * 3 + [(c, c)] if self.last else [(0, 0), (c, c), (0, 0), (0, 0)])

    def pool(self, x):
        a, b, c, d = x.shape
        return (
            x.reshape(a, b // 2, 2, c // 2, 2, d).max((2, 4))
            if self.last
            else x.reshape(a, b, c // 2, 2, d // 2, 2).max((3, 5))
        )

    def loss(self, net, p, s, x, y):
        z = net(self, p, s, x)
        return (self.j.nn.logsumexp(z, 1) - self.n.take_along_axis(z, y[:, None], 1)[:, 0]).sum()

    def layer(self, kind, stride):
        f = lambda x, w: self.conv(x, w, stride)
        return {
            "fwd": lambda x, w, d: f(x, w),
            "dx": lambda x, w, d: self.j.vjp(lambda x: f(x, w), x)[1](d)[0],
            "dw": lambda x, w, d: self.j.vjp(lambda w: f(x, w), w)[1](d)[0],
        }[kind]

    def fwd(self, net):
        return lambda p, s, x: net(self, p, s, x)

    def grad(self, net):
        return lambda p, x, y: self.j.grad(lambda p: self.loss(net, p, None, x, y) / len(y))(p)

    def dx(self, net):
        return lambda p, s, x, y: self.j.grad(lambda x: self.loss(net, p, s, x, y) / len(y))(x)

    def hvp(self, net):
        return lambda p, v, x, y: self.j.jvp(lambda p: self.grad(net)(p, x, y), (p,), (v,))[1]

    def pgd(self, net):
        n, grad = self.n, self.j.grad

        def step(p, s, x, y, d):
            g = grad(lambda a: self.loss(net, p, s, a, y))(x + d)
            return n.clip(n.clip(d + STEP * n.sign(g), -EPS, EPS) + x, 0, 1) - x

        return self.jit(
            lambda p, s, x, y: self.j.lax.fori_loop(0, 10, lambda _, d: step(p, s, x, y, d), n.zeros_like(x))
        )

    def bat(self, net):
        n, grad = self.n, self.j.grad

        def f(p, x, y, z0):
            loss = lambda p, a: self.loss(net, p, None, a, y)
            lo, hi = n.maximum(-x, -EPS), n.minimum(1 - x, EPS)
            z = n.clip(z0 + SIZE * grad(loss, 1)(p, x + z0), lo, hi)
            g, pull = self.j.vjp(lambda p: grad(loss, 1)(p, x + z), p)
            u = z + SIZE * g
            gp, ga = grad(loss, (0, 1))(p, x + n.clip(u, lo, hi))
            implicit = pull(n.where((u > lo) & (u < hi), ga, 0))[0]
            return [(b + SIZE * i) / len(y) for b, i in zip(gp, implicit)]

        return f


LAYERS = {  # name: in, out, kernel, stride, size
    "conv64_s32": (64, 64, 3, 1, 32),
    "conv128_s16": (128, 128, 3, 1, 16),
    "conv256_s8": (256, 256, 3, 1, 8),
    "conv512_s4": (512, 512, 3, 1, 4),
    "down64_s32": (64, 128, 3, 2, 32),
    "proj64_s32": (64, 128, 1, 2, 32),
    "first_s32": (3, 64, 3, 1, 32),
}
NETS = {
    "lenet_b64": (lenet, (64, 1, 28, 28), ("grad", "hvp")),
    "resnet20_b128": (resnet20, (128, 3, 32, 32), ("fwd", "grad", "dx", "hvp", "pgd10", "fastbat")),
    "preact18_b64": (preact18, (64, 3, 32, 32), ("fwd", "grad", "dx", "pgd10", "fastbat")),
    "preact18_b128": (preact18, (128, 3, 32, 32), ("grad",)),
}
CONTENDERS = (
    ("resnet20_b128_hvp", "torch_compile,jax_nhwc"),
    ("resnet20", "torch_cl,torch_compile"),
    ("preact", "torch_cl"),
    ("", "torch_cl,torch_nchw,jax_nhwc"),
)


def rows():
    for name, spec in LAYERS.items():
        for kind in ("fwd", "dx", "dw"):
            yield f"{name}_{kind}", functools.partial(layer_row, spec, kind)
    for name, (net, shape, kinds) in NETS.items():
        for kind in kinds:
            yield f"{name}_{kind}", functools.partial(net_row, net, shape, kind)


def dotcheck(r):
    return float(np.vdot(r, array(500, r.shape))) + 2 * norm([r])


def norm(results):
    return float(sum(np.vdot(r, r) for r in results)) ** 0.5


def layer_row(spec, kind, b):
    """A call and the check of its result."""
    ci, co, k, st, n = spec
    x, d = b.put(array(1, (64, ci, n, n))), b.put(array(2, (64, co, n // st, n // st)))
    w, f = b.put(array(100, (co, ci, k, k), (3 / (ci * k * k)) ** 0.5), "w"), b.jit(b.layer(kind, st))
    return lambda: f(x, w, d), lambda r: dotcheck(b.get(r, "w" if kind == "dw" else "x"))


def net_row(net, shape, kind, b):
    x0 = array(1, shape, 0.5, 0.5)
    x, y, p, s = b.put(x0), b.put(labels(shape[0])), b.put(parameters(net), "w"), b.put(statistics(net))
    if kind == "pgd10":
        f = b.pgd(net)
        return lambda: f(p, s, x, y), lambda r: float(b.loss(net, p, s, x + r, y)) / shape[0]
    f = b.jit(getattr(b, {"fastbat": "bat"}.get(kind, kind))(net))
    if kind == "fwd":
        return lambda: f(p, s, x), lambda r: dotcheck(b.get(r))
    if kind == "dx":
        return lambda: f(p, s, x, y), lambda r: norm([b.get(r)])
    v, z0 = b.put(direction(net), "w"), b.put(np.clip(x0 + array(2, shape, EPS), 0, 1) - x0)
    call = {"grad": lambda: f(p, x, y), "hvp": lambda: f(p, v, x, y), "fastbat": lambda: f(p, x, y, z0)}[kind]
    return call, lambda r: norm([b.get(a, "w") for a in r])


def measure(b, call, seconds):
    """Median wall and lower-third processor milliseconds of a call, and its result."""
    result, times, cpu = b.wait(call()), [], []
    start = time.perf_counter()
    while not F64 and time.perf_counter() - start < min(0.3, seconds):
        b.wait(call())
    start = time.perf_counter()
    while len(times) < (1 if F64 else 3) or (not F64 and time.perf_counter() - start < seconds):
        t, c = time.perf_counter(), time.process_time()
        b.wait(call())
        times.append(time.perf_counter() - t)
        cpu.append(time.process_time() - c)
    return 1e3 * sorted(times)[len(times) // 2], 1e3 / CORES * sorted(cpu)[len(cpu) // 3], result


if __name__ == "__main__":
    libc = ctypes.CDLL(None)
    libc.mallopt(-4, 0), libc.mallopt(-1, -1)  # glibc keeps freed memory: no page faults on every activation
    ap = argparse.ArgumentParser()
    ap.add_argument("--only", default="")
    ap.add_argument("--seconds", type=float, default=1.0)
    ap.add_argument("--form", default="best")
    ap.add_argument("--f64", action="store_true")
    args = ap.parse_args()
    out = {"ms": {}, "check": {}, "tol": {}, "cpu_ms": {}, "form": {}}
    for key, make in rows():
        if not any(o in key for o in args.only.split(",")):
            continue
        forms = next(f for part, f in CONTENDERS if part in key) if args.form == "best" else args.form
        for form in forms.split(","):
            b = (Torch if form.startswith("torch") else Jax)(form)
            call, check = make(b)
            ms, cpu, result = measure(b, call, args.seconds)
            print(
                f"{key:22s} {form:14s} {ms:10.3f} ms {cpu:10.3f} cpu ms, check {check(result):.9g}",
                file=sys.stderr,
                flush=True,
            )
            if ms < out["ms"].get(key, np.inf):
                out["ms"][key], out["cpu_ms"][key], out["form"][key], out["check"][key] = (
                    round(ms, 5),
                    round(cpu, 5),
                    form,
                    check(result),
                )
        if "fastbat" in key:
            out["tol"][key] = 1e-2
    out["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps(out))
