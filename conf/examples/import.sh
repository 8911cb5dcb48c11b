#!/bin/sh
# Takes submissions out of an insurer's spool and hands each file to a command. For cron:
#
#   */5 * * * *  import.sh /srv/todoke/spool/insurers/06139999 /var/lib/import /usr/local/bin/load-filing
#
# import.sh SPOOL STATE COMMAND [ARGUMENT...]
#   SPOOL    the insurer's folder; this user must be in its group
#   STATE    a folder of this user's own; remembers by number what was imported, so keep it
#   COMMAND  called as COMMAND [ARGUMENT...] FILE for each file, with TODOKE_NUMBER and TODOKE_FOLDER in its
#            environment (submission.json lies there). Exit status 0 means imported; anything else fails the
#            submission, and what it wrote to stderr becomes NUMBER.reason, which the operator sees.
#
# Safe to kill at any point, and to start twice. A submission that was interrupted is handed over again from its first
# file: COMMAND must treat TODOKE_NUMBER and the file's name as its key. A power cut may bring a submission back into
# new/: its number is remembered, and it is only moved on.
#
# Exit status: 0 done (or another run is at work), 1 something failed, 2 wrong usage.
set -u
umask 007

if [ $# -lt 3 ]; then
    echo "usage: import.sh SPOOL STATE COMMAND [ARGUMENT...]" >&2
    exit 2
fi
spool=$1 state=$2
shift 2
for folder in new cur done failed; do
    if ! [ -d "$spool/$folder" ]; then
        echo "import.sh: $spool/$folder is not there, or not for this user" >&2
        exit 2
    fi
done
mkdir -p "$state/imported" || exit 2
exec 9> "$state/lock" || exit 2
flock -n 9 || exit 0

result=0

# fail NUMBER: what is in $state/reason becomes NUMBER.reason. The reason comes first: whoever sees the folder in failed/
# finds it there.
fail() {
    head -c 4096 "$state/reason" > "$spool/failed/$1.reason"
    mv "$spool/cur/$1" "$spool/failed/$1"
    result=1
}

# take NUMBER COMMAND...: one submission that is in cur/.
take() {
    number=$1
    shift
    folder=$spool/cur/$number
    if [ -e "$state/imported/$number" ]; then
        mv "$folder" "$spool/done/$number" || result=1
        return
    fi
    if ! (cd "$folder" && sha256sum --strict -c FILES.sha256) > "$state/reason" 2>&1; then
        fail "$number"
        return
    fi
    # The names are the gateway's own: no blanks, nothing that a shell would read.
    for name in $(cut -c67- "$folder/FILES.sha256"); do
        if ! TODOKE_NUMBER=$number TODOKE_FOLDER=$folder "$@" "$folder/$name" \
            < /dev/null 2> "$state/reason" 9>&-; then
            fail "$number"
            return
        fi
    done
    : > "$state/imported/$number"
    sync "$state/imported/$number" "$state/imported" 2> /dev/null
    mv "$folder" "$spool/done/$number" || result=1
}

# each FOLDER: the numbers in it.
each() {
    for path in "$spool/$1"/*; do
        case ${path##*/} in
            *[!0-9-]*) ;;
            *) if [ -d "$path" ]; then echo "${path##*/}"; fi ;;
        esac
    done
}

# What an earlier run was cut off at goes first.
for number in $(each cur); do
    take "$number" "$@"
done
for number in $(each new); do
    # From here on it is collected, and cannot be withdrawn any more. Gone already: it was withdrawn.
    if mv "$spool/new/$number" "$spool/cur/$number" 2> /dev/null; then
        take "$number" "$@"
    fi
done
exit $result
