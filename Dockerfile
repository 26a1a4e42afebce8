# Two stages: the first installs, the second has the result and nothing to build with.

FROM python:3.11.14-slim-bookworm AS installed
WORKDIR /adserver
COPY requirements-build.lock requirements.lock ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: \
       -r requirements-build.lock -r requirements.lock
COPY pyproject.toml README.md ./
COPY app app
COPY migrations migrations
RUN .venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && .venv/bin/python -m compileall -q app migrations \
    && rm -rf .venv/lib/python3.11/site-packages/pip .venv/lib/python3.11/site-packages/setuptools

FROM python:3.11.14-slim-bookworm
RUN useradd --system --create-home --home-dir /var/lib/adserver adserver
COPY --from=installed /adserver /adserver
ENV PATH=/adserver/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ADSERVER_HOST=0.0.0.0 \
    ADSERVER_DATA_DIR=/var/lib/adserver
USER adserver
WORKDIR /var/lib/adserver
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('ADSERVER_PORT', '8080')}/readyz\", timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["adserver", "serve"]
