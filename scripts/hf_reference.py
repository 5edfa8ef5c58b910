"""What make_fixtures.py and compare_hf.py share: a model in Hugging Face transformers whose experts are
masked as docs/method.md says, by autograd, and the names that its tensors have in published checkpoints.

Needs Python 3.11, and: pip install "torch>=2.9" "transformers>=5.23" (the processor builds are enough).
"""
import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

GATE = ".mask_gate."  # what the names of mask gates contain


def published_block(model_type: str) -> str:
    """The module of a decoder layer that holds router, experts and mask gate, as checkpoints name it."""
    return "block_sparse_moe" if model_type == "mixtral" else "mlp"


def published(model_type: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors, or their gradients, under the names of published checkpoints, one per expert. In memory
    transformers 5 stacks a layer's experts: gate and up rows as [E,2F,D], down as [E,D,F]."""
    gate, up, down = ("w1", "w3", "w2") if model_type == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    out = {}
    for name, tensor in tensors.items():
        name = name.replace(".mlp.", f".{published_block(model_type)}.")
        module, stacked, kind = name.rpartition(".experts.")
        if not stacked:
            out[name] = tensor
            continue
        for e, one in enumerate(tensor):
            half = len(one) // 2
            parts = {gate: one[:half], up: one[half:]} if kind == "gate_up_proj" else {down: one}
            out |= {f"{module}.experts.{e}.{part}.weight": rows for part, rows in parts.items()}
    return out


@dataclass
class Route:
    """What one MoE layer chose for its T tokens; candidates best first. Without gates all are kept."""
    router: torch.Tensor  # [T,E] router logits
    expert: torch.Tensor  # [T,K]
    weight: torch.Tensor  # [T,K] g
    keep: torch.Tensor  # [T,K] hard masks
    logit: torch.Tensor | None = None  # [T,K] u
    soft: torch.Tensor | None = None  # [T,K] q


class Masks:
    """Masks the experts of a transformers model, from outside: each `experts` module runs as it is, on the
    candidates best first and with weights g*m. So a dropped expert is computed too, and autograd finds its
    straight-through gradient. Without gates it only records `routes`, one per MoE layer."""

    def __init__(self, model: PreTrainedModel, threshold: float = 0.5):
        self.cutoff = math.log(threshold / (1 - threshold))
        self.gates: dict[str, torch.Tensor] = {}  # published names
        self.soft = False  # weigh by q instead of the hard mask
        self.routes: list[Route] = []
        block = published_block(model.config.model_type)
        for i, layer in enumerate(model.model.layers):
            if hasattr(layer.mlp, "experts"):
                layer.mlp.gate.register_forward_hook(self._see_router)
                layer.mlp.experts.forward = partial(
                    self._experts, f"model.layers.{i}.{block}{GATE}", layer.mlp.experts.forward)

    def _see_router(self, _module, _inputs, outputs):
        self._router = outputs[0]

    def _experts(self, prefix, forward, x, expert, weight):
        """In place of the experts' forward: x [T,D], expert and weight [T,K] in any order."""
        weight, order = weight.sort(dim=-1, descending=True, stable=True)
        expert = expert.gather(1, order)
        route = Route(self._router, expert, weight, torch.ones_like(expert, dtype=torch.bool))
        self.routes.append(route)
        if prefix + "weight" not in self.gates:
            return forward(x, expert, weight)
        mask = self._mask(prefix, x, route)
        y = forward(x, expert, weight * mask)
        given = self.gates.get(prefix + "dropped_output")
        if given is not None:
            y = y + ((weight * (1 - mask))[..., None] * given[expert]).sum(1)
        return y

    def _mask(self, prefix, x, route):
        """m [T,K]: the soft mask, or the hard one with the soft one's gradient."""
        def gate(name):
            return self.gates.get(prefix + name)

        u = nn.functional.linear(x, gate("weight"), gate("bias")).gather(1, route.expert)
        if gate("router_scale") is not None:
            g, k = route.weight.detach(), route.expert.shape[1]
            share = (g / g.sum(-1, keepdim=True) * k).clamp_min(torch.finfo(torch.float32).tiny)
            u = u + gate("router_scale") * share.log() + gate("rank_bias")
        route.logit, route.soft, route.keep = u, torch.sigmoid(u), u >= self.cutoff
        if self.soft:
            return route.soft
        # The difference is exactly zero, so that the value is exactly 0 or 1.
        return route.keep.to(u.dtype) + (route.soft - route.soft.detach())

    def loss(self) -> torch.Tensor:
        """L_reg of docs/method.md over `routes`; every layer has the same tokens. 1 without gates."""
        return torch.cat([r.soft for r in self.routes]).mean() if self.gates else torch.ones(())


class _Double(TorchFunctionMode):
    """What transformers computes in float32 whatever the model's type (norms, softmax, the loss), in float64.
    """

    paused = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not self.paused:
            func = torch.Tensor.double if func is torch.Tensor.float else func
            args = [torch.float64 if a is torch.float32 else a for a in args]
            kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in kwargs.items()}
        return func(*args, **kwargs)


@contextmanager
def arithmetic(model: PreTrainedModel):
    """Run a model in this context: one in float64 then computes in float64 throughout, except for the rotary
    angles, since far ones depend on their float32 rounding, which is part of the model."""
    if model.dtype != torch.float64:
        yield
        return
    mode, rotary = _Double(), model.model.rotary_emb
    hooks = [rotary.register_forward_pre_hook(lambda *_: setattr(mode, "paused", True)),
             rotary.register_forward_hook(lambda *_: setattr(mode, "paused", False))]
    try:
        with mode:
            yield
    finally:
        for hook in hooks:
            hook.remove()


def read_tensors(folder: Path, wanted: str) -> dict[str, torch.Tensor]:
    """The tensors of a model folder, in shards or not, whose names contain `wanted`."""
    index, shards = folder / "model.safetensors.index.json", {"model.safetensors"}
    if index.exists():
        shards = set(json.loads(index.read_text())["weight_map"].values())
    out = {}
    for shard in sorted(shards):
        with safe_open(folder / shard, framework="pt") as file:
            out |= {name: file.get_tensor(name) for name in file.keys() if wanted in name}
    return out


def load_model(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model of a folder without its mask gates, by the plainest code that transformers has. It goes by the
    base's model_type, which a masked folder's begins with a prefix of its own."""
    logging.set_verbosity_error()  # mask gates are "unexpected"; what may be so is checked here
    logging.disable_progress_bar()
    keys = json.loads((folder / "config.json").read_text())
    keys.pop("auto_map", None)
    config = AutoConfig.for_model(**keys | {"model_type": keys["model_type"].removeprefix("expert_mask_")})
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=dtype, attn_implementation="eager", experts_implementation="eager",
        local_files_only=True, trust_remote_code=False, output_loading_info=True)
    unknown = [n for n in info["unexpected_keys"] if GATE not in n and "rotary_emb" not in n]
    if info["missing_keys"] or info["mismatched_keys"] or unknown:
        raise SystemExit(f"{folder}: tensors missing {sorted(info['missing_keys'])}, of another shape "
                         f"{sorted(info['mismatched_keys'])}, unknown {sorted(unknown)}")
    # An id for padding would get no gradient (nn.Embedding); here it is a token like any other.
    model.model.embed_tokens.padding_idx = None
    return model.eval()
