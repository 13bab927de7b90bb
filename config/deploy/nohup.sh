# logs and process numbers are in $LLAMA_RUN, or beside this script
here=$(cd "$(dirname "$0")" && pwd)
run=${LLAMA_RUN:-$here/run}
mkdir -p "$run"

is_up() {
    [ -s "$run/$1.pid" ] && kill -0 "$(cat "$run/$1.pid")" 2>/dev/null
}

begin() {
    name=$1
    shift
    if is_up "$name"; then
        echo "$name runs already, pid $(cat "$run/$name.pid")"
        return
    fi
    # a peer that gives up early must not end a worker: systemd ignores SIGPIPE by itself, here we do
    (
        trap '' PIPE HUP
        cd /
        exec setsid "$@"
    ) </dev/null >>"$run/$name.log" 2>&1 &
    echo $! >"$run/$name.pid"
    echo "$name started, pid $!"
}

end() {
    if ! is_up "$1"; then
        rm -f "$run/$1.pid"
        return
    fi
    pid=$(cat "$run/$1.pid")
    kill "$pid"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$run/$1.pid"
    echo "$1 stopped"
}
