"""SQL over a store's tables, in a DuckDB that can reach nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from xfv_demo.errors import XfvError

# Of a question's working memory: to sort 1,000,000 pairs takes 200 MB. More is an error, not a full machine.
_SETTINGS = (
    "memory_limit = '1GB'",
    "temp_directory = ''",
    "python_enable_replacements = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "enable_external_access = false",
    "lock_configuration = true",
)


class StoreDatabase:
    """Answers questions, and refuses to do anything else.

    Whoever asks may be a visitor of a public page. So DuckDB itself may read no file, write none, load no
    extension and see no variable of this program, and its settings cannot be changed: the tables' files are
    read for it by pyarrow. (DuckDB's own reader, allowed these files alone, is twice as fast. But what it may
    read it may write, and a SELECT can hold a COPY.) Of 1,000,000 pairs, a filter is counted in 30 to 120 ms
    on two cores; of all sorted by a column, the first 20 are there in 60 ms by their numbers, in 800 ms with
    all columns. So ask for the numbers first.

    Args:
        files: The Parquet files of each table; may be none.
        schemas: The columns of each table. Others in the files are not shown.
    """

    def __init__(self, files: Mapping[str, Sequence[Path]], schemas: Mapping[str, pa.Schema]) -> None:
        self._tables: dict[str, Any] = {
            table: ds.dataset([str(path) for path in paths], schema=schemas[table], format="parquet")
            if paths
            else ds.dataset(schemas[table].empty_table())
            for table, paths in files.items()
        }
        self._database = duckdb.connect(":memory:")
        for setting in _SETTINGS:
            self._database.execute(f"SET {setting}")

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> pa.Table:
        """As `Store.query`."""
        # One for each question, as several threads may ask at once.
        cursor = self._database.cursor()
        try:
            statements = cursor.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise XfvError("a store can only be asked: give one SELECT")
            for table, rows in self._tables.items():
                cursor.register(table, rows)
            # A SELECT may hold an INSERT, too.
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            return cursor.sql(sql, params=parameters or None).to_arrow_table()
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise XfvError(f"the store cannot answer: {' '.join(str(error).split())}") from error
        finally:
            cursor.close()

    def keep(self, table: str, rows: pa.Table) -> None:
        """As `Store.keep`."""
        # Asked where they lie: to copy 1,000,000 rows of 13 columns takes 0.3 s, and is no quicker to ask.
        # Others may be asking: they go on with the tables that they have.
        self._tables = {**self._tables, table: rows}

    def columns(self, table: str, names: Sequence[str]) -> pa.Table:
        """As `Store.columns`."""
        return self._read(table, names)

    def find(self, table: str, column: str, values: Sequence[Any], names: Sequence[str] | None) -> pa.Table:
        """As `Store.find`."""
        wanted = pa.array(values, self._tables[table].schema.field(column).type)
        return self._read(table, names, ds.field(column).isin(wanted))

    def extent(self, table: str, column: str) -> tuple[Any, Any] | None:
        """As `Store.extent`."""
        place = self._tables[table].schema.get_field_index(column)
        noted = [
            statistics
            for fragment in self._tables[table].get_fragments()
            if isinstance(fragment, ds.ParquetFileFragment)
            for group in range(fragment.metadata.num_row_groups)
            if (statistics := _statistics(fragment.metadata.row_group(group), place, column)) is not None
        ]
        return (min(one.min for one in noted), max(one.max for one in noted)) if noted else None

    def _read(self, table: str, names: Sequence[str] | None, where: Any = None) -> pa.Table:
        try:
            return self._tables[table].to_table(None if names is None else list(names), filter=where)
        except (pa.ArrowException, OSError) as error:
            raise XfvError(f"the store cannot be read: {' '.join(str(error).split())}") from error

    def close(self) -> None:
        """Closes the database."""
        self._database.close()


def _statistics(group: Any, place: int, column: str) -> Any:
    """What a file notes of a column in a group of rows; None where it notes nothing."""
    # Columns of lists may move those after them.
    for index in range(place, group.num_columns):
        noted = group.column(index)
        if noted.path_in_schema == column:
            found = noted.statistics
            return found if found is not None and found.has_min_max else None
    return None
