"""SGLang plugin: models whose config.json has an `expert_mask` block (mask gates beside the routers)."""

import os
import sys

MODELS = f"{__name__}.models"
VARIABLE = "SGLANG_EXTERNAL_MODEL_PACKAGE"


def register() -> None:
    """Called by SGLang in each of its processes before configurations are read. Where this fails SGLang logs it
    and goes on: then it knows neither the configurations nor the architectures and refuses the model."""
    if os.environ.setdefault(VARIABLE, MODELS) != MODELS:
        raise ValueError(f"expert_mask: {VARIABLE} is {os.environ[VARIABLE]}; it must be {MODELS}, or not set")
    registry = sys.modules.get("sglang.srt.models.registry")
    if registry is not None:  # it has read the variable before
        registry.ModelRegistry.register(MODELS, overwrite=True, strict=True)

    from transformers import AutoConfig

    from . import config
    for known in config.KNOWN:
        AutoConfig.register(known.model_type, known, exist_ok=True)
