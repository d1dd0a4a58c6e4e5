"""What runs on a board: POSIX shell, with coreutils or busybox.

A bundle lies in a folder of its digest. A file appears under its name once its SHA-256 is right; until then it grows in
``.part``. ``.sha256`` remembers the checksum of a file and what it was taken of: inode, size, and both times, all of
which must still be the same; no order of times is asked for, since a board's clock may be set back. One process at a
time writes into a folder, where the board has flock.
"""

from __future__ import annotations

# Arguments: the folder of all bundles or nothing, digest, "yes" to read every byte, paceline, documents that do not
# belong there, names. Prints: version of paceline where the bundle is new, its folder, kB that are free, and for each
# name its size and checksum or dashes, and the bytes of a copy that was interrupted.
LIST = r"""set -eu
base=$1 digest=$2 every=$3 paceline=$4 gone=$5
shift 5
[ -n "$base" ] || base=${PACELINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/paceline}/sent
folder=$base/$digest
version=
if [ ! -e "$folder/bundle.json" ]; then version=$(eval "$paceline --version"); fi
mkdir -p "$folder/.part" "$folder/.sha256"
cd "$folder"
if command -v flock >/dev/null; then exec 9>.lock; flock 9; fi
rm -f $gone
room() { set -- $(df -Pk . | tail -n 1); echo "$4"; }
printf '%s\n' "$version" "$(pwd)" "$(room)"
for name; do
  size=- sum=- part=0
  if [ -f ".part/$name" ]; then part=$(stat -c %s ".part/$name"); fi
  if [ -f "./$name" ]; then
    size=$(stat -c %s "./$name")
    state=$(stat -c '%i %s %y %z' "./$name") known=
    if [ -f ".sha256/$name" ]; then known=$(cat ".sha256/$name"); fi
    if [ "$every" != yes ] && [ "${known#* }" = "$state" ]; then
      sum=$known
    else
      sum=$(sha256sum < "./$name")
      echo "${sum%% *} $state" > ".sha256/$name"
    fi
  fi
  echo "$size ${sum%% *} $part"
done
"""
# Exit codes of PUT: what has arrived is shorter, another process has written it too, or its checksum is another.
CUT, MOVED, CHANGED = 3, 4, 5
# Arguments: folder, name, bytes that have arrived before, bytes of all, SHA-256. The rest comes on standard input.
PUT = r"""set -eu
cd "$1"
if command -v flock >/dev/null; then exec 9>.lock; flock 9; fi
part=.part/$2
if [ "$3" = 0 ]; then : > "$part"; fi
[ "$(stat -c %s "$part")" = "$3" ] || exit 4
cat >> "$part"
[ "$(stat -c %s "$part")" = "$4" ] || exit 3
sum=$(sha256sum < "$part")
if [ "${sum%% *}" != "$5" ]; then rm "$part"; exit 5; fi
mv -f "$part" "./$2"
echo "$5 $(stat -c '%i %s %y %z' "./$2")" > ".sha256/$2"
"""
# Argument: a file, which need not be there.
GET = 'if [ -e "$1" ]; then cat "$1"; fi'
TAKE = 'if [ -e "$1" ]; then cat "$1" && rm "$1"; fi'
# Arguments: paceline, a file that it writes for the desk or nothing, its own arguments. sshd tells nobody that the desk
# is gone, but its process ends then: whoever watches it ends the command.
RUN = r"""paceline=$1 made=$2
shift 2
export PYTHONUTF8=1
desk=$PPID
(
  trap '' HUP TERM
  while [ -d "/proc/$desk" ] && kill -0 $$; do sleep 1; done
  if [ ! -d "/proc/$desk" ]; then
    kill -TERM -$$ || kill -TERM $$
    sleep 2
    [ -z "$made" ] || rm -f "$made"
  fi
) </dev/null >/dev/null 2>&1 &
eval "exec $paceline \"\$@\""
"""
