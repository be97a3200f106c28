"""A collector of OpenTelemetry's logs over HTTP: writes each record as a JSON line to standard output.

Reads requests with the protobuf types that the OpenTelemetry project publishes for Python. Answers 401 without the
header `X-Scope: keypod-test`.
"""

import gzip
import http.server
import json
import sys

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)


def plain(value):
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def named(attributes):
    return {attribute.key: plain(attribute.value) for attribute in attributes}


class Collector(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("X-Scope") != "keypod-test":
            return self.answer(401, b"")
        if self.path != "/v1/logs" or self.headers["Content-Type"] != "application/x-protobuf":
            return self.answer(404, b"")
        compressed = self.headers.get("Content-Encoding") == "gzip"
        request = ExportLogsServiceRequest.FromString(gzip.decompress(body) if compressed else body)
        for logs in request.resource_logs:
            for scope in logs.scope_logs:
                for record in scope.log_records:
                    print(json.dumps({
                        "compressed": compressed,
                        "resource": named(logs.resource.attributes),
                        "scope": scope.scope.name,
                        "time": record.time_unix_nano,
                        "severity": record.severity_number,
                        "severity_text": record.severity_text,
                        "event": record.event_name,
                        "body": record.body.string_value,
                        "attributes": named(record.attributes),
                    }), flush=True)
        self.answer(200, ExportLogsServiceResponse().SerializeToString())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(json.dumps({"port": server.server_port}), flush=True)
sys.stdout.flush()
server.serve_forever()
