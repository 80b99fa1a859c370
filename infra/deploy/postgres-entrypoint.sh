#!/bin/sh
# Makes the cluster at the first start, by the variables of the official image; then runs the server.
set -eu
export TZ=UTC
: "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}" "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
    echo "POSTGRES_PASSWORD is not set: set it, or POSTGRES_HOST_AUTH_METHOD=trust" >&2
    exit 1
  fi
  mkdir -p "$PGDATA" && chmod 700 "$PGDATA"
  printf '%s\n' "${POSTGRES_PASSWORD:-unused}" > /tmp/password
  initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust --auth-host=trust \
    -E UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C --no-instructions
  rm /tmp/password
  printf 'local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all ::1/128 trust\nhost all all all %s\n' \
    "$POSTGRES_HOST_AUTH_METHOD" > "$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w start -o "-c listen_addresses= -c unix_socket_directories=/tmp"
  sql() { psql -v ON_ERROR_STOP=1 -h /tmp -U "$POSTGRES_USER" "$@"; }
  [ "$POSTGRES_DB" = postgres ] || sql -d postgres -c "CREATE DATABASE \"$POSTGRES_DB\""
  for file in /docker-entrypoint-initdb.d/*.sql; do
    [ ! -f "$file" ] || sql -d "$POSTGRES_DB" -f "$file"
  done
  pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec "$@" -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp
