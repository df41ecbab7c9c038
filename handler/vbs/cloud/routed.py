"""The API of several clouds: each call goes to the cloud of its project."""

from collections.abc import Sequence

from events.outcome import AcceptedBackup
from handler.backup.clouds import Clouds
from handler.backup.ports import Api, Backup, Chain, Snapshot
from handler.backup.request import BackupRequest


class RoutedApi:
    """Implements ``handler.backup.ports.Api``, for calls outside of message handling, such as a command's."""

    def __init__(self, clouds: Clouds) -> None:
        self._clouds = clouds

    def _of(self, project_id: str) -> Api:
        """Return the API of a project's cloud, or else the first cloud's."""
        return (self._clouds.of(project_id) or self._clouds.clouds[0]).api

    async def create(self, project_id: str, request: BackupRequest) -> AcceptedBackup:
        """See ``Api``."""
        return await self._of(project_id).create(project_id, request)

    async def check(self, project_id: str) -> None:
        """See ``Api``."""
        await self._of(project_id).check(project_id)

    async def find(self, project_id: str, volume_id: str, snapshot_id: str, name: str) -> Sequence[Backup]:
        """See ``Api``."""
        return await self._of(project_id).find(project_id, volume_id, snapshot_id, name)

    async def chain(self, project_id: str, volume_id: str) -> Chain:
        """See ``Api``."""
        return await self._of(project_id).chain(project_id, volume_id)

    async def show(self, project_id: str, backup_id: str) -> Backup | None:
        """See ``Api``."""
        return await self._of(project_id).show(project_id, backup_id)

    async def show_snapshot(self, project_id: str, snapshot_id: str) -> Snapshot | None:
        """See ``Api``."""
        return await self._of(project_id).show_snapshot(project_id, snapshot_id)

    async def aclose(self) -> None:
        """Close the connections to all clouds."""
        for cloud in self._clouds.clouds:
            await cloud.api.aclose()
