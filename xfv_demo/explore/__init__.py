"""A whole data set's verdicts, confidences and maps: computed, kept in a store, and asked for by SQL.

Example:
    >>> from xfv_demo.explore import open_store
    >>> store = open_store("assets/explore/lfw")
    >>> store.manifest.model, store.manifest.pairs
    ('mobilefacenet', 6000)
    >>> store.query("SELECT count(*) AS n FROM pairs WHERE genuine").to_pylist()
    [{'n': 3000}]
"""

from xfv_demo.errors import XfvError

try:
    from xfv_demo.explore.store import open_store
except ModuleNotFoundError as error:
    if error.name not in ("duckdb", "pyarrow"):
        raise
    raise XfvError(
        f'stores of whole data sets need {error.name}, which is not installed; pip install ".[explore]"'
    ) from error

__all__ = ["open_store"]
