"""``infra/up``: a private broker and the whole system on one machine."""
