"""The secret key, kept for a server that was given none."""

import os
import secrets
from pathlib import Path

from app.errors import MisconfiguredServer

KEY_FILE = "secret.key"
KEY_BYTES = 32


def kept_secret_key(data_dir: Path) -> str:
    """The key in data_dir, made at the first call, for our eyes alone.

    Without it beacons of the last run would not count, nor would caps know the users they counted.
    Raises MisconfiguredServer if the folder cannot be used.
    """
    file = data_dir / KEY_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _write_once(file, secrets.token_urlsafe(KEY_BYTES))
    except OSError as error:
        raise _unusable(file, error) from error
    return servers_secret_key(data_dir)


def servers_secret_key(data_dir: Path) -> str:
    """The key that a server has made in data_dir. Raises MisconfiguredServer if there is none, or it cannot be read."""
    file = data_dir / KEY_FILE
    try:
        key = file.read_text().strip()
    except FileNotFoundError as error:
        raise MisconfiguredServer(f"ADSERVER_SECRET_KEY: must be the server's; there is no {file} either") from error
    except OSError as error:
        raise _unusable(file, error) from error
    if not key:
        raise MisconfiguredServer(f"ADSERVER_DATA_DIR: {file} is empty; restore it, or remove it for a new key")
    return key


def _unusable(file: Path, error: OSError) -> MisconfiguredServer:
    return MisconfiguredServer(f"ADSERVER_DATA_DIR: {error.filename or file}: {error.strerror}")


def _write_once(file: Path, key: str) -> None:
    """A file appears complete or not at all, and the first of two writers wins."""
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
