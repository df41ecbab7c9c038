"""The package ``snapshot_backup``: all that an installed wheel adds to an environment.

The wheel has ``events``, ``handler`` and ``infra`` in its folder ``app``, so that it owns no import name but
its own. Elsewhere they are found in the checkout.
"""
