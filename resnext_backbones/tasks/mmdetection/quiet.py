"""MMDetection is imported here, without its lines of optional packages that nobody asked for."""

import io
import warnings
from contextlib import redirect_stdout

with redirect_stdout(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mmdet.datasets
    import mmdet.evaluation  # noqa: F401
