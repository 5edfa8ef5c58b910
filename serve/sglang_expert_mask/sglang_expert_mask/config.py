"""Configurations by the `model_type` that `beam export` writes. Classes of their own, so that transformers
in the same process does not take them for the stock models' and run those without masks. Their names are
those in the exported folder's code, which transformers compares. SGLang pickles them."""

from transformers import DeepseekV2Config, MixtralConfig, OlmoeConfig, Qwen2MoeConfig, Qwen3MoeConfig


class StockInMemory:
    """Of a class model_type is ours, as in config.json; of a configuration it is the stock one, and the stock
    architecture stands behind ours: by these SGLang chooses attention and cache. It runs the first."""

    def __post_init__(self, **values):
        super().__post_init__(**values)
        self.model_type = type(self).model_type.removeprefix("expert_mask_")
        ours = [name for name in self.architectures or () if name.startswith("ExpertMask")]
        self.architectures = ours + [name.removeprefix("ExpertMask") for name in ours]


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


KNOWN = (ExpertMaskQwen3MoeConfig, ExpertMaskQwen2MoeConfig, ExpertMaskDeepseekV2Config,
         ExpertMaskOlmoeConfig, ExpertMaskMixtralConfig)
