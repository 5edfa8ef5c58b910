"""Triton experts of vLLM that take -1 for a dropped candidate. Only for unquantised models whose experts are
all on each rank; everything else gets valid ids (mode remap)."""

from vllm import _custom_ops as ops
from vllm.model_executor.layers.fused_moe.experts.triton_moe import TritonExperts


class MaskedTritonExperts(TritonExperts):
    """Ids of -1 are in no block of the two products, so that their rows of the workspace are never written
    and hold anything, even NaN. The sum over candidates must not read them: vLLM's kernel leaves them
    out if it is given the ids."""

    def apply(self, *, topk_ids, **arguments):
        self._ids = topk_ids
        super().apply(topk_ids=topk_ids, **arguments)

    def moe_sum(self, input, output):
        ops.moe_sum(input, output, self._ids, None)
