"""Computes the golden values of normal_test.go with NumPy: Philox4x32-10 in Python integers, Normal in numpy.float32.

Run: python golden.py   (NumPy 1.20 or later; independent of the Go code)
"""

import hashlib

import numpy as np

F = np.float32
CENTRE = [2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087,
          -0.00125372503, -0.00417768164, 0.246640727, 1.50140941]
TAIL = [-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773,
        -0.0076224613, 0.00943887047, 1.00167406, 2.83297682]
LOG_ODD = [0.140869141, 0.139814854, 0.200120345]
LOG_EVEN = [-0.130310059, -0.121483512, -0.166846126, -0.249996200]


def horner(coefficients, v):
    p = np.full_like(v, coefficients[0])
    for c in coefficients[1:]:
        p = p * v + F(c)  # NumPy rounds the product and the sum
    return p


def normal(b):
    k = 2 * (b >> 9).astype(np.int32) + 1 - 2**23
    x = k.astype(F) * F(2.0**-23)
    t = (F(1) - x) * (F(1) + x)
    u = t.view(np.int32)
    e = (u - np.int32(0x3F2AAAAB)) >> 23
    f = (u - (e << 23)).view(F) - F(1)
    s = f * f
    q = horner(LOG_ODD, s) * f + horner(LOG_EVEN, s)
    q = q * f + F(0.333331972)
    q = q * f - F(0.5)
    w = -(e.astype(F) * F(0.693147182) + (q * s + f))
    p = np.where(w < 5, horner(CENTRE, w - F(2.5)), horner(TAIL, np.sqrt(np.maximum(w, F(0))) - F(3)))
    return p * x * F(1.41421356)


def block(seed, step, stream, index):
    mask = 2**32 - 1
    c = [index & mask, index >> 32, step, stream]
    k = [seed & mask, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & mask, (p0 >> 32) ^ c[3] ^ k[1], p0 & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c


STREAM_TEST = 11
cells = np.arange(2**23, dtype=np.uint32) << 9
z = normal(cells)
assert z.dtype == F
print("digest", hashlib.sha256(z.astype("<f4").tobytes()).hexdigest())

bits = [0x00000000, 0x00000200, 0x00010000, 0x00400000, 0x01000000, 0x02000000, 0x08000000, 0x20000000,
        0x40000000, 0x60000000, 0x7FFFFE00, 0x80000000, 0x80000200, 0x90000000, 0xA5A5A5A5, 0xC0000000,
        0xDEADBEEF, 0xF0000000, 0xFE000000, 0xFF000000, 0xFFE00000, 0xFFFFFFFF]
for b, v in zip(bits, normal(np.array(bits, dtype=np.uint32)).view(np.uint32)):
    print("{%#010x, %#010x}," % (b, v))

words = [block(20240229, 3, STREAM_TEST, i // 4)[i % 4] for i in range(5, 13)]
print([hex(v) for v in normal(np.array(words, dtype=np.uint32)).view(np.uint32)])
