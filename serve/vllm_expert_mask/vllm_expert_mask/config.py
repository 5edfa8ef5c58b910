"""Configurations by the `model_type` that `beam export` writes. Classes of their own, so that transformers
in the same process does not take them for the stock models' and run those without masks. Their names are
those in the exported folder's code, which transformers compares. vLLM pickles them."""

from transformers import DeepseekV2Config, MixtralConfig, OlmoeConfig, Qwen2MoeConfig, Qwen3MoeConfig


class StockInMemory:
    """Of a class model_type is ours, as in config.json; of a configuration the stock one, by which vLLM and
    transformers choose attention and tokenizer."""

    def __post_init__(self, **values):
        super().__post_init__(**values)
        self.model_type = type(self).model_type.removeprefix("expert_mask_")


class ExpertMaskQwen3MoeConfig(StockInMemory, Qwen3MoeConfig):
    model_type = "expert_mask_qwen3_moe"


class ExpertMaskQwen2MoeConfig(StockInMemory, Qwen2MoeConfig):
    model_type = "expert_mask_qwen2_moe"


class ExpertMaskDeepseekV2Config(StockInMemory, DeepseekV2Config):
    model_type = "expert_mask_deepseek_v2"


class ExpertMaskOlmoeConfig(StockInMemory, OlmoeConfig):
    model_type = "expert_mask_olmoe"


class ExpertMaskMixtralConfig(StockInMemory, MixtralConfig):
    model_type = "expert_mask_mixtral"
