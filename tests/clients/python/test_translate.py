"""What OpenAI's own package makes of the translated answers in tests/data/translate: no network, no gateway."""

import json
import pathlib
import unittest

import httpx2
import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

SHAPES = sorted((pathlib.Path(__file__).resolve().parents[2] / "data" / "translate").iterdir())


class Replay(httpx2.BaseTransport):
    """Answers every request with one of a shape's files."""

    def __init__(self, shape):
        self.shape = shape

    def handle_request(self, request):
        options = json.loads(request.read())
        name, kind = ("stream.sse", "text/event-stream") if options.get("stream") else ("answer.json", "application/json")
        return httpx2.Response(200, headers={"content-type": kind}, content=(self.shape / name).read_bytes())


def client(shape):
    transport = openai.DefaultHttpxClient(transport=Replay(shape))
    return openai.OpenAI(base_url="http://shape.invalid/v1", api_key="none", http_client=transport)


def missing(expected, found, place="answer"):
    """The places where `found` has not what `expected` has, or more than nulls beside it."""
    if isinstance(expected, dict) and isinstance(found, dict):
        more = [f"{place}.{name} is {value!r}" for name, value in found.items() if name not in expected and value is not None]
        return more + [line for name in expected for line in missing(expected[name], found.get(name, ...), f"{place}.{name}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [line for at, pair in enumerate(zip(expected, found)) for line in missing(*pair, f"{place}[{at}]")]
    return [] if type(expected) is type(found) and expected == found else [f"{place} is {found!r}, not {expected!r}"]


def without_indexes(answer):
    """`answer` without the indexes that a stream's tool calls keep: the order says the same."""
    for choice in answer["choices"]:
        for call in choice["message"].get("tool_calls") or []:
            call.pop("index", None)
    return answer


class Translations(unittest.TestCase):
    def test_the_stream_adds_up_to_the_answer(self):
        self.assertGreaterEqual(len(SHAPES), 30)
        for shape in SHAPES:
            request = json.loads((shape / "request.json").read_text())
            with self.subTest(shape.name), client(shape) as asked:
                answer = asked.chat.completions.create(**request)
                state = ChatCompletionStreamState()
                options = {"include_usage": True}
                for chunk in asked.chat.completions.create(**request, stream=True, stream_options=options):
                    state.handle_chunk(chunk)
                found = without_indexes(state.current_completion_snapshot.to_dict())
                self.assertEqual(missing(answer.to_dict(), found), [])
                for server in shape.glob("server.json"):
                    self.assertEqual(missing(without_indexes(json.loads(server.read_text())), found), [])

    def test_the_two_forms_are_typed_as_the_package_types_them(self):
        for shape in SHAPES:
            request = json.loads((shape / "request.json").read_text())
            with self.subTest(shape.name), client(shape) as asked:
                answer = asked.chat.completions.create(**request)
                type(answer).model_validate_json((shape / "answer.json").read_text())
                for chunk in asked.chat.completions.create(**request, stream=True):
                    type(chunk).model_validate(chunk.to_dict())


if __name__ == "__main__":
    unittest.main()
