#!/usr/bin/env python3
"""Writes examples/chat/{train,valid}.jsonl: short conversations made from templates, for trying the program.

They are not written by people and teach nothing but their own patterns: sums, opposites, spelling, counting. The
same seed gives the same files. No package is needed.
"""
import json
import random
from pathlib import Path

OPPOSITES = "hot cold|big small|old new|fast slow|open closed|light dark|wet dry|early late|high low|near far|full empty|loud quiet"
COLOURS = {"snow": "white", "coal": "black", "grass": "green", "the sky at noon": "blue", "a ripe lemon": "yellow",
           "blood": "red", "a carrot": "orange", "milk": "white", "a crow": "black", "an emerald": "green"}
WORDS = "apple river stone window garden candle bridge letter winter silver button castle meadow pencil basket".split()
THANKS = [("Thank you.", "You are welcome."), ("Thanks!", "Gladly."), ("That helps.", "Good to hear.")]
SHORT = "Answer in one word."


def addition(r):
    a, b = r.randint(2, 20), r.randint(2, 20)
    return r.choice([f"What is {a} plus {b}?", f"Add {a} and {b}.", f"{a} + {b} = ?"]), f"{a} plus {b} is {a + b}.", str(a + b)


def opposite(r):
    pair = r.choice(OPPOSITES.split("|")).split()
    r.shuffle(pair)
    return r.choice([f"What is the opposite of {pair[0]}?", f"Say the opposite of {pair[0]}."]), \
        f"The opposite of {pair[0]} is {pair[1]}.", pair[1].capitalize()


def colour(r):
    thing, name = r.choice(sorted(COLOURS.items()))
    return r.choice([f"Which colour has {thing}?", f"What colour is {thing}?"]), f"It is {name}.", name.capitalize()


def spelling(r):
    word = r.choice(WORDS)
    return r.choice([f"Spell {word}.", f"How is {word} spelled?"]), "-".join(word) + ".", "-".join(word)


def counting(r):
    first = r.randint(1, 30)
    numbers = ", ".join(str(first + i) for i in range(5))
    return f"Count five numbers from {first}.", numbers + ".", numbers


KINDS = (addition, opposite, colour, spelling, counting)


def conversation(r):
    """One to three questions; sometimes one-word answers by a system message, sometimes thanks at the end."""
    short = r.random() < 0.3
    messages = [{"role": "system", "content": SHORT}] if short else []
    for _ in range(r.choice((1, 1, 2, 3))):
        question, answer, brief = r.choice(KINDS)(r)
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": brief if short else answer}]
    if not short and r.random() < 0.3:
        thanks, reply = r.choice(THANKS)
        messages += [{"role": "user", "content": thanks}, {"role": "assistant", "content": reply}]
    return {"messages": messages}


def main():
    folder = Path(__file__).resolve().parent.parent / "examples" / "chat"
    r = random.Random(7)
    rows = list(dict.fromkeys(json.dumps(conversation(r)) for _ in range(700)))  # each once
    for name, part in (("train", rows[60:]), ("valid", rows[:60])):
        (folder / f"{name}.jsonl").write_text("".join(row + "\n" for row in part), encoding="utf-8")


if __name__ == "__main__":
    main()
