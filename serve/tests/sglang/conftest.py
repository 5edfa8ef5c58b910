"""The small models of the vLLM plugin's tests, where SGLang can run them."""
import importlib.util
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "vllm" / "conftest.py"
spec = importlib.util.spec_from_file_location("small_models", SOURCE)
small_models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small_models)

small_models.FAMILIES["qwen3_moe"].pop("mlp_only_layers")  # SGLang 0.5.23 passes over it
# Keys of published models that SGLang wants.
small_models.FAMILIES["deepseek_v2"] |= {"moe_layer_freq": 1, "scoring_func": "softmax"}

FAMILIES = small_models.FAMILIES
beam, edit_config, edit_tensors = small_models.beam, small_models.edit_config, small_models.edit_tensors
text, exported = small_models.text, small_models.exported  # fixtures
