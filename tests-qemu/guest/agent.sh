# Runs in the guest what the host sends, and tells how it ended: see tests-qemu/src/agent.rs.
# A port can be opened once only, so each is opened here and inherited.
port() {
    for candidate in /sys/class/virtio-ports/*; do
        if [ "$(cat "$candidate/name")" = "shark.$1" ]; then
            echo "/dev/${candidate##*/}"
            return
        fi
    done
    echo "no virtio port shark.$1" >&2
    exit 1
}

command=/run/shark/agent/command
mkdir -p "${command%/*}"
exec 3<"$(port cmd)" 4>"$(port out)" 5>"$(port err)" 6>"$(port status)"

# Services up is enough for most; with the file it is the gate's verdict that counts.
settled=--settled
[ ! -e "${command%/agent/*}/agent.verdict" ] || settled=
if complaint=$(sharkctl boot wait $settled 2>&1); then
    echo "boot good" >&6
else
    # One line, whatever it printed.
    echo "boot bad" $complaint >&6
fi

while IFS= read -r line <&3; do
    echo "$line" | base64 -d >"$command"
    /bin/sh "$command" </dev/null >&4 2>&5 3<&- 6>&-
    status=$?
    printf '\0end\0' >&4
    printf '\0end\0' >&5
    echo "ended $status" >&6
done
