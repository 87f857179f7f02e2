"""Run jobs from Uploaded to Ready or Error, and store their outcomes."""

from __future__ import annotations

import logging
import threading
from functools import partial

from exports.annotation import kept_damage_kinds
from exports.pictures import damage_png
from jobs.counts import JobCounts
from jobs.folders import Masks, Uploads
from jobs.job import Job, Outcome, log_job
from jobs.job_table import JobTable
from jobs.messages import timed_out
from jobs.outcome import CancelledError, run_guarded, to_store
from jobs.store import Store, StoreError
from options import PLAIN
from photo_result import Result, Stage
from pipeline import Analyser
from segment_interface import Photo, decode_photo
from settings import Settings

log = logging.getLogger("carseg.jobs")


class JobRunner:
    """Runner of all jobs of one `jobs.thread_engine.ThreadEngine`."""

    def __init__(
        self,
        stages: Analyser,
        store: Store,
        table: JobTable,
        uploads: Uploads,
        masks: Masks,
        settings: Settings,
        counts: JobCounts,
    ) -> None:
        """Create a runner that shares the state of its engine.

        Args:
            stages: pipeline that analyses a photo.
            store: store of the outcomes.
            table: table of all photos and jobs.
            uploads: folder of the uploaded files.
            masks: folder of the mask files.
            settings: settings of the service.
            counts: counters of the jobs that ended.
        """
        self._stages, self._store, self._table = stages, store, table
        self._uploads, self._masks = uploads, masks
        self._settings, self._counts = settings, counts

    def run(self, job: Job) -> None:
        """Run a job from Uploaded to Ready or Error, unless it is being ended already."""
        if not threading.main_thread().is_alive():
            return  # the process is exiting; the upload stays for the next start
        with self._table.lock:
            if not self._table.start(job):
                return
            photo = self._table.take_decoded(job)
        try:
            self._store.count_attempt(job.number)
        except StoreError:  # for example a full disk; the job can still run
            log.exception("The attempt of job %s could not be counted", job.digest)
        while True:
            work = partial(self._process, job, photo, damage=job.damage)
            ended = run_guarded(job.digest, work, self._settings.part_names)
            if ended is None or self._end(job, *ended):
                return
            photo = None  # asked for damage meanwhile: the work begins again

    def expire(self, job: Job) -> None:
        """End a job that exceeded its timeout."""
        self._end(job, "timeout", timed_out(self._settings.job_seconds), None)

    def save_unsaved(self) -> None:
        """Store the outcomes that an earlier call could not store."""
        for job in self._table.unsaved():
            if not self._save(job, job.message, job.result):
                return
            with self._table.lock:
                job.unsaved = False
                if self._table.holds(job):
                    self._uploads.remove(job.digest)

    def report(self, job: Job, outcome: Outcome, message: str) -> None:
        """Log and count a job that ended."""
        report = job.report(outcome, message)
        log_job(report)
        self._counts.add(report)

    def _process(self, job: Job, photo: Photo | None, *, damage: bool) -> Result:
        def on_stage(stage: Stage) -> None:
            if not self._table.advance(job, stage):
                raise CancelledError

        if photo is None:
            photo = decode_photo(self._uploads.read(job.digest), self._settings.max_pixels)
        analysis = self._stages.analyse(photo, on_stage, damage=damage)
        result = Result.of(analysis, self._stages.version, self._stages.damage_version)
        if self._settings.write_masks:
            labels = result.sure_labels(names=self._settings.part_names)
            examined = result.damages is not None
            picture = damage_png(kept_damage_kinds(result, PLAIN)) if examined else None
            self._masks.write(job.digest, labels, picture)
        return result

    def _end(self, job: Job, outcome: Outcome, message: str, result: Result | None) -> bool:
        """End a job as Ready or Error, unless it is being ended already.

        Returns:
            False if the job goes on, because its result lacks damage that is asked for by now.
        """
        with self._table.lock:
            lacks_damage = job.damage and result is not None and result.damages is None
            if lacks_damage and not job.is_ending:
                return False
            if not self._table.begin_end(job):
                later = self._table.job(job.digest)
                kept = job.keeps_result and job.digest in self._table
                if later in (job, None) and not kept:  # no later one wrote masks
                    self._masks.remove(job.digest)
                return True
        saved = self._save(job, message, result)
        segments = None if result is None else result.exteriors(self._settings.part_names)
        with self._table.lock:
            if not self._table.holds(job):
                outcome = "cancelled"
            else:
                job.unsaved = not saved
                # Otherwise the next start needs the upload, or an examination for damage does.
                if saved and (job.keeps_result or not self._table.examines(job.digest)):
                    self._uploads.remove(job.digest)
                self._table.finish(job, message, result, segments)
        self.report(job, outcome, message)
        return True

    def _save(self, job: Job, message: str, result: Result | None) -> bool:
        """Store the outcome of a job; return False if the store fails."""
        try:
            if job.keeps_result and result is None:
                self._store.end_examination(job.number)
            else:
                self._store.finish(job.number, to_store(message, result))
        except StoreError:
            log.exception("The result of job %s could not be stored; it is tried again", job.digest)
            return False
        return True
