#!/usr/bin/env python3
"""One iteration of each core algorithm of bi-level optimization in JAX, on data hyper-cleaning as hotloops.py has it.

Prints one JSON object: {"ms": {key: milliseconds of an iteration}, "check": {key: number}, "loss": {key: number}}.
float32, all cores.

    .peers/bin/python algorithms.py [--only SUBSTRING] [--seconds 1.0]

w [784, 10] are the lower, lam [20000] the upper variables; minibatches of 64 rows of each level:

    G_i(w) = mean of sigmoid(lam) CE + 0.2 |w|^2,  F_j(w) = mean of CE;  H = grad_ww G_i, C = grad_lam,w G_i

A call does 256 iterations in one jitted lax.scan, from w = v = z = 0 and lam = -2; the time is divided by 256. The t-th
training batch that a call draws starts at row 64 * (splitmix64(t + 5 * 2**32) mod 312), the t-th validation batch at
64 * (splitmix64(t + 6 * 2**32) mod 78), t from 0, in the order written below. Where a series has a length drawn at
random, that of iteration k is splitmix64(k + 7 * 2**32) mod 10. "loss" is F on all 5,000 validation rows in the end,
"check" is |w| + |second| + |lam + 2| (2-norms), where second is the variable in brackets.

"New" is a batch drawn for the place; g is grad_w G_i(w), f is grad F_j(w). All lines of a block read old values unless
they say otherwise; lam -= s (...) means the rows of the batch.

  ttsa [v]      w -= 0.1 / (k+1)^0.4 g, new i;  u = f, new j;  n times u -= 0.01 H u, new i;  v = 10 * 0.01 u;
                lam += 10 / (k+1)^0.6 C v, new i
  stocbio       as hotloops.py has it [v = 0.01 acc]
  alset [v]     5 times w -= 0.01 g, new i;  u, v as in ttsa;  lam += 10 C v, new i
  amigo [v]     10 times w -= 0.01 g, new i;  f, new j;  10 times v -= 0.01 (H v - f), new i;  lam += 10 C v, new i
  soba [v]      new i and j:  w -= 0.1 g;  v -= 0.1 (H v - f);  lam += 10 C v
  masoba [v]    new i and j: w, v as in soba;  d = (1 - a) d - a C v, a = 1 for k = 0, else 0.1;  lam -= 10 d
  saba [v]      soba with steps 0.01 and 10, and tables of the last g, H v, C v of each of the 312 training and f of
                each of the 78 validation batches, from 0: each is replaced by itself - entry + mean of the table
  srba [v]      every 128 iterations d = the directions (g, H v - f, -C v) over all rows;  (w, v, lam) -=
                (0.1, 0.1, 10) d;  d += directions at the new - at the old place, new i and j
  sustain [v]   keep = 1 - 0.5 / (k+1)^(2/3), 0 for k = 0; with w', lam' the place before: h = g + keep (h - g'), new i;
                u = f, u' = f', new j;  n times u -= 0.01 H u, u' -= 0.01 H' u', new i;  v, v' = 10 * 0.01 (u, u');
                d = keep d - C v + keep C' v', new i;  lam -= 10 / (k+1)^(1/3) d;  w -= 0.1 / (k+1)^(1/3) h
  vrbo [h]      E(w, lam) is g, and -C v with v = 0.01 (f + ... ) of 6 terms, as in stocbio; every 128 iterations
                (h, d) = E over all rows;  lam -= 10 d, (h, d) += E at the new - E at the old place, new i and j;
                3 times w -= 0.01 h, (h, d) += E at the new - E at the old place, new i and j
  f2sa [z]      10 times, new i and j:  z -= 0.01 g(z);  w -= 0.001 (f + 10 g(w));  then new i and j (which F does not
                need): lam -= 1 * 10 (grad_lam G_i(w) - grad_lam G_i(z))
  f2sa_adam [z] f2sa with steps of Adam (0.9, 0.99, 1e-8): 0.001 for w and z, whose moments begin at 0 in each
                iteration, 0.01 for lam, whose moments go on
  aid [v]       10 times w -= 0.01 g, new i;  new i and j: 10 steps of conjugate gradients on H v = f from the last v;
                lam += 10 C v
  itd           new j; 10 times w -= 0.01 g, new i;  lam -= 1000 dF_j/dlam through the ten steps
  bome [z]      z = w; 10 times z -= 0.01 g(z), new i;  new i and j: q = (grad_lam G_i(w) - grad_lam G_i(z), g(w)),
                mu = max(0.5 |q|^2 - <f, q_w>, 0) / (|q|^2 + 1e-8);  w -= 0.01 (f + mu q_w);  lam -= 10 mu q_lam;  z = w
  vpbgd [z]     10 times z -= 0.01 g(z), new i;  new i and j: lam -= 10 * 10 / (10 + 1e-8) (grad_lam G_i(w) -
                grad_lam G_i(z));  w -= 0.01 / (10 + 1e-8) (f + 10 g(w))
"""
import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

from hotloops import array, cross_entropy, labels, norm, splitmix64

N, M, D, K, B, REG = 20000, 5000, 784, 10, 64, 0.2
LOOPS, PERIOD, TERMS = 256, 128, 10
NB, MB = N // B, M // B  # batches of the levels
LOWER, UPPER, LENGTH = 5, 6, 7  # streams of numbers

zero = lambda: jnp.zeros((D, K), jnp.float32)
zeros = lambda: jnp.zeros(N, jnp.float32)
begin = lambda: jnp.full(N, -2.0, jnp.float32)


def drawn(stream, count, below):
    numbers = splitmix64(np.arange(count, dtype=np.uint64) + np.uint64(stream << 32)) % np.uint64(below)
    return numbers.astype(np.int32)


def batches(lower, upper):
    """The batches of all iterations, so many of each level in one."""
    return (drawn(LOWER, LOOPS * lower, NB).reshape(LOOPS, lower),
            drawn(UPPER, LOOPS * upper, MB).reshape(LOOPS, upper))


def lower_loss(w, l, x, y):
    return jnp.mean(jax.nn.sigmoid(l) * cross_entropy(x @ w, y)) + REG * jnp.sum(w * w)


def upper_loss(w, x, y):
    return cross_entropy(x @ w, y).mean()


rows = lambda a, i: jax.lax.dynamic_slice_in_dim(a, B * i, B)
put = lambda a, i, values: jax.lax.dynamic_update_slice_in_dim(a, values, B * i, 0)
grad_w = jax.grad(lower_loss)
grads = jax.grad(lower_loss, (0, 1))
grad_f = jax.grad(upper_loss)


def linear(w, l, x, y):
    """The lower gradient, and the function v -> (H v, C v)."""
    return jax.vjp(lambda w, l: grad_w(w, l, x, y), w, l)


def pair(f):
    """f at two points on the same batch: XLA makes one product of their two."""
    def both(one, two, *shared):
        out = jax.vmap(lambda at: f(*at, *shared))(jax.tree.map(lambda *a: jnp.stack(a), one, two))
        return jax.tree.map(lambda a: a[0], out), jax.tree.map(lambda a: a[1], out)
    return both


def series(w, l, x, y, b, terms, step):
    """step times the sum of (I - step H)^q b for q = 0 .. terms, the gradient, and v -> (H v, C v)."""
    g, pull = linear(w, l, x, y)

    def body(_, c):
        p, acc = c
        p = p - step * pull(p)[0]
        return p, acc + p

    _, acc = jax.lax.fori_loop(0, terms, body, (b, b))
    return step * acc, g, pull


class Cleaning:
    def __init__(self):
        self.train, self.val = (array(2, N, D), labels(N)), (array(3, M, D), labels(M))

    def low(self, lam, i):
        return rows(lam, i), rows(self.train[0], i), rows(self.train[1], i)

    def up(self, j):
        return rows(self.val[0], j), rows(self.val[1], j)

    def descend(self, w, lam, i, step):
        return w - step * grad_w(w, *self.low(lam, i))

    def descends(self, w, lam, ii, step):
        return jax.lax.scan(lambda w, i: (self.descend(w, lam, i, step), None), w, ii)[0]

    def cross(self, w, lam, i, v):
        return linear(w, *self.low(lam, i))[1](v)[1]

    # Each algorithm is a function of nothing that returns w, the second variable and lam after all iterations.

    def random_series(self, inner, exponents, step):
        """ttsa and alset: inner steps on w, the series of random length, the step of lam."""
        lengths = drawn(LENGTH, LOOPS, TERMS)
        first = np.concatenate([[0], np.cumsum(inner + lengths + 1)[:-1]]).astype(np.int32)
        lower = jnp.asarray(drawn(LOWER, int(first[-1]) + inner + TERMS + 1, NB))
        upper = drawn(UPPER, LOOPS, MB)
        k = np.arange(1, LOOPS + 1)
        s, t = (step * k ** -exponents[0]).astype(np.float32), (10 * k ** -exponents[1]).astype(np.float32)

        def one(c, at):
            w, lam, _ = c
            n, o, j, s, t = at
            if inner == 1:
                w = self.descend(w, lam, lower[o], s)
            else:
                w = self.descends(w, lam, jax.lax.dynamic_slice_in_dim(lower, o, inner), s)

            def factor(q, u):
                return u - 0.01 * linear(w, *self.low(lam, lower[o + inner + q]))[1](u)[0]

            v = TERMS * 0.01 * jax.lax.fori_loop(0, n, factor, grad_f(w, *self.up(j)))
            i = lower[o + inner + n]
            return (w, put(lam, i, rows(lam, i) + t * self.cross(w, lam, i, v)), v), None

        w, lam, v = jax.lax.scan(one, (zero(), begin(), zero()), (lengths, first, upper, s, t))[0]
        return w, v, lam

    def ttsa(self):
        return self.random_series(1, (0.4, 0.6), 0.1)

    def alset(self):
        return self.random_series(5, (0.0, 0.0), 0.01)

    def stocbio(self):
        def one(c, ij):
            w, _, lam = c
            w = self.descends(w, lam, ij[0][:10], 0.01)
            i = ij[0][10]
            l, x, y = self.low(lam, i)
            v, _, pull = series(w, l, x, y, grad_f(w, *self.up(ij[1][0])), 10, 0.01)
            return (w, v, put(lam, i, l + 10 * pull(v)[1])), None

        return jax.lax.scan(one, (zero(), zero(), begin()), batches(11, 1))[0]

    def amigo(self):
        def one(c, ij):
            w, v, lam = c
            w = self.descends(w, lam, ij[0][:10], 0.01)
            f = grad_f(w, *self.up(ij[1][0]))
            body = lambda v, i: (v - 0.01 * (linear(w, *self.low(lam, i))[1](v)[0] - f), None)
            v, _ = jax.lax.scan(body, v, ij[0][10:20])
            i = ij[0][20]
            return (w, v, put(lam, i, rows(lam, i) + 10 * self.cross(w, lam, i, v))), None

        return jax.lax.scan(one, (zero(), zero(), begin()), batches(21, 1))[0]

    def directions(self, w, v, l, x, y, held):
        g, pull = linear(w, l, x, y)
        hv, cv = pull(v)
        return g, hv - grad_f(w, *held), cv

    def soba(self):
        def one(c, ij):
            w, v, lam = c
            i = ij[0][0]
            l, x, y = self.low(lam, i)
            dw, dv, cv = self.directions(w, v, l, x, y, self.up(ij[1][0]))
            return (w - 0.1 * dw, v - 0.1 * dv, put(lam, i, l + 10 * cv)), None

        return jax.lax.scan(one, (zero(), zero(), begin()), batches(1, 1))[0]

    def masoba(self):
        average = np.where(np.arange(LOOPS) == 0, 1, 0.1).astype(np.float32)

        def one(c, at):
            w, v, lam, d = c
            ij, a = at
            i = ij[0][0]
            l, x, y = self.low(lam, i)
            dw, dv, cv = self.directions(w, v, l, x, y, self.up(ij[1][0]))
            d = (1 - a) * d
            d = put(d, i, rows(d, i) - a * cv)
            return (w - 0.1 * dw, v - 0.1 * dv, lam - 10 * d, d), None

        return jax.lax.scan(one, (zero(), zero(), begin(), zeros()), (batches(1, 1), average))[0][:3]

    def saba(self):
        def one(c, at):
            w, v, lam, tg, th, tf, tc, mw, mv = c
            ij, once = at
            i, j = ij[0][0], ij[1][0]

            # XLA copies a whole table in each iteration unless the old entry is read in a loop of its own, which it
            # cannot fuse with what follows, and the new one depends on it.
            def swap(table, i, fresh):
                body = lambda _: (False, jax.lax.dynamic_index_in_dim(table, i, 0, False))
                _, old = jax.lax.while_loop(lambda c: c[0], body, (once, zero()))
                change = fresh - old
                return change, jax.lax.dynamic_update_index_in_dim(table, old + change, i, 0)

            l, x, y = self.low(lam, i)
            g, pull = linear(w, l, x, y)
            hv, cv = pull(v)
            f = grad_f(w, *self.up(j))
            dg, tg = swap(tg, i, g)
            dh, th = swap(th, i, hv)
            df, tf = swap(tf, j, f)
            w, mw = w - 0.01 * (dg + mw), mw + dg / NB
            v, mv = v - 0.01 * (dh - df + mv), mv + dh / NB - df / MB
            lam = lam + 10 / NB * tc
            lam = put(lam, i, rows(lam, i) + 10 * (cv - rows(tc, i)))
            return (w, v, lam, tg, th, tf, put(tc, i, cv), mw, mv), None

        tables = [jnp.zeros((n, D, K), jnp.float32) for n in (NB, NB, MB)]
        start = (zero(), zero(), begin(), *tables, zeros(), zero(), zero())
        return jax.lax.scan(one, start, (batches(1, 1), np.ones(LOOPS, bool)))[0][:3]

    def periods(self, full, one, start, at):
        """A full pass and then PERIOD iterations, again and again."""
        at = jax.tree.map(lambda a: a.reshape(LOOPS // PERIOD, PERIOD, *a.shape[1:]), at)
        return jax.lax.scan(lambda c, at: (jax.lax.scan(one, full(c), at)[0], None), start, at)[0]

    def srba(self):
        def full(c):
            w, v, lam = c[:3]
            dw, dv, cv = self.directions(w, v, lam, *self.train, self.val)
            return w, v, lam, dw, dv, -cv

        def one(c, ij):
            w, v, lam, dw, dv, dl = c
            i = ij[0][0]
            l, x, y = self.low(lam, i)
            before = w, v, l
            w, v, lam = w - 0.1 * dw, v - 0.1 * dv, lam - 10 * dl
            old, new = pair(self.directions)(before, (w, v, rows(lam, i)), x, y, self.up(ij[1][0]))
            dl = put(dl, i, rows(dl, i) - (new[2] - old[2]))
            return (w, v, lam, dw + (new[0] - old[0]), dv + (new[1] - old[1]), dl), None

        start = (zero(), zero(), begin(), zero(), zero(), zeros())
        return self.periods(full, one, start, batches(1, 1))[:3]

    def sustain(self):
        lengths = drawn(LENGTH, LOOPS, TERMS)
        first = np.concatenate([[0], np.cumsum(lengths + 2)[:-1]]).astype(np.int32)
        lower = jnp.asarray(drawn(LOWER, int(first[-1]) + TERMS + 2, NB))
        upper = drawn(UPPER, LOOPS, MB)
        k = np.arange(1, LOOPS + 1)
        keep = np.where(k == 1, 0, 1 - 0.5 * k ** (-2 / 3)).astype(np.float32)
        step = (k ** (-1 / 3)).astype(np.float32)

        def one(c, at):
            w, lam, h, d, w0, lam0, _ = c
            n, o, j, keep, step = at

            def at_both(f, i, u, u0):
                l, x, y = self.low(lam, i)
                return pair(f)((w, l, u), (w0, rows(lam0, i), u0), x, y)

            g, g0 = at_both(lambda w, l, _, x, y: grad_w(w, l, x, y), lower[o], w, w0)
            h = g + keep * (h - g0)
            times = lambda w, l, u, x, y: u - 0.01 * linear(w, l, x, y)[1](u)[0]
            cross = lambda w, l, v, x, y: linear(w, l, x, y)[1](v)[1]
            u = pair(lambda w, held: grad_f(w, *held))((w,), (w0,), self.up(j))
            u, u0 = jax.lax.fori_loop(0, n, lambda q, u: at_both(times, lower[o + 1 + q], *u), u)
            v, v0 = TERMS * 0.01 * u, TERMS * 0.01 * u0
            i = lower[o + 1 + n]
            cv, cv0 = at_both(cross, i, v, v0)
            d = keep * d
            d = put(d, i, rows(d, i) - cv + keep * cv0)
            return (w - 0.1 * step * h, lam - 10 * step * d, h, d, w, lam, v), None

        start = (zero(), begin(), zero(), zeros(), zero(), begin(), zero())
        c = jax.lax.scan(one, start, (lengths, first, upper, keep, step))[0]
        return c[0], c[6], c[1]

    def vrbo(self):
        def estimate(w, l, x, y, held):
            v, g, pull = series(w, l, x, y, grad_f(w, *held), 5, 0.01)
            return g, pull(v)[1]

        def full(c):
            w, _, lam, _ = c
            g, cv = estimate(w, lam, *self.train, self.val)
            return w, g, lam, -cv

        def follow(h, d, i, old, new):
            return h + (new[0] - old[0]), put(d, i, rows(d, i) - (new[1] - old[1]))

        def one(c, ij):
            w, h, lam, d = c
            i, held = ij[0][0], self.up(ij[1][0])
            l, x, y = self.low(lam, i)
            lam = lam - 10 * d
            h, d = follow(h, d, i, *pair(estimate)((w, l), (w, rows(lam, i)), x, y, held))

            def move(c, ij):
                w, h, d = c
                i, j = ij
                l, x, y = self.low(lam, i)
                next = w - 0.01 * h
                h, d = follow(h, d, i, *pair(estimate)((w, l), (next, l), x, y, self.up(j)))
                return (next, h, d), None

            (w, h, d), _ = jax.lax.scan(move, (w, h, d), (ij[0][1:], ij[1][1:]))
            return (w, h, lam, d), None

        return self.periods(full, one, (zero(), zero(), begin(), zeros()), batches(4, 4))[:3]

    def f2sa(self):
        def one(c, ij):
            w, z, lam = c

            def body(c, ij):
                w, z = c
                low = self.low(lam, ij[0])
                f = grad_f(w, *self.up(ij[1]))
                gw, gz = pair(grad_w)((w,), (z,), *low)
                return (w - 0.001 * (f + 10 * gw), z - 0.01 * gz), None

            (w, z), _ = jax.lax.scan(body, (w, z), (ij[0][:10], ij[1][:10]))
            i = ij[0][10]
            l, x, y = self.low(lam, i)
            return (w, z, put(lam, i, l - 10 * self.gap(w, z, l, x, y))), None

        return jax.lax.scan(one, (zero(), zero(), begin()), batches(11, 11))[0]

    def gap(self, w, z, l, x, y):
        return jax.grad(lambda l: lower_loss(w, l, x, y) - lower_loss(z, l, x, y))(l)

    def f2sa_adam(self):
        b1, b2 = 0.9, 0.99

        def adam(g, m, s, c1, c2):
            m, s = b1 * m + (1 - b1) * g, b2 * s + (1 - b2) * g * g
            return (m / c1) / (jnp.sqrt(s / c2) + 1e-8), m, s

        steps = lambda n: ((1 - b1 ** np.arange(1, n + 1)).astype(np.float32),
                           (1 - b2 ** np.arange(1, n + 1)).astype(np.float32))

        def one(c, at):
            w, z, lam, mx, sx = c
            ij, (c1, c2) = at

            def body(c, at):
                w, z, mw, sw, mz, sz = c
                i, j, (c1, c2) = at
                low = self.low(lam, i)
                gw, gz = pair(grad_w)((w,), (z,), *low)
                dw, mw, sw = adam(grad_f(w, *self.up(j)) + 10 * gw, mw, sw, c1, c2)
                dz, mz, sz = adam(gz, mz, sz, c1, c2)
                return (w - 0.001 * dw, z - 0.001 * dz, mw, sw, mz, sz), None

            at = (ij[0][:10], ij[1][:10], steps(10))
            (w, z, *_), _ = jax.lax.scan(body, (w, z, zero(), zero(), zero(), zero()), at)
            i = ij[0][10]
            g = put(zeros(), i, 10 * self.gap(w, z, *self.low(lam, i)))
            dx, mx, sx = adam(g, mx, sx, c1, c2)
            return (w, z, lam - 0.01 * dx, mx, sx), None

        start = (zero(), zero(), begin(), zeros(), zeros())
        return jax.lax.scan(one, start, (batches(11, 11), steps(LOOPS)))[0][:3]

    def aid(self):
        def one(c, ij):
            w, v, lam = c
            w = self.descends(w, lam, ij[0][:10], 0.01)
            i = ij[0][10]
            l, x, y = self.low(lam, i)
            _, pull = linear(w, l, x, y)
            r = grad_f(w, *self.up(ij[1][0])) - pull(v)[0]

            def step(_, c):
                v, r, d, rho = c
                s = pull(d)[0]
                alpha = rho / jnp.vdot(d, s)
                r = r - alpha * s
                new = jnp.vdot(r, r)
                return v + alpha * d, r, r + new / rho * d, new

            v = jax.lax.fori_loop(0, 10, step, (v, r, r, jnp.vdot(r, r)))[0]
            return (w, v, put(lam, i, l + 10 * pull(v)[1])), None

        return jax.lax.scan(one, (zero(), zero(), begin()), batches(11, 1))[0]

    def itd(self):
        def one(c, ij):
            w, lam = c
            ii, held = ij[0], self.up(ij[1][0])

            def through(ls):
                step = lambda w, at: (w - 0.01 * grad_w(w, at[0], rows(self.train[0], at[1]),
                                                        rows(self.train[1], at[1])), None)
                end = jax.lax.scan(step, w, (ls, ii))[0]
                return upper_loss(end, *held), end

            ls = jax.vmap(lambda i: rows(lam, i))(ii)
            dl, w = jax.grad(through, has_aux=True)(ls)
            add = lambda lam, at: (put(lam, at[1], rows(lam, at[1]) - 1000 * at[0]), None)
            return (w, jax.lax.scan(add, lam, (dl, ii))[0]), None

        w, lam = jax.lax.scan(one, (zero(), begin()), batches(10, 1))[0]
        return w, zero(), lam

    def bome(self):
        def one(c, ij):
            w, _, lam = c
            z = self.descends(w, lam, ij[0][:10], 0.01)
            i = ij[0][10]
            l, x, y = self.low(lam, i)
            f = grad_f(w, *self.up(ij[1][0]))
            qw, ql = grads(w, l, x, y)
            ql = ql - jax.grad(lower_loss, 1)(z, l, x, y)
            square = jnp.vdot(qw, qw) + jnp.vdot(ql, ql)
            mu = jnp.maximum(0.5 * square - jnp.vdot(f, qw), 0) / (square + 1e-8)
            w = w - 0.01 * (f + mu * qw)
            return (w, w, put(lam, i, l - 10 * mu * ql)), None

        return jax.lax.scan(one, (zero(), zero(), begin()), batches(11, 1))[0]

    def vpbgd(self):
        s = 1 / (10 + 1e-8)

        def one(c, ij):
            w, z, lam = c
            z = self.descends(z, lam, ij[0][:10], 0.01)
            i = ij[0][10]
            l, x, y = self.low(lam, i)
            f = grad_f(w, *self.up(ij[1][0]))
            gw, gl = grads(w, l, x, y)
            gl = gl - jax.grad(lower_loss, 1)(z, l, x, y)
            return (w - 0.01 * s * (f + 10 * gw), z, put(lam, i, l - 10 * s * 10 * gl)), None

        return jax.lax.scan(one, (zero(), zero(), begin()), batches(11, 1))[0]


NAMES = ("ttsa", "stocbio", "alset", "amigo", "soba", "masoba", "saba", "srba", "sustain", "vrbo", "f2sa", "f2sa_adam",
         "aid", "itd", "bome", "vpbgd")


def median_ms(call, seconds):
    for _ in range(3):
        result = jax.block_until_ready(call())
    times, start = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - start < seconds:
        t = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - t)
    return 1e3 * sorted(times)[len(times) // 2], result


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--only", default="")
    ap.add_argument("--seconds", type=float, default=1.0)
    args = ap.parse_args()
    problem = Cleaning()
    loss = jax.jit(upper_loss)
    out = {"ms": {}, "check": {}, "loss": {}}
    for name in NAMES:
        key = f"algorithm_{name}_b64"
        if args.only not in key:
            continue
        ms, (w, second, lam) = median_ms(jax.jit(getattr(problem, name)), args.seconds)
        out["ms"][key] = round(ms / LOOPS, 5)
        out["check"][key] = norm(w) + norm(second) + norm(np.asarray(lam) + 2.0)
        out["loss"][key] = float(loss(w, *problem.val))
    print(json.dumps(out))
