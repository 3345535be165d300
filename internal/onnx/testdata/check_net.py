"""Checks net.onnx by the rules of ONNX and runs it in onnxruntime beside NumPy: pip install onnx onnxruntime."""
import pathlib

import numpy as np
import onnx
import onnxruntime

path = str(pathlib.Path(__file__).parent / "net.onnx")
model = onnx.load(path)
onnx.checker.check_model(model, full_check=True)
w = {a.name: onnx.numpy_helper.to_array(a) for a in model.graph.initializer}
x = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
h = (x - w["mean"]) / w["deviation"] @ w["0.weight"].T
h = (h - w["1.running_mean"]) / np.sqrt(w["1.running_var"] + 1e-5) * w["1.weight"] + w["1.bias"]
want = np.maximum(h, 0) @ w["3.weight"].T + w["3.bias"]
got = onnxruntime.InferenceSession(path).run(None, {"features": x})[0]
assert np.abs(got - want).max() < 1e-4 * np.abs(want).max(), (got, want)
print("equal to within", np.abs(got - want).max())
