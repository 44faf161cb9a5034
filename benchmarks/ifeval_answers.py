"""Answers to IFEval prompts that follow instructions, nearly follow them, or miss them oddly.

An answer starts from some text: words of other prompts, or a sentence in one of many languages.
Every instruction of its prompt then bends it, mostly to the edge between following and not, and at
the end it is wrapped as models wrap their answers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Bend = Callable[[str, Mapping[str, Any], random.Random], str]

LANGUAGES = {
    "ar": "هذا نص قصير عن الطقس في المدينة الكبيرة.",
    "bg": "Това е кратък текст за времето в големия град.",
    "bn": "এটি বড় শহরের আবহাওয়া নিয়ে একটি ছোট লেখা।",
    "de": "Das ist ein kurzer Text über das Wetter in der großen Stadt.",
    "en": "This is a short text about the weather in the big city.",
    "es": "Este es un texto breve sobre el tiempo en la gran ciudad.",
    "fa": "این یک متن کوتاه درباره آب و هوا در شهر بزرگ است.",
    "fi": "Tämä on lyhyt teksti säästä suuressa kaupungissa.",
    "fr": "Ceci est un petit texte sur le temps dans la grande ville.",
    "gu": "આ મોટા શહેરના હવામાન વિશે એક ટૂંકું લખાણ છે.",
    "hi": "यह बड़े शहर के मौसम के बारे में एक छोटा लेख है।",
    "it": "Questo è un breve testo sul tempo nella grande città.",
    "kn": "ಇದು ದೊಡ್ಡ ನಗರದ ಹವಾಮಾನದ ಬಗ್ಗೆ ಒಂದು ಸಣ್ಣ ಬರಹ.",
    "ko": "이것은 큰 도시의 날씨에 관한 짧은 글입니다.",
    "mr": "हा मोठ्या शहरातील हवामानाबद्दल एक छोटा लेख आहे.",
    "ne": "यो ठूलो सहरको मौसमको बारेमा एउटा छोटो लेख हो।",
    "pa": "ਇਹ ਵੱਡੇ ਸ਼ਹਿਰ ਦੇ ਮੌਸਮ ਬਾਰੇ ਇੱਕ ਛੋਟਾ ਲੇਖ ਹੈ।",
    "pt": "Este é um texto curto sobre o tempo na cidade grande.",
    "ru": "Это короткий текст о погоде в большом городе.",
    "sw": "Haya ni maandishi mafupi kuhusu hali ya hewa katika jiji kubwa.",
    "ta": "இது பெரிய நகரத்தின் வானிலை பற்றிய ஒரு சிறிய உரை.",
    "te": "ఇది పెద్ద నగరంలో వాతావరణం గురించి ఒక చిన్న వ్యాసం.",
    "th": "นี่คือข้อความสั้น ๆ เกี่ยวกับสภาพอากาศในเมืองใหญ่",
    "ur": "یہ بڑے شہر کے موسم کے بارے میں ایک مختصر تحریر ہے۔",
    "vi": "Đây là một bài viết ngắn về thời tiết ở thành phố lớn.",
}
ENDS = [".", "!", "?", "...", '."', ".)", "?!", "", ":", " etc.", " at 5 p.m.", " by J. Doe."]
STARTS = ["", "", "Dr. ", "1. ", "2) ", "- ", '"', "Well... ", "In the U.S. ", "e.g. ", "i.e. "]
ODD = [*"*-,，“”…éßИ#\"'\n", "**", "***", "******", "\n\n", "[]", "<<", ">>", "12.5", "```", "{}"]
CAPITALS = ["NASA", "DON'T", "A", "U.S.A.", "X3", "I'M", "A/B", "TOP-TEN", "OK.", "Ok", "JOHN'S."]


def answers(
    row: Mapping[str, Any], others: Sequence[str], many: int, rng: random.Random
) -> list[str]:
    """Make answers to one prompt.

    Args:
        row: prompt, instruction ids and arguments.
        others: texts to take words from.
    """
    made = ["", " \n", row["prompt"], rng.choice(others), f'"{row["prompt"]}"']
    while len(made) < many:
        text = _base(others, rng)
        tasks = list(zip(row["instruction_id_list"], row["kwargs"], strict=True))
        # Bent for several, an answer seldom keeps what the first asked for.
        if rng.random() < 0.4:
            tasks = [rng.choice(tasks)]
        rng.shuffle(tasks)
        for kind, kwargs in tasks:
            if rng.random() < 0.9:
                text = BENDS[kind](text, kwargs, rng)
        made.append(_wrapped(text, rng))
    return made


def _base(others: Sequence[str], rng: random.Random) -> str:
    way = rng.random()
    if way < 0.1:
        return LANGUAGES[rng.choice(list(LANGUAGES))]
    text = rng.choice(others)
    if way < 0.4:
        text = text[: rng.randint(1, 200)]
    if way > 0.9:
        words = text.split() + [rng.choice(ODD) for _ in range(5)]
        rng.shuffle(words)
        text = " ".join(words)
    return text


def _wrapped(text: str, rng: random.Random) -> str:
    way = rng.randrange(12)
    if way == 0:
        return f"Sure, here it is:\n{text}"
    if way == 1:
        return f"{text}\nI hope this helps, enjoy!"
    if way == 2:
        return f"Sure, here it is:\n\n{text}\n\nI hope this helps!"
    if way == 3:
        return f"**{text}**"
    if way == 4:
        words = [f"*{word}*" if rng.random() < 0.2 else word for word in text.split(" ")]
        return " ".join(words)
    if way == 5:
        place = rng.randint(0, len(text))
        return text[:place] + rng.choice(ODD) + text[place:]
    if way == 6:
        return f" {text}\n"
    return text


def _near(asked: float, rng: random.Random) -> int:
    return max(0, int(asked) + rng.choice([-2, -1, 0, 0, 0, 1, 2]))


def _words(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    words = text.replace("'", "").replace("-", " ").split() or ["word"]
    wanted = _near(kwargs["num_words"], rng)
    return " ".join((words * (wanted // len(words) + 1))[:wanted])


def _sentences(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    words = text.split() or ["word"]
    made = [
        rng.choice(STARTS) + " ".join(rng.choices(words, k=rng.randint(1, 6))) + rng.choice(ENDS)
        for _ in range(_near(kwargs["num_sentences"], rng))
    ]
    return rng.choice([" ", " ", "\n", "\n\n"]).join(made)


def _paragraphs(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    parts = [rng.choice([text[:80], text[:9], "One.", ""]) or "Two."] * _near(
        kwargs["num_paragraphs"], rng
    )
    divider = rng.choice(["\n***\n", "\n\n***\n\n", "***", " *** ", "* * *", "\n\n"])
    made = divider.join(parts)
    return rng.choice([made, made, made + divider, divider + made, divider + made + divider])


def _first_word(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    wanted = _near(kwargs["num_paragraphs"], rng)
    if rng.random() < 0.6:
        wanted = kwargs["num_paragraphs"]
    parts = [(text.replace("\n", " ")[:60] or "Some text.") for _ in range(max(1, wanted))]
    word = rng.choice([str.lower, str.upper, str.title])(kwargs["first_word"])
    before = rng.choice(["", "", "", '"', "'", "“", "*", " ", "\"'", "'\""])
    after = rng.choice([" is", ", so", ". Then", "'s", "! ", ": x", "-like", "\nnew line", '"'])
    parts[min(len(parts), kwargs["nth_paragraph"]) - 1] = before + word + after
    return rng.choice(["\n\n", "\n\n", "\n\n", "\n\n\n", "\n\n\n\n", "\n"]).join(parts)


def _bullets(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    marks = ["* ", "- ", "*", "-", "  * ", "\n- ", "+ ", "** ", "• ", "*\n", "-- "]
    own = [rng.choice(marks[:3])] * 3 if rng.random() < 0.6 else marks
    items = [rng.choice(own) + (text[:20].replace("\n", " ") or "x")] * _near(
        kwargs["num_bullets"], rng
    )
    return rng.choice([text[:40] + "\n", ""]) + "\n".join(items) + rng.choice(["", "\n", "\nEnd."])


def _highlights(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    forms = ["*x*", "**x y**", "* x *", "***x***", "****", "*x\ny*", "** **", "*x", "**x*"]
    few = rng.choice([forms[:2], forms[:1], forms])
    made = [rng.choice(few) for _ in range(_near(kwargs["num_highlights"], rng))]
    return text.replace("*", "") + rng.choice(["\n", " "]) + rng.choice([" ", "\n", ""]).join(made)


def _sections(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    name = rng.choice([str, str, str, str.lower])(kwargs["section_spliter"])
    between = rng.choice([" ", " ", "", "  ", "\n", ": "])
    count = _near(kwargs["num_sections"], rng)
    return "\n".join(f"{name}{between}{n + 1}\n{text[:50]}" for n in range(count))


def _placeholders(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    forms = ["[name]", "[]", "[a\nb]", "[a [b] c]", "[[x]]", "(name)"]
    few = forms[:1] if rng.random() < 0.6 else forms
    made = [rng.choice(few) for _ in range(_near(kwargs["num_placeholders"], rng))]
    return text.replace("[", "") + " " + " ".join(made)


def _json(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    value = rng.choice([{"answer": text[:100]}, [text[:9], 1], text[:20], 12, {}])
    made = rng.choice([json.dumps(value), json.dumps(value, indent=1), str(value)])
    fence = rng.choice(["", "", "```json\n", "```\n", "```JSON ", "```jSON\n", "json\n", "``` "])
    return fence + made + rng.choice(["", "\n```" if fence else "", "\n```\n", "."])


def _capital_words(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    words = text.lower().split() or ["word"]
    for _ in range(_near(kwargs["capital_frequency"], rng)):
        words.insert(rng.randint(0, len(words)), rng.choice(CAPITALS))
    return " ".join(words)


def _frequency(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    words = text.split()
    for _ in range(_near(kwargs["frequency"], rng)):
        word = rng.choice([str, str.upper, str.title, "{}s".format])(kwargs["keyword"])
        words.insert(rng.randint(0, len(words)), word)
    return " ".join(words)


def _letters(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    letter = kwargs["letter"]
    text = text.replace(letter, "").replace(letter.upper(), "")
    return text + rng.choice([letter, letter.upper()]) * _near(kwargs["let_frequency"], rng)


def _keywords(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    shown = [rng.choice([str, str.upper, "x{}x".format])(word) for word in kwargs["keywords"]]
    return " ".join([text, *(word for word in shown if rng.random() < 0.85)])


def _forbidden(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    for word in kwargs["forbidden_words"]:
        if rng.random() < 0.25:
            text += " " + rng.choice([str, str.upper, "{}s".format, "un{}".format, "({})".format])(
                word
            )
    return text


def _postscript(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    marker = kwargs["postscript_marker"]
    forms = [marker, marker.lower(), marker.replace(".", ". "), marker.replace(".", ""), "P.S.", ""]
    return text + rng.choice(["\n\n", "\n", " "]) + rng.choice(forms) + " Bye."


def _repeat(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    wanted = kwargs["prompt_to_repeat"]
    forms = [
        wanted,
        wanted.lower(),
        f" {wanted}",
        f'"{wanted}"',
        wanted[:-1],
        wanted.split(". ")[0],
    ]
    return rng.choice(forms) + "\n\n" + text


def _two(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    second = rng.choice([text[::2], text, f" {text}\n", "", text.upper()])
    divider = rng.choice(["\n******\n", "******", "***", "\n\n******\n\n", "*******", "\n*****\n"])
    made = text + divider + second
    return rng.choice([made, made, made, made + divider, divider + made, made + divider + "x"])


def _end(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    phrase = kwargs["end_phrase"]
    forms = [phrase, phrase.upper(), phrase + '"', f'"{phrase}"', phrase + "*", phrase + "\n\nBye"]
    return f"{text} {rng.choice(forms)}"


def _title(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    forms = ["<<A title>>", "<< >>", "<<>>", "<<a\nb>>", "<title>", "<<<x>>>", "<<x> >", "<< > >>"]
    return rng.choice([forms[0], rng.choice(forms)]) + rng.choice(["\n", " "]) + text


def _language(text: str, kwargs: Mapping[str, Any], rng: random.Random) -> str:
    right = LANGUAGES[kwargs["language"]]
    return rng.choice([right, right, f"{right} {text[:60]}", text, "123", f"{right}\n{right}"])


BENDS: dict[str, Bend] = {
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text, _, rng: rng.choice([text.upper(), text.title()]),
    "change_case:english_lowercase": lambda text, _, rng: rng.choice([text.lower()] * 3 + [text]),
    "combination:repeat_prompt": _repeat,
    "combination:two_responses": _two,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": lambda text, _, rng: rng.choice(
        ["My answer is yes.", f"{text} My answer is maybe. ", "My answer is no", "my answer is no."]
    ),
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": _title,
    "keywords:existence": _keywords,
    "keywords:forbidden_words": _forbidden,
    "keywords:frequency": _frequency,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_words": _words,
    "punctuation:no_comma": lambda text, _, rng: text.replace(
        ",", rng.choice(["", "", "，", ",,"])
    ),
    "startend:end_checker": _end,
    "startend:quotation": lambda text, _, rng: rng.choice(
        [f'"{text}"', f'"{text}"', f"“{text}”", f'"{text}', f'"{text}".']
    ),
}
"""For every kind of instruction: text, arguments and source of chance to text."""
