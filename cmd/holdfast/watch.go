package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// watchFlags make a command show what it shows again and again.
type watchFlags struct {
	JSON  bool `name:"json" help:"Print the answer as JSON; with -watch one document after another."`
	Watch bool `help:"Show it again each second, until Ctrl-C."`
}

const (
	watchEvery = time.Second
	// On a terminal each picture takes the place of the one before: go to the
	// top, clear to the end. What was on the screen before -watch is cleared
	// once.
	clearScreen = "\x1b[2J"
	cursorHome  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// show prints a picture, once or each second. While it watches, a member that
// does not answer is part of the picture: it may come back.
func (f *watchFlags) show(ctx context.Context, out io.Writer, draw func(ctx context.Context, w io.Writer) error) error {
	if !f.Watch {
		return draw(ctx, out)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	return f.watch(ctx, out, draw)
}

// watch shows a picture each second until ctx ends.
func (f *watchFlags) watch(ctx context.Context, out io.Writer, draw func(ctx context.Context, w io.Writer) error) error {
	terminal := isTerminal(out)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		var picture bytes.Buffer
		err := draw(ctx, &picture)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			fmt.Fprintln(&picture, err)
		}
		if err := f.put(out, picture.Bytes(), terminal, first); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// put writes one picture with one write, so that a terminal does not flicker.
func (f *watchFlags) put(out io.Writer, picture []byte, terminal, first bool) error {
	var b bytes.Buffer
	switch {
	case terminal && !f.JSON:
		if first {
			b.WriteString(clearScreen)
		}
		b.WriteString(cursorHome)
		b.Write(bytes.ReplaceAll(picture, []byte("\n"), []byte(clearLine+"\n")))
		b.WriteString(clearBelow)
	case first || f.JSON:
		b.Write(picture)
	default:
		b.WriteString("\n")
		b.Write(picture)
	}
	_, err := out.Write(b.Bytes())
	return err
}
