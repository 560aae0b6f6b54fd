"""What the commands return; a contract with scripts."""

from __future__ import annotations

EXIT_DONE, EXIT_SOME_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 0, 1, 2, 130
