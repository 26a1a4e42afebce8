"""Start-up: databases, migrations, workers, demo content. Used by the commands; uses the server."""
