"""What the description cannot say, done to requests that are meant to be good ones.

A schema says which shape a request has. It cannot say that a ciphertext is authentic, that a parameter goes with
one media type, or that one field repeats the path. Requests that are meant to be bad are left as they are.
"""

import base64
import json
import os
import random
import urllib.request

import schemathesis
from schemathesis import GenerationMode

BASE = os.environ["KEYPOD_BASE"]
KEY = "demo"
CONTEXT = {"tenant": "clinic-7"}
CONTEXT_HEADER = base64.urlsafe_b64encode(json.dumps(CONTEXT).encode()).decode().rstrip("=")
OCTETS = "application/octet-stream"


def post(path, media, body, **headers):
    headers["Authorization"] = "Bearer " + os.environ["KEYPOD_TOKEN"]
    headers["Content-Type"] = media
    request = urllib.request.Request(BASE + path, body, headers)
    return urllib.request.urlopen(request, timeout=10).read()


def seal():
    """One ciphertext under CONTEXT in text form, and one in binary form of three segments."""
    body = json.dumps({"key": KEY, "plaintext": "aGVsbG8=", "context": CONTEXT}).encode()
    text = json.loads(post("/v1/encrypt", "application/json", body))["ciphertext"]
    octets = post(f"/v1/encrypt?key={KEY}", OCTETS, bytes(150_000), **{"Keypod-Context": CONTEXT_HEADER})
    return text, octets


TEXT, BINARY = seal()


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    path, body = case.operation.path, case.body
    if path in ("/v1/encrypt", "/v1/decrypt", "/v1/rewrap"):
        in_octets(path, case) if case.media_type == OCTETS else in_json(path, case)
    elif path.endswith("/destroy") and isinstance(body, dict):
        # It must say again what the path says.
        parameters = case.path_parameters
        body["confirm"] = f"{parameters['name']}/{parameters['version']}"
    elif path == "/v1/emergency" and isinstance(body, dict):
        # Not every text is a reason, and the configuration says how long is too long.
        body["reason"], body["minutes"] = "a reason to break the glass", 1
    elif path.endswith("/batch") and isinstance(body, dict):
        # Contexts of an item and its batch are drawn apart, and may have a name in common: that fails the item.
        for item in body.get("items", []):
            if "ciphertext" in item and random.random() < 0.5:
                item["ciphertext"] = TEXT


def in_json(path, case):
    """Key and context are in the body, and refused in query and headers. A ciphertext is one that opens."""
    case.query.pop("key", None)
    case.headers.pop("Keypod-Context", None)
    case.headers.pop("Keypod-New-Context", None)
    if not isinstance(case.body, dict):
        return
    if path != "/v1/encrypt":
        case.body["ciphertext"] = TEXT
        case.body["context"] = CONTEXT
    elif random.random() < 0.5:
        case.body["key"] = KEY


def in_octets(path, case):
    """The key must be in the query; a context must be one; a ciphertext is one that opens."""
    case.headers["Keypod-Context"] = CONTEXT_HEADER
    if "Keypod-New-Context" in case.headers:
        case.headers["Keypod-New-Context"] = CONTEXT_HEADER
    if path == "/v1/encrypt":
        case.query["key"] = KEY
    else:
        case.body = BINARY
