"""What was called done is there after a power cut at any moment, and every wait for the disk is needed for that."""

import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest

from imageref_ray.batch import manifest, store
from tests import power_cut
from tests.power_cut import Disk, Place, State, Tree, recording
from tests.small_job import IDS, OTHER, SAME_NAMES, Claim, claim, job, work, wrong

SITES = (
    "attempts.begin: folder",
    "attempts.begin: itself",
    "export._move: itself",
    "export._move: tree",
    "export.export: folder",
    "manifest.begin: content",
    "manifest.begin: folder",
    "manifest.begin: name",
    "manifest.begin_revision: content",
    "manifest.finish: content",
    "manifest.finish: name",
    "manifest.reopen: removal",
    "manifest.revise: content",
    "manifest.revise: name",
    "store._part: content",
    "store._part: folder",
    "store._part: name",
    "store.ready: folder",
    "store.ready: itself",
)
"""Where a run waits for the disk."""

REPEATED = "manifest.begin_revision: name"
"""The export waits for the same folder before it changes anything in it."""


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    """The life of a run: a job of which a record fails, its retry, and two exports with other settings."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "git_revision", lambda: "r1")  # it takes a process
        run, told = Path(folder, "run"), [(Claim(), True)]

        def tell(may_finish: bool = True) -> None:
            told.append((claim(run), may_finish))

        with recording(Path(folder), lambda: told[-1]) as disk:
            job(run, partial(work, run, frozenset("d"), told=tell))
            tell(may_finish=False)
            disk.look()
            tell()
            manifest.reopen(run)
            tell(may_finish=False)
            disk.look()
            tell()
            job(run, partial(work, run, frozenset(), frozenset("d"), tell))
            for settings in (SAME_NAMES, OTHER):
                tell()
                job(run, dict, settings)
                tell(may_finish=False)
                disk.look()
        yield disk


@pytest.fixture(scope="module")
def states(disk: Disk) -> dict[State, Tree]:
    return power_cut.states(disk)


def broken_promises(found: Iterable[tuple[State, Tree]], folder: Path) -> Iterator[str]:
    """What is wrong in these states, by what had been told."""
    place = Place(folder)
    for ((told, may_finish), _), tree in found:
        place.hold(tree)
        try:
            yield from wrong(folder / "run", told, may_finish)
        except Exception as error:  # noqa: BLE001
            yield f"{type(error).__name__}: {error}"


def test_a_power_cut_at_any_moment_takes_nothing_that_was_called_done(
    states: dict[State, Tree], tmp_path: Path
) -> None:
    assert len(states) > 500
    assert list(broken_promises(states.items(), tmp_path)) == []


def test_a_run_goes_on_from_whatever_a_power_cut_has_left(states: dict[State, Tree], tmp_path: Path) -> None:
    for number, tree in enumerate([*states.values()][::40]):
        place = tmp_path / f"{number}"
        place.mkdir()
        Place(place).hold(tree)
        run = place / "run"
        job(run, partial(work, run, frozenset("d")), OTHER)
        job(run, dict, OTHER)
        assert wrong(run, Claim(finished=True), may_finish=False) == []
        assert manifest.finished(run)["config"]["export"]["formats"] == OTHER["formats"]
        assert store.Store(run).done() >= {*IDS} - {"d"}


def test_every_place_that_waits_for_the_disk_is_known(disk: Disk) -> None:
    assert disk.sites() == {*SITES, REPEATED}


@pytest.mark.parametrize("site", SITES)
def test_without_one_wait_something_that_was_called_done_is_lost(
    site: str, disk: Disk, states: dict[State, Tree], tmp_path: Path
) -> None:
    without = power_cut.states(disk, site)
    new = [(state, tree) for state, tree in without.items() if state not in states]
    assert next(broken_promises(new, tmp_path), "")
