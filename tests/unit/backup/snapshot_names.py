"""Names that programs and people give to snapshots, with their sources: the data of ``test_patterns``."""
# ruff: noqa: E501 - a table, in which a row is a line

from collections.abc import Sequence
from typing import NamedTuple

UUID = "0e9a7c34-52d1-4c0f-9a6b-7f3d2e1c8b40"


class Named(NamedTuple):
    """A snapshot's name, who gives it, and whether such a snapshot is skipped by default."""

    name: str | None
    source: str
    skipped: bool


NAMES: Sequence[Named] = [
    # the backup services of Huawei Cloud and Open Telekom Cloud
    Named("autobk_snapshot_vbs_2018-05-22T12:14:38.778Z", "VBS, by the EVS documents", skipped=True),
    Named("autobk_snapshot_2", "VBS, as otc.sh of Open Telekom Cloud finds it", skipped=True),
    Named("autobk_snapshot_csbs_1", "CSBS, by Open Telekom Cloud's EVS guide", skipped=True),
    Named("manualbk_snapshot_vbs_1", "VBS, by Open Telekom Cloud's EVS guide", skipped=True),
    Named("manualbk_snapshot_csbs_1", "CSBS, by Open Telekom Cloud's EVS guide", skipped=True),
    # Cinder, for its own work
    Named(f"backup-snap-{UUID}", "cinder/volume/driver.py, _create_temp_snapshot", skipped=True),
    Named(f"[revert] volume {UUID} backup snapshot", "cinder/volume/manager.py, _create_backup_snapshot", skipped=True),
    Named(f"tmp-snap-{UUID}", "cinder/volume/drivers/remotefs.py, create_cloned_volume", skipped=True),
    # other programs, on behalf of people
    Named(f"snapshot-{UUID}", "Kubernetes external-snapshotter, --snapshot-name-prefix", skipped=False),
    Named(f"groupsnapshot-{UUID}", "Kubernetes external-snapshotter, --groupsnapshot-name-prefix", skipped=False),
    Named(f"{UUID}.snap.8674665223082153551", "velero-plugin-for-openstack, CreateSnapshot", skipped=False),
    Named("snapshot for nightly image", "Nova, nova/compute/api.py, snapshot_volume_backed", skipped=False),
    Named("mystack-db_snapshot-5xkq3nb2hwzk", "Heat, physical_resource_name", skipped=False),
    Named("snapshot_1", "Terraform, openstack_blockstorage_snapshot_v3", skipped=False),
    Named(f"snapshot-{UUID}", "cinder's snapshot_name_template", skipped=False),
    Named("autosnapshot-daily-2026-11-26", "scripts such as cinder-auto-snapshot", skipped=False),
    # people
    Named(None, "Cinder: a name is optional", skipped=False),
    Named("", "Cinder: a name may be empty", skipped=False),
    Named(" ", "people", skipped=False),
    Named("before upgrade [prod], step 1*?", "people", skipped=False),
    Named("[revert]", "people", skipped=False),
    Named("!important", "people", skipped=False),
    Named("снимок-перед-обновлением", "people", skipped=False),
    Named("快照-2026-11-26", "people", skipped=False),
    Named(".hidden", "people", skipped=False),
    Named("first line\nsecond line", "people", skipped=False),
    Named("a" * 255, "people: Cinder allows 255 letters", skipped=False),
    Named("AUTOBK_SNAPSHOT_1", "people: case counts", skipped=False),
    Named("my autobk_snapshot_1", "people: the beginning counts", skipped=False),
    Named("autobk_1", "people", skipped=False),
    Named("backup-snapshot", "people", skipped=False),
]  # fmt: skip
