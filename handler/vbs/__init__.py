"""The VBS API (and OpenStack Cinder, which speaks the same): client, faults, sign-in."""
