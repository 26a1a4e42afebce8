"""The stored secret key of a server whose settings have none."""

import os
import secrets
from pathlib import Path

from app.errors import MisconfiguredServer

KEY_FILE = "secret.key"
KEY_BYTES = 32


def load_or_create_secret_key(data_dir: Path) -> str:
    """Return the key in data_dir, creating it (mode 0600) on first use.

    With another key, beacons of earlier runs would be refused, and caps would not recognize their users.
    Raises MisconfiguredServer if the folder is unusable.
    """
    file = data_dir / KEY_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _write_once(file, secrets.token_urlsafe(KEY_BYTES))
    except OSError as error:
        raise _unusable(file, error) from error
    return load_secret_key(data_dir)


def load_secret_key(data_dir: Path) -> str:
    """Return the key in data_dir. Raises MisconfiguredServer if it is missing, empty or unreadable."""
    file = data_dir / KEY_FILE
    try:
        key = file.read_text().strip()
    except FileNotFoundError as error:
        raise MisconfiguredServer(f"ADSERVER_SECRET_KEY: must be the server's; {file} does not exist") from error
    except OSError as error:
        raise _unusable(file, error) from error
    if not key:
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {file} is empty; restore it, or delete it to create a new key")
    return key


def _unusable(file: Path, error: OSError) -> MisconfiguredServer:
    return MisconfiguredServer(f"ADSERVER_DATA_DIR: {error.filename or file}: {error.strerror}")


def _write_once(file: Path, key: str) -> None:
    """Create the file completely or not at all; the first of two writers wins."""
    unfinished = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(key)
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(unfinished, file)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
