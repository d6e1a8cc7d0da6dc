"""MMPretrain's configs of cross-stage networks get the trunk here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resnext_backbones.adapters.backbone import Backbone
from resnext_backbones.adapters.registry import MODELS
from resnext_backbones.models.options import check_one_of, check_range, require
from resnext_backbones.variants import architecture_of

DEPTHS = {50: "cspresnext50"}
"""MMPretrain's depths of CSP-ResNeXt, and the variants."""

ACTIVATION = {"type": "LeakyReLU"}
"""The variants have this one, with PyTorch's slope."""


@MODELS.register_module(name="CSPResNeXt")
class CSPResNeXt(Backbone):
    """Takes the arguments of MMPretrain's `CSPResNeXt` by their names.

    Args:
        depth: of `DEPTHS`.
        out_indices: stages; one below 0 counts from the last.
        frozen_stages: as MMPretrain counts here, one less than elsewhere: 0 freezes the stem and
            the first stage, -1 nothing.
        deep_stem, act_cfg: these values alone are taken here.
        options: of `Backbone`, and of the trunk, by its names.

    Raises:
        ValueError: an argument is out of its range; the message names it.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = (3,),
        frozen_stages: int = -1,
        deep_stem: bool = False,
        *,
        act_cfg: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        check_one_of("depth", depth, DEPTHS)
        require(not deep_stem, "deep_stem", "left out: no such weights are published", deep_stem)
        plain = {key: value for key, value in (act_cfg or ACTIVATION).items() if key != "inplace"}
        require(plain == ACTIVATION, "act_cfg", f"{ACTIVATION}, or left out", act_cfg)
        architecture = architecture_of(DEPTHS[depth], in_channels=in_channels)
        n = len(architecture.blocks)
        check_range("frozen_stages", frozen_stages, -1, n - 1)
        given = [out_indices] if isinstance(out_indices, int) else out_indices
        super().__init__(
            architecture,
            out_indices=[index + n if index < 0 else index for index in given],
            frozen_stages=frozen_stages if frozen_stages < 0 else frozen_stages + 1,
            **options,
        )
