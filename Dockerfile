# Three stages: build the wheel, install it beside its locked dependencies, and keep the result without build tools.

FROM python:3.11.14-slim-bookworm AS wheel
WORKDIR /source
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /wheel .

FROM python:3.11.14-slim-bookworm AS installed
RUN python -m venv /opt/adserver
COPY requirements.lock ./
RUN /opt/adserver/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements.lock
COPY --from=wheel /wheel /wheel
RUN /opt/adserver/bin/pip install --no-cache-dir --no-index --no-deps /wheel/*.whl \
    && /opt/adserver/bin/pip uninstall --yes setuptools pip

FROM python:3.11.14-slim-bookworm
RUN useradd --system --create-home --home-dir /var/lib/adserver adserver
COPY --from=installed /opt/adserver /opt/adserver
ENV PATH=/opt/adserver/bin:$PATH \
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
