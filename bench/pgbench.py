"""The reference: pgbench with the same rows and checks for each serve, one serve a transaction."""

from pathlib import Path

from bench.processes import output_of
from bench.scale import VIEWERS

SCRIPT = Path(__file__).parent / "serve.sql"
THREADS = 2


async def run(programs: Path, url: str, *, clients: int, campaigns: int, seconds: int) -> None:
    """Serves as many ads as it can, over `clients` connections. Raises RuntimeError if a statement fails."""
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--jobs={min(clients, THREADS)}"]
    sizes = [f"--define=campaigns={campaigns}", f"--define=viewers={VIEWERS}"]
    await output_of(str(programs / "pgbench"), *options, f"--time={seconds}", f"--file={SCRIPT}", *sizes, url)
