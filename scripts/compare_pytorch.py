#!/usr/bin/python3
"""Compares the speed of beam with that of the same model written in eager PyTorch.

  bench   times forward, backward and AdamW of the shape that `beam bench train` has built in. Eager PyTorch
          computes every candidate, forward and backward: that is what a mask written in a few lines costs.
          With --beam it also runs `beam bench train` and prints the ratio.

The model is Qwen3-MoE with the masks of docs/method.md, straight from the mathematics. Needs Python 3.11 and
PyTorch 1.13 or later (Debian: apt install python3-torch), nothing else. Whether the numbers of beam are right
is the question of compare_hf.py.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

SHAPE = SimpleNamespace(  # that of `beam bench train`; top-k weights are normalised, embeddings tied
    vocab_size=4096, hidden_size=512, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=4,
    head_dim=64, moe_intermediate_size=256, num_experts=32, num_experts_per_tok=8, rms_norm_eps=1e-6,
    rope_theta=1e6)


def rms_norm(x, weight, epsilon):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))


def rotate(x, angle):
    """x [B,H,S,Dh]: the pairs (i, i + Dh/2) turn by angle [S,Dh/2] (rotate_half)."""
    cosine, sine = (torch.cat((t, t), dim=-1).to(x.dtype) for t in (angle.cos(), angle.sin()))
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class Decoder:
    """Qwen3-MoE over {Hugging Face name: tensor}. After a call `soft` holds each layer's soft masks [T,K]."""

    def __init__(self, shape, weights):
        self.shape, self.weights, self.soft = shape, weights, []

    def __call__(self, ids):
        """Logits [B,S,V] of ids [B,S]."""
        c, w, self.soft = self.shape, self.weights, []
        x = w["model.embed_tokens.weight"][ids]
        frequency = 1 / c.rope_theta ** (torch.arange(0, c.head_dim, 2).float() / c.head_dim)
        angle = torch.outer(torch.arange(ids.shape[1]).float(), frequency)
        for i in range(c.num_hidden_layers):
            layer = f"model.layers.{i}."
            normed = rms_norm(x, w[layer + "input_layernorm.weight"], c.rms_norm_eps)
            x = x + self.attention(layer + "self_attn.", normed, angle)
            normed = rms_norm(x, w[layer + "post_attention_layernorm.weight"], c.rms_norm_eps)
            x = x + self.experts(layer + "mlp.", normed.flatten(0, 1)).view_as(x)
        x = rms_norm(x, w["model.norm.weight"], c.rms_norm_eps)
        return F.linear(x, w["model.embed_tokens.weight"])

    def expert(self, prefix, x):
        """W_down (silu(W_gate x) * W_up x)."""
        gate, up, down = (self.weights[f"{prefix}{name}_proj.weight"] for name in ("gate", "up", "down"))
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    def attention(self, prefix, x, angle):
        c, w, (rows, length, _) = self.shape, self.weights, x.shape

        def heads(name):
            y = F.linear(x, w[f"{prefix}{name}_proj.weight"])
            return y.view(rows, length, -1, c.head_dim).transpose(1, 2)

        q = rotate(rms_norm(heads("q"), w[prefix + "q_norm.weight"], c.rms_norm_eps), angle)
        k = rotate(rms_norm(heads("k"), w[prefix + "k_norm.weight"], c.rms_norm_eps), angle)
        groups = c.num_attention_heads // c.num_key_value_heads
        k, v = (t.repeat_interleave(groups, dim=1) for t in (k, heads("v")))
        score = q @ k.transpose(2, 3) * c.head_dim ** -0.5
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        out = F.softmax(score.masked_fill(future, -math.inf), dim=-1) @ v
        return F.linear(out.transpose(1, 2).flatten(2), w[prefix + "o_proj.weight"])

    def experts(self, prefix, x):
        """x [T,D] -> [T,D]."""
        c, w = self.shape, self.weights
        z = F.linear(x, w[prefix + "gate.weight"])
        # The stable sort gives ties to the lower id, which torch.topk does not promise.
        candidate = z.sort(dim=-1, descending=True, stable=True).indices[:, :c.num_experts_per_tok]
        g = F.softmax(z, dim=-1).gather(1, candidate)
        g = g / g.sum(-1, keepdim=True)
        weight = g * self.mask(prefix + "mask_gate.", x, g, candidate)
        y = torch.zeros_like(x)
        for e in range(c.num_experts):
            token, rank = torch.where(candidate == e)
            if token.numel() > 0:
                out = self.expert(f"{prefix}experts.{e}.", x[token])
                y.index_add_(0, token, out * weight[token, rank, None])
        return y

    def mask(self, prefix, x, g, candidate):
        """The candidates' hard masks [T,K], with the soft ones' gradient (straight-through)."""
        w = self.weights
        share = (g.detach() * self.shape.num_experts_per_tok).clamp_min(torch.finfo(torch.float32).tiny)
        u = F.linear(x, w[prefix + "weight"], w[prefix + "bias"]).gather(1, candidate)
        u = u + w[prefix + "router_scale"] * share.log() + w[prefix + "rank_bias"]
        q = torch.sigmoid(u)
        self.soft.append(q)
        return q + ((u >= 0).to(u.dtype) - q).detach()


def choose_trained(weights, trainable):
    """Marks what trains; {name: tensor} of it."""
    return {n: w.requires_grad_() for n, w in weights.items() if trainable == "all" or ".mask_gate." in n}


def run(command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(done.args)}: exit code {done.returncode}")
    return done.stdout


def random_weights(c, active):
    """Random numbers in the shape, and gates that keep the `active` best candidates of every token."""
    d, h, f, e, k = c.hidden_size, c.head_dim, c.moe_intermediate_size, c.num_experts, c.num_experts_per_tok
    q, kv = c.num_attention_heads * h, c.num_key_value_heads * h
    layer = {"input_layernorm": (d,), "post_attention_layernorm": (d,), "mlp.gate": (e, d),
             "self_attn.q_proj": (q, d), "self_attn.k_proj": (kv, d), "self_attn.v_proj": (kv, d),
             "self_attn.o_proj": (d, q), "self_attn.q_norm": (h,), "self_attn.k_norm": (h,)}
    for name, shape in {"gate_proj": (f, d), "up_proj": (f, d), "down_proj": (d, f)}.items():
        layer |= {f"mlp.experts.{i}.{name}": shape for i in range(e)}
    shapes = {"model.embed_tokens": (c.vocab_size, d), "model.norm": (d,)}
    for i in range(c.num_hidden_layers):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in layer.items()}
    w = {f"{name}.weight": 0.02 * torch.randn(shape) if len(shape) > 1 else torch.ones(shape)
         for name, shape in shapes.items()}
    for gate in (f"model.layers.{i}.mlp.mask_gate." for i in range(c.num_hidden_layers)):
        w |= {gate + "weight": torch.zeros(e, d), gate + "bias": torch.zeros(e),
              gate + "router_scale": torch.zeros(1),
              gate + "rank_bias": torch.where(torch.arange(k) < active, 4.0, -4.0)}
    return w


def bench_row(args, trainable, active):
    """Median seconds of forward, backward and update."""
    torch.manual_seed(1)
    weights = random_weights(SHAPE, active)
    # A rate of zero does the update's work and leaves the masks where they are.
    optimizer = torch.optim.AdamW(choose_trained(weights, trainable).values(), lr=0, weight_decay=0)
    model = Decoder(SHAPE, weights)
    ids, target = torch.randint(SHAPE.vocab_size, (2, args.rows, args.sequence))
    steps = []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        logits = model(ids)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten()) + 0.1 * torch.cat(model.soft).mean()
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        optimizer.step()
        steps.append((forward - start, backward - forward, time.perf_counter() - backward))
    return [statistics.median(part) for part in zip(*steps[1:])]


def blas_library():
    """The file that PyTorch's matrix products run in: Debian's alternatives decide."""
    files = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    return next((f for f in sorted(files) if "blas" in f or "mkl_core" in f), "its own library")


def bench(args):
    c = SHAPE
    threads, beam = args.threads or len(os.sched_getaffinity(0)), {}
    torch.set_num_threads(threads)
    if args.beam:
        rows = json.loads(run([args.beam, "bench", "train", "--json", "--rows", args.rows, "--sequence",
                               args.sequence, "--steps", args.steps, "--threads", threads]))["rows"]
        beam = {(r["trainable"], r["active"]): r["tokens_per_s"] for r in rows}
    print(f"PyTorch {torch.__version__}, {threads} threads, matrix products in {blas_library()}")
    print(f"model: {c.num_hidden_layers} layers, D {c.hidden_size}, {c.num_experts} experts of width "
          f"{c.moe_intermediate_size}, K {c.num_experts_per_tok}, vocabulary {c.vocab_size}; "
          f"{args.rows} rows of {args.sequence} tokens; {args.steps} steps\n")
    print("trainable  Avg-K   tokens/s  forward/ms backward/ms update/ms"
          + ("  beam tokens/s  beam/PyTorch" if beam else ""))
    k = c.num_experts_per_tok
    for trainable in ("masks", "all"):
        for active in (k, k // 2, k // 8):
            parts = bench_row(args, trainable, active)
            speed = args.rows * args.sequence / sum(parts)
            print(f"{trainable:<9}  {active:5.1f}  {speed:9.0f}", *(f"{1e3 * p:10.1f}" for p in parts),
                  end="")
            other = beam.get((trainable, active))
            print(f"  {other:13.0f}  {other / speed:12.2f}" if other else "", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    mode = modes.add_parser("bench", help="time training steps and compare with `beam bench train`")
    mode.add_argument("--rows", type=int, default=8, help="rows of a micro-batch (8)")
    mode.add_argument("--sequence", type=int, default=512, help="tokens of a row (512)")
    mode.add_argument("--steps", type=int, default=5, help="timed steps, of which the median counts (5)")
    mode.add_argument("--threads", type=int, default=0, help="processor threads (all cores)")
    mode.add_argument("--beam", help="the beam program, for the ratio")
    return parser.parse_args()


if __name__ == "__main__":
    bench(parse_arguments())
