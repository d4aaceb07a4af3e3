// Otp is a login by one-time password on three servers: the story that
// Holdfast exists for. A user asks for a code on one server and types it in;
// without affinity the second request meets another server, which has never
// heard of the code, and the login fails.
//
// One request: the front proxy (front.go) passes it to the Holdfast router, or,
// when the browser has turned affinity off, to the servers in turn. A server
// (server.go) is one process with a node and the application. The application
// (app.go) reads and writes what it knows of its visitor through one interface
// (memory.go), of which there are two: the node's sessions, and a map of the
// server's own as a program has without Holdfast. The rest of the application
// does not know which it has.
//
// The program starts itself once for each server (launch.go), and all of them
// end with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "otp:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("otp", flag.ContinueOnError)
	base := flags.Int("base-port", 8200, "first `port`; the web site is on it, and those up to 36 above it are used too")
	server := flags.Int("server", 0, "be the server of this `number`; the program starts itself so")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("argument %q: none is accepted", flags.Arg(0))
	case *base < 1 || *base > 65535-portsUsed:
		return fmt.Errorf("-base-port %d: must be 1 to %d", *base, 65535-portsUsed)
	case *server < 0 || *server > servers:
		return fmt.Errorf("-server %d: must be 1 to %d", *server, servers)
	case *server > 0:
		signal.Ignore(os.Interrupt) // Ctrl-C at the terminal is the launcher's to answer
		ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer cancel()
		return serve(ctx, layout(*base), *server, os.Stdin)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	return launch(ctx, layout(*base), os.Stdin, os.Stdout)
}
