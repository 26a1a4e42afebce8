"""What happens to an ad request: decision, THE TRANSACTION, grouping, answer."""
