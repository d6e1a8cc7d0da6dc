"""`resnext list` picks weights within limits, and says what became of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resnext_backbones import cli
from resnext_backbones.complexity import costs, training_bytes
from resnext_backbones.compute import latency
from resnext_backbones.errors import InputError
from resnext_backbones.weights.choose import Limits, choose, published
from resnext_backbones.weights.publishers import FREE

ALL = published()
LIMITS = [
    Limits(),
    Limits(free=True),
    Limits(memory=2e9),
    Limits(free=True, memory=5e9, latency=0.02),
    Limits(latency=0.006),
]
SECONDS = {name: cost.trunk_multiply_adds / 1e12 for name, cost in costs().items()}
"""As if a device did a thousand billion multiply-adds in a second."""


@pytest.mark.parametrize("limits", LIMITS)
def test_no_other_weights_within_the_limits_are_more_accurate(limits: Limits) -> None:
    asked: list[str] = []

    def measure(name: str) -> float:
        asked.append(name)
        return SECONDS[name]

    choice = choose(ALL, limits, {}, measure, seconds=60)
    fits = [
        row
        for row in ALL
        if row.top1 is not None
        and not (limits.free and row.source.licence not in FREE)
        and (training_bytes(row.variant) or 0) <= (limits.memory or float("inf"))
        and SECONDS[row.variant] <= (limits.latency or float("inf"))
    ]
    assert choice.best.row in fits
    assert choice.best.top1 == max(row.top1 for row in fits)
    told = [row for rows in choice.fell.values() for row in rows] + choice.rest
    assert sorted(row.alias for row in [*told, choice.best.row]) == [row.alias for row in ALL]
    assert len(asked) == len(set(asked))  # and nothing where no latency is asked for
    assert bool(asked) == bool(limits.latency)
    if limits.latency:  # those that are less accurate than the first within are not measured
        assert {row.variant for row in choice.rest} - {*asked}


def test_where_no_time_is_left_it_says_so() -> None:
    with pytest.raises(InputError, match="there was no time to measure it in -1 s"):
        choose(ALL, Limits(latency=1), {}, SECONDS.__getitem__, seconds=-1)
    known = choose(ALL, Limits(latency=1), SECONDS, lambda _: 1 / 0, seconds=-1)
    assert known.best.seconds == SECONDS[known.best.row.variant]


def test_what_none_fits_says_what_comes_next() -> None:
    with pytest.raises(
        InputError, match=r"no weights fit.* slower than 0\.1 ms; the fastest is"
    ) as e:
        choose(ALL, Limits(latency=1e-4), SECONDS, lambda _: 1 / 0, seconds=1)
    assert "the smallest" not in str(e.value)


def test_a_latency_is_measured_once_and_listed_from_then_on(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    arguments = ["list", "regnet_x_400mf", "--size", "64x64"]
    cli.main(arguments)
    assert "nothing was measured here at 64 x 64; --measure does" in capsys.readouterr().out
    cli.main([*arguments, "--latency", "100s", "--memory", "8GB", "--licence", "free"])
    out, said = capsys.readouterr()
    assert out.startswith("torchvision/regnet_x_400mf.v2\n")
    assert "one image of 64 x 64 in float32, on " in out
    assert said.startswith("measured: regnetx_004_tv ")
    (file,) = latency.folder().glob("*.json")
    seconds = json.loads(file.read_text())["seconds"]["64x64"]
    assert seconds.keys() == {"regnetx_004_tv"}
    assert 0 < seconds["regnetx_004_tv"] < 60
    cli.main([*arguments, "--measure"])
    out, said = capsys.readouterr()
    assert said == ""  # it is known
    (head, *_) = out.splitlines()
    assert head.split()[-4:] == ["GMACs", "GB", "ms", "licence"]
    cli.main([*arguments, "--again"])
    out, said = capsys.readouterr()
    assert said.startswith("measured: regnetx_004_tv ")
    assert "nothing was measured" not in out
    file.write_text("{")
    assert latency.known((64, 64)).seconds == {}
