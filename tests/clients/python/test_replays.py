"""What the official packages read of replays of /v1/responses and /v1/messages, which are cached form by form."""

import json
import os
import unittest
import urllib.request

import anthropic
import openai

STAGE = json.loads(os.environ["STAGE"])
URL = f"{STAGE['gateway']}/scripted"
KEY = STAGE["keys"]["good"]


def calls():
    """How many answers the upstream has given."""
    with urllib.request.urlopen(f"{STAGE['scripted']}/calls", timeout=60) as answer:
        return int(answer.read())


class Ask:
    """One question, to be asked in either form: each way gives `X-Cache`, its events and its object."""

    def __init__(self, client):
        self.client = client

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()


class Responses(Ask):
    def __init__(self, question):
        super().__init__(openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0))
        self.request = {"model": "gpt-5-mini", "input": question}

    def json(self):
        answer = self.client.responses.with_raw_response.create(**self.request)
        return answer.headers["x-cache"], [], answer.parse().to_dict()

    def stream(self):
        answer = self.client.responses.with_raw_response.create(**self.request, stream=True)
        events = [event.to_dict() for event in answer.parse()]
        return answer.headers["x-cache"], events, events[-1]["response"]


class Messages(Ask):
    def __init__(self, question):
        super().__init__(anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0))
        messages = [{"role": "user", "content": question}]
        self.request = {"model": "claude-scripted", "max_tokens": 1000, "messages": messages}

    def json(self):
        answer = self.client.messages.with_raw_response.create(**self.request)
        return answer.headers["x-cache"], [], answer.parse().to_dict()

    def stream(self):
        with self.client.messages.stream(**self.request) as stream:
            events = [event.to_dict() for event in stream]
            return stream.response.headers["x-cache"], events, stream.get_final_message().to_dict()


def unnumbered(answer):
    """`answer` without what tells the upstream's calls apart, nor nulls that a package adds."""
    if isinstance(answer, dict):
        return {name: unnumbered(value) for name, value in answer.items() if name != "id" and value is not None}
    return [unnumbered(value) for value in answer] if isinstance(answer, list) else answer


class Replays(unittest.TestCase):
    maxDiff = None

    def test_the_second_answer_is_the_first_in_either_form(self):
        for ask in [Responses, Messages]:
            for form in [ask.json, ask.stream]:
                with self.subTest(form.__qualname__), ask(f"Asked twice: {form.__qualname__}.") as asked:
                    before = calls()
                    missed, events, answer = form(asked)
                    hit, events_again, answer_again = form(asked)
                    self.assertEqual((missed, hit), ("MISS", "HIT"))
                    self.assertEqual(answer, answer_again)
                    self.assertEqual(events, events_again)
                    self.assertEqual(len(events) > 20, form is ask.stream)
                    self.assertEqual(calls() - before, 1)

    def test_the_forms_are_kept_apart(self):
        for ask in [Responses, Messages]:
            for forms in [(ask.json, ask.stream), (ask.stream, ask.json)]:
                names = ", ".join(form.__qualname__ for form in forms)
                with self.subTest(names), ask(f"Asked in turns: {names}.") as asked:
                    before = calls()
                    first = [form(asked) for form in forms]
                    again = [form(asked) for form in forms]
                    self.assertEqual([answer[0] for answer in first + again], ["MISS", "MISS", "HIT", "HIT"])
                    self.assertEqual([answer[1:] for answer in first], [answer[1:] for answer in again])
                    self.assertNotEqual(first[0][2]["id"], first[1][2]["id"])
                    self.assertEqual(*[unnumbered(answer[2]) for answer in first])
                    self.assertEqual(calls() - before, 2)

    def test_what_responses_accumulates_from_a_replay_is_the_answer(self):
        with Responses("Asked for by the package's accumulator.") as asked:
            _, events, answer = asked.stream()
            with asked.client.responses.stream(**asked.request) as stream:
                kinds = [event.type for event in stream]
                found = stream.get_final_response().to_dict()
        self.assertEqual(kinds, [event["type"] for event in events])
        self.assertEqual(unnumbered(found), unnumbered(answer))
        self.assertEqual(found["id"], answer["id"], "it is a replay")


if __name__ == "__main__":
    unittest.main()
