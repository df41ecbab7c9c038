"""The client of the VBS API (and of OpenStack Cinder, which has the same API): calls, faults, sign-in."""
