"""How well wrong labels are found, on sets whose truth is known: makes the sets, runs `bilevel clean` on each without
tuning flags, runs cleanlab beside it, and prints one line of JSON a run.

    pip install numpy scikit-learn cleanlab
    go build -o /tmp/bilevel ./cmd/bilevel
    BILEVEL_DATA=... python3 bench/labels/labels.py --bilevel /tmp/bilevel --folder /tmp/labels digits:sym50:200:1,2 ...

A set is NAME:KIND:TRUSTED:SEEDS with NAME one of digits, mnist, fashion-mnist, breast-cancer, wine, gaussian, and KIND
symNN (NN % of the labels redrawn), asymNN (NN % moved to the class they resemble). --seed-of-run varies the training's
own seed, --args adds flags, --cleanlab adds cross-validated logistic regression with cleanlab's self-confidence.
"""

import argparse
import gzip
import json
import os
import resource
import shlex
import subprocess

import numpy as np

SIMILAR = {
    "mnist": [6, 7, 7, 8, 9, 3, 5, 1, 3, 4],
    "fashion-mnist": [6, 3, 4, 0, 2, 7, 0, 9, 3, 7],
    "digits": [6, 8, 7, 8, 9, 3, 5, 1, 1, 4],
}
# Training images of the first release of Fashion-MNIST that its test part has too.
LEAKED = [3763, 4944, 6168, 12404, 15943, 22403, 34617, 35772, 48228, 52205]


def idx(path, offset):
    with gzip.open(path) as f:
        return np.frombuffer(f.read(), "u1", offset=offset)


def images(name):
    at = os.path.join(os.environ["BILEVEL_DATA"], name)
    x, y, tx, ty = (
        idx(f"{at}/{part}-{what}-ubyte.gz", offset)
        for part in ("train", "t10k")
        for what, offset in (("images-idx3", 16), ("labels-idx1", 8))
    )
    x, tx = x.reshape(-1, 784), tx.reshape(-1, 784)
    if name == "fashion-mnist":
        x, y = np.delete(x, LEAKED, 0), np.delete(y, LEAKED)
    return x, y.astype("i4"), tx, ty.astype("i4")


def pictures(name, kind, trusted, seed):
    """The arrays of a set made of images, and the true labels of its training rows."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        x, y, tx, ty, n = x.astype("f4"), y.astype("i4"), None, None, 1200
    else:
        x, y, tx, ty = images(name)
        n = 20000
    rng = np.random.default_rng(1000 * seed + 7)
    perm = rng.permutation(len(y))
    rows, val = perm[:n], perm[n : n + trusted]
    labels = y[rows].copy()
    rate = int(kind.lstrip("asym")) / 100
    hit = rng.random(n) < rate
    if kind.startswith("sym"):
        labels[hit] = rng.integers(0, 10, hit.sum())
    else:
        labels[hit] = np.array(SIMILAR[name], "i4")[labels[hit]]
    if tx is None:
        tx, ty = x[perm[n + trusted :]], y[perm[n + trusted :]]
    arrays = dict(train_x=x[rows], train_y=labels, test_x=tx, test_y=ty)
    if trusted:
        arrays |= dict(val_x=x[val], val_y=y[val])
    return arrays, y[rows]


def tabular(name, trusted, seed):
    """Breast cancer and wine, with a tenth of the labels moved to another class."""
    import sklearn.datasets

    load = {"breast-cancer": "load_breast_cancer", "wine": "load_wine"}[name]
    x, y = getattr(sklearn.datasets, load)(return_X_y=True)
    perm = np.random.default_rng(0).permutation(len(y))
    x, y = x[perm], y[perm].astype("i4")
    n = len(y) - trusted if not trusted else {"breast-cancer": 400, "wine": 120}[name]
    rng = np.random.default_rng(seed)
    hit = rng.random(n) < 0.1
    labels = y[:n].copy()
    classes = y.max() + 1
    labels[hit] = (labels[hit] + rng.integers(1, classes, hit.sum())) % classes
    arrays = dict(train_x=x[:n], train_y=labels)
    if trusted:
        arrays |= dict(val_x=x[n : n + trusted], val_y=y[n : n + trusted])
    return arrays, y[:n]


def gaussian(seed):
    """900 rows of 20 features in three classes, 101 labels wrong."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 900).astype("i4")
    x = rng.normal(size=(900, 20)) + 1.2 * rng.normal(size=(3, 20))[y]
    labels = y.copy()
    wrong = rng.permutation(900)[:101]
    labels[wrong] = (labels[wrong] + rng.integers(1, 3, 101)) % 3
    return dict(train_x=x, train_y=labels), y


def make(name, kind, trusted, seed):
    if name == "gaussian":
        return gaussian(seed)
    if name in ("breast-cancer", "wine"):
        return tabular(name, trusted, seed)
    return pictures(name, kind, trusted, seed)


def quality(score, wrong):
    """AUC and the share of wrong rows among the first k, k their number, of a score that is high for suspects."""
    from sklearn.metrics import roc_auc_score

    k = int(wrong.sum())
    return dict(auc=round(float(roc_auc_score(wrong, score)), 4),
                p_at_k=round(float(wrong[np.argsort(-score, kind="stable")[:k]].mean()), 4))


def clean(binary, folder, arrays, truth, seed, args):
    os.makedirs(folder, exist_ok=True)
    for stale in os.listdir(folder):
        if stale.endswith(".npy"):
            os.remove(os.path.join(folder, stale))
    for key, values in arrays.items():
        np.save(os.path.join(folder, key + ".npy"), values)
    out = os.path.join(folder, "out")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [binary, "clean", "--data", folder, "--out", out, "--quiet", "--json", "--seed", str(seed), *args]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads(run.stdout.splitlines()[-1])
    listed = np.genfromtxt(os.path.join(out, "suspects.csv"), delimiter=",", names=True)
    row = listed["row"].astype(int)
    assert len(row) == len(truth) and len(set(row)) == len(row), "every row is listed once"
    wrong = arrays["train_y"] != truth
    rank, flagged = np.empty(len(row)), np.empty(len(row))
    rank[row], flagged[row] = np.arange(len(row), 0, -1), listed["flagged"]
    found = quality(rank, wrong)
    found["precision"] = round(float(wrong[flagged == 1].mean()), 3) if flagged.any() else None
    found["recall"] = round(float(flagged[wrong].mean()), 3)
    if "test_error" in result:
        found["accuracy"] = round(100 - 100 * result["test_error"], 2)
    controls = result.get("controls", {})
    found["controls"] = {k: round(100 - 100 * c["test_error"], 2) for k, c in controls.items() if "test_error" in c}
    found |= {k: result.get(k) for k in ("model", "method", "headline")}
    found["expected_precision"] = result.get("expected_precision")
    found["cpu_s"] = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)
    return found


def cleanlab(arrays, truth):
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100))
    p = cross_val_predict(model, arrays["train_x"].astype("f4"), arrays["train_y"], cv=5, method="predict_proba")
    return quality(-get_label_quality_scores(arrays["train_y"], p, method="self_confidence"),
                   arrays["train_y"] != truth)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME:KIND:TRUSTED:SEEDS")
    parser.add_argument("--bilevel", required=True, help="the built command")
    parser.add_argument("--folder", required=True, help="where the sets are written")
    parser.add_argument("--seed-of-run", type=int, default=1)
    parser.add_argument("--args", default="", help="more flags of bilevel clean")
    parser.add_argument("--cleanlab", action="store_true")
    o = parser.parse_args()
    for spec in o.sets:
        name, kind, trusted, seeds = spec.split(":")
        for seed in map(int, seeds.split(",")):
            arrays, truth = make(name, kind, int(trusted), seed)
            line = dict(set=f"{name}:{kind}:{trusted}:{seed}", seed=o.seed_of_run, args=o.args)
            folder = os.path.join(o.folder, f"{name}-{kind}-{trusted}-{seed}")
            line |= clean(o.bilevel, folder, arrays, truth, o.seed_of_run, shlex.split(o.args))
            if o.cleanlab:
                line["cleanlab"] = cleanlab(arrays, truth)
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
