"""vLLM's experts on the processor route inside, so the mask goes there. Their kernel indexes with the ids
unchecked: never -1."""

import os


def kernel_path() -> str | None:
    """EXPERT_MASK_KERNEL: libbeam_moe.so, to compute experts on the processor with."""
    return os.environ.get("EXPERT_MASK_KERNEL") or None


def masked_cpu_class(stock: type, gate) -> type:
    """A subclass of `stock` for the one layer whose mask gate is `gate`."""

    class MaskedCPUExperts(stock):
        mask_gate = gate

        def _select_experts(self, hidden_states, *args, **kwargs):
            weights, ids = super()._select_experts(hidden_states, *args, **kwargs)
            return gate(hidden_states, weights, ids)

    if not kernel_path():
        return MaskedCPUExperts
    from .kernel import kernel_class
    return kernel_class(MaskedCPUExperts, kernel_path())
