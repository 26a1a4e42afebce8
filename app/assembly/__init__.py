"""Where siblings meet: what serving needs of upstreams, put together for the composition root."""
