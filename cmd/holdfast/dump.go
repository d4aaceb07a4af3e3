package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-95a32959/holdfast/internal/dump"
	"github.com/seed-95a32959/holdfast/ring"
)

type dumpCommand struct {
	adminFlags
	Out   string   `short:"o" placeholder:"FILE" help:"Where to write, -o for short; without it to the standard output. The file is for its owner alone (mode 0600), and must not be there yet."`
	Force bool     `help:"Write over a file that is there. It stays as it is until the dump is complete."`
	Wait  duration `placeholder:"DURATION" default:"30s" help:"For how long partitions that nobody serves are asked for again."`
}

func (*dumpCommand) Detail() string {
	return `The member at -admin passes each question on to the node that serves the partition, so one address
is enough. Every session that is there all the while is in the dump once, as it was when its partition was read;
one that begins, changes or ends meanwhile may be in it as it was before or after. Sessions that were logged out are not in it.

  holdfast dump -o sessions.jsonl
  holdfast load -i sessions.jsonl -admin http://10.1.0.1:8081

There is one JSON object a line: first the format, the cluster and the time, then the sessions, and last how many they
are. A file without that last line was cut short. Text that is not UTF-8 stands in base64 under key64, name64 and
value64. Whoever has a session's key may act as its user, so keep the file as you keep passwords.

The exit code is 1 if partitions are missing; the last line lists them too.`
}

const (
	// dumpReaders is how many partitions are read at a time.
	dumpReaders = 8
	// askAgain is how long after a round of questions the next one begins, about
	// partitions that could not be had.
	askAgain = 300 * time.Millisecond
	// progressEvery is how often long work says how far it is.
	progressEvery = time.Second
)

func (c *dumpCommand) Run(ctx context.Context, s *streams) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	cluster, _, err := clusterStatus(ctx, c.Admin)
	if err != nil {
		return err
	}
	out, err := c.open(s.out)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(out, 1<<20)
	d := &dumper{base: c.Admin, client: manyRequests(dumpReaders), wait: time.Duration(c.Wait), again: askAgain}
	defer d.client.CloseIdleConnections()
	if d.to, err = dump.NewWriter(buffered, dump.Header{Cluster: cluster.Cluster, At: time.Now().UTC()}); err == nil {
		err = d.run(ctx, s.err)
	}
	err = errors.Join(err, buffered.Flush())
	if err := out.close(err); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.err, "dumped %s\n", plural(d.to.Sessions(), "session"))
	return err
}

// dumpFile is what a dump is written to. A file that is to be replaced is so when
// the dump is complete.
type dumpFile struct {
	io.Writer
	file  *os.File // nil for the standard output
	final string   // what the file is to be called
}

func (c *dumpCommand) open(stdout io.Writer) (*dumpFile, error) {
	if c.Out == "" {
		return &dumpFile{Writer: stdout}, nil
	}
	f, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist) && !c.Force:
		return nil, fmt.Errorf("-out %s: is there already; -force writes over it", c.Out)
	case errors.Is(err, fs.ErrExist):
		return c.replace()
	case err != nil:
		return nil, fmt.Errorf("-out: %w", err)
	}
	return &dumpFile{Writer: f, file: f, final: c.Out}, nil
}

// replace opens a new file beside the one that is there: that one may be open to
// others, and is better than half a dump.
func (c *dumpCommand) replace() (*dumpFile, error) {
	info, err := os.Lstat(c.Out)
	if err != nil {
		return nil, fmt.Errorf("-out: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("-out %s: is no regular file (%s), and only those are written over", c.Out, info.Mode().Type())
	}
	f, err := os.CreateTemp(filepath.Dir(c.Out), filepath.Base(c.Out)+".*") // of mode 0600
	if err != nil {
		return nil, fmt.Errorf("-out: %w", err)
	}
	return &dumpFile{Writer: f, file: f, final: c.Out}, nil
}

// close ends the file of a dump that ended with an error, or well. It says where
// a dump is that is not complete.
func (f *dumpFile) close(failed error) error {
	if f.file == nil {
		return failed
	}
	name := f.file.Name()
	err := errors.Join(failed, f.file.Sync(), f.file.Close())
	if err == nil && name != f.final {
		err = os.Rename(name, f.final)
	}
	if err != nil {
		return fmt.Errorf("%w; %s is not complete", err, name)
	}
	return nil
}

// dumper reads all partitions.
type dumper struct {
	base   adminURL
	client *http.Client
	wait   time.Duration // for how long partitions are asked for again
	again  time.Duration // how long after a round that is

	mu    sync.Mutex // guards what follows
	to    *dump.Writer
	after [ring.Partitions]string // the last key that was had of each
	had   int                     // partitions
	last  error                   // why one could not be had
}

// run reads all partitions, those that could not be had again and again until
// the wait is over, and writes the trailer.
func (d *dumper) run(ctx context.Context, progress io.Writer) error {
	defer follow(func(last string) string { return d.tell(progress, last) })()
	left := make([]int, ring.Partitions)
	for p := range left {
		left[p] = p
	}
	left, err := d.round(ctx, left)
	waiting, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	for len(left) > 0 && err == nil && pause(waiting, d.again) {
		left, err = d.round(ctx, left)
	}
	switch {
	case err != nil:
		return err
	case ctx.Err() != nil: // without a trailer, for this was not all that there was to do
		return fmt.Errorf("dump stopped after %s of %s", plural(d.to.Sessions(), "session"), plural(d.had, "partition"))
	}
	if err := d.to.End(left); err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%s could not be read within %v, all or in part: %s; the last cause: %w", plural(len(left), "partition"), d.wait, rangesOf(left), d.last)
	}
	return nil
}

// pause waits, and says whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// round reads partitions and returns those that could not be had, in order. An
// error is one of writing.
func (d *dumper) round(ctx context.Context, parts []int) (left []int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make([]bool, len(parts))
	next := make(chan int)
	var reading sync.WaitGroup
	var once sync.Once
	for range dumpReaders {
		reading.Go(func() {
			for i := range next {
				cause, broken := d.partition(ctx, parts[i])
				failed[i] = cause != nil
				if broken != nil {
					once.Do(func() { err = broken })
					cancel()
				}
			}
		})
	}
	for i := range parts {
		next <- i
	}
	close(next)
	reading.Wait()
	for i, p := range parts {
		if failed[i] {
			left = append(left, p)
		}
	}
	return left, err
}

// partition writes what is left of a partition, a page at a time. cause is why
// it is not complete, and broken why nothing can be written.
func (d *dumper) partition(ctx context.Context, p int) (cause, broken error) {
	for {
		page, err := d.page(ctx, p)
		if err == nil && len(page) > 0 {
			if err, broken = d.take(p, page); err == nil && broken == nil {
				continue
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil {
			d.last = err
		} else if broken == nil {
			d.had++
		}
		return err, broken
	}
}

// page asks for the sessions of a partition that come after what was had. The
// answer is complete: it came with its length.
func (d *dumper) page(ctx context.Context, p int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	path := "/admin/dump?partition=" + strconv.Itoa(p) + "&after=" + url.QueryEscape(d.after[p])
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, string(d.base)+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := doAdmin(d.client, req, d.base, path, adminTimeout)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if kind := resp.Header.Get("Content-Type"); kind != dump.MediaType {
		return nil, noMember(d.base, fmt.Errorf("Content-Type %q, not %q", kind, dump.MediaType))
	}
	page, err := io.ReadAll(io.LimitReader(resp.Body, dump.MaxBatch+1))
	if err == nil && len(page) > dump.MaxBatch {
		err = fmt.Errorf("more than %d bytes", dump.MaxBatch)
	}
	if err != nil {
		return nil, fmt.Errorf("read partition %d of %s: %w", p, d.base, err)
	}
	return page, nil
}

// take writes a page, and notes the last key in it. Only one goroutine reads a
// partition at a time.
func (d *dumper) take(p int, page []byte) (cause, broken error) {
	text := bytes.TrimSuffix(page, []byte("\n"))
	last, err := dump.ReadLine(text[bytes.LastIndexByte(text, '\n')+1:])
	if err == nil && last.Key <= d.after[p] {
		err = errors.New("the keys are not in order")
	}
	if err != nil {
		return noMember(d.base, fmt.Errorf("partition %d: %w", p, err)), nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.to.Lines(page, bytes.Count(page, []byte("\n"))); err != nil {
		return nil, err
	}
	d.after[p] = last.Key
	return nil, nil
}

// tell says how far the dump is, if that is not what was said last.
func (d *dumper) tell(w io.Writer, last string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := fmt.Sprintf("dumping: %s, %d of %d partitions", plural(d.to.Sessions(), "session"), d.had, ring.Partitions)
	if now != last {
		fmt.Fprintln(w, now)
	}
	return now
}

// follow has long work say each second how far it is, until it is told to end.
// tell is given what it returned before, and says nothing if that still holds.
func follow(tell func(last string) string) (end func()) {
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for last := ""; ; {
			select {
			case <-done:
				return
			case <-tick.C:
				last = tell(last)
			}
		}
	})
	return func() { close(done); following.Wait() }
}

// rangesOf writes numbers in order, neighbours as ranges: 1, 3-7.
func rangesOf(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		j := i
		for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
			j++
		}
		text := strconv.Itoa(numbers[i])
		if j > i {
			text += "-" + strconv.Itoa(numbers[j])
		}
		parts, i = append(parts, text), j+1
	}
	return strings.Join(parts, ", ")
}
