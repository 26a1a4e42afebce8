"""The folder of metrics, which may be one that has other things in it."""

from pathlib import Path

import pytest
from prometheus_client.values import MultiProcessValue

from app.launch.metrics_files import clear_metrics_dir, make_exit_handler
from app.settings import Settings


def test_metrics_of_earlier_processes_go_and_a_database_of_somebody_else_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    value = MultiProcessValue(lambda: 4711)
    for kind, mode in (("counter", ""), ("gauge", "mostrecent"), ("histogram", "")):
        value(kind, "name", "name", (), (), "", mode)
    assert len(list(tmp_path.iterdir())) == 3
    theirs = tmp_path / "shop.db"
    theirs.touch()
    assert clear_metrics_dir(Settings(metrics_dir=tmp_path)) == tmp_path
    assert list(tmp_path.iterdir()) == [theirs]


def test_an_empty_file_of_a_killed_process_is_removed_because_nothing_could_be_read_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    MultiProcessValue(lambda: 4711)("counter", "name", "name", (), (), "").inc(1.0)
    for name in ("histogram_4711.db", "histogram_4712.db"):
        (tmp_path / name).touch()
    make_exit_handler(tmp_path)(4711)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["counter_4711.db", "histogram_4712.db"]
