# The page, for a machine with Docker; docs/hosting.md has the command that runs it.
FROM python:3.12-slim AS build
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/python -m pip install --no-cache-dir -r requirements.txt

FROM python:3.12-slim
COPY --from=build /venv /venv
WORKDIR /app
COPY LICENSE ./
COPY assets assets
COPY xfv_demo xfv_demo
COPY demo demo
# What is fetched is kept in /cache; visitors' photos lie in /tmp, which the command mounts in memory.
RUN useradd --no-create-home --uid 1000 xfv && mkdir /cache && chown xfv /cache \
    && /venv/bin/python -m compileall -q demo xfv_demo
ENV XFV_CACHE=/cache \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER xfv
VOLUME /cache
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=2m \
    CMD ["/venv/bin/python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'], timeout=4)"]
CMD ["/venv/bin/python", "demo/app.py"]
