"""Which model is trained: sources, loading, and how a batch goes through it. The only room that knows transformers."""

import logging

# Where bitsandbytes is installed, importing peft imports it too, and it warns that an optional kernel package for
# inference is absent: a line before the output of every command, about something that is not used.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
