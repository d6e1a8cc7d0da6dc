"""RegNets have other names in torchvision."""

IN_TORCHVISION = {
    **{f"regnetx_{n}": f"regnet_x_{size}" for n, size in (
        ("004_tv", "400mf"), ("008", "800mf"), ("016", "1_6gf"), ("032", "3_2gf"),
        ("080", "8gf"), ("160", "16gf"), ("320", "32gf"),
    )},
    **{f"regnety_{n}": f"regnet_y_{size}" for n, size in (
        ("004", "400mf"), ("008_tv", "800mf"), ("016", "1_6gf"), ("032", "3_2gf"),
        ("080_tv", "8gf"), ("160", "16gf"), ("320", "32gf"), ("1280", "128gf"),
    )},
}  # fmt: skip
