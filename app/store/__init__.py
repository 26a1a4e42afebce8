"""Every SQL statement of the ad server, a module for each table family."""
