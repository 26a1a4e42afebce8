"""All SQL statements of the ad server, one module for each family of tables."""
