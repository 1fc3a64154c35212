"""Fixtures: `serve` starts daemons with flags of their own, `daemon` is a plain one, with one and with two reactors."""

import itertools
import resource

import pytest

from harness import Daemon


def pytest_configure():
    """A thousand clients and their daemon need more descriptors than the usual soft limit of 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def serve(tmp_path):
    """Starts daemons; each must end cleanly by SIGTERM after the test."""
    daemons, numbers = [], itertools.count()

    def start(**flags):
        daemon = Daemon(tmp_path / f"daemon-{next(numbers)}", **flags)
        daemons.append(daemon)
        return daemon

    yield start
    faults = [fault for fault in map(_end, daemons) if fault]
    assert not faults, "\n".join(map(str, faults))


def _end(daemon):
    try:
        daemon.end()
    except AssertionError as fault:
        return fault
    return None


@pytest.fixture(params=[1, 2], ids=["1-reactor", "2-reactors"])
def reactors(request):
    return request.param


@pytest.fixture
def daemon(serve, reactors):
    return serve(reactors=reactors)


@pytest.fixture
def daemon1(serve):
    """For what one reactor shows as well as two."""
    return serve(reactors=1)
