"""Sentences that jobs and engines show to clients."""

# Status of a photo.
WAITING = "Waiting for a free worker."
RUNNING = "Being processed."
CANCELLED = "Cancelled."
LOST = "The photo was lost before it was processed; post it again."
STOPPED_TWICE = "The service stopped twice while it processed this photo; post it again to retry."
UNEXPECTED = "The photo could not be processed because of an error in the service."
OUT_OF_MEMORY = "The photo could not be processed because the service ran out of memory."
RESULT_GONE = "The result of this photo is missing in Redis; delete the photo and post it again."

# Refusals.
CLOSING = "The service is stopping; try again in a moment."
DISK_FULL = "The disk of the service is full, so nothing was stored; try again later."
REDIS_FULL = "The Redis of the service is full, so nothing was stored; try again later."

# Problems of the service.
JOBS_HANG = "Too many jobs hang; the service must be restarted."
UPLOADS_NOT_WRITABLE = "The folder of the uploads is not writable."
STORE_FAILED = "The service could not access its results; its log says why."
NO_WORKER = "No worker is running."
REDIS_AWAY = "The service cannot reach Redis at the moment; try again in a few seconds."
REDIS_FAILED = "The service could not use its Redis; its log says why."


def timed_out(seconds: float) -> str:
    """Return the status of a photo that took longer than allowed."""
    return f"Processing the photo took longer than {_seconds(seconds)} and was stopped."


def queue_full(photos: int, seconds: int) -> str:
    """Return the refusal of a photo while others wait, with the time until a retry."""
    waiting = "1 photo waits" if photos == 1 else f"{photos} photos wait"
    return f"The queue is full ({waiting}); try again in {_seconds(seconds)}."


def _seconds(number: float) -> str:
    return "1 second" if number == 1 else f"{number:g} seconds"
