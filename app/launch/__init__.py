"""What the commands start: migrations, workers, demo content. Below the commands, above the server itself."""
