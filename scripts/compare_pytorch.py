#!/usr/bin/python3
"""Compares beam with the same model written in eager PyTorch, straight from the mathematics.

Needs Python 3.11 and PyTorch 1.13 or later (Debian: apt install python3-torch), nothing else. The decoder is
Hugging Face's Qwen3-MoE, the masks are those of docs/method.md, and every gradient comes from autograd.

  parity  runs `beam score` and `beam grads` and compares log-probabilities, kept experts, losses and every
          parameter's gradient. Exit code 1 if log-probabilities differ by more than 2e-5, a loss by more than
          1e-6, a gradient by more than 1e-5 (relative L2 norm), or one token keeps other experts. The
          reference computes in double precision, so that what shows is beam's rounding alone; --dtype
          float32 shows PyTorch's too. A mask logit within rounding of the cutoff may fall to either side,
          which then moves every number: the smallest distance is printed.
  bench   times forward, backward and AdamW of the shape that `beam bench train` has built in. Eager PyTorch
          computes every candidate, forward and backward: that is what a mask written in a few lines costs.
          With --beam it also runs `beam bench train` and prints the ratio.
"""
import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

BENCH_SHAPE = {  # that of `beam bench train`
    "vocab_size": 4096, "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8, "head_dim": 64,
    "num_key_value_heads": 4, "moe_intermediate_size": 256, "num_experts": 32, "num_experts_per_tok": 8,
    "norm_topk_prob": True, "tie_word_embeddings": True, "rope_theta": 1e6,
    "expert_mask": {"threshold": 0.5, "bias": True, "router_features": True}}
LIMITS = {"logprob": 2e-5, "loss": 1e-6, "gradient": 1e-5}
LOSSES = ("loss", "task_loss", "mask_loss", "balance_loss")
DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def read_safetensors(path):
    """{name: tensor} of one file: 8 bytes of header size, a JSON header, then the tensors' bytes."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    return {name: torch.frombuffer(data, dtype=DTYPES[t["dtype"]], offset=t["data_offsets"][0],
                                   count=math.prod(t["shape"])).reshape(t["shape"])
            for name, t in header.items()}


def read_weights(folder, dtype):
    """{name: tensor} of a model folder, which may be in shards."""
    index, shards = folder / "model.safetensors.index.json", {"model.safetensors"}
    if index.exists():
        shards = set(json.loads(index.read_text())["weight_map"].values())
    return {n: w.to(dtype) for shard in shards for n, w in read_safetensors(folder / shard).items()}


def make_config(keys):
    """config.json with the defaults of Hugging Face's Qwen3MoeConfig."""
    c = SimpleNamespace(**{
        "num_key_value_heads": 4, "head_dim": None, "num_experts": 128, "num_experts_per_tok": 8,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "norm_topk_prob": False, "tie_word_embeddings": False,
        "decoder_sparse_step": 1, "mlp_only_layers": None, "expert_mask": None, **keys})
    c.head_dim = c.head_dim or c.hidden_size // c.num_attention_heads
    c.rope_theta = (keys.get("rope_parameters") or {}).get("rope_theta", c.rope_theta)
    c.moe_layers = [i for i in range(c.num_hidden_layers)
                    if i not in (c.mlp_only_layers or []) and (i + 1) % c.decoder_sparse_step == 0]
    return c


def write_random_ids(path, vocab):
    """Four sequences: one of a single token, and one where the loss counts only some tokens."""
    draw = random.Random(1)
    lines = [{"ids": [draw.randrange(vocab) for _ in range(n)]} for n in (64, 1, 37, 50)]
    lines[2]["loss"] = [int(i >= 12 and i % 5 != 0) for i in range(37)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def rms_norm(x, weight, epsilon):
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon))


def rotate(x, angle):
    """x [B,H,S,Dh]: the pairs (i, i + Dh/2) turn by angle [S,Dh/2] (rotate_half)."""
    cosine, sine = (torch.cat((t, t), dim=-1).to(x.dtype) for t in (angle.cos(), angle.sin()))
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class Decoder:
    """Qwen3-MoE over {Hugging Face name: tensor}. After a call `routes` holds what each MoE layer chose: z
    [T,E] the router's logits, candidate [T,K] best first, hard [T,K] kept or not, u and q [T,K] of masks."""

    def __init__(self, config, weights, soft=False):
        self.config, self.weights, self.soft, self.routes = config, weights, soft, []

    def __call__(self, ids):
        """Logits [B,S,V] of ids [B,S]."""
        c, w, self.routes = self.config, self.weights, []
        x = w["model.embed_tokens.weight"][ids]
        # In float32 whatever the model's type, as in Hugging Face: far angles depend on that rounding.
        frequency = 1 / c.rope_theta ** (torch.arange(0, c.head_dim, 2).float() / c.head_dim)
        angle = torch.outer(torch.arange(ids.shape[1]).float(), frequency)
        for i in range(c.num_hidden_layers):
            layer = f"model.layers.{i}."
            normed = rms_norm(x, w[layer + "input_layernorm.weight"], c.rms_norm_eps)
            x = x + self.attention(layer + "self_attn.", normed, angle)
            normed = rms_norm(x, w[layer + "post_attention_layernorm.weight"], c.rms_norm_eps)
            mlp = self.experts if i in c.moe_layers else self.dense
            x = x + mlp(layer + "mlp.", normed.flatten(0, 1)).view_as(x)
        x = rms_norm(x, w["model.norm.weight"], c.rms_norm_eps)
        return F.linear(x, w["model.embed_tokens.weight" if c.tie_word_embeddings else "lm_head.weight"])

    def dense(self, prefix, x):
        """W_down (silu(W_gate x) * W_up x): a whole MLP, or one expert."""
        gate, up, down = (self.weights[f"{prefix}{name}_proj.weight"] for name in ("gate", "up", "down"))
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    def attention(self, prefix, x, angle):
        c, w, (rows, length, _) = self.config, self.weights, x.shape

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
        c, w = self.config, self.weights
        z = F.linear(x, w[prefix + "gate.weight"])
        # The stable sort gives ties to the lower id, which torch.topk does not promise.
        candidate = z.sort(dim=-1, descending=True, stable=True).indices[:, :c.num_experts_per_tok]
        g = F.softmax(z, dim=-1).gather(1, candidate)
        if c.norm_topk_prob:
            g = g / g.sum(-1, keepdim=True)
        route = SimpleNamespace(z=z, candidate=candidate, hard=torch.ones_like(candidate, dtype=torch.bool))
        self.routes.append(route)
        weight = g * self.mask(prefix + "mask_gate.", x, g, route) if c.expert_mask else g
        y = torch.zeros_like(x)
        for e in range(c.num_experts):
            token, rank = torch.where(candidate == e)
            if token.numel() > 0:
                out = self.dense(f"{prefix}experts.{e}.", x[token])
                y.index_add_(0, token, out * weight[token, rank, None])
        return y

    def mask(self, prefix, x, g, route):
        """The candidates' masks [T,K]: hard, with the soft ones' gradient (straight-through), or soft."""
        c, w = self.config, self.weights
        u = F.linear(x, w[prefix + "weight"]).gather(1, route.candidate)
        if c.expert_mask.get("bias"):
            u = u + w[prefix + "bias"][route.candidate]
        if c.expert_mask.get("router_features"):
            share = (g / g.sum(-1, keepdim=True)).detach() * c.num_experts_per_tok
            share = share.clamp_min(torch.finfo(torch.float32).tiny)
            u = u + w[prefix + "router_scale"] * share.log() + w[prefix + "rank_bias"]
        route.cutoff = math.log(c.expert_mask["threshold"] / (1 - c.expert_mask["threshold"]))
        route.u, route.q, route.hard = u, torch.sigmoid(u), u >= route.cutoff
        return route.q if self.soft else route.q + (route.hard.to(u.dtype) - route.q).detach()


def load_balancing_loss(z, experts, top_k):
    """Hugging Face's load_balancing_loss_func: z [N,E] are the router logits of all tokens and layers."""
    probability = F.softmax(z, dim=-1)
    load = F.one_hot(torch.topk(probability, top_k).indices, experts).to(z.dtype).mean(0)
    return experts * (load * probability.mean(0).unsqueeze(0)).sum()


def mask_loss(routes):
    """The mean soft mask over layers, tokens and candidates; each layer has the same number of tokens."""
    return torch.cat([r.q for r in routes]).mean()


def all_losses(model, lines, penalty, balance):
    """The losses of the sequences as one batch, by name; each sequence's log-probabilities and routes."""
    c, scores, nll = model.config, [], []
    for line in lines:
        ids = torch.tensor([line["ids"]])
        wanted = torch.tensor(line.get("loss", [1] * ids.shape[1])[1:], dtype=torch.bool)
        logprob = F.log_softmax(model(ids)[0, :-1], dim=-1).gather(1, ids[0, 1:, None])[:, 0]
        scores.append(SimpleNamespace(logprob=logprob, routes=model.routes))
        nll.append(-logprob[wanted])
    routes = [route for score in scores for route in score.routes]
    # Without gates every mask counts as open.
    task, mask = torch.cat(nll).mean(), mask_loss(routes) if c.expert_mask else torch.ones(())
    spread = load_balancing_loss(torch.cat([r.z for r in routes]), c.num_experts, c.num_experts_per_tok)
    return {"loss": task + penalty * mask + balance * spread, "task_loss": task, "mask_loss": mask,
            "balance_loss": spread}, scores


def choose_trained(weights, trainable):
    """Marks what trains; {name: tensor} of it."""
    return {n: w.requires_grad_() for n, w in weights.items() if trainable == "all" or ".mask_gate." in n}


def run(command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(done.args)}: exit code {done.returncode}")
    return done.stdout


def run_beam(args, ids):
    """What `beam score` prints, and the tensors that `beam grads` writes."""
    base = ["--model", args.model, "--input", ids]
    scores = [json.loads(line) for line in run([args.beam, "score", *base, "--experts"]).splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "grads.safetensors"
        run([args.beam, "grads", *base, "--out", out, "--trainable", args.trainable, "--penalty",
             args.penalty, "--balance", args.balance, *(["--soft"] if args.soft else [])])
        return scores, read_safetensors(out)


def logprob_error(ours, reference):
    """The largest difference over all sequences; NaN if there is one."""
    ours = [torch.tensor(line["logprobs"], dtype=torch.float64) for line in ours]
    if [len(x) for x in ours] != [len(line.logprob) for line in reference]:
        sys.exit("beam score did not print one log-probability for every token but the first of each line")
    return (torch.cat(ours) - torch.cat([line.logprob for line in reference])).abs().max().item()


def expert_disagreements(ours, reference):
    """(token, layer) pairs whose kept experts are not the same ones in the same order."""
    count = 0
    for mine, line in zip(ours, reference):
        for layer, r in enumerate(line.routes):
            kept = [c[h].tolist() for c, h in zip(r.candidate, r.hard)]
            count += sum(k != e[layer] or len(k) != n[layer]
                         for k, e, n in zip(kept, mine["experts"], mine["active"]))
    return count


def gradient_errors(ours, trained):
    """[(relative error in the L2 norm, name)], worst first. Two cases are measured against more than the
    tensor's own size, for what is left after cancellation has no relative error: everything below 1e-6 of
    the whole gradient against that, and a router_scale, one sum over all tokens, together with its rank_bias.
    """
    reference = {n: torch.zeros_like(w) if w.grad is None else w.grad for n, w in trained.items()}
    size = {n: g.double().norm().item() for n, g in reference.items()}
    floor = max(1e-6 * math.hypot(*size.values()), 1e-30)
    errors = [(math.inf, n) for n in set(ours) - set(reference) - {*LOSSES, "avg_active"}]
    for name, g in reference.items():
        beside = size[name.replace("router_scale", "rank_bias")] if "router_scale" in name else 0
        error = math.inf
        if name in ours and ours[name].shape == g.shape:
            error = (ours[name].double() - g).norm().item() / max(math.hypot(size[name], beside), floor)
        errors.append((math.inf if math.isnan(error) else error, name))
    return sorted(errors, reverse=True)


def show(name, value, limit, note):
    """One line of the report; True if the value is within the limit (NaN is not)."""
    print(f"{name:<18} {value:9.2g}  limit {limit:5.0e}  {'ok ' if value <= limit else 'BAD'}  {note}")
    return value <= limit


def parity(args):
    config = make_config(json.loads((args.model / "config.json").read_text()))
    weights = read_weights(args.model, getattr(torch, args.dtype))
    trained = choose_trained(weights, args.trainable)
    with tempfile.TemporaryDirectory() as folder:
        ids = args.ids or write_random_ids(Path(folder) / "ids.jsonl", config.vocab_size)
        lines = [json.loads(line) for line in ids.read_text().splitlines() if line.strip()]
        scores, grads = run_beam(args, ids)
    with torch.no_grad():
        _, reference = all_losses(Decoder(config, weights), lines, 0, 0)
    losses, _ = all_losses(Decoder(config, weights, args.soft), lines, args.penalty, args.balance)
    losses["loss"].backward()

    routes = [route for score in reference for route in score.routes]
    kept = torch.cat([r.hard for r in routes]).double().sum(1)
    note = f"of {len(kept)} (token, layer); Avg-K {kept.mean():.3f}"
    if config.expert_mask:
        note += f"; nearest mask logit to the cutoff: {min((r.u - r.cutoff).abs().min() for r in routes):.1e}"
    print(f"{args.model}: {sum(len(line['ids']) for line in lines)} tokens in {len(lines)} sequences; "
          f"trainable {args.trainable}, penalty {args.penalty:g}, balance {args.balance:g}"
          f"{', soft masks' if args.soft else ''}; reference in {args.dtype}")
    good = [show("log-probabilities", logprob_error(scores, reference), LIMITS["logprob"], "largest error"),
            show("kept experts", expert_disagreements(scores, reference), 0, note)]
    if args.trainable == "masks":
        losses["balance_loss"] = torch.zeros(())  # counts only where the router trains
    for name in LOSSES:
        value = grads[name].item()
        good.append(show(name, abs(value - losses[name].item()), LIMITS["loss"], f"{value:.7f}"))
    error, name = gradient_errors(grads, trained)[0]
    good.append(show(f"{len(trained)} gradients", error, LIMITS["gradient"], f"worst: {name}"))
    return int(not all(good))


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


def bench_row(args, config, trainable, active):
    """Median seconds of forward, backward and update."""
    torch.manual_seed(1)
    weights = random_weights(config, active)
    # A rate of zero does the update's work and leaves the masks where they are.
    optimizer = torch.optim.AdamW(choose_trained(weights, trainable).values(), lr=0, weight_decay=0)
    model = Decoder(config, weights)
    ids, target = torch.randint(config.vocab_size, (2, args.rows, args.sequence))
    steps = []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(ids).flatten(0, 1), target.flatten()) + 0.1 * mask_loss(model.routes)
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
    c = make_config(BENCH_SHAPE)
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
            parts = bench_row(args, c, trainable, active)
            speed = args.rows * args.sequence / sum(parts)
            print(f"{trainable:<9}  {active:5.1f}  {speed:9.0f}", *(f"{1e3 * p:10.1f}" for p in parts),
                  end="")
            other = beam.get((trainable, active))
            print(f"  {other:13.0f}  {other / speed:12.2f}" if other else "", flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    mode = modes.add_parser("parity", help="compare a model's numbers with beam's")
    mode.add_argument("--model", type=Path, required=True, help="Hugging Face folder, with masks or without")
    mode.add_argument("--beam", required=True, help="the beam program")
    mode.add_argument("--ids", type=Path, help='JSONL of {"ids": [...]}, optionally "loss": [...] (random)')
    mode.add_argument("--trainable", choices=("masks", "all"), default="all", help="whose gradients (all)")
    mode.add_argument("--penalty", type=float, default=0, help="weight of the mask loss, beta (0)")
    mode.add_argument("--balance", type=float, default=0, help="weight of the load-balancing loss (0)")
    mode.add_argument("--soft", action="store_true", help="gradients of the soft form (beam grads --soft)")
    mode.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="of the reference")
    mode = modes.add_parser("bench", help="time training steps and compare with `beam bench train`")
    mode.add_argument("--rows", type=int, default=8, help="rows of a micro-batch (8)")
    mode.add_argument("--sequence", type=int, default=512, help="tokens of a row (512)")
    mode.add_argument("--steps", type=int, default=5, help="timed steps, of which the median counts (5)")
    mode.add_argument("--threads", type=int, default=0, help="processor threads (all cores)")
    mode.add_argument("--beam", help="the beam program, for the ratio")
    return parser.parse_args()


if __name__ == "__main__":
    ARGS = parse_arguments()
    sys.exit({"parity": parity, "bench": bench}[ARGS.mode](ARGS))
