package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/adminapi"
	"github.com/seed-95a32959/holdfast/internal/dump"
)

type loadCommand struct {
	adminFlags
	In        string `short:"i" placeholder:"FILE" help:"What to read, -i for short; without it the standard input."`
	Replace   bool   `help:"Write over sessions that there are. Without it they stay as they are."`
	Revive    bool   `help:"Load sessions too that were logged out since the dump."`
	KeepGoing bool   `help:"Go on after a line that is refused. Without it the first one ends the load."`
}

func (*loadCommand) Detail() string {
	return `It reads what holdfast dump writes, and can be run again: sessions that there are stay as they are, and the
command says how many those were. Sessions that have ended since are left out. So are those that the cluster
remembers as logged out, for a load must not undo a logout.

  holdfast load -i sessions.jsonl
  gpg -d sessions.jsonl.gpg | holdfast load

A session that ends after so much idle time has all of it again from now on. One that ends at a fixed time ends then.

The exit code is 1 if a line was refused, and if the dump is not complete. What was loaded stays.`
}

const (
	// loadTimeout bounds one batch. A member works on one for 20 s at most.
	loadTimeout = 30 * time.Second
	// loadSenders is how many batches are under way at a time.
	loadSenders = 4
	// batchLines and batchBytes bound a batch: it ends with the line that reaches
	// one of them.
	batchLines = 256
	batchBytes = 1 << 20
)

func (c *loadCommand) Run(ctx context.Context, s *streams) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	in := s.in
	if c.In != "" {
		f, err := os.Open(c.In)
		if err != nil {
			return fmt.Errorf("-in: %w", err)
		}
		defer f.Close()
		in = f
	}
	r, err := dump.NewReader(in)
	if err != nil {
		return err
	}
	l := &loader{command: c, client: manyRequests(loadSenders), says: s.err}
	defer l.client.CloseIdleConnections()
	if err := errors.Join(l.run(ctx, r), l.report(s.out, r.Trailer())); err != nil {
		return err
	}
	if n := l.refused; n > 0 {
		return fmt.Errorf("%s refused", plural(n, "line"))
	}
	return nil
}

// batch is lines that are sent in one request.
type batch struct {
	text    []byte
	numbers []int // of the lines, in the dump
}

// loader sends the lines of a dump.
type loader struct {
	command *loadCommand
	client  *http.Client
	says    io.Writer // hears of lines that are refused

	mu      sync.Mutex // guards what follows
	total   adminapi.Load
	refused int
}

// run sends all lines. When one is refused, or parent ends, it waits for what is
// under way, so that the counts are right.
func (l *loader) run(parent context.Context, r *dump.Reader) error {
	defer follow(l.tell)()
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	batches := make(chan batch)
	var sending sync.WaitGroup
	for range loadSenders {
		sending.Go(func() {
			for b := range batches {
				if err := l.send(ctx, b); err != nil {
					stop(err)
				}
			}
		})
	}
	err := l.read(ctx, r, batches)
	close(batches)
	sending.Wait()
	if failed := context.Cause(ctx); failed != nil {
		err = failed
	}
	switch {
	case errors.Is(err, errRefused): // which has been said
		return nil
	case parent.Err() != nil:
		return fmt.Errorf("load stopped: %w; it can be run again", err)
	}
	return err
}

// errRefused ends a load whose command is not to go on after a refused line.
var errRefused = errors.New("a line was refused")

// read makes batches of the lines until ctx ends.
func (l *loader) read(ctx context.Context, r *dump.Reader, batches chan<- batch) error {
	var b batch
	flush := func() bool {
		if len(b.numbers) == 0 {
			return true
		}
		select {
		case batches <- b:
			b = batch{}
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		line, err := r.Next()
		if bad, ok := errors.AsType[*dump.LineError](err); ok && errors.Is(err, dump.ErrLine) {
			if err = l.refuse(bad.Number, bad.Err); err == nil {
				continue
			}
		}
		if err != nil {
			flush()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		b.text, b.numbers = append(b.text, line.Text...), append(b.numbers, line.Number)
		if (len(b.numbers) >= batchLines || len(b.text) >= batchBytes) && !flush() {
			break
		}
	}
	return context.Cause(ctx)
}

// send has a member write a batch. What is under way is not cut off when a load
// stops, for then nobody would know what became of it.
func (l *loader) send(ctx context.Context, b batch) error {
	if ctx.Err() != nil {
		return nil
	}
	a, err := l.command.post(context.WithoutCancel(ctx), l.client, b)
	if err != nil {
		return fmt.Errorf("lines %d to %d: %w; what became of them is not known, and the load can be run again", b.numbers[0], b.numbers[len(b.numbers)-1], err)
	}
	l.mu.Lock()
	l.total.Loaded += a.Loaded
	l.total.Present += a.Present
	l.total.Ended += a.Ended
	l.total.LoggedOut += a.LoggedOut
	l.mu.Unlock()
	for _, refused := range a.Refused {
		if refused.Line < 1 || refused.Line > len(b.numbers) {
			return noMember(l.command.Admin, fmt.Errorf("line %d of a batch of %d is refused", refused.Line, len(b.numbers)))
		}
		if failed := l.refuse(b.numbers[refused.Line-1], errors.New(refused.Error)); failed != nil {
			err = failed
		}
	}
	return err
}

// refuse says which line was refused and why. It returns errRefused if the load
// is to stop.
func (l *loader) refuse(line int, cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused++
	if _, err := fmt.Fprintf(l.says, "line %d: %v\n", line, cause); err != nil {
		return err
	}
	if l.command.KeepGoing {
		return nil
	}
	return errRefused
}

func (c *loadCommand) post(ctx context.Context, client *http.Client, b batch) (a adminapi.Load, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	path := "/admin/load?replace=" + bit(c.Replace) + "&revive=" + bit(c.Revive)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(c.Admin)+path, bytes.NewReader(b.text))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", dump.MediaType)
	resp, err := doAdmin(client, req, c.Admin, path, loadTimeout)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return a, fmt.Errorf("read %s%s: %w", c.Admin, path, err)
	}
	if err := decodeAnswer(body, c.Admin, &a); err != nil {
		return a, err
	}
	if n := a.Loaded + a.Present + a.Ended + a.LoggedOut + len(a.Refused); n != len(b.numbers) {
		return a, noMember(c.Admin, fmt.Errorf("it tells of %d lines, %d were sent", n, len(b.numbers)))
	}
	return a, nil
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// tell says how far the load is, if that is not what was said last.
func (l *loader) tell(last string) string {
	l.mu.Lock() // which keeps it apart from lines that are refused
	defer l.mu.Unlock()
	now := fmt.Sprintf("loading: %s, %d there already", plural(l.total.Loaded, "session"), l.total.Present)
	if now != last {
		fmt.Fprintln(l.says, now)
	}
	return now
}

// report says what became of the lines.
func (l *loader) report(w io.Writer, trailer dump.Trailer) error {
	text := fmt.Sprintf("loaded %s; %d were there already, %d have ended, %d were logged out, %d refused\n",
		plural(l.total.Loaded, "session"), l.total.Present, l.total.Ended, l.total.LoggedOut, l.refused)
	if n := len(trailer.Missing); n > 0 {
		text += fmt.Sprintf("the dump itself lacks sessions: %s could not be read when it was made\n", plural(n, "partition"))
	}
	_, err := io.WriteString(w, text)
	return err
}
