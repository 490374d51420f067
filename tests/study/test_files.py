import os

import pandas as pd
import pytest

from dilated_ce.study import files
from dilated_ce.study.files import whole_folder, write_csv, write_text


def test_lines_end_alike_on_every_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "linesep", "\r\n")
    write_csv(tmp_path / "table.csv", pd.DataFrame({"a": [1]}))
    write_text(tmp_path / "text", "ä\n")
    assert (tmp_path / "table.csv").read_bytes() == b"a\n1\n"
    assert (tmp_path / "text").read_bytes() == "ä\n".encode()


def test_killed_while_the_old_folder_is_deleted_the_new_one_is_there(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()

    def killed(path, **options):
        if path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(files.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt), whole_folder(folder) as partial:
        (partial / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    monkeypatch.undo()
    with whole_folder(folder) as partial:
        (partial / "newer").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "newer"]
