"""Photos worked on by other processes over one Redis; only with CARSEG_BROKER_URL.

In order of use:

    engine.py   what the routes use: the other `engine.Engine`
    maintenance.py  lapsed leases, missing tasks, old results
    celery_tasks.py  Celery as it is used here
    queue.py    the photos that wait or are worked on, and who has which
    result_store.py  what is remembered, in Redis
    redis_client.py  a client of Redis
    scripts.py  each step as one script
    worker.py   the parent and the processes of one worker, begun by `celery_app.py`
    runner.py   what such a process does with photos, one after the other
"""
