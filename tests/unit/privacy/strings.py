"""Consent strings, encoded bit by bit as their specifications say."""

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def encoded(bits: str) -> str:
    """Six bits a letter; zeros fill the last one up."""
    bits += "0" * (-len(bits) % 6)
    return "".join(ALPHABET[int(bits[start : start + 6], 2)] for start in range(0, len(bits), 6))


def purposes(*numbers: int) -> str:
    return "".join("1" if number in numbers else "0" for number in range(1, 25))


def tc_string(consent=(), legitimate=(), *, version=2, one_treatment=False, lists="0" * 46) -> str:
    """The core segment of TCF v2."""
    head = f"{version:06b}" + "0" * 72 + f"{10:012b}{1:012b}{1:06b}" + "000100001101" + f"{100:012b}{4:06b}" + "10"
    return encoded(
        head + "0" * 12 + purposes(*consent) + purposes(*legitimate) + str(int(one_treatment)) + "0" * 12 + lists
    )


def canada(express=(), implied=()) -> str:
    return encoded(f"{1:06b}" + "0" * 145 + purposes(*express) + purposes(*implied) + "0" * 40)


def us_section(*fields: int, gpc: bool | None = None) -> str:
    """The core of a US section: its version, and its first fields of two bits each."""
    core = encoded("000001" + "".join(f"{field:02b}" for field in fields) + "0" * 40)
    return core if gpc is None else f"{core}.{encoded('01' + str(int(gpc)))}"


def fibonacci(number: int) -> str:
    steps = [1, 2]
    while steps[-1] <= number:
        steps.append(steps[-1] + steps[-2])
    bits = ""
    for step in reversed([step for step in steps if step <= number]):
        taken = step <= number
        number -= step if taken else 0
        bits = str(int(taken)) + bits
    return bits + "1"


def gpp(sections: dict[int, str]) -> str:
    """The string with these sections, in the order of their ids."""
    bits, last = f"{3:06b}{1:06b}{len(sections):012b}", 0
    for section_id in sorted(sections):
        bits += "0" + fibonacci(section_id - last)
        last = section_id
    return "~".join([encoded(bits), *(sections[section_id] for section_id in sorted(sections))])
