# Installs the named packages without letting them start services of their own.
# Run as root: sh -c "$THIS" wahacast-install PACKAGE...
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# One at a time, whoever calls.
exec 9>/run/lock/wahacast-install.lock
flock 9

# Debian asks this file whether a freshly installed service may start (101: it may not).
# One that exists belongs to the machine and stays; one of ours that a kill left is replaced.
guard=/usr/sbin/policy-rc.d
mark='# made by wahacast for one installation'
if [ ! -e "$guard" ] || grep -qxF "$mark" "$guard"; then
    trap 'rm -f "$guard"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$guard"
    chmod 755 "$guard"
fi

# The distribution also sets its services to start with the machine; nobody asked for that.
enabled() {
    for unit in postgresql.service pgbouncer.service rabbitmq-server.service epmd.service epmd.socket; do
        [ -z "$(find /etc/systemd/system -name "$unit" -type l)" ] || echo "$unit"
    done
}
before=" $(enabled | tr '\n' ' ')"

apt-get update -q
apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"

for unit in $(enabled); do
    case "$before" in
    *" $unit "*) ;;
    *) systemctl disable "$unit" || true ;;
    esac
done
