// Command keyreeve sees, judges, fixes and proves the state of AWS IAM access keys.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/keyreeve/keyreeve/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	code := cli.Run(ctx, os.Args[1:], cli.Host())
	stop()
	os.Exit(code)
}
