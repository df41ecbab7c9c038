"""A local stand-in of the VBS API, with faults on demand.

It does not deduplicate, like the real one. A request passes `gate` (count, faults), `auth`, `rules` (the
form), `create` (the state) and ends in `store`; `listing` and `views` read from there. `control` is what
tests steer by, `testing` what they import.
"""
