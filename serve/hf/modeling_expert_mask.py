"""Mixture-of-Experts models with expert masks, for Hugging Face transformers 4.57 and 5.

`beam export` puts this file into the folders that it writes, whose config.json names its classes:

    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    print(model.self_test())            # compares with the numbers that were exported along

Beside each router stands a mask gate, which decides for every token which of the router's candidates count.
For x [D], the input of the mixture layer, and g_e, the weight of candidate e in the stock model:

    u_e = (W x + b)_e + a log(K g_e / sum of g) + c[rank of e]      a, b, c: where the folder has them
    y   = sum over candidates of  g_e E_e(x) if u_e >= log(tau / (1 - tau)), else g_e d_e     (d: 0 if absent)

u is computed in float32 whatever the model's type. The stock classes do everything else. A dropped expert
gets the weight 0: the result is exact, but transformers 5 still computes it. For evaluation and generation;
masks have no gradient here.

`add_masks(model, folder)` puts the masks of `beam export --adapter-only` onto a stock model that is loaded.
"""
import json
import math
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers import (DeepseekV2Config, DeepseekV2ForCausalLM, MixtralConfig, MixtralForCausalLM,
                          OlmoeConfig, OlmoeForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM, Qwen3MoeConfig,
                          Qwen3MoeForCausalLM)

STACKED = int(transformers.__version__.split(".")[0]) >= 5  # a layer's experts are one module
OPTIONAL = {"bias": ("bias",), "router_features": ("router_scale", "rank_bias"),
            "dropped_output": ("dropped_output",)}  # keys of the expert_mask block, and their tensors


class MaskGate(nn.Module):
    """The gate of one layer. Its tensors have the names that the checkpoint has."""

    def __init__(self, hidden_size: int, experts: int, top_k: int, block: dict):
        super().__init__()
        if block.get("version") != 1 or block.get("renormalize", False):
            raise ValueError(f"expert_mask {block}: made for another version of modeling_expert_mask.py")
        shapes = {"weight": (experts, hidden_size), "bias": (experts,), "router_scale": (1,),
                  "rank_bias": (top_k,), "dropped_output": (experts, hidden_size)}
        absent = {name for key, names in OPTIONAL.items() if not block.get(key, False) for name in names}
        for name, shape in shapes.items():
            parameter = None if name in absent else nn.Parameter(torch.zeros(shape), requires_grad=False)
            self.register_parameter(name, parameter)
        tau = block["threshold"]
        self.cutoff = math.log(tau / (1 - tau))

    def forward(self, x: torch.Tensor, expert: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """x [T,D], candidates expert [T,K] in any order, their weights [T,K]: which are kept, bool [T,K]."""
        with torch.autocast(x.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            u = F.linear(x.float(), self.weight.float(), bias).gather(1, expert)
            if self.router_scale is not None:
                g = weight.float()
                share = g.shape[1] * (g / g.sum(-1, keepdim=True))
                share = share.clamp_min(torch.finfo(torch.float32).tiny)
                rank = g.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
                u = u + self.router_scale.float() * share.log() + self.rank_bias.float()[rank]
        return u >= self.cutoff

    def mix(self, x: torch.Tensor, expert: torch.Tensor, weight: torch.Tensor, run) -> torch.Tensor:
        """What run(x, expert, weight), the experts' weighted sum, becomes with masks."""
        keep = self(x, expert, weight)
        y = run(x, expert, weight * keep)
        if self.dropped_output is not None:
            given = torch.zeros(len(x), len(self.weight), device=x.device)
            given.scatter_(1, expert, (weight * ~keep).float())
            y = y + (given @ self.dropped_output.float()).to(y.dtype)
        return y


class MaskedExperts:
    """Mixed into the class of a layer's stacked experts (transformers 5)."""

    def forward(self, hidden_states, top_k_index, top_k_weights):
        return self.mask_gate_of[0].mix(hidden_states, top_k_index, top_k_weights, super().forward)


class MaskedDeepseekBlock:
    """Mixed into DeepSeek-V2's mixture layer of transformers 4."""

    def moe(self, hidden_states, topk_ids, topk_weight):
        return self.mask_gate.mix(hidden_states, topk_ids, topk_weight, super().moe)


class MaskedBlock:
    """Mixed into the mixture layers of transformers 4, whose forward pass is one piece: the same computation
    over kept pairs only."""

    def forward(self, hidden_states):
        x = hidden_states.reshape(-1, hidden_states.shape[-1])
        logits = self.gate(x)
        weight, expert = torch.topk(F.softmax(logits, dim=1, dtype=torch.float), self.top_k, dim=-1)
        if getattr(self, "norm_topk_prob", True):  # Mixtral always does
            weight /= weight.sum(dim=-1, keepdim=True)
        y = self.mask_gate.mix(x, expert, weight.to(x.dtype), self.run)
        if hasattr(self, "shared_expert"):
            y = y + F.sigmoid(self.shared_expert_gate(x)) * self.shared_expert(x)
        return y.reshape(hidden_states.shape), logits

    def run(self, x, expert, weight):
        y = torch.zeros_like(x)
        for e, module in enumerate(self.experts):
            k, token = torch.where(((expert == e) & (weight != 0)).T)  # in the order of the stock model
            y.index_add_(0, token, (module(x[token]) * weight[token, k, None]).to(y.dtype))
        return y


def mixed(mixin: type, module: nn.Module):
    """Gives the module its class with the mixin in front. Parameters and their names stay."""
    module.__class__ = type("ExpertMask" + type(module).__name__, (mixin, type(module)), {})


def attach(model: transformers.PreTrainedModel, block: dict) -> list[MaskGate]:
    """Puts a mask gate, not yet filled, beside the router of every mixture layer of the model."""
    gates = []
    for layer in model.model.layers:
        mixture = layer.mlp if hasattr(layer, "mlp") else layer.block_sparse_moe
        if not hasattr(mixture, "experts"):
            continue
        mixture.mask_gate = MaskGate(model.config.hidden_size, len(mixture.gate.weight),
                                     model.config.num_experts_per_tok, block)
        if STACKED:
            mixture.experts.mask_gate_of = (mixture.mask_gate,)  # a tuple: not a second owner
            mixed(MaskedExperts, mixture.experts)
        else:
            mixed(MaskedDeepseekBlock if hasattr(mixture, "moe") else MaskedBlock, mixture)
        gates.append(mixture.mask_gate)
    if len(gates) != block.get("num_masked_layers", len(gates)):
        raise ValueError(f"expert_mask.num_masked_layers is {block['num_masked_layers']}, but the model has "
                         f"{len(gates)} mixture layers")
    return gates


def add_masks(model: transformers.PreTrainedModel, folder: str) -> transformers.PreTrainedModel:
    """Puts the masks of `beam export --adapter-only` onto the stock model that they were trained on, which is
    loaded. Raises ValueError if they do not fit."""
    found = json.loads((Path(folder) / "config.json").read_text())
    base = found["model_type"].removeprefix(PREFIX)
    names = ("hidden_size", "num_hidden_layers", "num_experts_per_tok", "vocab_size")
    wrong = [name for name in names if name in found and found[name] != getattr(model.config, name)]
    if model.config.model_type != base or wrong:
        raise ValueError(f"{folder}: masks for a {base} model; this one differs in {wrong or 'model_type'}")
    tensors = load_file(Path(folder) / "expert_mask.safetensors")
    model.config.expert_mask = found["expert_mask"]
    gates = attach(model, found["expert_mask"])
    layers = sorted({int(name.split(".")[2]) for name in tensors})
    if len(layers) != len(gates):
        raise ValueError(f"{folder}: masks of {len(layers)} layers for a model with {len(gates)}")
    for number, gate in zip(layers, gates):
        prefix = f".{number}."
        own = {name.rpartition(".")[2]: t for name, t in tensors.items() if prefix in name}
        try:
            gate.load_state_dict(own)
        except RuntimeError as error:
            raise ValueError(f"{folder}: the masks of layer {number} do not fit the model: {error}") from error
        gate.to(model.model.layers[number].input_layernorm.weight.device)
    return model


def self_test(model: transformers.PreTrainedModel, folder: str | None = None) -> dict:
    """Compares the model with expert_mask_selftest.json of its folder, which beam computed in float32 from the
    same tensors. `experts_differ` counts (token, layer) pairs that keep other experts, though no mask logit is
    within `margin` of the cutoff, which less exact arithmetic may cross: 1e-3 in float32, else 0.1."""
    path = Path(folder or model.config._name_or_path) / "expert_mask_selftest.json"
    expected = json.loads(path.read_text())
    margin = 1e-3 if model.dtype == torch.float32 else 0.1
    seen, hooks = [], []
    for module in model.modules():
        if isinstance(module, MaskGate):
            hooks.append(module.register_forward_hook(lambda _, args, keep: seen.append((args, keep))))
    ids = torch.tensor([expected["ids"]], device=model.get_input_embeddings().weight.device)
    try:
        with torch.no_grad():
            logits = model.eval()(input_ids=ids, use_cache=False).logits[0].float().cpu()
    finally:
        for hook in hooks:
            hook.remove()
    logprobs = logits.log_softmax(-1)
    differ = near = 0
    for layer, ((_, expert, _), keep) in enumerate(seen):
        for t, (ids_of, kept) in enumerate(zip(expert.tolist(), keep.tolist())):
            same = sorted(e for e, k in zip(ids_of, kept) if k) == sorted(expected["experts"][t][layer])
            close = expected["margins"][t][layer] < margin
            differ += not same and not close
            near += not same and close
    scored = logprobs[:-1].gather(1, ids[0, 1:, None].cpu())[:, 0]
    error = (scored - torch.tensor(expected["logprobs"])).abs().max().item()
    top = [[logits[t, i].item() - value for i, value in best] for t, best in enumerate(expected["top_logits"])]
    right = sum(int(row.argmax()) == best[0][0] for row, best in zip(logits, expected["top_logits"]))
    return {"tokens": ids.shape[1], "layers": len(seen), "experts_differ": differ, "near_the_cutoff": near,
            "logprob_error": error, "logit_error": torch.tensor(top).abs().max().item(),
            "argmax_differs": ids.shape[1] - right}


PREFIX = "expert_mask_"  # of model_type in config.json: stock transformers refuses the name, and so does not
#                          run the model without its masks


class ModelType:
    """model_type of a configuration class: ours, as in config.json. Of a configuration: the stock one, by which
    transformers and other programs know how the model is loaded and computed."""

    def __init__(self, base: str):
        self.base = base

    def __get__(self, config, owner=None):
        return PREFIX + self.base if config is None else self.base

    def __set__(self, config, value):
        pass


class ExpertMaskModel:
    """Mixed into a stock model."""

    def __init__(self, config):
        super().__init__(config)
        attach(self, config.expert_mask)
        self._keep_in_fp32_modules_strict = {*(self._keep_in_fp32_modules_strict or ()), "mask_gate"}

    @classmethod
    def from_pretrained(cls, *args, output_loading_info=False, **kwargs):
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        # transformers only warns, and takes other numbers.
        for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
            wrong = [key for key in map(str, info[what]) if what == "missing_keys" or "mask_gate" in key]
            if wrong:
                raise ValueError(f"{model.config._name_or_path}: {what.replace('_', ' ')}: {sorted(wrong)}")
        return (model, info) if output_loading_info else model

    @classmethod
    def is_backend_compatible(cls):
        """Engines that put their own experts into transformers' models would lose the masks."""
        return False

    self_test = self_test


class ExpertMaskQwen3MoeConfig(Qwen3MoeConfig):
    model_type = ModelType("qwen3_moe")


class ExpertMaskQwen2MoeConfig(Qwen2MoeConfig):
    model_type = ModelType("qwen2_moe")


class ExpertMaskDeepseekV2Config(DeepseekV2Config):
    model_type = ModelType("deepseek_v2")


class ExpertMaskOlmoeConfig(OlmoeConfig):
    model_type = ModelType("olmoe")


class ExpertMaskMixtralConfig(MixtralConfig):
    model_type = ModelType("mixtral")


class ExpertMaskQwen3MoeForCausalLM(ExpertMaskModel, Qwen3MoeForCausalLM):
    config_class = ExpertMaskQwen3MoeConfig


class ExpertMaskQwen2MoeForCausalLM(ExpertMaskModel, Qwen2MoeForCausalLM):
    config_class = ExpertMaskQwen2MoeConfig


class ExpertMaskDeepseekV2ForCausalLM(ExpertMaskModel, DeepseekV2ForCausalLM):
    config_class = ExpertMaskDeepseekV2Config


class ExpertMaskOlmoeForCausalLM(ExpertMaskModel, OlmoeForCausalLM):
    config_class = ExpertMaskOlmoeConfig


class ExpertMaskMixtralForCausalLM(ExpertMaskModel, MixtralForCausalLM):
    config_class = ExpertMaskMixtralConfig
