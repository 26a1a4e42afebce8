"""What a request's privacy signals allow. Pure: strings in, a decision out."""
