#!/bin/sh
# Write the password that PgBouncer needs into a file that only it can read, then run PgBouncer.
set -eu
umask 077
printf '"adserver_app" "%s"\n' "$ADSERVER_APP_PASSWORD" >/tmp/userlist.txt
exec pgbouncer /etc/pgbouncer/adserver.ini
