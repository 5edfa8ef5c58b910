"""SGLang's models with mask gates."""

from sglang.srt.models.deepseek_v2 import DeepseekV2ForCausalLM
from sglang.srt.models.mixtral import MixtralForCausalLM
from sglang.srt.models.olmoe import OlmoeForCausalLM
from sglang.srt.models.qwen2_moe import Qwen2MoeForCausalLM
from sglang.srt.models.qwen3_moe import Qwen3MoeForCausalLM

from ..hook import attach, check_engine_options
from ..spec import ExpertMaskError, read_spec


class ExpertMask:
    def __init__(self, config, quant_config=None, prefix: str = ""):
        spec = read_spec(config)
        check_engine_options()
        super().__init__(config, quant_config, prefix)
        self._mask_spec = spec
        self._masks_loaded = False
        attach(self, spec)

    def load_weights(self, weights, *arguments, **more):
        """The stock models pass over tensors that they do not know or that are missing: they do not see gates'."""
        own = {n: p for n, p in self.named_parameters() if ".mask_gate." in n}
        loaded = set()

        def others():
            for name, tensor in weights:
                if ".mask_gate." in name:
                    self._load_gate_tensor(own, name, tensor)
                    loaded.add(name)
                else:
                    yield name, tensor

        result = super().load_weights(others(), *arguments, **more)
        missing = own.keys() - loaded
        if missing:
            raise ExpertMaskError(f"the checkpoint lacks {len(missing)} tensors of mask gates, "
                                  f"for example {min(missing)}")
        layers = len({name.rpartition(".")[0] for name in loaded})
        if layers != self._mask_spec.num_masked_layers:
            raise ExpertMaskError(f"the checkpoint has mask gates in {layers} layers, config.json says "
                                  f"num_masked_layers: {self._mask_spec.num_masked_layers}")
        self._masks_loaded = True
        return result

    def _load_gate_tensor(self, own, name, tensor):
        shape = self._mask_spec.shapes().get(name.rpartition(".")[2])
        if shape is None:
            raise ExpertMaskError(f"the checkpoint has {name}, which expert_mask of config.json does not "
                                  "mention")
        if tuple(tensor.shape) != shape:
            raise ExpertMaskError(f"{name} has the shape {tuple(tensor.shape)} instead of {shape}")
        if name not in own:
            raise ExpertMaskError(f"the checkpoint has {name}, but this model no mixture layer there")
        own[name].data.copy_(tensor)

    def forward(self, *arguments, **more):
        if not self._masks_loaded:
            raise ExpertMaskError("the mask gates were not loaded (--load-format dummy?)")
        return super().forward(*arguments, **more)


class ExpertMaskQwen3MoeForCausalLM(ExpertMask, Qwen3MoeForCausalLM):
    pass


class ExpertMaskQwen2MoeForCausalLM(ExpertMask, Qwen2MoeForCausalLM):
    pass


class ExpertMaskDeepseekV2ForCausalLM(ExpertMask, DeepseekV2ForCausalLM):
    def __init__(self, config, quant_config=None, prefix: str = ""):
        if "DeepseekV2ForCausalLM" not in config.architectures:
            raise ExpertMaskError("SGLang gives a model latent attention by names that config.json lacks; export it "
                                  "without --plain-type")
        super().__init__(config, quant_config, prefix)


class ExpertMaskOlmoeForCausalLM(ExpertMask, OlmoeForCausalLM):
    pass


class ExpertMaskMixtralForCausalLM(ExpertMask, MixtralForCausalLM):
    pass


EntryClass = [ExpertMaskQwen3MoeForCausalLM, ExpertMaskQwen2MoeForCausalLM, ExpertMaskDeepseekV2ForCausalLM,
              ExpertMaskOlmoeForCausalLM, ExpertMaskMixtralForCausalLM]
