"""The one exception of the lab that is meant to be read by a person."""


class LabError(Exception):
    """Something that the person at the terminal can act on: a sentence that says what to do."""


class ReleaseError(LabError):
    """The index of a Debian suite can't be had now: nothing that the code could help."""
