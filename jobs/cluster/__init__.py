"""Photos worked on by other processes over one Redis; only with CARSEG_BROKER_URL.

In order of use:

    jobs.py     what the routes use: the other `engine.Engine`
    upkeep.py   lapsed leases, missing tasks, old results
    broker.py   Celery as it is used here
    queue.py    the photos that wait or are worked on, and who has which
    store.py    what is remembered, in Redis
    calls.py    a client of Redis
    scripts.py  each step as one script
    worker.py   the parent and the processes of one worker, begun by `celery_app.py`
    work.py     what such a process does with photos, one after the other
"""
