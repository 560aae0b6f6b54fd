#!/usr/bin/env bash
# A Chromium for the tests of the comparison page: the one that is there, Playwright's own, or Debian's.
set -euo pipefail
for name in chromium chromium-browser google-chrome chrome; do
  if command -v "$name" > /dev/null; then exit 0; fi
done
log=$(mktemp)
echo "Installing a Chromium for the page's tests."
if "${1:-.venv/bin}/playwright" install --with-deps chromium > "$log" 2>&1; then exit 0; fi
if command -v apt-get > /dev/null &&
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >> "$log" 2>&1
then exit 0; fi
cat "$log" >&2
echo "No Chromium could be installed: install chromium with your system's own means." >&2
exit 1
