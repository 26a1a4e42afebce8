"""Random documents and strings against everything that reads what strangers send: `make fuzz SECONDS=3600`."""
