"""The error codes of VBS, CBR, EVS and their gateway, each with its category.

Sources: the lists of error codes of VBS (``error_codes.rst`` of opentelekomcloud-docs/volume-backup-service),
of CBR (the same of cloud-backup-recovery), of EVS (elastic-volume-service), and of the gateway (api-gateway).
VBS accounts that were moved to CBR get CBR's codes. A code that is not here goes by its HTTP status.
"""

from collections.abc import Iterator, Mapping

from events.outcome import Category

C = Category

GATEWAY = ("APIGW.", "APIG.")
"""How the codes of Huawei's gateway begin; those of tenants' own gateways are ``APIG.``."""
SIGN_IN = ("IAM.",)
"""How the codes of the sign-in begin, which is not the backup service."""


def _codes(category: Category, prefixes: tuple[str, ...], numbers: str) -> Iterator[tuple[str, Category]]:
    return ((f"{prefix}{number}", category) for number in numbers.split() for prefix in prefixes)


def _vbs(category: Category, numbers: str) -> Iterator[tuple[str, Category]]:
    return _codes(category, ("VolumeBackup.", "VBS."), numbers)


def _cbr(category: Category, numbers: str) -> Iterator[tuple[str, Category]]:
    return _codes(category, ("BackupService.",), numbers)


def _evs(category: Category, numbers: str) -> Iterator[tuple[str, Category]]:
    return _codes(category, ("EVS.",), numbers)


def _gateway(category: Category, numbers: str) -> Iterator[tuple[str, Category]]:
    return _codes(category, GATEWAY, numbers)


CODES: Mapping[str, Category] = dict(
    [
        *_codes(C.UNAVAILABLE, ("common.", "Common."), "0011"),
        *_codes(C.DENIED, ("common.", "Common."), "0013 0018"),
        # VBS: the request breaks a rule
        *_vbs(C.INVALID, "0002 0003 0004 0005 0006 0007 0010 0011 0026 0049 0050"),
        *_vbs(C.INVALID, "0105 0203 0204 0208 0210"),
        # VBS: rights, then permanent refusals
        *_vbs(C.DENIED, "0041 0042 0044"),
        *_vbs(C.NOT_FOUND, "0021 0111 0207"),
        *_vbs(C.REFUSED, "0053 0062 0113 0202 0209 0211"),
        # VBS: the disk is in another state or has a backup in progress, or its snapshot does not exist yet
        *_vbs(C.CONFLICT, "0012 0013 0020 0089 0205 0206"),
        # VBS: a step failed for this disk before its backup began; other disks are not affected
        *_vbs(C.CONFLICT, "0014 0017 0018 0019 0022 0023 0024 0025 0037 0038 0063"),
        # VBS: the service itself fails
        *_vbs(C.UNAVAILABLE, "0008 0009 0035 0036 0043 0070 0103 0109 0110 0123 0900"),
        # VBS: the backup was begun; only a lookup shows whether it exists
        *_vbs(C.IN_DOUBT, "0027 0028 0029 0030 0039 0064"),
        # VBS: 20 backups of the disk; counts and capacities
        *_vbs(C.QUOTA, "0040 0071 0072 0073 0074 0075 0076 0077 0078 0079 0080 0081 0082 0083 0084"),
        # CBR: a parameter, or a snapshot of another disk
        *_cbr(C.INVALID, "7204 9900"),
        *_cbr(C.DENIED, "8600 9998"),
        # CBR: no such vault, backup, resource, disk, server or snapshot
        *_cbr(C.NOT_FOUND, "6105 6120 6135 6200 6302 7000 7100 7202"),
        # CBR: a backup is in progress, or a restore, a removal, a replication; the state of vault, server,
        # disk or snapshot
        *_cbr(C.CONFLICT, "0001 0002 6125 6203 7200"),
        *_cbr(C.CONFLICT, "2002 2010 6112 6113 6123 6130 6134 6215 7003 7009 7101 7203 7302"),
        # CBR: vaults, their capacity and their resources; snapshots
        *_cbr(C.QUOTA, "6100 6107 6114 6129 6133 6142 7107 7303 8300"),
        # CBR: this kind of vault, resource, disk or server has no backups
        *_cbr(C.REFUSED, "6102 6103 6116 6124 6126 6137 6300 7001 7002 7004 7006 7007"),
        *_cbr(C.REFUSED, "7102 7103 7104 7105 7106 7108 7109 7110 7111 7113 7116 7201"),
        *_cbr(C.IN_DOUBT, "6132 6138 6139 8400 9910"),
        # EVS
        *_evs(C.INVALID, "0001 1002 1032 1052 1070 2045 2108 5400"),
        *_evs(C.DENIED, "0002 0003 1027 2056 2143 2144 2145 5401 5403"),
        *_evs(C.NOT_FOUND, "5404"),
        *_evs(C.QUOTA, "1034 1042 5413"),
        *_evs(C.CONFLICT, "1031 2043 2068 2130"),
        *_evs(C.REFUSED, "1012 2089 2093"),
        *_evs(C.UNAVAILABLE, "1033 5503"),
        *_evs(C.IN_DOUBT, "2001 2002 2005 2010 2013 2014 2023 5500"),
        # gateway: its own failure, before it called the API
        *_gateway(C.UNAVAILABLE, "0101 0103 0104 0105 0106 0204 0602 0605 0606 0607"),
        *_gateway(C.UNAVAILABLE, "0608 0609 0610 0611 0612 0613 0615 0616"),
        # gateway: it may have passed the request on
        *_gateway(C.IN_DOUBT, "0107 0202 0203 0601"),
        *_gateway(C.DENIED, "0205 0301 0302 0303 0304 0305 0306 0307 0310"),
        *_gateway(C.DENIED, "0311 0312 0313 0314 0401 0402 0404 0405 0502"),
        *_gateway(C.THROTTLED, "0308 0501"),
    ]
)

BY_STATUS = frozenset(f"{prefix}0201" for prefix in GATEWAY)
"""Codes that have several meanings, which their HTTP status tells apart."""

PROJECT_CODES = frozenset(dict(_gateway(C.DENIED, "0310")))
"""The gateway's codes for a refusal of the request's project; its other refusals concern all projects."""

BUSY_CODES = frozenset(
    dict(
        [
            *_vbs(C.CONFLICT, "0013 0206"),
            *_cbr(C.CONFLICT, "0001 0002 6125 6203"),
            *_evs(C.CONFLICT, "2130"),
        ]
    )
)
"""Codes that mean: a backup of this disk is in progress."""
