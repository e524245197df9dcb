"""The measurements of the python tool run, and what they count is right."""

import asyncio

import pytest
from python_tool import crowd, killed, ready, soak

from harmony.errors import SandboxUnavailableError
from harmony.tools.python import BackendName


@pytest.fixture(params=["bubblewrap", "landlock", "gvisor", "docker"])
def backend(request: pytest.FixtureRequest) -> BackendName:
    """Each back end that works here."""
    name: BackendName = request.param
    try:
        asyncio.run(ready(name, 1))
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    return name


def test_a_long_session_does_not_grow(backend: BackendName) -> None:
    """Over thousands of cells neither side gains descriptors, threads or files, nor much memory."""
    _, growth = asyncio.run(soak(backend, 3_000))
    assert growth["worker threads"] == growth["host descriptors"] == growth["files"] == 0
    assert growth["worker KiB"] < 500
    assert growth["host KiB"] < 2_000


def test_many_sessions_at_once(backend: BackendName) -> None:
    """A hundred sessions live side by side, and each has its own variables."""
    assert asyncio.run(crowd(backend, 100))[1] == 100


def test_a_killed_host_leaves_nothing(backend: BackendName) -> None:
    """Its worker is gone, and the next session removes its folder."""
    assert killed(backend) == (True, [])
