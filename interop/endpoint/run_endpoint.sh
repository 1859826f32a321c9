#!/bin/bash
# What the runner's container starts: ROLE, TESTCASE, REQUESTS, SSLKEYLOGFILE and QLOGDIR come
# as environment variables, which the endpoint reads itself.
set -e

# Routes to and from the simulated network.
/setup.sh

if [ "$ROLE" = client ]; then
	# The simulator's name is in the hosts file of every container.
	/wait-for-it.sh sim:57832 -s -t 30
fi
# Its exit code is that of the test: 127 for a case that it does not know. CLIENT_PARAMS and
# SERVER_PARAMS are the runner's way to pass flags, and may hold several.
if [ "$ROLE" = client ]; then
	# shellcheck disable=SC2086
	exec /endpoint $CLIENT_PARAMS
fi
# shellcheck disable=SC2086
exec /endpoint $SERVER_PARAMS
