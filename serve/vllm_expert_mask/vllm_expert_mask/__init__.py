"""vLLM plugin: models whose config.json has an `expert_mask` block (mask gates beside the routers)."""

FAMILIES = ("Qwen3Moe", "Qwen2Moe", "DeepseekV2", "Olmoe", "Mixtral")


def register() -> None:
    """Called by vLLM in each of its processes, possibly more than once."""
    from transformers import AutoConfig
    from vllm import ModelRegistry

    from . import config

    for family in FAMILIES:
        name = f"ExpertMask{family}"
        ModelRegistry.register_model(f"{name}ForCausalLM", f"{__name__}.models:{name}ForCausalLM")
        # Not vLLM's own list of configurations: for those it sets model_type itself.
        known = getattr(config, f"{name}Config")
        AutoConfig.register(known.model_type, known, exist_ok=True)
