"""Writes numpy.npz and compressed.npz as numpy.savez and numpy.savez_compressed write them, and checks that numpy reads
written.npz, which npz_test.go compares with what WriteNPZ writes. Needs numpy:

    python3 npz.py
"""

import os

import numpy

here = os.path.dirname(os.path.abspath(__file__))
arrays = {
    "0.weight": numpy.array([[1.5, -2, 0.1], [3e38, 1e-40, -0.0]], numpy.float32),
    "0.bias": numpy.array([0.1, 1 / 3], numpy.float64),
    "1.num_batches_tracked": numpy.array(7, numpy.int64),
    "half": numpy.array([0.5, -65504], numpy.float16),
}
numpy.savez(os.path.join(here, "numpy.npz"), **arrays)
numpy.savez_compressed(os.path.join(here, "compressed.npz"), **arrays)

written = numpy.load(os.path.join(here, "written.npz"))
expected = {
    "0.weight": arrays["0.weight"],
    "0.bias": arrays["0.bias"],
    "1.num_batches_tracked": numpy.array(7, numpy.float32),
}
assert sorted(written.files) == sorted(expected), written.files
for name, array in expected.items():
    got = written[name]
    assert got.dtype == array.dtype and got.shape == array.shape, (name, got)
    assert got.tobytes() == array.tobytes(), (name, got)
print("written.npz reads back")
