# mypy: ignore-errors
"""What the program beside this module needs of it."""


def letters_of(line):
    """Return the letters of a line, which is bytes or text."""
    text = line.decode() if isinstance(line, bytes) else line
    return [letter for letter in text.lower() if letter.isalpha()]
