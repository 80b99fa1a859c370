#!/bin/sh
# Runs a node with the management plugin; RABBITMQ_DEFAULT_USER, _PASS and _VHOST work as in the official image.
set -eu
export RABBITMQ_LOGS=- RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_MNESIA_BASE="$HOME/mnesia" RABBITMQ_LOG_BASE="$HOME/log" RABBITMQ_PID_FILE="$HOME/pid"
export RABBITMQ_CONFIG_FILE="$HOME/rabbitmq.conf" RABBITMQ_GENERATED_CONFIG_DIR="$HOME/conf"
export RABBITMQ_ENABLED_PLUGINS_FILE="$HOME/enabled_plugins"
export RABBITMQ_FEATURE_FLAGS_FILE="$HOME/feature_flags"

echo '[rabbitmq_management].' > "$RABBITMQ_ENABLED_PLUGINS_FILE"
{
  echo 'log.console = true'
  echo 'management.tcp.port = 15672'
  [ -z "${RABBITMQ_DEFAULT_USER:-}" ] || echo 'loopback_users = none'
  cat /etc/rabbitmq/conf.d/*.conf 2>/dev/null || :
} > "$RABBITMQ_CONFIG_FILE"
exec "$@"
