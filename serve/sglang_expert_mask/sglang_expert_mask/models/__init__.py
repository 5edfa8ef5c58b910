"""What SGLANG_EXTERNAL_MODEL_PACKAGE names. SGLang passes over modules in here that cannot be imported, but not over
this file: so it looks first, and imports them."""

import sglang
from sglang.srt.model_loader import utils

from ..spec import ExpertMaskError, check_engine

check_engine("SGLang", sglang.__version__, "0.5.23")

from . import masked  # noqa: E402, F401


def _refuse_transformers(stock):
    """--model-impl transformers takes stock models of transformers, and asks no one."""
    def resolve_transformers_arch(model_config, architectures):
        if any(name.startswith("ExpertMask") for name in architectures):
            raise ExpertMaskError("--model-impl transformers would run this model without its masks")
        return stock(model_config, architectures)
    return resolve_transformers_arch


utils.resolve_transformers_arch = _refuse_transformers(utils.resolve_transformers_arch)
