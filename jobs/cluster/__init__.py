"""Process photos in Celery workers over one Redis; used only with CARSEG_BROKER_URL.

Modules, in order of use:

    engine.py        the `jobs.engine.Engine` that the routes use
    maintenance.py   lapsed leases, missing tasks, old results
    celery_tasks.py  the Celery app and the publisher of its tasks
    queue.py         waiting and running photos, claims and leases
    result_store.py  outcomes and results in Redis
    redis_client.py  the connections to Redis, and the meaning of its errors
    scripts.py       the Lua scripts and the key layout
    worker.py        the parent and child processes of one worker, started by `celery_app.py`
    runner.py        the loop of a child process: claim a photo, process it, store the outcome
"""
