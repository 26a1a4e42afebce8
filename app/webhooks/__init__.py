"""Webhooks: events of the outbox, posted to other systems, signed, in order and at least once."""
