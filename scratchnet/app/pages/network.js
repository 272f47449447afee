/* The mathematics of the page: one image forward through the network, and its gradients back.

   The equations are those of engines/reference.py, in the same order, for a batch of one (B = 1), so
   a batch's axis and its 1/B fall away. Shapes: I inputs and O outputs of a layer, K classes, P
   parameters. Numbers are kept in float32, as in Python, and summed in double. A kernel W (I, O)
   lies row by row in one vector theta (P,), and W[i * O + o] is W_io. The gradient of the loss by w
   is called dw. Nothing here knows the page: read draw.js for that. */
"use strict";

// --- the dense layer -------------------------------------------------------------------------

/** z_o = sum_i x_i W_io + b_o.   x (I,), W (I, O), b (O,) or null -> z (O,) */
function dense(x, W, b) {
  const O = W.length / x.length;
  const z = new Float64Array(O);
  if (b) z.set(b);
  for (let i = 0; i < x.length; i++) {
    if (x[i] === 0) continue; // most pixels are
    for (let o = 0; o < O; o++) z[o] += x[i] * W[i * O + o];
  }
  return Float32Array.from(z);
}

/** z_o = sum_i x_i W_io + b_o, so
 *    dW_io = x_i dz_o            an outer product: a column is the input, times one number
 *    db_o  = dz_o
 *    dx_i  = sum_o dz_o W_io     every output that the input fed has a say
 *  dW and db are written in place, unless there are none; dx (I,) is returned. */
function denseBackward(dz, x, W, dW, db) {
  const O = dz.length;
  const dx = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) {
    let sum = 0;
    for (let o = 0; o < O; o++) {
      if (dW) dW[i * O + o] = x[i] * dz[o];
      sum += dz[o] * W[i * O + o];
    }
    dx[i] = sum;
  }
  if (db) db.set(dz);
  return dx;
}

// --- activations: a = f(z), then dz = da f'(z) -----------------------------------------------

/** a is z times a slope, one up to 0, another above: `linear` has 1 and 1, `relu` 0 and 1. */
const straight = ([below, above]) => ({
  forward: (z) => z.map((v) => (v > 0 ? v * above : below && v * below)), // no -0 where it is 0
  backward: (da, z) => da.map((g, o) => (z[o] > 0 ? g * above : below && g * below)),
});

const ACTIVATIONS = {
  sigmoid: {
    // e = exp(-|z|) can't overflow. In float32 1 + e is 1 from z = 16.64 on: sigmoids tie at 1.
    forward: (z) =>
      z.map((v) => {
        const e = Math.exp(-Math.abs(v));
        return (v >= 0 ? 1 : e) / Math.fround(1 + e);
      }),
    backward: (da, z, a) => da.map((g, o) => g * a[o] * (1 - a[o])),
  },
  tanh: {
    forward: (z) => z.map(Math.tanh),
    backward: (da, z, a) => da.map((g, o) => g * (1 - a[o] * a[o])),
  },
  softmax: {
    forward: (z) => {
      const top = Math.max(...z); // taken off first, so that exp <= 1
      const e = Array.from(z, (v) => Math.exp(v - top));
      const sum = e.reduce((s, v) => s + v, 0);
      return Float32Array.from(e, (v) => v / sum);
    },
    // da_k/dz_j = a_k ([k = j] - a_j)
    backward: (da, z, a) => {
      const mean = da.reduce((s, g, k) => s + g * a[k], 0);
      return da.map((g, k) => a[k] * (g - mean));
    },
  },
};

/** The activation of a layer as `drawing_page.py` wrote it: straight ones come with their slopes. */
const activationOf = ({ activation, slopes }) => (slopes ? straight(slopes) : ACTIVATIONS[activation]);

// --- layers: what each computes, and what it passes back ---------------------------------------

const LAYERS = {
  // Images lie flat here from the start, so there is nothing to do.
  Flatten: {
    forward: (x) => x,
    backward: (dz) => dz,
  },
  // z = x scale + offset, so dx = dz scale
  Rescaling: {
    forward: (x, { scale, offset }) => x.map((v) => v * Math.fround(scale) + Math.fround(offset)),
    backward: (dz, x, { scale }) => dz.map((g) => g * Math.fround(scale)),
  },
  // z = x W + b
  Dense: {
    forward: (x, layer, { kernel, bias }) => dense(x, kernel, bias),
    backward: (dz, x, layer, { kernel }, grads) =>
      denseBackward(dz, x, kernel, grads?.kernel, grads?.bias),
  },
};

// --- the loss: cross-entropy of softmax(f), where f is what the loss reads ---------------------

/** loss = -log p_y with p = softmax(f), for the label y.   f (K,) -> a number */
function softmaxCrossEntropy(f, y) {
  const top = Math.max(...f);
  return Math.log(f.reduce((sum, v) => sum + Math.exp(v - top), 0)) - (f[y] - top);
}

/** loss = -log softmax(f)_y, so df = p - t with t 1 for the label, else 0: the exponentials cancel,
 *  which is why no sigmoid' appears where the loss reads the logits. */
function softmaxCrossEntropyBackward(f, y) {
  return ACTIVATIONS.softmax.forward(f).map((p, k) => p - (k === y ? 1 : 0));
}

// --- optimizers: one step on the vector of all parameters, in place ----------------------------

const OPTIMIZERS = {
  /** theta -= lr g; with momentum mu: u = mu u - lr g, then theta += u, or mu u - lr g (Nesterov) */
  SGD(theta, g, slots, { learning_rate, momentum, nesterov }) {
    const mu = Math.fround(momentum);
    const u = slots.momentum;
    for (let i = 0; i < theta.length; i++) {
      const step = learning_rate * g[i];
      if (u) u[i] = mu * u[i] - step;
      theta[i] += !u ? -step : nesterov ? mu * u[i] - step : u[i];
    }
  },
  /** m += (1 - beta_1)(g - m);  v += (1 - beta_2)(g^2 - v);  theta -= alpha_t m / (sqrt(v) + eps)
   *  with alpha_t = lr sqrt(1 - beta_2^t) / (1 - beta_1^t). Keras's powers start from float32. */
  Adam(theta, g, slots, { learning_rate, beta_1, beta_2, epsilon, amsgrad }, t) {
    const { momentum: m, velocity: v, velocity_hat: vHat } = slots;
    const left = (beta) => 1 - Math.fround(Math.fround(beta) ** t);
    const alpha = (learning_rate * Math.sqrt(left(beta_2))) / left(beta_1);
    for (let i = 0; i < theta.length; i++) {
      m[i] += (1 - beta_1) * (g[i] - m[i]);
      v[i] += (1 - beta_2) * (g[i] * g[i] - v[i]);
      if (amsgrad) vHat[i] = Math.max(vHat[i], v[i]);
      theta[i] -= (alpha * m[i]) / (Math.sqrt(amsgrad ? vHat[i] : v[i]) + epsilon);
    }
  },
  /** v = rho v + (1 - rho) g^2;  step = lr g / sqrt(v + eps), or of v - mean^2 + eps (centered);
   *  theta -= step, or with momentum mu: u = mu u + step, theta -= u. */
  RMSprop(theta, g, slots, { learning_rate, rho, momentum, epsilon }) {
    const { velocity: v, momentum: u, average_gradient: mean } = slots;
    for (let i = 0; i < theta.length; i++) {
      v[i] = rho * v[i] + (1 - rho) * g[i] * g[i];
      if (mean) mean[i] = rho * mean[i] + (1 - rho) * g[i];
      const spread = mean ? v[i] - mean[i] * mean[i] : v[i];
      const step = (learning_rate * g[i]) / Math.sqrt(spread + epsilon);
      if (u) u[i] = momentum * u[i] + step;
      theta[i] -= u ? u[i] : step;
    }
  },
};

// --- the network: one vector of parameters, a stack of layers, backpropagation -----------------

class Network {
  /** `config` as draw.py wrote it; `theta` (P,) and `slots`, the optimizer's vectors (P,). */
  constructor(config, theta, slots) {
    Object.assign(this, config); // layers, loss, optimizer, iterations
    this.theta = theta;
    this.slots = slots;
    this.params = this.views(theta);
  }

  /** A vector of all parameters (P,) as each layer's kernel and bias, not copied. */
  views(vector) {
    let start = 0;
    const take = (size) => (size ? vector.subarray(start, (start += size)) : null);
    return this.layers.map(({ kernel, bias }) => ({ kernel: take(kernel), bias: take(bias) }));
  }

  /** x through every layer: z = layer(a below), a = f(z), kept for the way back. */
  forward(x) {
    const tape = [];
    this.layers.forEach((layer, l) => {
      const below = l ? tape[l - 1].a : x;
      const z = LAYERS[layer.kind].forward(below, layer, this.params[l]);
      tape.push({ x: below, z, a: activationOf(layer).forward(z) });
    });
    return tape;
  }

  /** dz of the head back through every layer, to dx of the image; fills `grad` (P,) if given. */
  backward(dz, tape, grad = null) {
    const grads = grad && this.views(grad);
    for (let l = this.layers.length - 1; ; l--) {
      const layer = this.layers[l];
      tape[l].dz = dz;
      const da = LAYERS[layer.kind].backward(dz, tape[l].x, layer, this.params[l], grads?.[l]);
      if (l === 0) return da;
      const below = tape[l - 1];
      dz = activationOf(this.layers[l - 1]).backward(da, below.z, below.a);
    }
  }

  /** What the loss takes the softmax of: the logits z of the head, or its outputs a. */
  read(tape) {
    const head = tape.at(-1);
    return this.loss.reads === "Z" ? head.z : head.a;
  }

  lossAt(x, label) {
    return softmaxCrossEntropy(this.read(this.forward(x)), label);
  }

  /** The gradient (P,) of the loss at x with this label; the tape holds each layer's dz. */
  gradient(x, label) {
    const tape = this.forward(x);
    const df = softmaxCrossEntropyBackward(this.read(tape), label);
    const head = tape.at(-1);
    const f = activationOf(this.layers.at(-1));
    const dz = this.loss.reads === "Z" ? df : f.backward(df, head.z, head.a);
    const grad = new Float32Array(this.theta.length);
    this.backward(dz, tape, grad);
    return { tape, grad };
  }

  /** The run's optimizer moves theta by its next step along `grad`. */
  step(grad) {
    this.iterations += 1;
    const { kind } = this.optimizer;
    OPTIMIZERS[kind](this.theta, grad, this.slots, this.optimizer, this.iterations);
  }

  /** dz_k/dx (I,): how the logit of class k answers to each pixel. */
  pixelGradient(tape, k) {
    const dz = tape.at(-1).z.map((_, j) => (j === k ? 1 : 0));
    return this.backward(dz, tape);
  }
}
