"""Whatever writers, kills, retries and exports come in which order: every record is there once, and nothing shrinks."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from imageref_ray.batch import attempts, manifest, store
from imageref_ray.batch.outcome import RunFailed
from imageref_ray.batch.store import Store
from tests.small_job import (
    FIRST,
    IDS,
    OTHER,
    SAME_NAMES,
    Claim,
    begin,
    claim,
    failure,
    job,
    open_attempt,
    result,
    work,
    wrong,
)
from tests.sweeps import sweep


class Run(RuleBasedStateMachine):
    """One run directory; `writers` are those of all attempts, also of dead and superseded ones that wake up."""

    writers: Bundle[tuple[int, Store]] = Bundle("writers")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(manifest, "git_revision", lambda: "r1")  # it takes a process
        self.patch.setattr(os, "fsync", lambda number: None)
        self.folder = tempfile.TemporaryDirectory()
        self.run = Path(self.folder.name, "run")
        self.told, self.commits, self.done = Claim(), 0, False

    def teardown(self) -> None:
        self.patch.undo()
        self.folder.cleanup()

    @precondition(lambda self: not self.done)
    @rule(target=writers)
    def start(self) -> tuple[int, Store]:
        """A driver starts, whatever became of the one before."""
        begin(self.run)
        writer = open_attempt(self.run)
        return attempts.newest(self.run), writer

    @rule(writer=writers, good=st.sets(st.sampled_from(IDS)), bad=st.sets(st.sampled_from(IDS)))
    def commit(self, writer: tuple[int, Store], good: set[str], bad: set[str]) -> None:
        """A writer commits what it has, whoever has it too; one of an older attempt may not."""
        number, store_of = writer
        results, failures = [result(id) for id in sorted(good)], [failure(id) for id in sorted(bad - good)]
        if number == attempts.newest(self.run) and not self.done:
            store_of.write(results, failures)
            self.commits += len(results) + len(failures)
        elif number < attempts.newest(self.run) and (results or failures):
            with pytest.raises(attempts.Superseded):
                store_of.write(results, failures)

    @rule(writer=writers)
    def die(self, writer: tuple[int, Store]) -> None:
        """A writer is killed while it writes."""
        for name in (store.RECORDS, store.QUARANTINE):
            folder = self.run / name
            folder.mkdir(exist_ok=True)
            (folder / f".part-{writer[0]:06d}-x.parquet.tmp").write_bytes(b"PAR1")

    @precondition(lambda self: not self.done)
    @rule(failing=st.sets(st.sampled_from(IDS)), settings=st.sampled_from([FIRST, SAME_NAMES, OTHER]))
    def finish(self, failing: set[str], settings: dict[str, object]) -> None:
        """A job runs to its end: what is left, the export, the manifest."""
        before = self.told
        with suppress(RunFailed):  # none succeeded: the run is done all the same
            job(self.run, lambda: work(self.run, frozenset(failing)), settings)
        self.commits += len({*IDS} - before.done - before.failed)
        self.done = True

    @precondition(lambda self: self.done)
    @rule(again=st.booleans(), failing=st.sets(st.sampled_from(IDS)))
    def retry(self, again: bool, failing: set[str]) -> None:
        """The quarantined records run again, all of them to the end or none before the driver dies."""
        manifest.reopen(self.run)
        self.done = False
        if again:
            with suppress(RunFailed):
                job(self.run, lambda: work(self.run, frozenset(failing), self.told.failed))
            self.commits += len(self.told.failed)
            self.done = True

    @precondition(lambda self: self.done)
    @rule(settings=st.sampled_from([FIRST, SAME_NAMES, OTHER]), interrupted=st.booleans())
    def export_again(self, settings: dict[str, object], interrupted: bool) -> None:
        """Other settings of the export; perhaps the call before was killed before it had moved a file."""
        if interrupted:
            manifest.begin_revision(self.run)
        with suppress(RunFailed):
            job(self.run, dict, settings)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        if not (self.run / "fingerprint.json").is_file():
            return
        assert wrong(self.run, self.told) == []
        self.told = claim(self.run)
        assert self.told.requests == self.commits
        assert self.told.finished == self.done
        if self.done:
            assert self.told.done | self.told.failed == {*IDS} and not self.told.done & self.told.failed


TestRun = Run.TestCase
TestRun.settings = settings(max_examples=sweep(10), stateful_step_count=10, derandomize=True)
