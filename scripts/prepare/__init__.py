"""Chats and texts to token files for `beam train`; scripts/prepare_data.py is the command.

rows      a line of a file becomes a conversation or a text
template  a conversation becomes the text of its chat template, with the places of the assistant's turns
outlines  the same without rendering, where the template's answer is known
encode    that becomes token ids and a loss mask
encoders  texts to ids: tokenizers, and fastokens where it does the same
sources   files become blocks of lines
job       blocks are worked on by several processes, and gathered into token files
tokenfile the HDF5 file that beam reads
show      samples, with the trained tokens marked
"""


class UsageError(Exception):
    """What the user asked for cannot be done: exit code 2, as beam's."""


class DataError(Exception):
    """The data cannot be used: exit code 3."""


class RowError(Exception):
    """One row cannot be used; whoever knows its file and line adds them."""
