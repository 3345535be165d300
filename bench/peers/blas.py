#!/usr/bin/env python3
"""The products of `bilevel bench hotloops --only gemm_,product_` by the BLAS that NumPy brings, OpenBLAS in its wheels.

    .peers/bin/pip install numpy
    .peers/bin/python blas.py [--only SUBSTRING] [--seconds 1.0]

A row is a product [m,k].[k,n] in float32 of arrays 0 and 1 of hotloops.py (scale 1). For a layer of `in` inputs and
`out` outputs at batch b, `forward` is [b,in].[in,out], `weights` the transpose of [b,in] times [b,out], and `inputs`
[b,out] times the transpose of [in,out]; what is transposed lies in memory as it was before. The result goes to memory
that is there already (out=), with all threads. Prints one JSON object: {"ms": {key: median milliseconds}, "check":
{key: 2-norm}}.
"""
import argparse
import json
import statistics
import sys
import time

import numpy as np

from convloops import array


def products():
    for n in (256, 512, 1024, 2048):
        yield f"gemm_{n}", n, n, n, False, False
    seen = set()
    for net in ((784, 300, 100, 10), (784, 1024, 1024, 10)):
        for b in (64, 256, 1024):
            for i, o in zip(net, net[1:]):
                for kind, m, k, n, ta, tb in (
                    ("forward", b, i, o, False, False),
                    ("weights", i, b, o, True, False),
                    ("inputs", b, o, i, False, True),
                ):
                    key = f"product_{i}x{o}_b{b}_{kind}"
                    if key not in seen:
                        seen.add(key)
                        yield key, m, k, n, ta, tb


def median_ms(call, seconds):
    for _ in range(3):
        call()
    times, start = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--only", default="")
    ap.add_argument("--seconds", type=float, default=1.0)
    a = ap.parse_args()
    out = {"ms": {}, "check": {}}
    for key, m, k, n, ta, tb in products():
        if a.only not in key:
            continue
        x = array(0, (k, m)).T if ta else array(0, (m, k))
        y = array(1, (n, k)).T if tb else array(1, (k, n))
        c = np.empty((m, n), np.float32)
        out["ms"][key] = median_ms(lambda: np.matmul(x, y, out=c), a.seconds)
        out["check"][key] = float(np.linalg.norm(c.astype(np.float64)))
        print(f"{key:32s} {out['ms'][key]:10.4f} ms", file=sys.stderr)
    print(json.dumps(out))
