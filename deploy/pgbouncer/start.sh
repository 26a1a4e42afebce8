#!/bin/sh
# Writes the one password that PgBouncer needs where only it can read it, and becomes PgBouncer.
set -eu
umask 077
printf '"adserver_app" "%s"\n' "$ADSERVER_APP_PASSWORD" >/tmp/userlist.txt
exec pgbouncer /etc/pgbouncer/adserver.ini
