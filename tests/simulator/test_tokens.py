import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.simulator.tokens import VOCAB_SIZE, WORDS, tokenize, tokenize_chat, write_answer


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (" \n", 0),
        ("one", 1),
        ("two words", 2),
        ("  many \t kinds\nof  space ", 4),
        ("a" * 12, 1),
        ("a" * 13, 4),
        ("short " + "b" * 16, 5),
        ("größer \ud800", 2),
    ],
)
def test_counts(text: str, count: int) -> None:
    assert len(tokenize(text)) == count


def test_ids_are_the_same_in_every_process() -> None:
    assert tokenize("hi you") == [125868, 74902]


@given(st.text(), st.text())
def test_texts_concatenate_at_white_space(first: str, second: str) -> None:
    ids = tokenize(f"{first} {second}")
    assert ids == tokenize(first) + tokenize(second)
    assert all(0 <= token < VOCAB_SIZE for token in ids)


def test_a_message_costs_five_tokens_more() -> None:
    assert len(tokenize_chat([("system", "be brief"), ("user", "hello")])) == 2 + 5 + 1 + 5


def test_the_next_turn_begins_with_this_one_and_its_answer() -> None:
    turn = [("user", "hello there")]
    ids = tokenize_chat(turn)
    answer = " ".join(write_answer(ids, 0, 20, 0, True).words)
    following = tokenize_chat([*turn, ("assistant", answer), ("user", "and now")])
    assert following[: len(ids) + 20] == ids + tokenize(answer)


def test_every_word_is_one_token_and_safe_in_json() -> None:
    assert len(set(WORDS)) > 150
    assert all(word.isascii() and word.isalpha() and len(tokenize(word)) == 1 for word in WORDS)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1), st.integers(0, 99), st.integers(1, 500), st.integers(0, 600))
def test_answers_keep_their_limits(ids: list[int], seed: int, max_tokens: int, min_tokens: int) -> None:
    answer = write_answer(ids, seed, max_tokens, min_tokens, False)
    assert answer == write_answer(ids, seed, max_tokens, min_tokens, False)
    assert min(min_tokens, max_tokens) <= len(answer.words) <= max_tokens
    assert answer.finish_reason == "stop" or len(answer.words) == max_tokens
    forced = write_answer(ids, seed, max_tokens, min_tokens, True)
    assert (len(forced.words), forced.finish_reason) == (max_tokens, "length")


def test_natural_lengths_are_spread_around_120() -> None:
    lengths = sorted(len(write_answer([number], 7, 10_000, 0, False).words) for number in range(400))
    assert 90 < lengths[200] < 150
    assert lengths[20] < 60
    assert lengths[380] > 250
