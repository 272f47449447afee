"""Many runs, their answers kept, and what they say together: the rooms behind `scratchnet study`.

A study is a set of cells, each the settings of one run (`cells.py`); a cell becomes a row, the same
bits wherever it is computed (`cell_run.py`). Dask spreads the cells over processes or machines
(`cluster.py`), rows go into a folder of Parquet files as they come (`archive.py`), and SciPy and
statsmodels compare them (`inference.py`). Nothing here is imported unless that command runs.
"""

from __future__ import annotations

import importlib.util

NEEDED = ("dask", "distributed", "pyarrow", "statsmodels")
INSTALL = "pip install -e '.[study]'"


class StudyError(ValueError):
    """What a study can't be or do: the value, what was expected, and the remedy.

    >>> issubclass(StudyError, ValueError)
    True
    """


def check_installed() -> None:
    """Refuse where the packages of the extra `study` are missing.

    Raises:
        StudyError: with the command that installs them.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise StudyError(
            f"scratchnet study needs {', '.join(missing)}, not installed here. "
            f"In scratchnet's folder: {INSTALL}"
        )
