# Two stages: one builds the wheel with the engine inside, the other holds only what runs.
# FFmpeg comes from the imageio-ffmpeg wheel (extra `offline`): one static binary.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
ARG RUST_VERSION=1.95.0
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential ca-certificates curl python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
ENV CARGO_HOME=/opt/cargo RUSTUP_HOME=/opt/rustup TOOLS_DIR=/opt/tools UV_SYSTEM_CERTS=1 \
    PATH=/opt/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
RUN curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs \
  | sh -s -- -y --no-modify-path --profile minimal --default-toolchain "${RUST_VERSION}"
WORKDIR /src
COPY . .
RUN UV_PROJECT_ENVIRONMENT=/opt/audio-extract .ci/uv sync --locked --python /usr/bin/python3 \
      --no-default-groups --all-extras --no-editable --compile-bytecode
# Google's client carries 110 MB of descriptions of other services; line tables help nobody inside an image.
RUN cd /opt/audio-extract/lib/python3*/site-packages \
 && find googleapiclient/discovery_cache/documents -name '*.json' ! -name drive.v3.json -delete \
 && strip --strip-debug audio_extract/_engine.abi3.so

FROM ${BASE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --user-group --home-dir /app --no-create-home audio-extract \
 && install -d -o 1000 -g 1000 /app /app/configs /app/data /app/logs /app/output /output
COPY --from=build /opt/audio-extract /opt/audio-extract
COPY --chmod=0755 deploy/docker/docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
# In the image both ports are for others: the container's network decides who they are.
ENV PATH=/opt/audio-extract/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    AUDIO_EXTRACT__MONITORING__DASHBOARD_HOST=0.0.0.0 \
    AUDIO_EXTRACT__MONITORING__HEALTH_HOST=0.0.0.0 \
    AUDIO_EXTRACT__MONITORING__DATABASE_PATH=/app/data/audio_extract.db
WORKDIR /app
USER 1000:1000
EXPOSE 8080 8081
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8081/live', timeout=4)"]
ENTRYPOINT ["tini", "--", "docker-entrypoint.sh"]
CMD ["run"]
