"""The campaign file: parsing, validation, application and export."""
