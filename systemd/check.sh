#!/bin/sh
# Checks the files beside this script with systemd's own tools, in folders of their own: nothing on this machine changes.
# Where the tools are missing and this runs as root on Debian, they are installed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exposure_max=15 # tenths

if ! command -v systemd-analyze >/dev/null || ! command -v systemd-sysusers >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get install -y -qq --no-install-recommends systemd >/dev/null
    else
        echo "check.sh: systemd-analyze and systemd-sysusers are needed" >&2
        exit 3
    fi
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
fail() { echo "check.sh: $*" >&2; exit 1; }

# The unit, with a stand-in for the program and the accounts it names.
mkdir -p "$root/usr/lib/systemd/system" "$root/usr/bin" "$root/bin" "$root/etc" "$root/usr/lib/sysusers.d" \
    "$root/usr/lib/tmpfiles.d" "$root/var/lib" "$root/run"
cp "$here/todoke.service" "$root/usr/lib/systemd/system/"
cp "$here/todoke.sysusers" "$root/usr/lib/sysusers.d/todoke.conf"
cp "$here/todoke.tmpfiles" "$root/usr/lib/tmpfiles.d/todoke.conf"
for program in usr/bin/todoke bin/kill; do
    printf '#!/bin/sh\n' >"$root/$program" && chmod 755 "$root/$program"
done
cp /usr/lib/systemd/system/*.target "$root/usr/lib/systemd/system/"

said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no --root="$root" todoke.service 2>&1 | grep -F todoke || true)
[ -z "$said" ] || fail "verify: $said"
echo "verify: nothing to say"

security=$(systemd-analyze security --offline=true --no-pager "$here/todoke.service")
exposure=$(printf '%s\n' "$security" | sed -n 's/.*Overall exposure level for todoke.service: \([0-9]*\)\.\([0-9]*\).*/\1\2/p')
[ -n "$exposure" ] || fail "security: no figure"
printf '%s\n' "$security" | tail -n 1 | sed 's/^[^O]*//'
[ "$exposure" -le "$exposure_max" ] || fail "security: the exposure is above 1.5"

# With it no insurer's folder could be made, and no submission be published.
! grep -q '^RestrictSUIDSGID=yes' "$here/todoke.service" || fail "RestrictSUIDSGID=yes forbids folders of mode 2770"

systemd-sysusers --root="$root" --dry-run "$root/usr/lib/sysusers.d/todoke.conf" >/dev/null
systemd-sysusers --root="$root" >/dev/null 2>&1 || fail "sysusers"
grep -q '^todoke:[^:]*:[0-9]*:[0-9]*:todoke batch file gateway:/var/lib/todoke:/usr/sbin/nologin$' "$root/etc/passwd" ||
    fail "sysusers: no user todoke"
grep -q '^todoke-import:[^:]*:[0-9]*:todoke$' "$root/etc/group" || fail "sysusers: todoke is not in todoke-import"
systemd-sysusers --root="$root" >/dev/null 2>&1 || fail "sysusers: a second run"
echo "sysusers: user and groups, twice"

for run in 1 2; do
    systemd-tmpfiles --root="$root" --create "$root/usr/lib/tmpfiles.d/todoke.conf" || fail "tmpfiles: run $run"
done
uid=$(sed -n 's/^todoke:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/passwd")
gid=$(sed -n 's/^todoke:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
while read -r path expected; do
    got=$(stat -c '%a %u %g' "$root$path")
    [ "$got" = "$expected" ] || fail "tmpfiles: $path is $got, not $expected"
done <<EXPECTED
/etc/todoke 750 0 $gid
/etc/todoke/notices 750 0 $gid
/etc/credstore 700 0 0
/var/lib/todoke 711 $uid $gid
EXPECTED
echo "tmpfiles: modes and owners, twice"
