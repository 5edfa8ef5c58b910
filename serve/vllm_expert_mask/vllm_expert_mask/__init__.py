"""vLLM plugin: models whose config.json has an `expert_mask` block (mask gates beside the routers)."""

ARCHITECTURES = ("Qwen3Moe", "Qwen2Moe", "DeepseekV2", "Olmoe", "Mixtral")


def register() -> None:
    """Called by vLLM in each of its processes, possibly more than once."""
    from vllm import ModelRegistry

    for name in ARCHITECTURES:
        name = f"ExpertMask{name}ForCausalLM"
        ModelRegistry.register_model(name, f"{__name__}.models:{name}")
