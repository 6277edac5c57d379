"""Results are written whole, together, or not at all; and where they cannot be, one line says why."""

import os
from pathlib import Path

import pytest

from xfv_demo import XfvError
from xfv_demo.runtime.files import (
    check_file,
    check_folder,
    check_marks,
    json_text,
    write_all,
    write_between_marks,
    write_whole,
)

FILES = {"a.txt": b"first", "b.txt": b"second", "c.txt": b"third"}


def contents(folder):
    """All that lies in a folder, by name; a folder's content is None."""
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that has no room for the second file, of which half is written."""
    write = Path.write_bytes

    def write_bytes(path, content):
        if "b.txt" in path.name:
            write(path, content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


class TestWriting:
    def test_files_come_together_into_folders_that_lack(self, tmp_path):
        write_all(tmp_path / "new" / "folder", FILES)
        assert contents(tmp_path / "new" / "folder") == FILES

    def test_old_files_are_replaced_and_others_stay(self, tmp_path):
        (tmp_path / "b.txt").write_bytes(b"old")
        (tmp_path / "other").write_bytes(b"kept")
        write_all(tmp_path, FILES)
        assert contents(tmp_path) == {**FILES, "other": b"kept"}

    def test_one_file(self, tmp_path):
        write_whole(tmp_path / "new" / "a.txt", b"content")
        assert contents(tmp_path / "new") == {"a.txt": b"content"}

    def test_of_half_a_set_nothing_stays(self, tmp_path, full_disk):
        with pytest.raises(XfvError, match=r"b\.txt: this file cannot be written: No space left on device"):
            write_all(tmp_path / "new" / "folder", FILES)
        assert contents(tmp_path) == {}

    def test_old_files_outlive_a_failure(self, tmp_path, full_disk):
        old = dict.fromkeys(FILES, b"old")
        for name in old:
            (tmp_path / name).write_text("old")
        with pytest.raises(XfvError):
            write_all(tmp_path, FILES)
        assert contents(tmp_path) == old

    def test_a_folder_in_a_files_place_is_found_before_any_is_written(self, tmp_path):
        (tmp_path / "c.txt").mkdir()
        with pytest.raises(XfvError, match=r"c\.txt: .*a folder has this name"):
            write_all(tmp_path, FILES)
        assert contents(tmp_path) == {"c.txt": None}

    def test_being_stopped_leaves_nothing_either(self, tmp_path, monkeypatch):
        def stopped(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_all(tmp_path / "new", FILES)
        assert contents(tmp_path) == {}

    def test_below_a_file(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(XfvError, match=r'a\.txt: this file cannot be written: ".*file" is a file, not'):
            write_whole(tmp_path / "file" / "folder" / "a.txt", b"")
        assert contents(tmp_path) == {"file": b""}


class TestChecksBeforeTheWork:
    def test_folders_that_are_there_or_can_be_made(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for folder in (tmp_path, tmp_path / "new" / "folder", Path("new"), Path()):
            check_folder(folder)
            check_file(folder / "a.txt")
        assert contents(tmp_path) == {}

    def test_a_file_that_is_there_can_be_replaced(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"old")
        check_file(tmp_path / "a.txt")

    @pytest.mark.parametrize("place", ["file", "file/folder", "file/folder/folder", "link"])
    def test_what_is_no_folder(self, tmp_path, place):
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(XfvError, match="is a file, not a folder; choose another folder"):
            check_folder(tmp_path / place)
        with pytest.raises(XfvError, match="is a file, not a folder; choose another place"):
            check_file(tmp_path / place / "a.txt")

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(XfvError, match="it is a folder"):
            check_file(tmp_path)

    def test_what_may_not_be_written(self, tmp_path, monkeypatch):
        # Who runs the tests may be allowed to write everywhere.
        monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)
        with pytest.raises(XfvError, match=f'"{tmp_path}" may not be written to'):
            check_folder(tmp_path / "new")
        (tmp_path / "mine").mkdir()
        check_folder(tmp_path / "mine" / "new")


class TestMarks:
    DOCUMENT = "# Title\n\n<!-- table -->\nold\n<!-- /table -->\n\nEnd.\n"

    def test_what_stands_between_is_replaced_and_nothing_else(self, tmp_path):
        path = tmp_path / "document.md"
        path.write_text(self.DOCUMENT)
        check_marks(path, "table")
        for content in ("| new |", "| newer |"):
            write_between_marks(path, "table", content)
            assert path.read_text() == (
                f"# Title\n\n<!-- table -->\n\n{content}\n\n<!-- /table -->\n\nEnd.\n"
            )

    @pytest.mark.parametrize(
        "text",
        [
            "no marks",
            "<!-- table --> no end",
            "<!-- /table --> wrong order <!-- table -->",
            f"{DOCUMENT}{DOCUMENT}",
        ],
    )
    def test_a_document_without_them_is_refused_as_it_is(self, tmp_path, text):
        path = tmp_path / "document.md"
        path.write_text(text)
        for refusing in (lambda: check_marks(path, "table"), lambda: write_between_marks(path, "table", "x")):
            with pytest.raises(XfvError, match="must have <!-- table -->"):
                refusing()
        assert path.read_text() == text

    def test_a_document_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(XfvError, match=r"missing\.md.*cannot be read"):
            check_marks(tmp_path / "missing.md", "table")


def test_json_holds_no_number_that_json_has_not():
    assert json_text({"rate": None, "name": "é"}, ensure_ascii=False) == '{"rate": null, "name": "é"}'
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(XfvError, match="not finite"):
            json_text({"rates": [0.5, value]})
