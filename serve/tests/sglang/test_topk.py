"""The wrapped top-k, over what SGLang's routers give and into what its experts take, without an engine."""
from pathlib import Path
from types import SimpleNamespace

import engine  # noqa: F401, first: SGLang for a processor
import pytest
import torch
from sglang.srt.layers.moe.fused_moe_native import fused_moe_forward_native, moe_forward_native
from sglang.srt.layers.moe.moe_runner import MoeRunnerConfig
from sglang.srt.layers.moe.token_dispatcher import StandardDispatchOutput
from sglang.srt.layers.moe.topk import (BypassedTopKOutput, StandardTopKOutput, StandardTopKOutputPacked,
                                        TopKOutputFormat, fused_topk_torch_native)
from sglang.srt.layers.moe.utils import MoeA2ABackend, MoeRunnerBackend
from sglang.srt.layers.quantization.unquant import UnquantizedFusedMoEMethod
from sglang_expert_mask import hook
from sglang_expert_mask.mask import MaskGate
from sglang_expert_mask.spec import ExpertMaskError, MaskSpec

T, D, E, K, F = 40, 16, 8, 4, 12
SERVE = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["mask.py", "spec.py"])
def test_the_rule_is_that_of_the_vllm_plugin(name):
    ours, theirs = (SERVE / plugin / plugin / name for plugin in ("sglang_expert_mask", "vllm_expert_mask"))
    assert ours.read_text() == theirs.read_text(), f"change both: {name}"


def random_gate(mode):
    gate, random = MaskGate(MaskSpec(D, E, K, 0.5, True, True, 1)), torch.Generator().manual_seed(1)
    for p in gate.parameters():
        p.data = torch.randn(p.shape, generator=random) * 0.5
    gate.mode = mode
    return gate


def route(padded=0):
    """(x, what a router of SGLang gives); the last rows as SGLang pads them."""
    random = torch.Generator().manual_seed(2)
    x, logits = torch.randn(T, D, generator=random), torch.randn(T, E, generator=random)
    weights, ids = fused_topk_torch_native(x, logits, K, True)
    ids[T - padded:] = -1
    return x, StandardTopKOutput(weights, ids.int(), logits)


def masked(mode, x, out):
    topk = SimpleNamespace(**{name: lambda x, logits: out for name in hook.FORWARDS})
    hook._mask_topk(topk, random_gate(mode))
    results = [getattr(topk, name)(x, None) for name in hook.FORWARDS]
    assert all(torch.equal(a, b) for r in results[1:] for a, b in zip(r, results[0]))
    return results[0]


def experts():
    random = torch.Generator().manual_seed(3)
    return SimpleNamespace(w13_weight=torch.randn(E, 2 * F, D, generator=random), num_experts=E,
                           w2_weight=torch.randn(E, D, F, generator=random),
                           moe_runner_config=MoeRunnerConfig(activation="silu"))


def test_remap_is_zero_without_its_experts():
    x, out = route()
    zero, remap, layer = masked("zero", x, out), masked("remap", x, out), experts()
    dropped = zero.topk_weights == 0
    assert 0 < dropped.float().mean() < 1 and torch.equal(zero.topk_ids, out.topk_ids)
    assert torch.equal(zero.topk_weights, remap.topk_weights) and torch.equal(zero.topk_ids[~dropped],
                                                                              remap.topk_ids[~dropped])
    used = [set(row.tolist()) for row in remap.topk_ids]
    kept = [set(row[~d].tolist()) for row, d in zip(out.topk_ids, dropped)]
    assert all(u == k if k else len(u) == 1 for u, k in zip(used, kept))
    a, b = (fused_moe_forward_native(layer, StandardDispatchOutput(x, None, o)).hidden_states
            for o in (zero, remap))
    assert torch.allclose(a, b, atol=1e-5) and not torch.equal(zero.topk_ids, remap.topk_ids)


def test_why_a_processor_has_no_remap():
    """moe_forward_native counts an expert once per token, however often it stands there."""
    x, out = route()
    zero, remap, layer = masked("zero", x, out), masked("remap", x, out), experts()
    right = fused_moe_forward_native(layer, StandardDispatchOutput(x, None, zero)).hidden_states
    assert torch.allclose(moe_forward_native(layer, x, zero, layer.moe_runner_config), right, atol=1e-5)
    try:
        wrong = moe_forward_native(layer, x, remap, layer.moe_runner_config)
    except (RuntimeError, IndexError):
        return
    assert not torch.allclose(wrong, right, atol=1e-5)


@pytest.mark.parametrize("mode", ["zero", "remap"])
def test_padding_stays(mode):
    x, out = route(padded=5)
    result = masked(mode, x, out)
    assert (result.topk_ids[-5:] == -1).all() and (result.topk_ids[:-5] >= 0).all()
    assert (result.topk_weights[-5:] == 0).all()


def test_other_outputs():
    x, out = route()
    for other in (BypassedTopKOutput(x, out.router_logits, None), StandardTopKOutputPacked(*out, out.topk_ids)):
        with pytest.raises(ExpertMaskError, match="to which no mask can be applied"):
            masked("zero", x, other)


class Quantized(UnquantizedFusedMoEMethod):
    pass


@pytest.mark.parametrize("cpu, changes, says", [
    (True, {}, None),
    (False, {}, None),
    (True, {"method": Quantized}, "Quantized on a processor"),
    (False, {"method": Quantized}, None),
    (False, {"backend": MoeRunnerBackend.FLASHINFER_CUTLASS}, "moe-runner-backend triton"),
    (False, {"backend": None}, "moe-runner-backend triton"),
    (False, {"format": TopKOutputFormat.BYPASSED}, "routes inside its kernel"),
    (False, {"format": TopKOutputFormat.TRITON_KERNEL}, "routes inside its kernel"),
    (False, {"format": None}, "routes inside its kernel"),
    (False, {"slots": 1}, "disable-shared-experts-fusion"),
    (False, {"fused": 1}, "disable-shared-experts-fusion"),
])
def test_experts(monkeypatch, cpu, changes, says):
    asked = {"method": UnquantizedFusedMoEMethod, "backend": MoeRunnerBackend.TRITON,
             "format": TopKOutputFormat.STANDARD, "slots": 0, "fused": 0} | changes
    monkeypatch.setattr(hook, "is_cpu", lambda: cpu)
    topk = SimpleNamespace(topk_config=SimpleNamespace(num_shared_topk_slots=asked["slots"],
                                                       output_format=asked["format"]))
    layer = SimpleNamespace(quant_method=asked["method"].__new__(asked["method"]), runner_backend=asked["backend"],
                            num_fused_shared_experts=asked["fused"])
    if says is None:
        hook._check_experts("topk", topk, layer)
    else:
        with pytest.raises(ExpertMaskError, match=says):
            hook._check_experts("topk", topk, layer)


@pytest.mark.parametrize("lora, a2a, eplb, says", [
    (False, "NONE", False, None),
    (True, "NONE", False, "LoRA"),
    (False, "DEEPEP", False, "--moe-a2a-backend deepep"),
    (False, "NONE", True, "moving experts"),
])
def test_options(monkeypatch, lora, a2a, eplb, says):
    monkeypatch.setattr(hook, "get_lora", lambda: SimpleNamespace(enable_lora=lora))
    monkeypatch.setattr(hook, "get_moe_a2a_backend", lambda: MoeA2ABackend[a2a])
    monkeypatch.setattr(hook, "is_expert_remapping_enabled", lambda: eplb)
    if says is None:
        hook.check_engine_options()
    else:
        with pytest.raises(ExpertMaskError, match=says):
            hook.check_engine_options()
