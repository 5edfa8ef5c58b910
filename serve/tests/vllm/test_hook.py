"""The wiring on a GPU, without one: vLLM's own router and experts classes around small doubles."""
import inspect

import torch
from test_mask import E, K, make
from vllm import _custom_ops as ops
from vllm.model_executor.layers.fused_moe.experts.triton_moe import TritonExperts
from vllm.model_executor.layers.fused_moe.modular_kernel import FusedMoEKernelModularImpl
from vllm.model_executor.layers.fused_moe.router.base_router import BaseRouter
from vllm_expert_mask.experts import MaskedTritonExperts
from vllm_expert_mask.hook import _mask_router


class Router(BaseRouter):
    routing_method_type = None

    def _compute_routing(self, hidden_states, router_logits, indices_type, *, input_ids=None):
        weights, ids = torch.softmax(router_logits, 1).topk(self.top_k)
        return weights, ids.to(indices_type)


def test_router_marks_what_is_dropped():
    gate, x, _, _ = make()
    gate.mode, router = "skip", Router(top_k=K, global_num_experts=E)
    logits, seen = torch.randn(len(x), E), []
    weights, ids = router.select_experts(x, logits, torch.int32)
    expected = gate(x, weights, ids)
    _mask_router(router, gate)
    router.set_capture_fn(seen.append)
    masked = router.select_experts(x, logits, torch.int32)
    assert torch.equal(masked[0], expected[0]) and torch.equal(masked[1], expected[1])
    assert (masked[1] == -1).any() and torch.equal(seen[0], masked[1])


def test_sum_leaves_dropped_candidates_out(monkeypatch):
    """vLLM gives `apply` its arguments by name, and `apply` calls `moe_sum` with two."""
    calls, ids = [], torch.tensor([[0, -1], [-1, 1]])
    monkeypatch.setattr(TritonExperts, "apply", lambda self, **arguments: self.moe_sum("rows", "output"))
    monkeypatch.setattr(ops, "moe_sum", lambda *arguments: calls.append(arguments))
    experts = object.__new__(MaskedTritonExperts)
    experts.apply(output="output", topk_ids=ids, expert_map=None)
    assert calls == [("rows", "output", ids, None)]


def test_what_the_experts_rely_on():
    source = inspect.getsource(FusedMoEKernelModularImpl)
    assert "topk_ids=topk_ids," in source
    assert list(inspect.signature(TritonExperts.moe_sum).parameters) == ["self", "input", "output"]
    assert list(inspect.signature(ops.moe_sum).parameters) == ["input", "output", "topk_ids", "expert_map"]
