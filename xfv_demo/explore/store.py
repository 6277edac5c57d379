"""A store on disk: written in whole parts, gathered into few files once all is done, and opened."""

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from xfv_demo.errors import XfvError
from xfv_demo.explore.query import StoreDatabase
from xfv_demo.explore.schema import (
    FACES_SCHEMA,
    MANIFEST,
    MAPS_SCHEMA,
    Manifest,
    pairs_schema,
    read_manifest,
)
from xfv_demo.runtime.files import check_folder, json_text, write_whole

# While a store is made, its parts lie in there: one file for each block of work.
_PARTS = "parts"
_SUFFIX = ".parquet"

# Rows of a finished file, and of what is read at once of it (a row group). A pair's maps are 3 KB and a crop
# some 20 KB: to show one pair, 1 and 5 MB are read.
_ROWS = {"pairs": (1_000_000, 10_000), "faces": (10_000, 250), "maps": (50_000, 300)}

# What may differ between a run that was ended and the one that goes on.
_OF_A_RUN = ("calibration", "command", "complete", "date", "methods", "seconds")


def open_store(path: str | os.PathLike[str]) -> "Store":
    """Opens a store.

    Args:
        path: Its folder.

    Raises:
        XfvError: There is none, or it is broken or of another version; says which.
    """
    return Store(Path(path))


class Store:
    """A store that can be asked, also while it is being made: then of the pairs that are done.

    Attributes:
        path: Its folder.
        manifest: What it is of.

    Args:
        path: Its folder.

    Raises:
        XfvError: As from `open_store`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = read_manifest(path)
        schemas = table_schemas(self.manifest)
        files = {table: _files(path, table, complete=self.manifest.complete) for table in schemas}
        if self.manifest.complete and not files["pairs"]:
            raise XfvError(f'"{path}" holds no pairs although it says to be complete; build it again')
        for table, paths in files.items():
            for file in paths[:1]:
                _check_schema(file, schemas[table])
        self._database = StoreDatabase(files, schemas)

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> pa.Table:
        """Answers a question; safe to be called by several threads.

        Args:
            sql: One SELECT, as DuckDB understands it, over the tables pairs, faces and maps; their columns
                are those of `explore.schema`.
            parameters: The values of its parameters (`?`, or `$name`).

        Returns:
            The rows.

        Raises:
            XfvError: It is no such question, or cannot be answered.
        """
        return self._database.query(sql, parameters)

    def keep(self, table: str, rows: pa.Table) -> None:
        """Keeps rows in memory as a table that can be asked as well.

        Args:
            table: What to call it: a name of this program's own.
            rows: What it holds.
        """
        self._database.keep(table, rows)

    def columns(self, table: str, names: Sequence[str]) -> pa.Table:
        """Reads whole columns.

        Args:
            table: "pairs", "faces" or "maps".
            names: Which of its columns.

        Returns:
            All rows, in the files' order.

        Raises:
            XfvError: They cannot be read.
        """
        return self._database.columns(table, names)

    def find(
        self, table: str, column: str, values: Sequence[Any], names: Sequence[str] | None = None
    ) -> pa.Table:
        """Reads a few rows: of the files only those groups of rows that may hold them.

        Args:
            table: As for `columns`.
            column: The column to look in.
            values: What it is to hold.
            names: Some of the columns; all where None.

        Returns:
            The rows, in the files' order.

        Raises:
            XfvError: They cannot be read.
        """
        return self._database.find(table, column, values, names)

    def extent(self, table: str, column: str) -> tuple[Any, Any] | None:
        """A column's least and largest value, as the files' own notes have it: no row is read.

        Args:
            table: As for `columns`.
            column: A column of numbers or texts.

        Returns:
            None where it holds nothing.
        """
        return self._database.extent(table, column)

    def close(self) -> None:
        """Closes the store; it can be asked no more."""
        self._database.close()


class StoreWriter:
    """Makes a store of parts; what was ended goes on where it was.

    Whoever makes a part writes it to `part_path` by `write_part`: whole or not at all, and under a number, so
    that to make it again puts the same in its place, and nothing is twice in the store.

    Attributes:
        path: The store's folder.
        manifest: What the store is of.

    Args:
        path: The folder; made where it lacks.
        manifest: What the store is to be.

    Raises:
        XfvError: The folder holds something else, a store of something else, or cannot be written.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        check_folder(path)
        self.path = path
        if (path / MANIFEST).exists():
            found = read_manifest(path)
            _check_same(path, found, manifest)
            # What the first run has found out stays.
            manifest = found
        elif path.is_dir() and any(path.iterdir()):
            raise XfvError(f'the folder "{path}" holds other things; choose another one for the store')
        self.manifest = manifest
        if not manifest.complete:
            self._write_manifest()

    def update(self, **values: Any) -> None:
        """Changes what the manifest says.

        Args:
            **values: Fields of `Manifest`.
        """
        self.manifest = self.manifest.model_copy(update=values)
        self._write_manifest()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps others from making this store meanwhile.

        Raises:
            XfvError: Another process makes it.
        """
        (self.path / _PARTS).mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(self.path / _PARTS / "lock", timeout=0):
                yield
        except filelock.Timeout as error:
            raise XfvError(f'another process is making "{self.path}"; wait until it is done') from error

    def written(self, table: str) -> set[int]:
        """The numbers of the parts that there are."""
        return {int(path.stem) for path in _files(self.path, table, complete=False)}

    def finish(self, seconds: float) -> None:
        """Gathers the parts into few files, which are quick to ask, and says that the store is complete.

        Ended within, it can be called again: the parts are only deleted after that.

        Args:
            seconds: How long the work took.

        Raises:
            XfvError: A file cannot be written.
        """
        schemas = table_schemas(self.manifest)
        for table, schema in schemas.items():
            shutil.rmtree(self.path / table, ignore_errors=True)
            parts = _files(self.path, table, complete=False)
            if table == "maps" and not self.manifest.crops:
                continue
            _gather(parts, self.path / table, schema, *_ROWS[table], crops=self.manifest.crops)
        self.update(complete=True, seconds=round(seconds, 1))
        shutil.rmtree(self.path / _PARTS, ignore_errors=True)

    def _write_manifest(self) -> None:
        document = self.manifest.model_dump(mode="json")
        write_whole(self.path / MANIFEST, f"{json_text(document, indent=2)}\n".encode())


def table_schemas(manifest: Manifest) -> dict[str, pa.Schema]:
    """The schema of each table of a store."""
    methods = [method.key for method in manifest.methods]
    return {"pairs": pairs_schema(methods), "faces": FACES_SCHEMA, "maps": MAPS_SCHEMA}


def part_path(store: Path, table: str, number: int) -> Path:
    """Where a part lies while the store is made, or will.

    Args:
        store: The store's folder.
        table: "pairs", "faces" or "maps".
        number: Which part; from 0, in the order of its rows.
    """
    return store / _PARTS / table / f"{number:07d}{_SUFFIX}"


def write_part(path: Path, rows: pa.Table) -> None:
    """Writes rows as a Parquet file, whole or not at all.

    Args:
        path: Where to; folders that lack are made.
        rows: What.

    Raises:
        XfvError: It cannot be written.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a Parquet file.

    Args:
        path: Which.
        columns: Some of its columns; all where None.

    Raises:
        XfvError: It cannot be read.
    """
    try:
        return pq.ParquetFile(path).read(None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise XfvError(
            f'"{path}" cannot be read: {" ".join(str(error).split())}; delete it, and build again'
        ) from error


def _files(path: Path, table: str, *, complete: bool) -> list[Path]:
    folder = path / table if complete else path / _PARTS / table
    # What a run that was killed has left half-written begins with a dot.
    return sorted(file.absolute() for file in folder.glob(f"[!.]*{_SUFFIX}"))


def _check_schema(file: Path, schema: pa.Schema) -> None:
    try:
        found = pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise XfvError(
            f'"{file}" cannot be read: {" ".join(str(error).split())}; build the store again'
        ) from error
    for field in schema:
        place = found.get_field_index(field.name)
        if place < 0 or found.field(place).type != field.type:
            raise XfvError(f'"{file}" has no column {field.name} of type {field.type}; build the store again')


def _check_same(path: Path, found: Manifest, wanted: Manifest) -> None:
    others = [
        name
        for name in Manifest.model_fields
        if name not in _OF_A_RUN and getattr(found, name) != getattr(wanted, name)
    ]
    if [method.key for method in found.methods] != [method.key for method in wanted.methods]:
        others.append("methods")
    if others:
        raise XfvError(
            f'"{path}" is a store with other {" and ".join(others)} than is asked for now; choose another '
            "folder, or delete it"
        )


def _gather(
    parts: Iterable[Path], folder: Path, schema: pa.Schema, rows: int, group: int, *, crops: bool
) -> None:
    """Writes parts into files of some many rows, a group of rows at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = _groups(parts, schema, group, crops)
    for number, first in enumerate(groups):
        path = folder / f"{number:05d}{_SUFFIX}"
        half = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with pq.ParquetWriter(half, schema, compression="zstd") as writer:
                for one in itertools.chain([first], itertools.islice(groups, rows // group - 1)):
                    writer.write_table(one)
            half.replace(path)
        except OSError as error:
            raise XfvError(f'"{path}" cannot be written: {error.strerror or error}') from error


def _groups(parts: Iterable[Path], schema: pa.Schema, rows: int, crops: bool) -> Iterator[pa.Table]:
    """The rows of all parts, some many at a time; no more are in memory than one group and one part."""
    waiting: list[pa.Table] = []
    count = 0
    for part in parts:
        table = read_part(part, schema.names)
        if not crops and "crop" in schema.names:
            place = table.schema.get_field_index("crop")
            table = table.set_column(place, "crop", pa.nulls(len(table), pa.binary()))
        # Casts each part's own dictionary of outcomes, too.
        waiting.append(table.cast(schema))
        count += len(table)
        if count >= rows:
            whole = pa.concat_tables(waiting).unify_dictionaries().combine_chunks()
            for start in range(0, count - rows + 1, rows):
                yield whole.slice(start, rows)
            count %= rows
            waiting = [whole.slice(len(whole) - count)] if count else []
    if waiting:
        yield pa.concat_tables(waiting).unify_dictionaries().combine_chunks()
