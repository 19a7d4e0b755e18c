"""OpenAI's own Python package against the gateway: what works, and what it raises when it is refused."""

import json
import math
import os
import time
import unittest

import openai

STAGE = json.loads(os.environ["STAGE"])
KEYS = STAGE["keys"]
HELLO = [{"role": "user", "content": "Say hello to Python."}]


class Client(openai.OpenAI):
    """The package's client, which also notes when each of its requests went out and what came back."""

    def __init__(self, url, key, retries=0):
        self.sent, self.answers = [], []
        hooks = {
            "request": [lambda _: self.sent.append(time.monotonic())],
            "response": [self.answers.append],
        }
        client = openai.DefaultHttpxClient(event_hooks=hooks)
        super().__init__(base_url=url, api_key=key, max_retries=retries, http_client=client)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def demo():
    return Client(STAGE["demo"]["url"], STAGE["demo"]["key"])


def gateway(route, key, retries=0):
    return Client(f"{STAGE['gateway']}/{route}/v1", KEYS.get(key, key), retries)


def ask(client, **options):
    return client.chat.completions.create(model="demo-large", messages=HELLO, **options)


class Answers(unittest.TestCase):
    def test_chat(self):
        with demo() as client:
            answer = ask(client)
        self.assertIn("Say hello to Python.", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)

    def test_the_second_chat_is_a_hit(self):
        request = {"model": "demo-large", "messages": [{"role": "user", "content": "Asked twice by Python."}]}
        with demo() as client:
            first = client.chat.completions.with_raw_response.create(**request)
            second = client.chat.completions.with_raw_response.create(**request)
        self.assertEqual((first.headers["x-cache"], second.headers["x-cache"]), ("MISS", "HIT"))
        self.assertEqual(first.parse(), second.parse())

    def test_stream(self):
        with demo() as client:
            whole = ask(client)
            chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage, whole.usage)
        self.assertEqual([chunk.usage for chunk in chunks[:-1]], [None] * (len(chunks) - 1))

    def test_a_stream_can_be_left(self):
        with demo() as client:
            messages = [{"role": "user", "content": "Begin, Python will not listen to the end."}]
            with client.chat.completions.create(model="demo-large", messages=messages, stream=True) as stream:
                self.assertEqual(next(iter(stream)).choices[0].delta.role, "assistant")
            self.assertIn("hello", ask(client).choices[0].message.content)

    def test_embeddings(self):
        with demo() as client:
            as_asked = client.embeddings.create(model="demo-embedding", input=["one", "two"])
            as_floats = client.embeddings.create(model="demo-embedding", input=["one", "two"], encoding_format="float")
        self.assertEqual([item.index for item in as_asked.data], [0, 1])
        for decoded, plain in zip(as_asked.data, as_floats.data):
            self.assertAlmostEqual(math.hypot(*plain.embedding), 1.0, places=4)
            self.assertLess(math.dist(decoded.embedding, plain.embedding), 1e-5)

    def test_models(self):
        with demo() as client:
            listed = [model.id for model in client.models.list()]
            self.assertIn("demo-large", listed)
            self.assertEqual(client.models.retrieve("demo-large").id, "demo-large")
            with self.assertRaises(openai.NotFoundError) as raised:
                client.models.retrieve("no-such-model")
        self.assertEqual(raised.exception.code, "model_not_found")


class Refusals(unittest.TestCase):
    """Each refusal in both shapes: the class is told by the status, the code by the body of `errors: openai`."""

    def refused(self, expected, status, client, action=ask):
        with client, self.assertRaises(expected) as raised:
            action(client)
        self.assertEqual(raised.exception.status_code, status)
        self.assertTrue(raised.exception.request_id, "the request id is there to be quoted")
        return raised.exception

    def test_an_unknown_key_is_an_authentication_error(self):
        flat = self.refused(openai.AuthenticationError, 401, gateway("flat", "sk-nobody-knows-this-key"))
        self.assertEqual(flat.body, "Invalid API key")
        shaped = self.refused(openai.AuthenticationError, 401, gateway("openai", "sk-nobody-knows-this-key"))
        self.assertEqual(shaped.code, "invalid_api_key")
        self.assertIn("invalid or has been revoked", shaped.message)

    def test_an_unknown_key_is_not_tried_again(self):
        client = gateway("flat", "sk-nobody-knows-this-key", retries=2)
        self.refused(openai.AuthenticationError, 401, client)
        self.assertEqual(len(client.sent), 1)

    def test_another_model_is_a_permission_error(self):
        for route in ["flat", "openai"]:
            error = self.refused(openai.PermissionDeniedError, 403, gateway(route, "model_bound"))
            self.assertIn("may not use the requested model", error.response.text)

    def test_the_right_model_passes(self):
        with gateway("flat", "model_bound") as client:
            answer = client.chat.completions.create(model="demo-small", messages=HELLO)
        self.assertEqual(answer.model, "demo-small")

    def test_another_address_is_a_permission_error(self):
        for route in ["flat", "openai"]:
            error = self.refused(openai.PermissionDeniedError, 403, gateway(route, "address_bound"))
            self.assertIn("may not be used from your address", error.response.text)

    def test_an_empty_bucket_is_a_rate_limit_error(self):
        for route, key in [("flat", "exhausted"), ("openai", "exhausted_too")]:
            with gateway(route, key) as client:
                client.models.list()
            error = self.refused(openai.RateLimitError, 429, gateway(route, key))
            self.assertGreater(int(error.response.headers["retry-after-ms"]), 0)
        self.assertEqual(error.code, "rate_limit_exceeded")

    def test_the_hinted_wait_is_kept_and_is_enough(self):
        # One a second: the package's own first wait, half a second, would be too short for its only retry.
        with gateway("flat", "patient", retries=1) as client:
            client.models.list()
            client.models.list()
        self.assertEqual([answer.status_code for answer in client.answers], [200, 429, 200])
        hinted = int(client.answers[1].headers["retry-after-ms"]) / 1000
        self.assertGreaterEqual(client.sent[2] - client.sent[1], hinted)

    def test_a_dead_upstream_is_a_server_error(self):
        error = self.refused(openai.InternalServerError, 502, gateway("dead", "good"))
        self.assertTrue(error.code, "errors: openai gives it a code")

    def test_a_request_that_was_sent_is_not_sent_again(self):
        client = gateway("hangs_up", "good", retries=2)
        error = self.refused(openai.InternalServerError, 502, client)
        self.assertEqual(error.response.headers["x-should-retry"], "false")
        self.assertEqual(len(client.sent), 1)


if __name__ == "__main__":
    unittest.main()
