"""A scene of releases, for every test here."""

from __future__ import annotations

import pytest
from tests.unit.keyholder.release_scene import ReleaseScene, make_release_scene
from tests.unit.keyholder.small_server import SmallServer

from fleetward.keyholder.ceremony import NewOwner


@pytest.fixture
def scene(owner: NewOwner, server: SmallServer) -> ReleaseScene:
    return make_release_scene(owner.folder, server)
