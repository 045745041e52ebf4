# Stages: `build` makes FFmpeg and the program, `gcsfuse` the program that mounts buckets; `plain` holds only what runs,
# and the last one, which is the default, adds gcsfuse to it. No stage that runs has a compiler, pip or a Python of
# its own. Where no registry of images can be reached, `make docker BASES=local` makes the bases from Debian's packages.
ARG BASE_IMAGE=debian:bookworm-slim
ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG GO_IMAGE=golang:1.26-bookworm

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      build-essential ca-certificates dpkg-dev libpython3.11 nasm pkg-config python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
ENV TOOLS_DIR=/opt/tools UV_SYSTEM_CERTS=1 UV_PROJECT_ENVIRONMENT=/opt/venv CARGO_TARGET_DIR=/opt/target
WORKDIR /src
COPY deploy/ffmpeg deploy/ffmpeg
RUN deploy/ffmpeg/build /opt/ffmpeg && rm -rf "$HOME/.cache"
# From what changes rarely to what changes often.
COPY .ci .ci
COPY Cargo.toml Cargo.lock pyproject.toml uv.lock README.md LICENSE pyinstaller.spec ./
ENV SYNC="sync --locked --python /usr/bin/python3 --no-default-groups --group package --no-editable \
          --extra apprise --extra postgresql --extra redis"
RUN .ci/uv ${SYNC} --no-install-project
COPY deploy/supply deploy/supply
COPY benches/shaped-server benches/shaped-server
COPY rust rust
COPY python python
RUN .ci/uv ${SYNC} \
 && ONE_FOLDER=1 FFMPEG_FOLDER=/opt/ffmpeg /opt/venv/bin/pyinstaller --noconfirm --log-level WARN \
      --distpath /opt/dist --workpath /opt/work pyinstaller.spec

FROM ${GO_IMAGE} AS gcsfuse
# The newest that this version of Go builds.
ARG GCSFUSE_VERSION=v3.11.4
RUN CGO_ENABLED=0 GOBIN=/opt/gcsfuse go install -trimpath -ldflags "-s -w" \
      "github.com/googlecloudplatform/gcsfuse/v3@${GCSFUSE_VERSION}"

FROM ${BASE_IMAGE} AS plain
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="audio-extract" \
      org.opencontainers.image.description="Takes the audio out of meeting recordings and stores it exactly once" \
      org.opencontainers.image.licenses="Apache-2.0 AND LGPL-2.1-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
 && useradd --uid 1000 --user-group --home-dir /app --no-create-home audio-extract \
 && install -d -o 1000 -g 1000 /app /app/configs /app/data /app/logs /app/output /output /mnt/audio-extracts
COPY --from=build /opt/dist/audio-extract-folder /opt/audio-extract
COPY deploy/docker/docker-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
# In the image both ports are for others: the container's network decides who they are.
ENV PATH=/opt/audio-extract:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    AUDIO_EXTRACT__MONITORING__DASHBOARD_HOST=0.0.0.0 \
    AUDIO_EXTRACT__MONITORING__HEALTH_HOST=0.0.0.0 \
    AUDIO_EXTRACT__MONITORING__DATABASE_PATH=/app/data/audio_extract.db \
    XDG_DATA_HOME=/app/data
WORKDIR /app
USER 1000:1000
EXPOSE 8080 8081
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["audio-extract", "healthcheck"]
ENTRYPOINT ["tini", "--", "docker-entrypoint.sh"]
CMD ["run"]

FROM plain
USER 0:0
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends fuse3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY --from=gcsfuse /opt/gcsfuse/gcsfuse /usr/local/bin/gcsfuse
USER 1000:1000
