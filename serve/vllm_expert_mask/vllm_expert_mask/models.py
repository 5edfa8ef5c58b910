"""vLLM's models with mask gates."""

import vllm
from vllm.model_executor.models.deepseek_v2 import DeepseekV2ForCausalLM
from vllm.model_executor.models.mixtral import MixtralForCausalLM
from vllm.model_executor.models.olmoe import OlmoeForCausalLM
from vllm.model_executor.models.qwen2_moe import Qwen2MoeForCausalLM
from vllm.model_executor.models.qwen3_moe import Qwen3MoeForCausalLM
from vllm.platforms import current_platform

from .hook import attach, verify
from .spec import ExpertMaskError, check_engine, disabled, read_spec


class ExpertMask:
    def __init__(self, *, vllm_config, prefix: str = ""):
        check_engine("vLLM", vllm.__version__, "0.29.")
        spec = read_spec(vllm_config.model_config.hf_text_config)
        if vllm_config.lora_config is not None:
            raise ExpertMaskError("LoRA is not supported: it runs experts along a path without masks")
        kernels = vllm_config.kernel_config
        if current_platform.is_cuda() and kernels.moe_backend == "auto" and vllm_config.quant_config is None:
            kernels.moe_backend = "triton"  # the one whose products leave dropped candidates out
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self._mask_spec = spec
        self._mask_layers = attach(self, spec)
        self._masks_verified = disabled()

    def load_weights(self, weights):
        """vLLM passes over some tensors that it does not know or that are missing, but not over gates'."""
        missing = {n for n, _ in self.named_parameters() if ".mask_gate." in n}
        layers = set()

        def checked():
            for name, tensor in weights:
                if ".mask_gate." in name:
                    self._check_gate_tensor(name, tensor)
                    missing.discard(name)
                    layers.add(name.rpartition(".")[0])
                yield name, tensor

        loaded = super().load_weights(checked())
        if missing:
            raise ExpertMaskError(f"the checkpoint lacks {len(missing)} tensors of mask gates, "
                                  f"for example {min(missing)}")
        if len(layers) != self._mask_spec.num_masked_layers:
            raise ExpertMaskError(f"the checkpoint has mask gates in {len(layers)} layers, config.json says "
                                  f"num_masked_layers: {self._mask_spec.num_masked_layers}")
        return loaded

    def _check_gate_tensor(self, name, tensor):
        shape = self._mask_spec.shapes().get(name.rpartition(".")[2])
        if shape is None:
            raise ExpertMaskError(f"the checkpoint has {name}, which expert_mask of config.json does not "
                                  "mention")
        if tuple(tensor.shape) != shape:
            raise ExpertMaskError(f"{name} has the shape {tuple(tensor.shape)} instead of {shape}")

    def forward(self, input_ids, positions, intermediate_tensors=None, inputs_embeds=None):
        if not self._masks_verified:
            verify(self._mask_layers)
            self._masks_verified = True
        return super().forward(input_ids, positions, intermediate_tensors, inputs_embeds)


class ExpertMaskQwen3MoeForCausalLM(ExpertMask, Qwen3MoeForCausalLM):
    pass


class ExpertMaskQwen2MoeForCausalLM(ExpertMask, Qwen2MoeForCausalLM):
    pass


class ExpertMaskDeepseekV2ForCausalLM(ExpertMask, DeepseekV2ForCausalLM):
    pass


class ExpertMaskOlmoeForCausalLM(ExpertMask, OlmoeForCausalLM):
    pass


class ExpertMaskMixtralForCausalLM(ExpertMask, MixtralForCausalLM):
    pass
