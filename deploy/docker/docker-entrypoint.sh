#!/bin/sh
# `docker run IMAGE` runs the service. Arguments that start with a dash go to the monitor, as with the earlier
# image; anything else is a command of audio-extract.
#
# ENABLE_GCSFUSE=true mounts the bucket GCS_BUCKET_NAME at /mnt/audio-extracts first, and unmounts it at the end. Nothing
# is started, and so nothing written, unless it really is mounted. GCSFUSE_OPTS are further options of gcsfuse;
# GCSFUSE_DEBUG=true makes it say what it does; with GCSFUSE_FALLBACK_PATH, and only then, audio goes into that folder
# where the bucket cannot be mounted.
set -eu

POINT=/mnt/audio-extracts
# Without a network gcsfuse would go on trying for many minutes.
MOUNT_SECONDS=60
LIST_SECONDS=30
# In the set of what any process here may get, root's helper fusermount3 included.
SYS_ADMIN=0x200000
NOBODY_ELSE=1000

program() {
  case "${1:-run}" in
    -*) set -- audio-extract monitor "$@" ;;
    *) set -- audio-extract "${@:-run}" ;;
  esac
  # Root was only for the mount.
  if [ "$(id -u)" = 0 ]; then
    set -- setpriv --reuid "$NOBODY_ELSE" --regid "$NOBODY_ELSE" --clear-groups --bounding-set=-all \
      --no-new-privs "$@"
  fi
  exec "$@"
}

is_mounted() {
  grep -q " $POINT .* - fuse\.gcsfuse " /proc/self/mountinfo
}

may_mount() {
  allowed="$(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)"
  [ $((0x${allowed#????????} & SYS_ADMIN)) -ne 0 ]
}

to_do_about_rights() {
  echo "to do: start the container with --cap-add SYS_ADMIN --device /dev/fuse, on a host with AppArmor also with" \
    "--security-opt apparmor=unconfined; where /dev/fuse is for root alone, also with --user 0 (it then gives up" \
    "being root once the bucket is mounted)" >&2
}

# gcsfuse may mount what it cannot reach or read, and say so only when somebody looks; who looks then hangs, until killed.
can_be_listed() {
  if timeout --kill-after 5 "$LIST_SECONDS" ls "$POINT" >/dev/null 2>>"$log"; then return 0; fi
  echo "the bucket was mounted, but could not be listed in $LIST_SECONDS s" >>"$log"
  if [ "$(id -u)" = 0 ]; then umount -l "$POINT"; else fusermount3 -uz "$POINT"; fi 2>>"$log" || true
  return 1
}

unmount_bucket() {
  if [ "$(id -u)" = 0 ]; then umount "$POINT"; else fusermount3 -u "$POINT"; fi || echo "warning: $POINT is still mounted" >&2
}

mount_bucket() {
  if ! command -v gcsfuse >/dev/null 2>&1; then
    echo "error: this image has no gcsfuse (it is the target \`plain\`); use the full image, or storage.type: gcs" >&2
    return 1
  fi
  if [ -z "${GCS_BUCKET_NAME:-}" ]; then
    echo "error: ENABLE_GCSFUSE is true, but GCS_BUCKET_NAME is not set: set it to the bucket to mount" >&2
    return 1
  fi
  if [ ! -c /dev/fuse ]; then
    echo "error: mounting gs://$GCS_BUCKET_NAME needs /dev/fuse: start the container with" \
      "--device /dev/fuse --cap-add SYS_ADMIN (or do without a mount: storage.type: gcs)" >&2
    return 1
  fi
  if ! may_mount; then
    echo "error: gs://$GCS_BUCKET_NAME could not be mounted: this container may not mount anything (no SYS_ADMIN)" >&2
    to_do_about_rights
    return 1
  fi
  key="${GOOGLE_APPLICATION_CREDENTIALS:-${GCS_CREDENTIALS_PATH:-}}"
  if [ -n "$key" ] && [ ! -r "$key" ]; then
    echo "error: the key file $key cannot be read: mount it into the container, readable for user $(id -u)" >&2
    return 1
  fi
  set -- --implicit-dirs --log-format text
  if [ "$(id -u)" = 0 ]; then
    set -- "$@" --uid "$NOBODY_ELSE" --gid "$NOBODY_ELSE" -o allow_other
  fi
  if [ -n "$key" ]; then set -- "$@" --key-file "$key"; fi
  if [ "${GCSFUSE_DEBUG:-false}" = true ]; then
    set -- "$@" --log-severity TRACE
  else
    set -- "$@" --log-severity WARNING
  fi
  # What it keeps between reads: the root may be read-only.
  set -- "$@" --temp-dir "${TMPDIR:-/tmp}"
  log="$(mktemp)"
  # Options are words, separated by spaces.
  # shellcheck disable=SC2086
  if timeout "$MOUNT_SECONDS" gcsfuse "$@" ${GCSFUSE_OPTS:-} "$GCS_BUCKET_NAME" "$POINT" >"$log" 2>&1 \
    && is_mounted && can_be_listed; then
    if [ "${GCSFUSE_DEBUG:-false}" = true ]; then cat "$log" >&2; fi
    rm -f "$log"
    echo "gs://$GCS_BUCKET_NAME is mounted at $POINT" >&2
    return 0
  fi
  echo "error: gs://$GCS_BUCKET_NAME could not be mounted:" >&2
  # Its settings, on long lines, explain nothing.
  grep -v severity=INFO "$log" | tail -n 5 >&2
  if grep -qiE "fusermount|/dev/fuse" "$log"; then
    to_do_about_rights
  else
    echo "to do: look whether the bucket's name is right, the account may use it (Storage Object User), and the" \
      "container reaches Google; it was tried for $MOUNT_SECONDS s at most" >&2
  fi
  rm -f "$log"
  return 1
}

case "${ENABLE_GCSFUSE:-false}" in
  true | 1 | yes) ;;
  *) program "$@" ;;
esac

if ! mount_bucket; then
  if [ -z "${GCSFUSE_FALLBACK_PATH:-}" ]; then exit 2; fi
  echo "warning: audio goes into $GCSFUSE_FALLBACK_PATH instead, as GCSFUSE_FALLBACK_PATH says" >&2
  export AUDIO_EXTRACT__STORAGE__TYPE=local AUDIO_EXTRACT__STORAGE__LOCAL__PATH="$GCSFUSE_FALLBACK_PATH"
  program "$@"
fi
export AUDIO_EXTRACT__STORAGE__TYPE=local \
  AUDIO_EXTRACT__STORAGE__GCS_MOUNT__ENABLED=true \
  AUDIO_EXTRACT__STORAGE__GCS_MOUNT__BUCKET_NAME="$GCS_BUCKET_NAME" \
  AUDIO_EXTRACT__STORAGE__GCS_MOUNT__MOUNT_POINT="$POINT"

# Somebody has to stay to unmount: signals are passed on.
child=
trap 'if [ -n "$child" ]; then kill -TERM "$child" 2>/dev/null; fi' TERM INT
(program "$@") &
child=$!
code=0
wait "$child" || code=$?
# A signal ends the waiting before the child has ended.
while kill -0 "$child" 2>/dev/null; do
  code=0
  wait "$child" || code=$?
done
unmount_bucket
exit "$code"
