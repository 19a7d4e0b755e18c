"""An upstream that speaks two APIs which are cached by form: OpenAI's /v1/responses, Anthropic's /v1/messages.

Each POST is answered with a text and a tool call, as JSON or, for `"stream": true`, as the API's own events. Every
answer's id has its own number, so two answers with one id come from one call; `GET /calls` tells how many there were.
"""

import http.server
import itertools
import json
import threading

TEXT = "It is sunny in Zürich, ☀️ all day."
ARGUMENTS = '{"city": "Zürich", "days": 2}'
THOUGHT = "The user asks about the weather."


def pieces(text):
    """`text` in pieces of five characters."""
    return [text[start : start + 5] for start in range(0, len(text), 5)]


def response(number):
    """What /v1/responses answers."""
    part = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
    message = {"id": f"msg_{number}", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    call = {"id": f"fc_{number}", "type": "function_call", "status": "completed", "call_id": "call_1"}
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1785313200,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "gpt-5-mini-2025-08-07",
        "output": [message, {**call, "name": "get_weather", "arguments": ARGUMENTS}],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 36,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 87,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 123,
        },
        "user": None,
        "metadata": {},
    }


def response_events(answer):
    """The data of the events in which /v1/responses streams `answer`."""
    begun = {"response": {**answer, "status": "in_progress", "output": [], "usage": None}}
    told = [("created", begun), ("in_progress", begun)]
    for index, item in enumerate(answer["output"]):
        at = {"item_id": item["id"], "output_index": index}
        told.append(("output_item.added", {"output_index": index, "item": empty(item)}))
        told += message_events(item, at) if item["type"] == "message" else call_events(item, at)
        told.append(("output_item.done", {"output_index": index, "item": item}))
    told.append(("completed", {"response": answer}))
    return [{"type": f"response.{kind}", "sequence_number": at, **data} for at, (kind, data) in enumerate(told)]


def empty(item):
    """An item of a response before anything of it was made."""
    unsaid = {"content": []} if item["type"] == "message" else {"arguments": ""}
    return {**item, "status": "in_progress", **unsaid}


def message_events(item, at):
    at = {**at, "content_index": 0}
    [part] = item["content"]
    return [
        ("content_part.added", {**at, "part": {**part, "text": ""}}),
        *(("output_text.delta", {**at, "delta": piece, "logprobs": []}) for piece in pieces(part["text"])),
        ("output_text.done", {**at, "text": part["text"], "logprobs": []}),
        ("content_part.done", {**at, "part": part}),
    ]


def call_events(item, at):
    kind = "function_call_arguments"
    deltas = [(f"{kind}.delta", {**at, "delta": piece}) for piece in pieces(item["arguments"])]
    return [*deltas, (f"{kind}.done", {**at, "name": item["name"], "arguments": item["arguments"]})]


def message(number):
    """What /v1/messages answers."""
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-scripted-20260101",
        "content": [
            {"type": "thinking", "thinking": THOUGHT, "signature": "EqQBCgIYAhIM"},
            {"type": "text", "text": TEXT},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": json.loads(ARGUMENTS)},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 472,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 89,
            "service_tier": "standard",
        },
    }


def message_stream(answer):
    """The data of the events in which /v1/messages streams `answer`."""
    begun = {**answer, "content": [], "stop_reason": None, "usage": {**answer["usage"], "output_tokens": 1}}
    told = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(answer["content"]):
        start, deltas = block_events(block)
        told.append({"type": "content_block_start", "index": index, "content_block": start})
        told += [] if index else [{"type": "ping"}]
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": answer["stop_reason"], "stop_sequence": answer["stop_sequence"]}
    told.append({"type": "message_delta", "delta": ended, "usage": {"output_tokens": answer["usage"]["output_tokens"]}})
    return [*told, {"type": "message_stop"}]


def block_events(block):
    """How a block of a message begins, and the deltas that fill it."""
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    if block["type"] == "tool_use":
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(ARGUMENTS)]]
        return {**block, "input": {}}, deltas
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
    signed = {"type": "signature_delta", "signature": block["signature"]}
    return {**block, "thinking": "", "signature": ""}, [*deltas, signed]


# How each API answers, and how it streams that answer.
APIS = {"/v1/responses": (response, response_events), "/v1/messages": (message, message_stream)}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    numbers = itertools.count(1)
    calls = 0

    def do_GET(self):
        self.answer("application/json", str(Handler.calls).encode())

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Handler.calls = number = next(self.numbers)
        write, stream = APIS[self.path]
        answer = write(number)
        if asked.get("stream"):
            self.stream(stream(answer))
        else:
            self.answer("application/json", json.dumps(answer).encode())

    def answer(self, kind, body):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, events):
        """Sends each event as a chunk of its own."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events:
            data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        """Says nothing: the gateway's access log has it all."""


class Server(http.server.ThreadingHTTPServer):
    # As many may come at once as an HTTP/2 connection has requests.
    request_queue_size = 128

    def handle_error(self, *_):
        """Says nothing of connections that the gateway closes: an attacker's requests are given up by the hundred."""


def start(stack):
    """Starts the upstream, until `stack` is closed, and gives its URL."""
    server = stack.enter_context(Server(("127.0.0.1", 0), Handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}"
