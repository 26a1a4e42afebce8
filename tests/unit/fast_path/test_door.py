"""The application needs nothing of the HTTP protocol unless a server asks for it."""

import subprocess
import sys

import app.fast_path

PRINT_LOADED = (
    "import sys, app.main; print([name for name in sys.modules if name.startswith(('uvicorn', 'httptools'))])"
)


def test_the_application_is_imported_without_uvicorn() -> None:
    done = subprocess.run([sys.executable, "-c", PRINT_LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_door_offers_what_it_lists() -> None:
    assert [name for name in app.fast_path.__all__ if not hasattr(app.fast_path, name)] == []
