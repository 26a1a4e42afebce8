#!/bin/sh
# The postgres image runs this once, on an empty volume. It creates the roles with their passwords before the first migration.
set -eu
psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
\getenv app ADSERVER_APP_PASSWORD
\getenv finance ADSERVER_FINANCE_PASSWORD
CREATE ROLE adserver_app LOGIN PASSWORD :'app';
CREATE ROLE adserver_finance LOGIN PASSWORD :'finance';
SQL
