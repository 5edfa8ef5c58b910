"""What config.json says about the masks, checked. Needs neither torch nor an engine."""

import math
import os
from dataclasses import dataclass

MODES = ("skip", "remap", "zero")
EXPERTS_KEYS = ("num_experts", "n_routed_experts", "num_local_experts")  # one of them, by family


class ExpertMaskError(ValueError):
    def __init__(self, message: str):
        super().__init__(f"expert_mask: {message}")


@dataclass(frozen=True)
class MaskSpec:
    hidden_size: int
    num_experts: int
    top_k: int
    threshold: float
    bias: bool
    router_features: bool
    num_masked_layers: int

    @property
    def cutoff(self) -> float:
        """Smallest mask logit that keeps an expert; exactly 0 for the threshold 0.5."""
        return math.log(self.threshold / (1 - self.threshold))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors of a mask gate."""
        shapes = {"weight": (self.num_experts, self.hidden_size)}
        if self.bias:
            shapes["bias"] = (self.num_experts,)
        if self.router_features:
            shapes |= {"router_scale": (1,), "rank_bias": (self.top_k,)}
        return shapes


def _take(block: dict, key: str, kind: type):
    if key not in block:
        raise ExpertMaskError(f"config.json lacks expert_mask.{key}")
    if type(block[key]) is not kind:
        raise ExpertMaskError(f"expert_mask.{key} is {block[key]!r}, not of type {kind.__name__}")
    return block[key]


def read_spec(config) -> MaskSpec:
    """`config` is the Hugging Face configuration object with its attribute `expert_mask`."""
    block = getattr(config, "expert_mask", None)
    if not isinstance(block, dict):
        raise ExpertMaskError("config.json names an ExpertMask architecture, but has no expert_mask object")
    version = _take(block, "version", int)
    if version != 1:
        raise ExpertMaskError(f"format version {version}, not 1: install a newer plugin")
    threshold = _take(block, "threshold", float)
    if not 0 < threshold < 1:
        raise ExpertMaskError(f"threshold {threshold} is not between 0 and 1")
    if _take(block, "mask_tensor", str) != "mask_gate":
        raise ExpertMaskError(f"mask_tensor is {block['mask_tensor']!r}, not 'mask_gate'")
    if _take(block, "renormalize", bool):
        raise ExpertMaskError("renormalize is true, which is unknown: kept weights stay as they are")
    if _take(block, "dropped_output", bool):
        raise ExpertMaskError("the model gives back a vector for each dropped expert (dropped_output), which "
                              "this plugin does not compute; train with mask.give_back: false, or use "
                              "beam generate")
    return MaskSpec(
        hidden_size=config.hidden_size,
        num_experts=next(getattr(config, k) for k in EXPERTS_KEYS if getattr(config, k, None)),
        top_k=config.num_experts_per_tok,
        threshold=threshold,
        bias=_take(block, "bias", bool),
        router_features=_take(block, "router_features", bool),
        num_masked_layers=_take(block, "num_masked_layers", int))


def check_engine(name: str, version: str, tested: str) -> None:
    """A plugin leans on names inside its engine that change between releases. `tested`: how versions begin."""
    anyway = f"EXPERT_MASK_ANY_{name.upper()}"
    if not version.startswith(tested) and os.environ.get(anyway) != "1":
        raise ExpertMaskError(f"{name} {version} is untested, {tested}* is tested; to try anyway set {anyway}=1")


def mode_asked() -> str | None:
    """EXPERT_MASK_MODE, None if the plugin is to choose."""
    mode = os.environ.get("EXPERT_MASK_MODE", "auto")
    if mode not in ("auto", *MODES):
        raise ExpertMaskError(f"EXPERT_MASK_MODE={mode} is none of auto, {', '.join(MODES)}")
    return None if mode == "auto" else mode


def disabled() -> bool:
    """EXPERT_MASK_DISABLE=1: every candidate runs, to compare with the model without masks."""
    return os.environ.get("EXPERT_MASK_DISABLE", "0") == "1"
