"""Puts a mask gate behind the top-k of every mixture layer of an SGLang model, before its weights are loaded."""

import logging

import torch
from sglang.srt.layers.moe.topk import StandardTopKOutput, TopK, TopKOutputFormat, is_expert_remapping_enabled
from sglang.srt.layers.moe.utils import MoeRunnerBackend, get_moe_a2a_backend
from sglang.srt.layers.quantization.unquant import UnquantizedFusedMoEMethod
from sglang.srt.runtime_context import get_lora
from sglang.srt.utils import is_cpu, is_cuda

from .mask import MaskGate
from .spec import ExpertMaskError, disabled, mode_asked

logger = logging.getLogger(__name__)
FORWARDS = ("forward_native", "forward_cpu", "forward_cuda")


def check_engine_options() -> None:
    if get_lora().enable_lora:
        raise ExpertMaskError("LoRA is not supported: it runs experts along a path without masks")
    if not get_moe_a2a_backend().is_none():
        raise ExpertMaskError(f"--moe-a2a-backend {get_moe_a2a_backend().value} is not supported")
    if is_expert_remapping_enabled():
        raise ExpertMaskError("moving experts between ranks (EPLB, redundant experts) is not supported: "
                              "masks go by the model's own numbers")


def _check_experts(name: str, topk: TopK, experts) -> None:
    """Whether the ids and weights that the top-k gives are what runs."""
    config, method = topk.topk_config, type(experts.quant_method)
    if config.num_shared_topk_slots or experts.num_fused_shared_experts:
        raise ExpertMaskError(f"{name} runs shared experts as candidates, which no mask knows; give "
                              "--disable-shared-experts-fusion")
    if is_cpu() and method is not UnquantizedFusedMoEMethod:
        raise ExpertMaskError(f"{method.__name__} on a processor is not supported: do not quantise")
    if not is_cpu() and experts.runner_backend is not MoeRunnerBackend.TRITON:
        raise ExpertMaskError(f"{method.__name__} runs experts by {experts.runner_backend}, which is not "
                              "supported; give --moe-runner-backend triton")
    if config.output_format is not TopKOutputFormat.STANDARD:
        raise ExpertMaskError(f"{name} routes inside its kernel ({config.output_format}), where no mask can be "
                              "applied; give --moe-runner-backend triton")


def _choose_mode() -> str:
    """SGLang's own experts on a processor count an expert once per token, so ids must not repeat. -1 would be
    followed by the Triton kernels to outside the weights: never `skip`."""
    can = ("zero",) if is_cpu() else ("remap", "zero")
    mode = mode_asked() or can[0]
    if mode not in can:
        raise ExpertMaskError(f"EXPERT_MASK_MODE={mode} is not possible here; possible: {', '.join(can)}")
    return mode


def _mask_topk(topk: TopK, gate: MaskGate) -> None:
    """Wherever the top-k comes from: models call it as a module, and some `forward_cuda` directly."""
    def masked(stock):
        def forward(hidden_states, router_logits, **more):
            out = stock(hidden_states, router_logits, **more)
            if type(out) is not StandardTopKOutput:
                raise ExpertMaskError(f"the top-k gives {type(out).__name__}, to which no mask can be applied")
            weights, ids = gate(hidden_states, out.topk_weights, out.topk_ids)
            return out._replace(topk_weights=weights, topk_ids=ids)
        return forward

    for name in FORWARDS:
        setattr(topk, name, masked(getattr(topk, name)))
    topk._forward_method = None  # to be chosen anew, among these


def attach(model: torch.nn.Module, spec) -> None:
    """Adds `mask_gate` to the block of each mixture layer."""
    if not (is_cpu() or is_cuda()):
        raise ExpertMaskError("only processors and NVIDIA GPUs are supported")
    found = [(n, m) for n, m in model.named_modules() if isinstance(m, TopK)]
    for name, topk in found:
        block = model.get_submodule(name.rpartition(".")[0])
        block.mask_gate = gate = MaskGate(spec)
        if not disabled():
            _check_experts(name, topk, block.experts)
            gate.mode = _choose_mode()
            _mask_topk(topk, gate)
    if disabled():
        logger.warning("expert_mask: EXPERT_MASK_DISABLE=1, every candidate runs")
    elif found:
        logger.info("expert_mask: %d layers, mode %s", len(found), gate.mode)
