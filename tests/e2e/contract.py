"""What the two API documents promise, held against what the daemon says: `harness` brings everything that it reads here.

So every end-to-end test is a test of the documents too. A message is looked at if none of its shape was before, a shape being the names and kinds of its
members and their short texts: many thousands of events cost nothing.
"""

import json
import re
from pathlib import Path

import jsonschema
import yaml

DOCUMENTS = Path(__file__).resolve().parents[2] / "src/web"
ASYNCAPI = yaml.safe_load((DOCUMENTS / "asyncapi.yaml").read_text())
OPENAPI = yaml.safe_load((DOCUMENTS / "openapi.yaml").read_text())


def validator(document, schema):
    """For one schema of a document, whose references it may use."""
    kind = jsonschema.Draft7Validator if "asyncapi" in document else jsonschema.Draft202012Validator
    return kind(schema | {"components": document["components"]})


def payload(name):
    return validator(ASYNCAPI, {"$ref": ASYNCAPI["components"]["messages"][name]["payload"]["$ref"]})


def sent_by_server():
    """The names of the messages that the server sends."""
    for operation in ASYNCAPI["operations"].values():
        messages = operation["messages"] if operation["action"] == "send" else operation.get("reply", {}).get("messages", [])
        yield from (reference["$ref"].rpartition("/")[2] for reference in messages)


MESSAGES = {name: payload(name) for name in sorted(set(sent_by_server()))}
ANSWER = validator(OPENAPI, {"$ref": "#/components/schemas/PublishAnswer"})

# The shapes of all that was looked at.
shapes = set()


def check_message(message):
    """A message that a WebSocket client got."""
    name = name_of(message)
    # What is in an event is its publisher's.
    outline = {member: value for member, value in message.items() if member not in ("data", "patch")} if name == "event" else message
    if is_new(name, outline):
        complain(MESSAGES[name].iter_errors(message), f"src/web/asyncapi.yaml has no such {name}", message)


def name_of(message):
    """What asyncapi.yaml calls it."""
    if "type" not in message:
        return "publishAnswer"
    return message["type"] if message["type"] in MESSAGES else "event"


def check_answer(answer):
    """An answer to a published line."""
    if is_new("answer", answer):
        complain(ANSWER.iter_errors(answer), "src/web/openapi.yaml has no such answer to a publish", answer)


def is_new(what, value):
    """Whether nothing of that shape was seen before."""
    shape = (what, shape_of(value))
    if shape in shapes:
        return False
    shapes.add(shape)
    return True


def shape_of(value):
    if isinstance(value, dict):
        return tuple((name, shape_of(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(sorted({shape_of(inner) for inner in value}, key=repr))
    if isinstance(value, str):
        return value if len(value) < 24 and not re.search(r"\d", value) else "text"
    return value if isinstance(value, bool) else type(value).__name__


def check_http(method, path, status, headers, body):
    """An answer to a request by HTTP. Paths that the document does not have are refused with 404."""
    operation = operation_of(method, path.partition("?")[0])
    if operation is None:
        assert status >= 400, f"{method} {path} is answered with {status}, and openapi.yaml does not know it: write it there"
        response = OPENAPI["components"]["responses"]["Refused"]
    else:
        response = resolved(operation["responses"].get(str(status)) or operation["responses"]["default"])
    headers = {name.lower(): value for name, value in headers.items()}
    for name, header in response.get("headers", {}).items():
        given = headers.get(name.lower())
        assert given is not None or not header.get("required"), f"{method} {path}: {status} without {name}"
        complain(validator(OPENAPI, header["schema"]).iter_errors(given) if given is not None else [], f"{name} of {method} {path}", given)
    if method == "HEAD" or not body:
        return
    media_type = headers["content-type"].partition(";")[0]
    assert media_type in response.get("content", {}), f"{method} {path}: {status} with {media_type}, and openapi.yaml does not say so: {body[:500]}"
    text = body.decode()
    if media_type == "application/x-ndjson":
        for line in text.splitlines():
            check_answer(json.loads(line))
        return
    value = json.loads(text) if media_type == "application/json" else text
    if is_new((method, path.partition("?")[0], status), value):
        complain(validator(OPENAPI, response["content"][media_type]["schema"]).iter_errors(value), f"{method} {path}: {status}", value)


def operation_of(method, path):
    for template, item in OPENAPI["paths"].items():
        if path in paths_of(template, item):
            return item.get("get" if method == "HEAD" else method.lower())
    return None


def paths_of(template, item):
    """The paths that a template stands for; one without an enumeration has to be asked for as it is written."""
    parameters = [parameter for operation in item.values() if isinstance(operation, dict) for parameter in operation.get("parameters", [])]
    names = [name for parameter in parameters if parameter.get("in") == "path" for name in parameter["schema"]["enum"]]
    return [re.sub(r"\{\w+\}", name, template) for name in names] or [template]


def resolved(response):
    return OPENAPI["components"]["responses"][response["$ref"].rpartition("/")[2]] if "$ref" in response else response


def complain(errors, what, value):
    """Fails with what is wrong, as near to it as the schemas lead."""
    best = jsonschema.exceptions.best_match(errors)
    assert best is None, f"{what}: {best.message} at {best.json_path}: {json.dumps(value)[:1000]}"
