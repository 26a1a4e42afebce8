"""What `make bench` runs: the server and its references in turn, on this machine, and what came of it."""
