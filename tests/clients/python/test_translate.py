"""What OpenAI's own package makes of the translated answers in tests/data/translate: no network, no gateway."""

import copy
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


# What the package's accumulator makes null where no chunk says it, and the JSON answer leaves out.
ADDED = ["annotations", "audio", "function_call", "refusal", "tool_calls"]

# `get_final_completion` refuses what ended so, whatever form it came in.
REFUSED = {
    "azure_content_filter": openai.ContentFilterFinishReasonError,
    "length": openai.LengthFinishReasonError,
    "logprobs_long": openai.LengthFinishReasonError,
    "three_choices": openai.LengthFinishReasonError,
}


def accumulated(answer):
    """`answer` with all that the package's accumulator adds of its own: nulls, and the place of each tool call."""
    answer = copy.deepcopy(answer)
    answer.setdefault("system_fingerprint", None)
    for choice in answer["choices"]:
        message = choice["message"]
        for name in ADDED:
            message.setdefault(name, None)
        # A tool call after it takes it back.
        if message["content"] and not message["tool_calls"]:
            message.setdefault("parsed", None)
        for place, call in enumerate(message["tool_calls"] or []):
            call["index"] = place
            call["function"].setdefault("parsed_arguments", None)
    return answer


def spelled(answer):
    """`answer` as text, so that 1, 1.0 and true are three things."""
    return json.dumps(answer, indent=1, sort_keys=True)


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
                found = spelled(state.current_completion_snapshot.to_dict())
                self.assertEqual(found, spelled(accumulated(answer.to_dict())))
                for server in shape.glob("server.json"):
                    self.assertEqual(found, spelled(accumulated(json.loads(server.read_text()))))

    def test_the_stream_helper_ends_with_what_is_parsed_from_the_answer(self):
        for shape in SHAPES:
            request = json.loads((shape / "request.json").read_text())
            # The package parses arguments of strict functions alone, and takes no others here.
            request.pop("tools", None)
            with self.subTest(shape.name), client(shape) as asked:
                if shape.name in REFUSED:
                    with self.assertRaises(REFUSED[shape.name]):
                        asked.chat.completions.parse(**request)
                    with self.assertRaises(REFUSED[shape.name]), asked.chat.completions.stream(**request) as stream:
                        stream.get_final_completion()
                    continue
                parsed = asked.chat.completions.parse(**request)
                with asked.chat.completions.stream(**request) as stream:
                    found = stream.get_final_completion()
                self.assertEqual(*[spelled(accumulated(each.to_dict())) for each in (found, parsed)])

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
