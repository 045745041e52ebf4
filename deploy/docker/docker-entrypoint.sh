#!/bin/sh
# `docker run IMAGE` runs the service. Arguments that start with a dash go to the monitor, as with the earlier
# image; anything else is a command of audio-extract.
set -eu

case "${1:-run}" in
  -*) exec python3 -m audio_extract.cli.monitor "$@" ;;
  *) exec audio-extract "${@:-run}" ;;
esac
