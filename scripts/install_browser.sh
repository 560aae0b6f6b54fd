#!/usr/bin/env bash
# A Chromium for the tests of the comparison page: the one that is there, Playwright's own, or Debian's.
set -euo pipefail
for name in chromium chromium-browser google-chrome chrome; do
  command -v "$name" >/dev/null && exit 0
done
"${1:-.venv/bin}/playwright" install --with-deps chromium && exit 0
echo "Playwright could not fetch its Chromium; trying the system's packages." >&2
apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium
