"""A local emulator of the VBS API, with faults on demand.

Like the real API it does not deduplicate. A request passes `gate` (counts, faults), `auth`, `rules` (the
request's form) and `create` (the state), and ends in `store`; `listing` and `views` read from the store.
Tests control the emulator over `control` and import `testing`.
"""
