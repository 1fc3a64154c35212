#!/bin/sh
# A quote that is calculated, and a notification that its agent has to acknowledge: quote.sh SOCKET QUOTE USER
# With the token of a reader of `system:acks` in READER_TOKEN_FILE it waits until that is done.
set -eu
socket=$1 quote=$2 user=$3

publish() { tickerd publish --socket "$socket"; }

{
    echo "{\"type\":\"quote_state\",\"data\":{\"quote_id\":\"$quote\",\"status\":\"calculating\"}}"
    step=0
    for stage in "vehicle data" "driver history" "risk score" "discounts" "premium"; do
        step=$((step + 20))
        echo "{\"type\":\"calculation_progress\",\"data\":{\"quote_id\":\"$quote\",\"progress\":$step,\"stage\":\"$stage\"}}"
        echo "{\"type\":\"quote_update\",\"data\":{\"quote_id\":\"$quote\",\"update\":{\"field\":\"$stage\",\"old_value\":\"–\",\"new_value\":\"checked\",\"updated_by\":\"engine\"}}}"
        sleep 0.3
    done
    echo "{\"type\":\"quote_state\",\"data\":{\"quote_id\":\"$quote\",\"status\":\"ready\",\"premium\":\"84.20\"}}"
    echo "{\"type\":\"quote_status_changed\",\"data\":{\"quote_id\":\"$quote\",\"old_status\":\"calculating\",\"new_status\":\"ready\"}}"
    # An event that has to be acknowledged has an `event_id`.
    echo "{\"type\":\"notification\",\"event_id\":\"ready-$quote\",\"data\":{\"user_id\":\"$user\",\"title\":\"Quote $quote\",\"message\":\"is ready: 84.20 a month\"}}"
} | publish

[ -n "${READER_TOKEN_FILE:-}" ] || exit 0
tickerd subscribe --url "${URL:-ws://127.0.0.1:8080/v1/ws}" --token-file "$READER_TOKEN_FILE" --room system:acks --count 1 | grep "\"ready-$quote\""
