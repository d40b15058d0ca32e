"""Prompts of a person answered by SAM: as the model itself answers, each frame embedded once."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from sam_tiny import tiny_sam

from moca_core.annotations.painting import tidied
from moca_core.annotations.prompt import Prompt, PromptPoint
from moca_core.annotations.prompting import Answer, Prompter
from moca_core.errors import ConfigError

SIZE = (90, 120)


@pytest.fixture(scope="module")
def sam():
    return tiny_sam()


def a_frame(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def prompter(sam):
    made = Prompter(sam)
    made.embed("frame", a_frame())
    return made


def test_a_single_point_gets_three_masks_the_best_first(prompter, sam):
    answer = prompter.ask("frame", Prompt((PromptPoint(30.5, 40.5),)))
    assert isinstance(answer, Answer)
    assert answer.masks.shape == (3, *SIZE)
    assert answer.masks.dtype == bool
    assert answer.ious.tolist() == sorted(answer.ious.tolist(), reverse=True)
    embedding = sam.embed(a_frame())
    logits, ious = sam.decode_square(
        embedding, np.array([[(30.0, 40.0)]], np.float32), np.ones((1, 1), np.int64)
    )
    full = sam.enlarge(logits, embedding)[0].numpy()
    for mask, iou in zip(answer.masks, answer.ious, strict=True):
        at = int(np.argmin(abs(ious[0].numpy() - iou)))
        assert (mask == tidied(full[at] > 0, [(30.5, 40.5)])).all()


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt((PromptPoint(30.5, 40.5), PromptPoint(80.5, 20.5, on=False))),
        Prompt(box=(10, 10, 60, 70)),
        Prompt((PromptPoint(30.5, 40.5),), (10, 10, 60, 70)),
    ],
    ids=["points", "box", "point and box"],
)
def test_several_points_or_a_box_get_one_mask(prompter, prompt):
    answer = prompter.ask("frame", prompt)
    assert answer.masks.shape == (1, *SIZE)
    assert answer.ious.shape == (1,)


def test_every_part_of_a_prompt_counts(prompter):
    def soft(prompt):
        return prompter.ask("frame", prompt).ious[0]

    here = PromptPoint(30.5, 40.5)
    found = {
        float(soft(Prompt(points, box)))
        for points in ((here, here), (here, PromptPoint(80.5, 20.5)),
                       (here, PromptPoint(80.5, 20.5, on=False)))
        for box in (None, (10, 10, 60, 70), (10, 10, 100, 70))
    }  # fmt: skip
    assert len(found) == 9


def test_a_prompt_must_say_where_the_object_is(prompter):
    for prompt in (Prompt(), Prompt((PromptPoint(3, 3, on=False),))):
        assert not prompt.answerable
        with pytest.raises(ConfigError):
            prompter.ask("frame", prompt)


def test_a_frame_is_embedded_once_and_the_oldest_leave_first(sam, monkeypatch):
    seen = []
    embed = sam.embed
    monkeypatch.setattr(sam, "embed", lambda rgb: seen.append(rgb) or embed(rgb))
    one = embed(a_frame()).nbytes
    prompter = Prompter(sam, limit_bytes=2 * one)
    point = Prompt((PromptPoint(30.5, 40.5),))
    for name in ("a", "b"):
        prompter.embed(name, a_frame())
        prompter.ask(name, point)
        prompter.ask(name, point)
    assert len(seen) == 2
    assert prompter.nbytes == 2 * one
    prompter.ask("a", point)
    prompter.embed("c", a_frame())
    assert [prompter.knows(name) for name in "abc"] == [True, False, True]
    with pytest.raises(KeyError):
        prompter.ask("b", point)


def test_two_threads_never_use_the_model_at_once(sam, monkeypatch):
    inside, most = [], []
    forward = sam.image_encoder.forward

    def watched(x):
        inside.append(1)
        most.append(len(inside))
        try:
            return forward(x)
        finally:
            inside.pop()

    decode = sam.mask_decoder.forward

    def decoded(*arguments):
        inside.append(1)
        most.append(len(inside))
        try:
            return decode(*arguments)
        finally:
            inside.pop()

    monkeypatch.setattr(sam.image_encoder, "forward", watched)
    monkeypatch.setattr(sam.mask_decoder, "forward", decoded)

    def work(name):
        prompter = Prompter(sam)
        for _ in range(3):
            prompter.embed(name, a_frame())
            prompter.ask(name, Prompt((PromptPoint(30.5, 40.5),)))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 18
    assert max(most) == 1
