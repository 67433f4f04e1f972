# Runs a server of PostgreSQL for tests: server.sh BIN DIR. It takes orders, a line each, from standard input and answers each with a
# line; at the end of the input, which is that of the test, it stops the server and removes the directory.
trap '' INT TERM HUP
bin=$1 dir=$2
ctl() {
    "$bin/pg_ctl" -D "$dir/data" -s -w -t 60 "$@" >>"$dir/ctl.log" 2>&1
}
while read -r order arg; do
    case $order in
    init)
        "$bin/initdb" -D "$dir/data" -U keyreeve --pwfile="$dir/password" -A scram-sha-256 -E UTF8 --locale=C.UTF-8 --no-sync >>"$dir/ctl.log" 2>&1 ;;
    start)
        ctl start -l "$dir/server.log" -o "-p $arg" ;;
    stop)
        ctl stop -m "$arg" ;;
    esac && echo ok || echo "$order: $(tail -n 5 "$dir/ctl.log" "$dir/server.log" 2>/dev/null | tr '\n' ' ')"
done
ctl stop -m immediate
rm -rf "$dir"
