# The service in a small image: on a CPU, without torch, not as root.
#
#   docker build -t carseg .
#   docker run -p 127.0.0.1:5000:5000 -v carseg:/data carseg
#
# --build-arg CLUSTER=yes adds what several machines need; compose.yaml does that.

# Debian 12 and Python 3.11, on which the tests run.
FROM python:3.11-slim-bookworm AS environment

ARG CLUSTER=no
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY requirements requirements
# Nothing without the right hash; pip itself is not needed afterwards.
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --require-hashes -r requirements/slim.lock \
    && if [ "$CLUSTER" = yes ]; then /opt/venv/bin/python -m pip install --require-hashes -r requirements/cluster.lock; fi \
    && /opt/venv/bin/python -m pip uninstall --yes pip setuptools


FROM python:3.11-slim-bookworm

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CARSEG_HOST=0.0.0.0 \
    CARSEG_DATA_DIR=/data \
    CARSEG_LOG_FORMAT=json
# All that is written goes to /data, also what requests bring, so the rest may be read-only.
RUN install --directory --owner=10001 --group=10001 /data
COPY --from=environment /opt/venv /opt/venv
WORKDIR /app
COPY . .
RUN python3 -m compileall -q .

USER 10001:10001
VOLUME /data
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"CARSEG_PORT\", 5000)}/health', timeout=4)"]
CMD ["python", "app.py"]
