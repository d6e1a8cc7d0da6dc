"""What libraries work out again and again for every config and every run, worked out once.

MMEngine reads the metafiles of MMDetection's whole zoo for each config that is based on one of its
own, and lays out the text of a config some seven times a run.
"""

from __future__ import annotations

from functools import cache, wraps
from typing import Any

from mmengine.config import utils
from yapf.yapflib import yapf_api

format_code = yapf_api.FormatCode
laid_out: dict[str, Any] = {}


@wraps(format_code)
def _format_once(*text: str, **options: Any) -> Any:
    key = repr((text, options))
    if key not in laid_out:
        laid_out[key] = format_code(*text, **options)
    return laid_out[key]


utils._get_cfg_metainfo = cache(utils._get_cfg_metainfo)
yapf_api.FormatCode = _format_once
