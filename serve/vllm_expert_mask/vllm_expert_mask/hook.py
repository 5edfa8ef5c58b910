"""Puts a mask gate beside every router of a vLLM model, before its weights are loaded. vLLM builds the
kernels from `experts_cls` after loading, so a layer's class can still be exchanged here."""

from vllm.logger import init_logger
from vllm.model_executor.layers.fused_moe import MoERunner
from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import UnquantizedFusedMoEMethod
from vllm.platforms import current_platform

from .cpu import kernel_path
from .mask import MaskGate
from .spec import ExpertMaskError, MaskSpec, disabled, mode_asked

logger = init_logger(f"vllm.{__name__}")


def _can_skip(runner, method) -> bool:
    if not current_platform.is_cuda():
        return kernel_path() is not None
    from vllm.model_executor.layers.fused_moe.experts.triton_moe import TritonExperts
    return (type(method) is UnquantizedFusedMoEMethod and method.experts_cls is TritonExperts
            and runner.expert_map is None and not runner.moe_config.moe_parallel_config.enable_eplb)


def _choose_mode(runner, method) -> str:
    can = ("skip", "remap", "zero") if _can_skip(runner, method) else ("remap", "zero")
    mode = mode_asked() or can[0]
    if mode not in can:
        raise ExpertMaskError(f"EXPERT_MASK_MODE={mode} is not possible with {method.experts_cls.__name__}; "
                              f"possible: {', '.join(can)}")
    return mode


def _mask_router(router, gate: MaskGate) -> None:
    """After the model's own routing; ids are still those of the model, not of a device."""
    stock = router._compute_routing

    def compute_routing(hidden_states, router_logits, indices_type, *, input_ids=None):
        weights, ids = stock(hidden_states, router_logits, indices_type, input_ids=input_ids)
        return gate(hidden_states, weights, ids)

    router._compute_routing = compute_routing


def _hook(runner, gate: MaskGate) -> str:
    """Returns the name of the class that runs the experts without masks."""
    method = runner.routed_experts.quant_method
    stock = getattr(method, "experts_cls", None)
    if stock is None:
        raise ExpertMaskError(f"{type(method).__name__} does not say how it runs experts: no mask can "
                              "be applied")
    gate.mode = _choose_mode(runner, method)
    on_cpu = hasattr(stock, "_select_experts") and stock.__module__.endswith(".cpu_moe")
    if kernel_path() and not on_cpu:
        raise ExpertMaskError("EXPERT_MASK_KERNEL is for unquantised experts on a processor, not "
                              f"{stock.__name__}")
    if on_cpu:
        from .cpu import masked_cpu_class
        method.experts_cls = masked_cpu_class(stock, gate)
    elif stock.is_monolithic():
        raise ExpertMaskError(f"{stock.__name__} routes inside its kernel, where no mask can be applied; "
                              "on a GPU choose another with --moe-backend triton, on a CPU do not quantise")
    else:
        if gate.mode == "skip":
            from .experts import MaskedTritonExperts
            method.experts_cls = MaskedTritonExperts
        _mask_router(runner.router, gate)
    return stock.__name__


def attach(model, spec: MaskSpec) -> list:
    """Adds `mask_gate` to the block of each mixture layer on this rank; returns the layers."""
    runners = [(n, m) for n, m in model.named_modules() if isinstance(m, MoERunner)]
    for name, runner in runners:
        gate = MaskGate(spec)
        model.get_submodule(name.rpartition(".")[0]).mask_gate = gate
        if not disabled():
            kernel = _hook(runner, gate)
            logger.info_once("expert_mask: %s, mode %s", kernel, gate.mode)
    if disabled():
        logger.warning("expert_mask: EXPERT_MASK_DISABLE=1, every candidate runs")
    return [runner for _, runner in runners]


def verify(runners: list) -> None:
    """Kernels are built after loading: whether they are the ones that were prepared."""
    for runner in runners:
        method = runner.routed_experts.quant_method
        built = type(getattr(method.moe_kernel, "fused_experts", None))
        masked = hasattr(built, "mask_gate") if runner.is_monolithic else built is method.experts_cls
        if not masked:
            raise ExpertMaskError(f"{runner.layer_name} runs {built.__name__}, which applies no masks")
