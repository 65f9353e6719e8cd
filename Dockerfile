# gpu-learning serve in a container; docs/serving.md has the commands.
#   docker build --tag gpu-learning .                              CPU
#   docker build --tag gpu-learning:cuda --build-arg VARIANT=cuda .
# BASE is any Debian or Ubuntu with Python 3.10 or newer and venv. With VARIANT=cuda the CUDA
# libraries come with torch; LOCK=requirements-cuda12.lock is for drivers older than CUDA 13's.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ARG VARIANT=cpu
ARG LOCK=requirements.lock
ARG EXTRAS=export,llm,serve
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv && \
    python3 -m venv --without-pip /opt/gpu-learning
WORKDIR /src
COPY pyproject.toml requirements.lock requirements-cuda12.lock README.md LICENSE ./
COPY callbacks ./callbacks
COPY configs ./configs
COPY course ./course
COPY datamodules ./datamodules
COPY docs/course ./docs/course
COPY exporting ./exporting
COPY inference ./inference
COPY lightning_modules ./lightning_modules
COPY scripts ./scripts
COPY serving ./serving
COPY training ./training
# On Linux torch itself is the CUDA build; the one for the CPU, much smaller, is in PyTorch's own index.
# The server's user may not write bytecode there, and would compile all imports at every start.
RUN case "$VARIANT" in cpu) backend="--torch-backend cpu" ;; cuda) backend="" ;; \
      *) echo "VARIANT is cpu or cuda, not $VARIANT" >&2; exit 2 ;; esac; \
    /opt/uv/bin/uv pip install --compile-bytecode --python /opt/gpu-learning/bin/python \
      --constraint "$LOCK" $backend ".[$EXTRAS]"

FROM ${BASE}
COPY --from=build /opt/gpu-learning /opt/gpu-learning
ENV PATH=/opt/gpu-learning/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The user's number is what the folder of models on the host has to be readable for.
RUN useradd --uid 10001 --create-home learner && \
    mkdir -p /srv/models /srv/logs /srv/data && chown learner /srv/models /srv/logs /srv/data
USER 10001
WORKDIR /srv
EXPOSE 11434
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:11434/readyz', timeout=4)"]
ENTRYPOINT ["gpu-learning"]
CMD ["serve", "models", "--host", "0.0.0.0"]
