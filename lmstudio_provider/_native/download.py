"""A download of a model that LM Studio makes."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Callable, Mapping

from .._core.callbacks import Callback
from .._core.checks import check
from .._core.errors import DownloadError, InvalidRequestError, JobNotFoundError, ProviderError, RequestTimeoutError
from .._core.progress import Meter
from .._core.requests import check_given
from .._core.types import SECONDS, UNSET, Progress, Unset, check_seconds
from .._dialects.json_text import count, number
from .._http.exchange import Deadline
from .._provider.http_provider import Caller
from .._provider.lmstudio_server import LMStudioServer
from . import dialect as native


class Download:
    """A download under way in LM Studio. It goes on even if the program does not wait for it.

    ``status`` of its Progress is "downloading", "paused", "completed", "failed", or "already_downloaded" if there was
    nothing to do.
    """

    def __init__(self, caller: Caller, job_id: str | None, told: Mapping[str, Any], model: str = "") -> None:
        self.job_id = job_id
        """The id of the job, for ``Download.resume``; None if the model was there already."""
        self.model = model
        self.progress = Progress("unknown")
        """The progress that the server reported last."""
        self._caller = caller
        self._meter = Meter()
        if told:
            self._read(told)

    def __repr__(self) -> str:
        return f"<Download {self.job_id} {self.model} {self.progress.status}>"

    @classmethod
    def resume(cls, job_id: str, provider: Any = None) -> Download:
        """Return a download that this program or another one began; send nothing yet.

        ``provider`` is the LMStudioProvider to ask; by default, one is made from the settings.
        """
        if job_id is None:
            raise InvalidRequestError("job_id=None: the model was there already", hint="There is nothing to do")
        check_given("job_id", job_id)
        if provider is None:
            provider = LMStudioServer(refresh=False)
        if not isinstance(provider, LMStudioServer):
            raise InvalidRequestError(f"resume: {type(provider).__name__} is not an LMStudioProvider")
        return cls(Caller(provider), job_id, {})

    def status(self, *, deadline: float | Unset | None = UNSET) -> Progress:
        """Ask for the progress now. Raises JobNotFoundError; ``deadline`` is in seconds."""
        if self.job_id is None:
            return self.progress
        session, plan = self._caller.for_call(UNSET, deadline)
        value = session.ask(native.status_call(self.job_id), plan, native.download_reply)
        before = self.progress.status
        self._read(value)
        if self.progress.status == "completed" != before:
            self._caller.forget_models()  # there is a new model
        return self.progress

    def _read(self, reply: Mapping[str, Any]) -> None:
        status, total = reply["status"], count(reply.get("total_size_bytes"))
        completed = count(reply.get("downloaded_bytes"))
        if status == "completed":  # its reply may leave out both
            completed = total or self.progress.total_bytes or completed
        progress = self._meter.update(status, "model", completed, total)
        speed = number(reply.get("bytes_per_second")) if status == "downloading" else None
        if speed and speed > 0 and progress.total_bytes is not None:  # the server's figure is newer
            left = (progress.total_bytes - progress.completed_bytes) / speed
            progress = dataclasses.replace(progress, bytes_per_second=float(speed), seconds_left=left)
        elif status != "downloading":
            progress = dataclasses.replace(progress, bytes_per_second=None, seconds_left=None)
        self.progress = progress

    def wait(
        self,
        on_progress: Callable[[Progress], object] | None = None,
        poll: float = 1.0,
        deadline: float | None = None,
    ) -> Progress:
        """Wait until the model is there, asking every ``poll`` seconds, for ``deadline`` seconds at most.

        ``on_progress`` is called with each Progress, whose bytes never decrease; an exception in it ends the wait and
        reaches the caller. Raises DownloadError if the download failed or was paused, RequestTimeoutError after
        ``deadline``, JobNotFoundError, and what any call raises; their ``progress`` is the last one. The download
        itself goes on.
        """
        callback = Callback("on_progress", on_progress)
        check("poll", poll, SECONDS._replace(hint=""))
        check_seconds("deadline", deadline)
        end = None if deadline is None else Deadline(deadline, time.monotonic())
        while True:
            progress = self._status_by(end)
            callback(progress)
            if progress.status in ("failed", "paused"):
                raise self._stopped(progress)
            if progress.status != "downloading":
                return progress
            left = poll if end is None else min(poll, end.left())
            if left <= 0 and end is not None:
                raise self._late(end)
            time.sleep(left)  # the server reports nothing by itself

    def _status_by(self, end: Deadline | None) -> Progress:
        """Ask for the progress now, in the time that is left until ``end``."""
        try:
            return self.status(deadline=UNSET if end is None else max(0.001, end.left()))
        except ProviderError as error:
            if end is not None and isinstance(error, RequestTimeoutError) and error.limit == "deadline":
                raise self._late(end) from error
            if not isinstance(error, JobNotFoundError):
                error.hint = ". ".join(filter(None, [error.hint, f"The download may go on: {self._again()}"]))
            error.progress = self.progress
            raise

    def _stopped(self, progress: Progress) -> DownloadError:
        if progress.status == "paused":
            what, hint = "was paused", f"Resume it in LM Studio; then {self._again()}"
        else:
            what, hint = "failed, and LM Studio does not say why", "See LM Studio's log and the free space of the disk"
        return DownloadError(f"the download {self.job_id} {what}", hint=hint, job_id=self.job_id, progress=progress)

    def _late(self, end: Deadline) -> RequestTimeoutError:
        return RequestTimeoutError(
            f"the download {self.job_id} did not end in {end.seconds:g} s",
            hint=f"It goes on: {self._again()}",
            limit="deadline",
            waited_s=end.seconds,
            progress=self.progress,
        )

    def _again(self) -> str:
        return f"Download.resume({self.job_id!r}, lm).wait() watches it again"
